//! The command line for people and CI: reads documents, calls the admin API, prints.
//!
//! Answers go to stdout, what went wrong to stderr. Exit status: 0 done, 1 refused or failed, 2 wrong usage; of diff
//! 0 no difference, 1 differences, 2 it failed. It holds no
//! rules of its own: the control plane judges, lanectl says in which file and document the finding lies.

pub mod arguments;

mod apply;
mod changes;
mod client;
mod diff;
mod documents;
mod explain;
mod history;
mod objects;
mod print;
mod rollback;
mod status;
mod switch;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command, Do};
use self::client::{Client, Failure};

/// What a command came to, when it did not do what was asked.
#[derive(Debug)]
enum Trouble {
    /// One sentence, or several lines, each whole.
    Said(String),
    Call(Failure),
    /// What was typed cannot be meant.
    Usage(String),
    /// Nothing went wrong: there are differences, which scripts want to know by the exit status.
    Differs,
}

/// Runs the command line of the process.
pub fn run() -> ExitCode {
    let _descriptors = laneway_proto::descriptors();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
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
    let done = runtime.block_on(command(arguments, &mut out));
    print_out(&out);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble::Said(lines)) => {
            eprintln!("{}", lines.trim_end());
            failure
        }
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

/// Does one command; what it has to say for stdout is added to `out`, also when it fails.
async fn command(arguments: Arguments, out: &mut String) -> Result<(), Trouble> {
    let format = arguments.output;
    let mut client = Client::new(&arguments.server)?;
    match arguments.command {
        Command::Apply(options) => apply::apply(&mut client, options, format, out).await,
        Command::Diff(options) => diff::diff(&mut client, options, format, out).await,
        Command::Get(options) => objects::get(&mut client, options, format, out).await,
        Command::Delete(options) => objects::delete(&mut client, options, out).await,
        Command::Lane { action: Do::Enable(options) } => switch::enable(&mut client, options, format, out).await,
        Command::Lane { action: Do::Disable(options) } => switch::disable(&mut client, options, format, out).await,
        Command::History(options) => history::history(&mut client, options, format, out).await,
        Command::Rollback(options) => rollback::rollback(&mut client, options, format, out).await,
        Command::Status(options) => status::status(&mut client, options, format, out).await,
        Command::Explain(options) => explain::explain(&mut client, options, format, out).await,
    }
}

fn print_out(text: &str) {
    use std::io::Write;
    // A reader that left (`| head`) is no error of ours.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Call(failure)
    }
}
