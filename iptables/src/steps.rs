//! The commands that apply the redirect or take it away, in order. Pure: what `--dry-run` prints is what is run.

use std::{fmt, io::ErrorKind};

use laneway_proto::contract::INBOUND_SOURCE_V6;

use crate::{
    host::{Family, Found, Host, Ipv6, Nat},
    plan::Plan,
    render::{render_iptables, render_iptables_undo, render_nft, render_nft_undo},
};

/// How long iptables waits for another iptables, seconds. An init container that waited longer would better fail and say so.
const LOCK_WAIT_S: &str = "5";

/// Which tool carries the redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    Nft,
    Iptables,
}

/// One command and what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub program: &'static str,
    pub args: Vec<String>,
    pub input: String,
}

/// What to run, and what the operator should know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub steps: Vec<Step>,
    pub notes: Vec<String>,
}

/// A machine on which it cannot be done.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StepsError {
    #[error("`{program}` is not installed: install nftables, or use `--backend iptables` where iptables is")]
    NoNft { program: &'static str },
    #[error("`{program}` is not installed: install iptables, or use `--backend nft` where nftables is")]
    NoIptables { program: &'static str },
    #[error("neither nft nor iptables is installed: nothing could be looked for")]
    NoTool,
    #[error("what is there now could not be read (it needs CAP_NET_ADMIN, and iptables CAP_NET_RAW too): {message}")]
    Unreadable { message: String },
}

/// Applies `plan`. What the other backend left is taken away afterwards, so that there is no moment without a redirect.
pub fn apply(plan: &Plan, backend: Backend, host: &Host) -> Result<Steps, StepsError> {
    let mut steps = Steps::default();
    match host.ipv6 {
        Ipv6::Absent => steps.note("IPv6 is not in this kernel: only IPv4 is redirected"),
        Ipv6::OffOnLoopback => steps.note(format!(
            "IPv6 is off on lo (net.ipv6.conf.lo.disable_ipv6): {INBOUND_SOURCE_V6} is not added, inbound IPv6 cannot work in this pod"
        )),
        Ipv6::On if host.source_on_lo => {}
        Ipv6::On => steps.address("add"),
    }
    match backend {
        Backend::Nft => {
            if let Found::NoProgram(program) = host.nft {
                return Err(StepsError::NoNft { program });
            }
            steps.nft(render_nft(plan));
            for (family, nat) in families(host) {
                if let Found::Read(nat) = nat
                    && !nat.is_empty()
                {
                    steps.note(format!("an earlier redirect by {} is taken away", family.restore()));
                    steps.restore(family, render_iptables_undo(&nat.jumps));
                }
            }
        }
        Backend::Iptables => {
            for (family, nat) in families(host) {
                match nat {
                    Found::Read(nat) => steps.restore(family, render_iptables(plan, family, &nat.jumps)),
                    Found::NoProgram(program) => return Err(StepsError::NoIptables { program }),
                    Found::Failed(message) => return Err(StepsError::Unreadable { message: message.clone() }),
                }
            }
            if host.nft == Found::Read(true) {
                steps.note("an earlier redirect by nft is taken away");
                steps.nft(render_nft_undo());
            }
        }
    }
    Ok(steps)
}

/// Takes away whatever is ours, by whichever backend it was applied. What cannot be looked at is an error for `backend`
/// and a note for the other: this kernel may not have it at all.
pub fn undo(backend: Backend, host: &Host) -> Result<Steps, StepsError> {
    let mut steps = Steps::default();
    let mut tools = 0;
    match &host.nft {
        Found::Read(there) => {
            tools += 1;
            if *there {
                steps.nft(render_nft_undo());
            }
        }
        unread => steps.not_looked_for("nft", unread, backend == Backend::Nft)?,
    }
    for (family, nat) in families(host) {
        match nat {
            Found::Read(nat) => {
                tools += 1;
                if !nat.is_empty() {
                    steps.restore(family, render_iptables_undo(&nat.jumps));
                }
            }
            unread => steps.not_looked_for(family.save(), unread, backend == Backend::Iptables)?,
        }
    }
    if tools == 0 {
        return Err(StepsError::NoTool);
    }
    if host.source_on_lo {
        steps.address("del");
    }
    Ok(steps)
}

/// IPv6 first: if one of the two fails, it is then not IPv6 that silently passes by a working IPv4 redirect.
fn families(host: &Host) -> Vec<(Family, &Found<Nat>)> {
    match host.ipv6 {
        Ipv6::Absent => vec![(Family::V4, &host.nat_v4)],
        Ipv6::OffOnLoopback | Ipv6::On => vec![(Family::V6, &host.nat_v6), (Family::V4, &host.nat_v4)],
    }
}

impl Steps {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn not_looked_for<T>(&mut self, by: &str, found: &Found<T>, chosen: bool) -> Result<(), StepsError> {
        match found {
            Found::Failed(message) if chosen => return Err(StepsError::Unreadable { message: message.clone() }),
            Found::Failed(message) => self.note(format!("no redirect by {by} was looked for: {message}")),
            Found::NoProgram(program) => {
                self.note(format!("no redirect by {by} was looked for: `{program}` is not installed"))
            }
            Found::Read(_) => {}
        }
        Ok(())
    }

    fn push(&mut self, program: &'static str, args: &[&str], input: String) {
        self.steps.push(Step { program, args: args.iter().map(ToString::to_string).collect(), input });
    }

    fn address(&mut self, verb: &'static str) {
        self.push("ip", &["-6", "addr", verb, &format!("{INBOUND_SOURCE_V6}/128"), "dev", "lo"], String::new());
    }

    fn nft(&mut self, input: String) {
        self.push("nft", &["-f", "-"], input);
    }

    fn restore(&mut self, family: Family, input: String) {
        self.push(family.restore(), &["--noflush", "-w", LOCK_WAIT_S], input);
    }
}

/// As a shell would run them.
impl fmt::Display for Steps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(formatter, "# {note}")?;
        }
        if self.steps.is_empty() {
            writeln!(formatter, "# nothing to do")?;
        }
        for step in &self.steps {
            write!(formatter, "{step}")?;
            if step.input.is_empty() {
                writeln!(formatter)?;
            } else {
                writeln!(formatter, " <<'END'\n{}END", step.input)?;
            }
        }
        Ok(())
    }
}

/// The command alone.
impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.program, self.args.join(" "))
    }
}

impl Step {
    /// What to say when the program could not be started.
    pub(crate) fn hint(&self, kind: ErrorKind) -> &'static str {
        match (kind, self.program) {
            (ErrorKind::NotFound, "ip") => ": not installed (iproute2)",
            (ErrorKind::NotFound, _) => ": not installed",
            _ => "",
        }
    }
}
