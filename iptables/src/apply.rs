//! The one part that changes the machine: runs [`Steps`](crate::steps::Steps) one after the other, and stops at the first that fails.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use crate::{
    host::Host,
    plan::Plan,
    steps::{self, Backend, Step, Steps, StepsError},
};

/// How often what is there is read anew when another program changed it between our reading and our transaction.
const TRIES_MAX: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Steps(#[from] StepsError),
    #[error("run `{step}`{hint}")]
    Spawn { step: String, hint: &'static str, source: io::Error },
    /// A transaction that was refused has changed nothing; steps before it have been done, and may be run again.
    #[error("`{step}` failed: {message}{hint}")]
    Refused { step: String, message: String, hint: &'static str },
}

/// Applies `plan`, and says what was noted on the way.
pub fn apply(plan: &Plan, backend: Backend) -> Result<Vec<String>, ApplyError> {
    converge(|host| steps::apply(plan, backend, host))
}

/// Takes the redirect away, whichever backend carries it.
pub fn undo(backend: Backend) -> Result<Vec<String>, ApplyError> {
    converge(|host| steps::undo(backend, host))
}

fn converge(steps: impl Fn(&Host) -> Result<Steps, StepsError>) -> Result<Vec<String>, ApplyError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let planned = steps(&Host::read())?;
        match planned.steps.iter().try_for_each(run) {
            Ok(()) => return Ok(planned.notes),
            // Another program may have changed what we read: only then does a new reading give other steps.
            Err(ApplyError::Refused { .. }) if tries < TRIES_MAX && steps(&Host::read())? != planned => {}
            Err(error) => return Err(error),
        }
    }
}

fn run(step: &Step) -> Result<(), ApplyError> {
    let spawn =
        |source: io::Error| ApplyError::Spawn { step: step.to_string(), hint: step.hint(source.kind()), source };
    let mut child = Command::new(step.program)
        .args(&step.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(spawn)?;
    // Texts are a few KiB, less than a pipe holds; a program that ended early says why on stderr, not by this error.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(step.input.as_bytes());
    }
    let output = child.wait_with_output().map_err(spawn)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let message = if message.is_empty() { output.status.to_string() } else { message };
    let hint = hint(step.program, &message);
    Err(ApplyError::Refused { step: step.to_string(), message, hint })
}

/// The next step, where the message is one that we know.
fn hint(program: &str, message: &str) -> &'static str {
    if message.contains("Operation not permitted") || message.contains("Permission denied") {
        return " (it needs CAP_NET_ADMIN, and iptables CAP_NET_RAW too)";
    }
    if program == "nft" && (message.contains("Could not process rule") || message.contains("Operation not supported")) {
        return " (this kernel may lack nftables: try `--backend iptables`)";
    }
    ""
}
