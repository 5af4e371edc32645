//! The command line for people and CI: reads documents, calls the admin API, prints.
//!
//! Answers go to stdout, what went wrong to stderr. Exit status: 0 done, 1 refused or failed, 2 wrong usage; of diff
//! 0 no difference, 1 differences, 2 it failed. It holds no rules of its own: the control plane judges, lanectl says in
//! which file and line the finding lies. `lint` alone judges here, by the code that the control plane runs; `inject` and
//! `uninject` ask nobody either, `install` and `upgrade` a cluster.
//!
//! ```text
//! arguments ─▶ one file for each verb ─▶ client      ─▶ control plane
//!                    │                   admin_port  ─▶ one sidecar
//!                    └─▶ print, look ─▶ stdout
//! ```

pub mod arguments;

mod admin_port;
mod apply;
mod changes;
mod check;
mod client;
mod completion;
mod describe;
mod diff;
mod documents;
mod explain;
mod find;
mod history;
mod inject;
mod install;
mod lane;
mod lint;
mod look;
mod objects;
#[cfg(feature = "kubernetes")]
mod owner;
mod print;
mod progress;
mod proxy;
mod rollback;
mod stats;
mod status;
mod top;
mod watch;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::{CommandFactory, FromArgMatches};

use self::arguments::{Arguments, Command};
use self::client::{Client, Failure};
use self::look::Look;

/// What a command came to, when it did not do what was asked.
#[derive(Debug)]
enum Trouble {
    /// One sentence, or several lines, each whole.
    Said(String),
    /// The answer says it all.
    Told,
    Call(Failure),
    /// What was typed cannot be meant.
    Usage(String),
    /// Nothing went wrong: there are differences, which scripts want to know by the exit status.
    Differs,
}

/// Runs the command line of the process.
pub fn run() -> ExitCode {
    // The one provider, before anything could ask for another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (name, arguments) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nothing is left to do when even that fails.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lanectl: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    // As diff(1) has it: 1 is for differences.
    let failure = if matches!(arguments.command, Command::Diff(_)) { ExitCode::from(2) } else { ExitCode::FAILURE };
    let mut out = String::new();
    let done = runtime.block_on(command(arguments, name, &mut out));
    print::flush(&mut out);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Said(lines)) => {
            eprintln!("{}", lines.trim_end());
            failure
        }
        Err(Trouble::Told) => failure,
        Err(Trouble::Call(refusal)) => {
            eprintln!("lanectl: {refusal}");
            failure
        }
        Err(Trouble::Usage(problem)) => {
            eprintln!("lanectl: {problem}");
            ExitCode::from(2)
        }
        Err(Trouble::Differs) => ExitCode::FAILURE,
    }
}

/// What was typed, and the name that it was typed to: as `kubectl-laneway` on the PATH it is `kubectl laneway`.
fn parse() -> Result<(&'static str, Arguments), clap::Error> {
    let program = std::env::args_os().next();
    let is_plugin = program.as_deref().map(Path::new).and_then(Path::file_stem) == Some(OsStr::new("kubectl-laneway"));
    let (name, shown) = if is_plugin { ("kubectl-laneway", "kubectl laneway") } else { ("lanectl", "lanectl") };
    let matches = Arguments::command().name(name).bin_name(shown).try_get_matches()?;
    Ok((name, Arguments::from_arg_matches(&matches)?))
}

/// Does one command; what it has to say for stdout is added to `out`, also when it fails.
async fn command(arguments: Arguments, name: &str, out: &mut String) -> Result<(), Trouble> {
    let look = Look::of(arguments.output);
    let client = || Client::new(&arguments.server, &arguments.credentials);
    match arguments.command {
        Command::Lint(options) => lint::lint(&options, look, out),
        Command::Inject(options) => inject::inject(&options, out),
        Command::Uninject(options) => inject::uninject(&options, out),
        Command::Install(options) => install::install(options, out).await,
        Command::Upgrade(options) => install::upgrade(options, out).await,
        Command::Completion { shell } => {
            completion::completion(shell, name, out);
            Ok(())
        }
        Command::Check(options) if options.pre || options.cluster => check::check_cluster(&options, look, out).await,
        Command::Check(_) => check::check(client(), &arguments.server, &arguments.credentials, look, out).await,
        Command::Apply(options) => apply::apply(&mut client()?, options, look, out).await,
        Command::Diff(options) => diff::diff(&mut client()?, options, look, out).await,
        Command::Get(options) => objects::get(&mut client()?, options, look, out).await,
        Command::Describe(options) => describe::describe(&mut client()?, options, look, out).await,
        Command::Delete(options) => objects::delete(&mut client()?, options, out).await,
        Command::Lane { action } => lane::lane(&mut client()?, action, look, out).await,
        Command::History(options) => history::history(&mut client()?, options, look, out).await,
        Command::Rollback(options) => rollback::rollback(&mut client()?, options, look, out).await,
        Command::Explain(options) => explain::explain(&mut client()?, options, look, out).await,
        Command::Status(options) => status::status(&mut client()?, options, look, out).await,
        Command::Proxy { ask } => proxy::proxy(&mut client()?, ask, look, out).await,
        Command::Top(options) => top::top(&mut client()?, options, look, out).await,
        Command::Watch(options) => watch::watch(&mut client()?, options, look, out).await,
    }
}

/// The descriptors of the contract cost more than the rest of a short command: made where documents or JSON need them,
/// and held to the end.
fn keep_descriptors() {
    static KEPT: OnceLock<Arc<dyn Send + Sync>> = OnceLock::new();
    KEPT.get_or_init(|| laneway_proto::descriptors());
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Call(failure)
    }
}
