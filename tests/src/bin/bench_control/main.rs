//! What a control plane of the real thing costs and endures: `./x bench control`.
//!
//! ```text
//!   toggle      many simulated sidecars, a lane is switched: memory and CPU of each, and how long until all acknowledged
//!   endpoints   instances that change all the time: does anybody starve, does memory grow
//!   commits     thousands of revisions under proxy traffic: is a request lost, does memory grow, is the last one there soon
//!   restart     kill -9: do they come back without a storm
//! ```
//! Each prints one JSON object; tests/load/control.py starts them and prints tables. The simulated sidecars run the product's own
//! protocol and pauses (tests/src/sidecars.rs).

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod commits;
mod endpoints;
mod restart;
mod toggle;

/// Longest wait for all sidecars to be connected, and to acknowledge.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures a control plane
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand)]
enum Recipe {
    Toggle(toggle::Arguments),
    Endpoints(endpoints::Arguments),
    Commits(commits::Arguments),
    Restart(restart::Arguments),
}

fn main() -> Result<()> {
    let recipe = Arguments::parse().recipe;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = match recipe {
        Recipe::Toggle(arguments) => runtime.block_on(toggle::measure(&arguments)),
        Recipe::Endpoints(arguments) => runtime.block_on(endpoints::measure(&arguments)),
        Recipe::Commits(arguments) => commits::measure(&arguments, &runtime),
        Recipe::Restart(arguments) => runtime.block_on(restart::measure(&arguments)),
    }?;
    #[allow(clippy::print_stdout, reason = "the answer of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
