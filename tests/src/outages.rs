//! A control plane that goes away under load, with figures: killed again and again, stopped for a while, away while a sidecar is
//! replaced. What was good stays in force; when it is back, what has changed arrives. Short in the end-to-end tests, long in
//! `./x outage`. On loopback without a redirect.
//!
//! ```text
//!  Witness ── HTTP/1.1, HTTP/2 ──▶ sidecar A ──▶ A ──▶ sidecar A ──▶ sidecar B ──▶ B        control plane: killed, stopped, away
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use laneway_proto::contract::TYPE_RECONNECT;

use crate::mesh::{Mesh, Plan};
use crate::process::{Process, signal, wait_for};
use crate::releases::{Handover, Scale, shared_directory, upgrade, witness};
use crate::witness::Seen;

/// Longest wait for one step.
const DEADLINE: Duration = Duration::from_secs(60);
const LOAD_DEADLINE: Duration = Duration::from_secs(1200);
/// Answers while the control plane is away, at least.
const ANSWERS_WHILE_AWAY: u64 = 200;
const LANE: &str = "kind: Lane\nname: gray\n";

/// What a scene came to.
#[derive(Debug)]
pub struct Report {
    pub seen: Seen,
    /// Of each return: until a change made right then was in force in every sidecar.
    pub converged: Vec<Duration>,
    /// What sidecars that had lost the control plane said they wait before the next try.
    pub pauses: Vec<Duration>,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Outages {
    pub kills: u32,
    pub stopped: Duration,
    pub load: Scale,
}

/// All of it in one mesh, under one load.
pub fn play(label: &str, outages: Outages) -> Result<Report> {
    let place = shared_directory(label)?;
    let at = |name: &str| place.path().join(name).to_string_lossy().into_owned();
    let (cache, handover) = (at("cache"), Handover(at("handover")));
    let mut plan = Plan::chain(label, false, &[("a", &[""]), ("b", &["", "gray"])]);
    for (name, value) in [("LANEWAY_CACHE", &*cache), handover.variable(), ("LANEWAY_DRAIN_MIN", "1s")] {
        plan.pods[0].sidecar_environment.push((name.to_owned(), value.to_owned()));
    }
    let mut mesh = Mesh::up(plan)?;
    let lane = mesh.directory().join("lane.yaml");
    std::fs::write(&lane, LANE)?;
    mesh.apply(&lane)?;
    wait_for(DEADLINE, || are_told(&mesh).ok().filter(|told| *told)).context("sidecars are not told how to return")?;
    let load = witness(&mesh, outages.load)?;
    let mut converged = Vec::new();

    for _ in 0..outages.kills {
        mesh.kill_control();
        load.await_answers(load.answered() + ANSWERS_WHILE_AWAY, DEADLINE)?;
        mesh.start_control()?;
        converged.push(converge(&mesh)?);
    }

    let id = mesh.control_id().context("it runs")?;
    signal(id, libc::SIGSTOP);
    std::thread::sleep(outages.stopped);
    load.await_answers(load.answered() + ANSWERS_WHILE_AWAY, DEADLINE)?;
    signal(id, libc::SIGCONT);
    converged.push(converge(&mesh)?);

    mesh.kill_control();
    let mut old = upgrade(&mut mesh, &[handover.variable()])?;
    load.await_answers(load.answered() + ANSWERS_WHILE_AWAY, DEADLINE)?;
    let status = old.wait(DEADLINE)?;
    ensure!(status.success(), "{status}: {}", old.log());
    mesh.start_control()?;
    converged.push(converge(&mesh)?);

    load.await_answers(outages.load.requests, LOAD_DEADLINE)?;
    let seen = load.stop();
    Ok(Report { seen, converged, pauses: pauses(&mut mesh)? })
}

/// Every sidecar has acknowledged over what time to come back.
fn are_told(mesh: &Mesh) -> Result<bool> {
    let proxies: serde_json::Value = serde_json::from_str(&mesh.lanectl(&["status", "-o", "json"])?)?;
    let proxies = proxies.as_array().context("a list of sidecars")?;
    let is_told = |proxy: &serde_json::Value| {
        let types = proxy["types"].as_array().into_iter().flatten();
        let mut reconnect = types.filter(|status| status["typeUrl"] == TYPE_RECONNECT);
        reconnect.any(|status| status["state"] == "CONFIG_STATE_SYNCED")
    };
    Ok(proxies.len() == mesh.plan().pods.len() && proxies.iter().all(is_told))
}

/// As they stand in the logs of all sidecars.
fn pauses(mesh: &mut Mesh) -> Result<Vec<Duration>> {
    let names: Vec<String> = mesh.plan().pods.iter().map(|pod| pod.name.clone()).collect();
    let mut pauses = Vec::new();
    for name in names {
        let log = mesh.pod(&name)?.sidecar.as_ref().map(Process::log).unwrap_or_default();
        for line in log.lines().filter(|line| line.contains("no stream to the control plane")) {
            let pause = line.split_whitespace().find_map(|word| word.strip_prefix("pause="));
            pauses.push(pause.and_then(read_duration).with_context(|| format!("no pause in {line:?}"))?);
        }
    }
    Ok(pauses)
}

/// As `Debug` writes it: `1.5s`, `12.3ms`, `7µs`.
fn read_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "s" => Duration::from_secs(1),
        "ms" => Duration::from_millis(1),
        "µs" => Duration::from_micros(1),
        "ns" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit.mul_f64(digits.parse().ok()?))
}

/// Waits until every sidecar is back, and switches the lane off and on; how long until the first of it was in force everywhere.
fn converge(mesh: &Mesh) -> Result<Duration> {
    const CONNECTED: &str = "laneway_control_connected{source=\"control\"} 1";
    let start = Instant::now();
    // A change waits only for those that are connected.
    let is_back = |pod: &str| mesh.status_page(pod, "metrics").is_ok_and(|page| page.contains(CONNECTED));
    let all = || mesh.plan().pods.iter().all(|pod| is_back(&pod.name)).then_some(());
    wait_for(DEADLINE, all).context("a sidecar does not come back")?;
    mesh.lanectl(&["lane", "disable", "gray", "--wait"])?;
    let taken = start.elapsed();
    mesh.lanectl(&["lane", "enable", "gray", "--wait"])?;
    Ok(taken)
}
