//! How long a lane takes to end, and what becomes of requests meanwhile: `./x bench switch`. `switches` plays it.
//!
//! Prints one JSON object of raw times; tests/load/switch.py reads it.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use laneway_tests::switches::{Report, Scale, play};
use serde_json::{Value, json};

/// Examples that the result repeats of what went wrong.
const EXAMPLES_MAX: usize = 10;

/// Measures how long a lane takes to end
#[derive(Parser)]
struct Arguments {
    /// How many times the lane is switched off (and on again)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    switches: u32,
    /// Requests per second, over all connections
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections of the load
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Sidecars that the load enters by
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=32))]
    gates: u32,
    /// How long the lane stays off, and on, in milliseconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(50..=10_000))]
    hold_ms: u64,
}

fn main() -> Result<()> {
    let Arguments { switches, rate, connections, gates, hold_ms } = Arguments::parse();
    let hold = Duration::from_millis(hold_ms);
    let services = &["a", "b"];
    let scale = Scale { switches, rate, connections, gates, hold, services, lag: Duration::ZERO };
    let result = to_json(&play("switch", &scale)?);
    #[allow(clippy::print_stdout, reason = "the answer of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

fn to_json(report: &Report) -> Value {
    let rows = report.switches.iter().map(|switch| {
        json!({
            "off_ms": milliseconds(switch.off), "off_answered_ms": milliseconds(switch.off_answered),
            "on_ms": milliseconds(switch.on), "on_answered_ms": milliseconds(switch.on_answered),
            "sidecars": switch.sidecars, "acknowledged": switch.is_acknowledged,
        })
    });
    let examples = |of: &[String]| of.iter().take(EXAMPLES_MAX).cloned().collect::<Vec<_>>();
    json!({
        "switches": rows.collect::<Vec<_>>(), "requests": report.requests,
        "lost": report.lost.len(), "lost_examples": examples(&report.lost),
        "late": report.late.len(), "late_examples": examples(&report.late),
        "mixed": report.mixed.len(), "mixed_examples": examples(&report.mixed),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
