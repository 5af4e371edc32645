//! A lane is switched, and every one of many sidecars acknowledges it.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use laneway_tests::control::Control;
use laneway_tests::sidecars::{Herd, Simulated, nobody};
use laneway_tests::usage;
use serde_json::{Value, json};

use super::{ACKNOWLEDGE_TIMEOUT, CONNECT_TIMEOUT, milliseconds};

/// Services among which the sidecars are spread.
const SERVICES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Args)]
pub(super) struct Arguments {
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sidecars: u32,
    /// Switches, each off or on
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    toggles: u32,
    /// Lanes of the group; one is switched
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    lanes: u32,
}

pub(super) async fn measure(arguments: &Arguments) -> Result<Value> {
    let count = arguments.sidecars as usize;
    let control = Control::start("bench-toggle")?;
    let mut admin = control.admin().await?;
    let lanes: Vec<String> = (0..arguments.lanes).map(|number| format!("lane-{number}")).collect();
    let lanes: Vec<&str> = lanes.iter().map(String::as_str).collect();
    admin.apply(&SERVICES, &lanes).await?;
    // What a first stream brings with it is not part of one.
    let first = Herd::start(&control.discovery_url(), sidecars(1), &nobody());
    first.await_connected(1, CONNECT_TIMEOUT).await?;
    drop(first);

    let (server, own) = (control.id()?, std::process::id());
    let (memory, cpu, begun) = (usage::resident_kib(server)?, usage::cpu(server)?, Instant::now());
    let herd = Herd::start(&control.discovery_url(), sidecars(count), &nobody());
    herd.await_connected(count, CONNECT_TIMEOUT).await?;
    let connected = begun.elapsed();
    // All has been sent and answered: a switch that nobody needs is acknowledged by all.
    admin.switch(lanes[0], true, ACKNOWLEDGE_TIMEOUT).await?;
    let connect_us = (usage::cpu(server)? - cpu).as_secs_f64() * 1e6 / count as f64;
    let stream_kib = (usage::resident_kib(server)? as f64 - memory as f64) / count as f64;

    let mut toggles = Vec::new();
    for number in 0..arguments.toggles {
        let (server_before, own_before, begun) = (usage::cpu(server)?, usage::cpu(own)?, Instant::now());
        let rollout = admin.switch(lanes[0], number % 2 == 1, ACKNOWLEDGE_TIMEOUT).await?;
        let took = begun.elapsed();
        let per_sidecar_us = |used: std::time::Duration| (used.as_secs_f64() * 1e7 / count as f64).round() / 10.0;
        toggles.push(json!({
            "ms": milliseconds(took),
            "server_us": per_sidecar_us(usage::cpu(server)? - server_before),
            "simulator_us": per_sidecar_us(usage::cpu(own)? - own_before),
            "acknowledged": rollout.acked_count, "done": rollout.done,
        }));
    }
    ensure!(herd.refused() == 0, "{} responses were refused", herd.refused());
    Ok(json!({
        "sidecars": count, "lanes": arguments.lanes, "connected_ms": milliseconds(connected),
        "connect_us": connect_us.round(), "stream_kib": (stream_kib * 10.0).round() / 10.0,
        "memory_kib": usage::resident_kib(server)?, "toggles": toggles,
    }))
}

fn sidecars(count: usize) -> impl Iterator<Item = Simulated> {
    SERVICES.iter().cycle().take(count).map(|service| Simulated::of(service))
}
