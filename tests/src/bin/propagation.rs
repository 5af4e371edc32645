//! `./x test-propagation`: how well a lane is carried through applications that nobody changed, as a table.
//!
//! Every application, with what it forwards, alone and with 32 requests at once in mixed lanes. Ends with status 1 where a
//! call was in a wrong lane, or where a lane must be known and was not.

#![allow(clippy::print_stdout, reason = "a program that answers on stdout")]

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use laneway_tests::application::Runtime;
use laneway_tests::mesh::Mesh;
use laneway_tests::mesh::network::namespaces_work;
use laneway_tests::process::leave_nothing_behind;
use laneway_tests::propagation::{Row, arrange, cases, measure, plan};

/// Counts right, wrong and unknown lanes through unmodified applications
#[derive(Parser)]
#[command(name = "x test-propagation")]
struct Arguments {
    /// Calls of each line; a request makes two
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    calls: u64,
    /// Only lines whose title has this text, as `Flask` or `at once`
    #[arg(long, default_value = "")]
    only: String,
    /// On loopback without a redirect, also as root
    #[arg(long)]
    loopback: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("test-propagation: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every line was as it must be.
fn run(arguments: &Arguments) -> Result<bool> {
    leave_nothing_behind();
    let redirect = !arguments.loopback && namespaces_work();
    eprintln!(
        "{}",
        match redirect {
            true => "Every pod in a network namespace of its own, behind a real redirect.",
            false => "Every pod on a loopback address of its own, WITHOUT a redirect; applications call their sidecar.",
        }
    );
    let started = Instant::now();
    let mut mesh = Mesh::up(plan("propagation", redirect))?;
    let mut failures = Vec::new();
    println!("{}", Row::HEAD);
    for runtime in [Runtime::Echo, Runtime::Flask, Runtime::Node] {
        for case in cases(runtime, true).into_iter().filter(|case| case.title().contains(&arguments.only)) {
            arrange(&mut mesh, case)?;
            let row = measure(&mesh, case, arguments.calls)?;
            println!("{}", row.line());
            failures.extend(row.check().err());
        }
    }
    eprintln!("{:.0} s", started.elapsed().as_secs_f64());
    for failure in &failures {
        eprintln!("test-propagation: {failure:#}");
    }
    Ok(failures.is_empty())
}
