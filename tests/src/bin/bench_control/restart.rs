//! kill -9, started again at once: when does each sidecar come back?

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use laneway_tests::control::Control;
use laneway_tests::sidecars::{Herd, Simulated, nobody};
use serde_json::{Value, json};

use super::{ACKNOWLEDGE_TIMEOUT, CONNECT_TIMEOUT, milliseconds};

#[derive(Args)]
pub(super) struct Arguments {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    sidecars: u32,
    /// How often it is killed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    kills: u32,
    /// How long it stays away, milliseconds
    #[arg(long, default_value_t = 0)]
    away_ms: u64,
}

pub(super) async fn measure(arguments: &Arguments) -> Result<Value> {
    let count = arguments.sidecars as usize;
    let mut control = Control::start("bench-restart")?;
    let mut admin = control.admin().await?;
    admin.apply(&["a"], &["gray"]).await?;
    let sidecars = (0..count).map(|_| Simulated::of("a"));
    let herd = Herd::start(&control.discovery_url(), sidecars, &nobody());
    herd.await_connected(count, CONNECT_TIMEOUT).await?;
    let mut kills = Vec::new();
    for number in 0..arguments.kills {
        // As they are told within a tenth of a second; a fleet that comes in one second is not killed in the next.
        herd.await_told(CONNECT_TIMEOUT).await?;
        drop(herd.take_opened());
        let killed = Instant::now();
        control.kill();
        tokio::time::sleep(Duration::from_millis(arguments.away_ms)).await;
        control.restart()?;
        let ready = killed.elapsed();
        herd.await_connected(count, CONNECT_TIMEOUT).await?;
        let back: Vec<Duration> = herd.take_opened().into_iter().map(|at| at - killed).collect();
        ensure!(back.len() == count, "{} streams were opened by {count} sidecars", back.len());
        // Everybody is really there: all answer a switch.
        let mut admin = control.admin().await?;
        let rollout = admin.switch("gray", number % 2 == 1, ACKNOWLEDGE_TIMEOUT).await?;
        ensure!(rollout.done && rollout.acked_count as usize == count, "not all acknowledged: {rollout:?}");
        let last = back.last().copied().unwrap_or_default();
        let mut by_second = vec![0_usize; last.as_secs() as usize + 1];
        for at in &back {
            by_second[at.as_secs() as usize] += 1;
        }
        kills.push(json!({
            "ready_ms": milliseconds(ready), "last_ms": milliseconds(last), "by_second": by_second,
            "most_in_a_second": most_in_a_second(&back),
        }));
    }
    Ok(json!({"sidecars": count, "away_ms": arguments.away_ms, "kills": kills}))
}

/// In any second, wherever it begins.
fn most_in_a_second(back: &[Duration]) -> usize {
    let from = |at: usize| back[at..].partition_point(|other| *other < back[at] + Duration::from_secs(1));
    (0..back.len()).map(from).max().unwrap_or_default()
}
