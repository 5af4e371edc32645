//! What a sidecar's own releases cost: `./x lifecycle`. Drained and started anew, upgraded in place, its upgrade failing, killed; all
//! under load but the last. Prints a line of figures for each scene, and ends with 1 if anything was lost.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use laneway_tests::releases::{Report, Scale, drains, failed_upgrades, kills, starts, upgrades};

/// Refused within this, and serving again within that: what reliability asks for.
const REFUSAL_MAX: Duration = Duration::from_millis(5);
const SERVING_MAX: Duration = Duration::from_millis(300);

/// Releases a sidecar under load, and counts what its clients lose
#[derive(Parser)]
struct Arguments {
    /// Requests of each scene, at least
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    requests: u64,
    /// Releases of each scene
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    releases: u32,
    /// In-place upgrades follow each other after this, in milliseconds
    #[arg(long, default_value_t = 1250, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    every_ms: u64,
    /// Connections of HTTP/1.1 that ask again and again
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    http1: u16,
    /// Connections of HTTP/2
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=1000))]
    http2: u16,
    /// How often the sidecar is killed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    kills: u32,
    /// First requests of a process that are timed
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    first: u16,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let scale = Scale {
        releases: arguments.releases,
        requests: arguments.requests,
        http1: usize::from(arguments.http1),
        http2: usize::from(arguments.http2),
    };
    laneway_tests::process::leave_nothing_behind();
    let mut is_good = true;
    let report = drains("own-drain", "2s", scale)?;
    is_good &= tell("own drain, two sidecars in turn", &report);
    let report = upgrades("own-upgrade", Duration::from_millis(arguments.every_ms), scale)?;
    is_good &= tell("own upgrade in place", &report);
    let (report, ended) = failed_upgrades("failed-upgrade", scale)?;
    is_good &= tell("upgrades that fail, and one that does not", &report);
    is_good &= ended.iter().all(|status| !status.success());
    say(&format!("  the failed ones: {}", ended.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")));

    let kills = kills("own-kill", arguments.kills)?;
    let refusal = spread(kills.iter().map(|kill| kill.refusal));
    let serving = spread(kills.iter().map(|kill| kill.serving));
    say(&format!("kill -9, {} times, control plane away:", kills.len()));
    say(&format!("  a connection is refused after (median, max): {}", shown(refusal)));
    say(&format!("  the next process answers, from the disk, after: {}", shown(serving)));
    let is_met = refusal.1 <= REFUSAL_MAX && serving.1 <= SERVING_MAX;
    say(&format!("  goal {REFUSAL_MAX:?} and {SERVING_MAX:?}: {}", if is_met { "met" } else { "MISSED" }));

    let starts = starts("own-start", usize::from(arguments.first))?;
    say(&format!(
        "the first {} requests of a process, one after the other, A to B (first, median, p99, max):",
        arguments.first
    ));
    for (how, times) in [
        ("none: it has run for a while", starts.steady),
        ("start with nothing known", starts.cold),
        ("start from the disk", starts.warm),
        ("upgrade in place", starts.upgraded),
    ] {
        say(&format!("  {how}: {}", distribution(times)));
    }
    say(if is_good { "nothing was lost" } else { "LOST" });
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(scene: &str, report: &Report) -> bool {
    let Report { seen, took, within } = report;
    say(&format!("{scene}: {} releases in {:.1} s", took.len(), within.as_secs_f64()));
    say(&format!(
        "  {} requests answered, {} failed; {} connections refused; {} ended after they had said so, {} without a word",
        seen.answered, seen.failed, seen.refused, seen.announced, seen.unannounced
    ));
    say(&format!("  each release took (median, max): {}", shown(spread(took.iter().copied()))));
    for example in &seen.examples {
        say(&format!("  {example}"));
    }
    seen.is_lossless()
}

fn distribution(mut times: Vec<Duration>) -> String {
    let first = times.first().copied().unwrap_or_default();
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1)).copied().unwrap_or_default();
    let shown = [first, at(50), at(99), at(100)].map(|time| format!("{:.2} ms", time.as_secs_f64() * 1e3));
    shown.join(", ")
}

fn spread(times: impl Iterator<Item = Duration>) -> (Duration, Duration) {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    (times.get(times.len() / 2).copied().unwrap_or_default(), times.last().copied().unwrap_or_default())
}

fn shown((median, max): (Duration, Duration)) -> String {
    format!("{:.1} ms, {:.1} ms", median.as_secs_f64() * 1e3, max.as_secs_f64() * 1e3)
}

#[allow(clippy::print_stdout, reason = "the answer of the program")]
fn say(line: &str) {
    println!("{line}");
}
