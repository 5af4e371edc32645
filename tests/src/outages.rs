//! A control plane that goes away under load, with figures: killed again and again, stopped for a while, away while a sidecar is
//! replaced. What was good stays in force; when it is back, what has changed arrives. Short in the end-to-end tests, long in
//! `./x outage`. On loopback without a redirect.
//!
//! ```text
//!  Witness ── HTTP/1.1, HTTP/2 ──▶ sidecar A ──▶ A ──▶ sidecar A ──▶ sidecar B ──▶ B        control plane: killed, stopped, away
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::mesh::{Mesh, Plan};
use crate::process::{signal, wait_for};
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
    Ok(Report { seen: load.stop(), converged })
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
