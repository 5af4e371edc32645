//! What a control plane that goes away costs: `./x outage`. Killed, stopped, and away while a sidecar is replaced, all under one load.
//! Prints its figures, and ends with 1 if a request was lost.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use laneway_tests::outages::{Outages, play};
use laneway_tests::releases::Scale;

/// Takes the control plane away under load, and counts what is lost
#[derive(Parser)]
struct Arguments {
    /// Requests, at least
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    requests: u64,
    /// How often it is killed
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// For how long it is stopped, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    stopped: u64,
    /// Connections of HTTP/1.1 that ask again and again
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    http1: u16,
    /// Connections of HTTP/2
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    http2: u16,
}

#[allow(clippy::print_stdout, reason = "the answer of the program")]
fn main() -> Result<ExitCode> {
    let Arguments { requests, kills, stopped, http1, http2 } = Arguments::parse();
    laneway_tests::process::leave_nothing_behind();
    let load = Scale { releases: 0, requests, http1: usize::from(http1), http2: usize::from(http2) };
    let report = play("outage", Outages { kills, stopped: Duration::from_secs(stopped), load })?;
    let seen = &report.seen;
    println!("control plane killed {kills} times, stopped for {stopped} s, away while a sidecar was replaced");
    println!(
        "  {} requests answered, {} failed; {} connections refused; {} ended without a word",
        seen.answered, seen.failed, seen.refused, seen.unannounced
    );
    for example in &seen.examples {
        println!("  {example}");
    }
    let mut converged: Vec<f64> = report.converged.iter().map(|taken| taken.as_secs_f64()).collect();
    let each: Vec<String> = converged.iter().map(|seconds| format!("{seconds:.2}")).collect();
    converged.sort_unstable_by(f64::total_cmp);
    let median = converged.get(converged.len() / 2).copied().unwrap_or_default();
    let most = converged.last().copied().unwrap_or_default();
    println!(
        "  from its return until a change was in force in every sidecar: median {median:.2} s, most {most:.2} s (goal 1 s)"
    );
    println!("  each, in seconds: {}", each.join(" "));
    let longest = report.pauses.iter().max().copied().unwrap_or_default();
    println!("  longest pause before a try: {longest:.2?}");
    println!("{}", if seen.is_lossless() { "nothing was lost" } else { "LOST" });
    Ok(if seen.is_lossless() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
