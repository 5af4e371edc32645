//! A sidecar's own releases under load, with figures: drained and started anew, upgraded in place, killed. Short in the end-to-end
//! tests, long in `./x lifecycle`. On loopback without a redirect.
//!
//! ```text
//!  Witness ── HTTP/1.1, HTTP/2 ──▶ sidecar (the one that is released) ──▶ application A
//! ```

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Client, Speech};
use crate::mesh::{Mesh, Plan};
use crate::process::{Process, Scratch, wait_for};
use crate::usage::connections;
use crate::witness::{Load, Seen, Witness, time_to_refusal, times};

/// Longest wait for a step of a release.
const DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait for the whole load of one scene.
const LOAD_DEADLINE: Duration = Duration::from_secs(600);
/// Answers before the first release.
const WARM_UP: u64 = 100;
/// What a process says when it has been given the sockets.
const TAKES_OVER: &str = "takes over from";
const POD: &str = "a-base";
const OTHER: &str = "a-blue";

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub releases: u32,
    /// At least, over the whole scene.
    pub requests: u64,
    pub http1: usize,
    pub http2: usize,
}

/// What a scene came to.
#[derive(Debug)]
pub struct Report {
    pub seen: Seen,
    /// Of each release, until it was done: from the signal to the end, or from the start to its taking over.
    pub took: Vec<Duration>,
    /// From the first release to the last.
    pub within: Duration,
}

/// Two sidecars of one service are drained and started anew in turn. New connections go to the other one only after a drain has begun,
/// as discovery is always a little late.
pub fn drains(label: &str, drain_min: &str, scale: Scale) -> Result<Report> {
    let mut plan = Plan::chain(label, false, &[("a", &["", "blue"])]);
    for pod in &mut plan.pods {
        pod.sidecar_environment.push(("LANEWAY_DRAIN_MIN".to_owned(), drain_min.to_owned()));
    }
    let mut mesh = Mesh::up(plan)?;
    let witness = witness(&mesh, scale)?;
    let start = Instant::now();
    let mut took = Vec::new();
    for (leaves, stays) in [(POD, OTHER), (OTHER, POD)].into_iter().cycle().take(scale.releases as usize) {
        let mut sidecar = mesh.pod(leaves)?.sidecar.take().context("it runs")?;
        let before = count(&sidecar, "SIGTERM: draining");
        let asked = Instant::now();
        sidecar.terminate();
        let told = wait_for(DEADLINE, || (count(&sidecar, "SIGTERM: draining") > before).then_some(()));
        told.with_context(|| format!("{leaves} does not drain: {}", sidecar.log()))?;
        witness.turn_to(mesh.socket(stays)?);
        check(sidecar.wait(DEADLINE)?, &sidecar)?;
        took.push(asked.elapsed());
        let index = index(&mesh, leaves)?;
        let fresh = mesh.start_sidecar(index)?;
        mesh.pod(leaves)?.sidecar = Some(fresh);
        mesh.await_ready(leaves)?;
    }
    finish(witness, scale, took, start)
}

/// One sidecar is replaced in place, again and again, `every` so often; each time by one with other numbers of workers.
pub fn upgrades(label: &str, every: Duration, scale: Scale) -> Result<Report> {
    let place = shared_directory(label)?;
    let (mut mesh, handover) = upgradable(label, place.path())?;
    let witness = witness(&mesh, scale)?;
    let start = Instant::now();
    let (mut took, mut replaced) = (Vec::new(), Vec::new());
    for number in 0..scale.releases {
        let due = start + every * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let workers = (number % 3 + 1).to_string();
        let begun = Instant::now();
        let old = upgrade(&mut mesh, &[("LANEWAY_WORKERS", &workers), handover.variable()])?;
        took.push(begun.elapsed());
        replaced.push(old);
        // Every connection turns to the successor before that is replaced too.
        let told = u64::from(number + 1) * (scale.http1 + scale.http2) as u64;
        witness.await_announced(told, DEADLINE)?;
    }
    let report = finish(witness, scale, took, start)?;
    for mut old in replaced {
        check(old.wait(DEADLINE)?, &old)?;
    }
    Ok(report)
}

/// Successors that fail, each in its way, while the one that runs serves on: how each ended.
pub fn failed_upgrades(label: &str, scale: Scale) -> Result<(Report, Vec<ExitStatus>)> {
    let place = shared_directory(label)?;
    let (mut mesh, handover) = upgradable(label, place.path())?;
    let witness = witness(&mesh, scale)?;
    let start = Instant::now();
    let index = index(&mesh, POD)?;
    let nobody = ("LANEWAY_CONTROL", "http://127.0.0.1:9");
    let bad_flag = ("LANEWAY_CONNECT_TIMEOUT", "soon");
    let patience = ("LANEWAY_HANDOVER_TIMEOUT", "500ms");
    let (mut ended, mut took) = (Vec::new(), Vec::new());
    for (variables, is_killed) in [
        // It refuses to start.
        (vec![handover.variable(), bad_flag], false),
        // It has no configuration, so it is never ready, and gives up.
        (vec![handover.variable(), nobody, patience], false),
        // It dies while it gets ready.
        (vec![handover.variable(), nobody], true),
    ] {
        let begun = Instant::now();
        let before = count(mesh.pod(POD)?.sidecar.as_ref().context("it runs")?, TAKES_OVER);
        let mut fresh = mesh.start_sidecar_with(index, &variables)?;
        if is_killed {
            let come = wait_for(DEADLINE, || (count(&fresh, TAKES_OVER) > before).then_some(()));
            come.with_context(|| format!("it does not come so far: {}", fresh.log()))?;
            fresh.kill();
        }
        ended.push(fresh.wait(DEADLINE)?);
        took.push(begun.elapsed());
    }
    let running = mesh.pod(POD)?.sidecar.as_mut().context("it runs")?;
    ensure!(running.ended().is_none(), "the one that ran has ended: {}", running.log());
    // And one that does not fail.
    let mut old = upgrade(&mut mesh, &[handover.variable()])?;
    let report = finish(witness, scale, took, start)?;
    check(old.wait(DEADLINE)?, &old)?;
    Ok((report, ended))
}

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// From the kill to the first connection that was refused.
    pub refusal: Duration,
    /// From the start of the next process to its first answer, from the disk.
    pub serving: Duration,
}

/// A sidecar is killed while the control plane is away, and started anew. Its answers come through another sidecar and its lane.
pub fn kills(label: &str, count: u32) -> Result<Vec<Kill>> {
    let place = shared_directory(label)?;
    let cache = place.path().join("cache");
    let mut plan = Plan::chain(label, false, &[("a", &[""]), ("b", &["", "gray"])]);
    let environment = &mut plan.pods[0].sidecar_environment;
    environment.push(("LANEWAY_CACHE".to_owned(), cache.to_string_lossy().into_owned()));
    // What serves here serves from the disk, not because it waited long enough.
    environment.push(("LANEWAY_BOOT_WAIT".to_owned(), "10m".to_owned()));
    let mut mesh = Mesh::up(plan)?;
    let to = mesh.socket(POD)?;
    ask_gray(to).context("before the first kill")?;
    let wanted = b"namespaces/default/services/b";
    let written = wait_for(DEADLINE, || {
        fs::read(&cache).ok()?.windows(wanted.len()).any(|window| window == wanted).then_some(())
    });
    written.context("nothing is on disk")?;
    mesh.kill_control();
    let index = index(&mesh, POD)?;
    let mut kills = Vec::new();
    for _ in 0..count {
        let mut old = mesh.pod(POD)?.sidecar.take().context("it runs")?;
        let killed = Instant::now();
        old.kill();
        let refusal = time_to_refusal(to, killed, DEADLINE)?;
        let start = Instant::now();
        let fresh = mesh.start_sidecar(index)?;
        mesh.pod(POD)?.sidecar = Some(fresh);
        let served = wait_for(DEADLINE, || ask_gray(to).ok());
        served.context("it does not serve again")?;
        kills.push(Kill { refusal, serving: start.elapsed() });
    }
    Ok(kills)
}

/// How long the first requests of a process take, and those of one that has run for a while.
#[derive(Clone, Debug)]
pub struct Starts {
    /// No start at all.
    pub steady: Vec<Duration>,
    /// Nothing is known from before.
    pub cold: Vec<Duration>,
    /// With what is on the disk.
    pub warm: Vec<Duration>,
    /// After an upgrade in place.
    pub upgraded: Vec<Duration>,
    /// Connections to B that were there before the first request: of the process that knew nothing, and of the two that did.
    pub opened: [usize; 3],
}

/// Starts the sidecar of A, which calls B, in each way, and times the first `count` requests after it was ready.
pub fn starts(label: &str, count: usize) -> Result<Starts> {
    let place = shared_directory(label)?;
    let in_place = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (cache, handover) = (in_place("cache"), Handover(in_place("handover")));
    let mut plan = Plan::chain(label, false, &[("a", &[""]), ("b", &[""])]);
    for (name, value) in [("LANEWAY_CACHE", &*cache), handover.variable(), ("LANEWAY_DRAIN_MIN", "1s")] {
        plan.pods[0].sidecar_environment.push((name.to_owned(), value.to_owned()));
    }
    let mut mesh = Mesh::up(plan)?;
    let to = mesh.socket(POD)?;
    let b = mesh.socket("b-base")?;
    let called = b.to_string();
    times(to, 2 * count)?;
    let steady = times(to, count)?;
    let anew = |mesh: &mut Mesh, variables: &[(&str, &str)]| -> Result<()> {
        mesh.pod(POD)?.sidecar.take().context("it runs")?.kill();
        let fresh = mesh.start_sidecar_with(index(mesh, POD)?, variables)?;
        mesh.pod(POD)?.sidecar = Some(fresh);
        mesh.await_ready(POD)
    };
    // Those of the process that runs now.
    let opened = |mesh: &mut Mesh| connections(mesh.pod(POD)?.sidecar.as_ref().context("it runs")?.id(), b);
    let opened_again = |mesh: &mut Mesh| {
        let some = wait_for(DEADLINE, || opened(mesh).map(|count| (count > 0).then_some(count)).transpose());
        some.transpose().map(Option::unwrap_or_default)
    };
    anew(&mut mesh, &[("LANEWAY_CACHE", &in_place("nothing"))])?;
    let opened_cold = opened(&mut mesh)?;
    let cold = times(to, count)?;
    // Back to the usual file, and until who was called is in it.
    anew(&mut mesh, &[])?;
    times(to, count)?;
    let remembered = wait_for(DEADLINE, || {
        let bytes = fs::read(&cache).ok()?;
        // Only who was called stands there as text.
        bytes.windows(called.len()).any(|window| window == called.as_bytes()).then_some(())
    });
    remembered.with_context(|| format!("{called} is not remembered on disk"))?;
    anew(&mut mesh, &[])?;
    let opened_warm = opened_again(&mut mesh)?;
    let warm = times(to, count)?;
    let old = upgrade(&mut mesh, &[])?;
    let opened_upgraded = opened_again(&mut mesh)?;
    let upgraded = times(to, count)?;
    drop(old);
    Ok(Starts { steady, cold, warm, upgraded, opened: [opened_cold, opened_warm, opened_upgraded] })
}

/// The answer comes from B gray, which only a configuration knows of.
fn ask_gray(to: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let uri: hyper::Uri = format!("http://{to}/").parse()?;
    let headers =
        [(hyper::header::HeaderName::from_static("x-mse-tag"), hyper::header::HeaderValue::from_static("gray"))];
    let client = Client::default();
    let asked = client.send(Speech::Http1, "GET", &uri, headers.into_iter().collect(), bytes::Bytes::new());
    let answer = runtime.block_on(asked)?;
    ensure!(answer.text().contains("Bgray"), "{} {}", answer.status, answer.text());
    Ok(())
}

/// Where sidecars take over from each other.
pub(crate) struct Handover(pub(crate) String);

impl Handover {
    pub(crate) fn variable(&self) -> (&'static str, &str) {
        ("LANEWAY_HANDOVER", &self.0)
    }
}

fn upgradable(label: &str, place: &Path) -> Result<(Mesh, Handover)> {
    let handover = Handover(place.join("handover").to_string_lossy().into_owned());
    let mut plan = Plan::chain(label, false, &[("a", &[""])]);
    for (name, value) in [handover.variable(), ("LANEWAY_DRAIN_MIN", "2s")] {
        plan.pods[0].sidecar_environment.push((name.to_owned(), value.to_owned()));
    }
    Ok((Mesh::up(plan)?, handover))
}

/// Starts a successor, and returns the process that it has replaced, which drains.
pub(crate) fn upgrade(mesh: &mut Mesh, variables: &[(&str, &str)]) -> Result<Process> {
    const REPLACED: &str = "a successor serves: draining";
    let index = index(mesh, POD)?;
    let old = mesh.pod(POD)?.sidecar.take().context("it runs")?;
    // All of a pod's processes write to one log.
    let before = count(&old, REPLACED);
    let mut fresh = mesh.start_sidecar_with(index, variables)?;
    let log = || old.log().matches(REPLACED).count() > before;
    fresh.wait_until(DEADLINE, "serving", log)?;
    mesh.pod(POD)?.sidecar = Some(fresh);
    Ok(old)
}

pub(crate) fn witness(mesh: &Mesh, scale: Scale) -> Result<Witness> {
    let witness = Load { to: mesh.socket(POD)?, http1: scale.http1, http2: scale.http2 }.start();
    witness.await_answers(WARM_UP, DEADLINE)?;
    Ok(witness)
}

fn finish(witness: Witness, scale: Scale, took: Vec<Duration>, start: Instant) -> Result<Report> {
    let within = start.elapsed();
    witness.await_answers(scale.requests.max(witness.answered() + WARM_UP), LOAD_DEADLINE)?;
    Ok(Report { seen: witness.stop(), took, within })
}

fn index(mesh: &Mesh, pod: &str) -> Result<usize> {
    mesh.plan().pods.iter().position(|plan| plan.name == pod).with_context(|| format!("the plan has no pod {pod}"))
}

fn count(sidecar: &Process, line: &str) -> usize {
    sidecar.log().matches(line).count()
}

fn check(status: ExitStatus, sidecar: &Process) -> Result<()> {
    ensure!(status.success(), "{status}: {}", sidecar.log());
    Ok(())
}

/// Another user writes there.
pub(crate) fn shared_directory(label: &str) -> Result<Scratch> {
    let place = Scratch::new(&format!("{label}-shared"))?;
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o1777))?;
    Ok(place)
}
