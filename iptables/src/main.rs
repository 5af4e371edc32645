//! `laneway-init`: redirects a pod's connections to its sidecar, undoes it, shows it, or checks that it works.
//!
//! Exit status: 0 done, 1 failed, 2 wrong usage.

use std::{error::Error, io::Write, net::SocketAddr, process::ExitCode};

use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use laneway_iptables::{Options, Plan, apply, host::Host, steps, steps::Backend, validate};

/// Redirects the TCP connections of a pod to its Laneway sidecar. Applying twice is the same as once.
#[derive(Parser, Debug)]
#[command(name = "laneway-init", version)]
struct Cli {
    /// What to do; without a word and without a flag below, the same
    #[arg(value_enum, conflicts_with_all = ["undo", "validate"])]
    action: Option<Action>,
    /// Take the redirect away, by whichever backend it was applied
    #[arg(long, conflicts_with = "validate")]
    undo: bool,
    /// Connect, and check that the connections arrive at the sidecar's ports with their original addresses
    #[arg(long, conflicts_with = "dry_run")]
    validate: bool,
    /// What `--validate` dials, in place of an address that nobody has
    #[arg(long, value_name = "ADDRESS:PORT", env = "LANEWAY_VALIDATE_TARGET")]
    validate_target: Option<SocketAddr>,
    /// Print what would be run, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Tool that carries the redirect
    #[arg(long, value_enum, env = "LANEWAY_REDIRECT_BACKEND", default_value_t = Backend::Nft)]
    backend: Backend,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Action {
    Apply,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let plan = match Plan::new(&cli.options) {
        Ok(plan) => plan,
        Err(error) => Cli::command().error(ErrorKind::ValueValidation, error).exit(),
    };
    let done = if cli.validate { check(&plan, cli.validate_target) } else { redirect(&cli, &plan) };
    match done {
        Ok(status) => status,
        Err(error) => {
            say_error(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn redirect(cli: &Cli, plan: &Plan) -> Result<ExitCode, Box<dyn Error>> {
    if cli.dry_run {
        let host = Host::read();
        let steps = if cli.undo { steps::undo(cli.backend, &host)? } else { steps::apply(plan, cli.backend, &host)? };
        write!(std::io::stdout(), "{steps}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (notes, done) = if cli.undo {
        (apply::undo(cli.backend)?, "the redirect is gone".to_owned())
    } else {
        (apply::apply(plan, cli.backend)?, format!("the redirect is in place: {}", plan.summary()))
    };
    for note in notes {
        writeln!(std::io::stderr(), "laneway-init: {note}")?;
    }
    writeln!(std::io::stdout(), "laneway-init: {done}")?;
    Ok(ExitCode::SUCCESS)
}

fn check(plan: &Plan, target: Option<SocketAddr>) -> Result<ExitCode, Box<dyn Error>> {
    let report = validate::validate(plan, target);
    let mut stdout = std::io::stdout().lock();
    for (word, lines) in [("ok", &report.passed), ("not checked", &report.unchecked), ("FAILED", &report.failed)] {
        for line in lines {
            writeln!(stdout, "laneway-init: {word}: {line}")?;
        }
    }
    if report.is_valid() {
        writeln!(stdout, "laneway-init: the redirect works")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(stdout, "laneway-init: the redirect does not work, or could not be checked")?;
    Ok(ExitCode::FAILURE)
}

/// The whole chain, once.
fn say_error(error: &dyn Error) {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "laneway-init: {line}");
}
