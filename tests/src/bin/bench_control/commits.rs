//! Thousands of revisions, one after the other, while requests pass through sidecars.
//!
//! The history is full before anything is counted: from then on each revision lets an old one go, and memory should stay.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use laneway_tests::control::Admin;
use laneway_tests::load::Load;
use laneway_tests::mesh::{Mesh, Plan, PodPlan, ServicePlan};
use laneway_tests::usage;
use serde_json::{Value, json};

use super::{ACKNOWLEDGE_TIMEOUT, milliseconds};

const PORT_OUTBOUND: u16 = 15401;
/// Users that write at a time.
const WRITERS: u32 = 8;
/// Answers before the first revision that counts, and rest before memory is read.
const WARM_UP: Duration = Duration::from_secs(2);
/// Memory is read so often; the last readings of a phase are its figure.
const READ_EVERY: Duration = Duration::from_millis(200);
const EXAMPLES_MAX: usize = 5;

#[derive(Args)]
pub(super) struct Arguments {
    /// Revisions while requests pass
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    revisions: u32,
    /// In how much time
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Revisions before: as many as the history holds
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    fill: u32,
    /// Requests per second, over 16 connections
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Lanes of the group; all are written to
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    lanes: u32,
}

pub(super) fn measure(arguments: &Arguments, runtime: &tokio::runtime::Runtime) -> Result<Value> {
    let mut plan = Plan::chain("commits", false, &[("a", &["", "gray"]), ("b", &["", "gray"])]);
    plan.services.push(ServicePlan { name: "gate".to_owned(), port: 20_010 });
    let mut gate = PodPlan::new("gate", "", "");
    gate.name = "gate".to_owned();
    plan.pods.push(gate);
    let mut mesh = Mesh::up(plan)?;
    runtime.block_on(with(arguments, &mut mesh))
}

async fn with(arguments: &Arguments, mesh: &mut Mesh) -> Result<Value> {
    let mut admin = Admin::connect(mesh.admin_url()).await?;
    let lanes: Vec<String> =
        (0..arguments.lanes).map(|n| if n == 0 { "gray".to_owned() } else { format!("lane-{n}") }).collect();
    admin.apply(&["a", "b", "gate"], &lanes.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let control = mesh.control_id().context("the control plane runs")?;
    let sidecar = mesh.pod("gate")?.sidecar.as_ref().context("the gate has a sidecar")?.id();
    let load = Load {
        namespace: None,
        to: (mesh.pod("gate")?.address, PORT_OUTBOUND).into(),
        path: "/a".to_owned(),
        headers: vec![
            ("host".to_owned(), mesh.plan().service("a")?.host()),
            ("x-mse-tag".to_owned(), "gray".to_owned()),
        ],
        connections: 16,
        requests_per_second: arguments.rate,
    };

    let filled = Instant::now();
    commit(mesh, &lanes, arguments.fill, None).await.context("fill the history")?;
    let filled = filled.elapsed();
    let load = load.start();
    tokio::time::sleep(WARM_UP).await;
    let before = (usage::resident_kib(control)?, usage::resident_kib(sidecar)?);
    let (cpu, begun) = (usage::cpu(control)?, Instant::now());
    let committed = async {
        let period = Duration::from_secs(arguments.seconds.into()) / arguments.revisions;
        commit(mesh, &lanes, arguments.revisions, Some(period)).await
    };
    tokio::pin!(committed);
    let (mut control_max, mut sidecar_max) = before;
    loop {
        tokio::select! {
            done = &mut committed => break done.context("commit under traffic")?,
            () = tokio::time::sleep(READ_EVERY) => {
                control_max = control_max.max(usage::resident_kib(control)?);
                sidecar_max = sidecar_max.max(usage::resident_kib(sidecar)?);
            }
        }
    }
    let took = begun.elapsed();
    let last = Instant::now();
    let revision = admin.set_priority(&lanes[0], i32::MAX).await?;
    let stored = last.elapsed();
    admin.await_rollout(&lanes[0], revision, ACKNOWLEDGE_TIMEOUT).await?;
    let converged = last.elapsed();
    let cpu = usage::cpu(control)? - cpu;
    tokio::time::sleep(WARM_UP).await;
    let after = (usage::resident_kib(control)?, usage::resident_kib(sidecar)?);
    let samples = load.stop()?;
    ensure!(!samples.is_empty(), "no request was sent");
    let lost: Vec<&String> = samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    Ok(json!({
        "fill": arguments.fill, "fill_ms": milliseconds(filled),
        "revisions": arguments.revisions, "took_ms": milliseconds(took),
        "commit_cpu_us": (cpu.as_secs_f64() * 1e6 / f64::from(arguments.revisions)).round(),
        "last_stored_ms": milliseconds(stored), "last_converged_ms": milliseconds(converged),
        "requests": samples.len(), "lost": lost.len(), "lost_examples": lost.iter().take(EXAMPLES_MAX).collect::<Vec<_>>(),
        "control_kib": {"before": before.0, "max": control_max, "after": after.0},
        "sidecar_kib": {"before": before.1, "max": sidecar_max, "after": after.1},
    }))
}

/// So many revisions by several users at a time; with a period each is begun at its time, without one as soon as possible.
async fn commit(mesh: &Mesh, lanes: &[String], count: u32, period: Option<Duration>) -> Result<()> {
    let begun = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut admin = Admin::connect(mesh.admin_url()).await?;
        let lanes = lanes.to_vec();
        writers.spawn(async move {
            for number in (writer..count).step_by(WRITERS as usize) {
                if let Some(period) = period {
                    tokio::time::sleep_until((begun + period * number).into()).await;
                }
                // Never what it is already: that would be no revision.
                admin.set_priority(&lanes[number as usize % lanes.len()], number as i32 % 1000 + 1).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done.context("a writer ended")??;
    }
    Ok(())
}
