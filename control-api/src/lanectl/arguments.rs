//! What can be typed after `lanectl`, and its environment variables. One file for each family of verbs.

mod inject;
mod install;
mod lanes;
mod mesh;
mod objects;
mod past;
mod values;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::inject::{Inject, Uninject};
pub use self::install::{Check, Install, Installed, Upgrade};
pub use self::lanes::{Close, Compare, Create, Do, Enable, List, Promote, SetPercentage, Switch};
pub use self::mesh::{Ask, Explain, LogLevel, Sidecar, Status, Top, Watch, Watched};
pub use self::objects::{Apply, Delete, Describe, Diff, Get, Kind, Kinds, Lint};
pub use self::past::{History, Rollback};
use self::values::wait;

/// Laneway's command line: traffic lanes in your mesh.
#[derive(Debug, Parser)]
#[command(name = "lanectl", version, max_term_width = 100)]
pub struct Arguments {
    /// The control plane.
    #[arg(long, global = true, env = "LANECTL_SERVER", default_value = "http://127.0.0.1:15411", value_name = "URL")]
    pub server: String,
    #[command(flatten)]
    pub credentials: Shown,
    /// How answers look.
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

/// What the control plane is shown, and by what it is known.
#[derive(Debug, Default, Args)]
pub struct Shown {
    /// Authorities of the control plane's certificate, PEM; needed with https://.
    #[arg(long, global = true, env = "LANECTL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Own certificate chain, PEM, to be known by.
    #[arg(long, global = true, env = "LANECTL_CERT", value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Private key of --cert, PEM.
    #[arg(long, global = true, env = "LANECTL_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Name in the control plane's certificate, where it is not the host of --server.
    #[arg(long, global = true, env = "LANECTL_SERVER_NAME", value_name = "NAME")]
    pub server_name: Option<String>,
    /// File with the bearer token to be known by; or the token itself in LANECTL_TOKEN.
    #[arg(long, global = true, env = "LANECTL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    // Hidden: on the command line everybody sees it in the list of processes.
    #[arg(long, global = true, env = "LANECTL_TOKEN", hide = true, hide_env_values = true)]
    pub token: Option<String>,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    /// A table with every column.
    Wide,
    Json,
    Yaml,
    /// Resource names, one a line.
    Name,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Whether the installation is well: the control plane, the sidecars, the lanes. Exit status 1 if something is not.
    Check(Check),
    /// Everything that is wrong with documents, by file and line. Needs no control plane.
    Lint(Lint),
    /// Put the sidecar into the pods of manifests. Needs no control plane.
    Inject(Inject),
    /// Take the sidecar out of the pods of manifests. Needs no control plane.
    Uninject(Uninject),
    /// Put the control plane into a cluster, with all that it needs there; or print it (--dry-run), for kubectl or a repository.
    Install(Install),
    /// Bring the control plane of a cluster to this version, with the settings of its installation.
    Upgrade(Upgrade),
    /// Create or replace objects from documents: all of them, or none.
    Apply(Apply),
    /// Show what apply would change. Exit status: 0 nothing, 1 something, 2 it failed.
    Diff(Diff),
    /// Show objects as documents.
    Get(Get),
    /// All about one object: what it says, where it has instances, how far it has got, what is odd about it.
    Describe(Describe),
    /// Delete one object.
    Delete(Delete),
    /// Lanes: see, create, switch, move traffic, promote, close.
    Lane {
        #[command(subcommand)]
        action: Do,
    },
    /// What was changed, by whom and why, newest first; of one revision, what exactly.
    History(History),
    /// Go back to how it was after a revision, by a new one. Lanes stay enabled or disabled as they are.
    Rollback(Rollback),
    /// Where a request would go and why, step by step, by the sidecars' own decision. No traffic.
    Explain(Explain),
    /// Which sidecars are connected, and what they have acknowledged.
    Status(Status),
    /// What one sidecar has, asked of itself or of the control plane.
    Proxy {
        #[command(subcommand)]
        ask: Ask,
    },
    /// Who calls whom at the moment, by lane: rate, success, latency.
    Top(Top),
    /// Every change as it happens.
    Watch(Watch),
    /// The script that lets a shell complete: `source <(lanectl completion bash)`.
    Completion {
        /// Your shell.
        shell: Shell,
    },
}

/// Where an object is looked for.
#[derive(Debug, Args)]
pub struct Place {
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Group of the lane.
    #[arg(short, long)]
    pub group: Option<String>,
}

#[derive(Debug, Args)]
pub struct Reason {
    /// For the history.
    #[arg(id = "reason", long = "reason", default_value = "", hide_default_value = true, value_name = "REASON")]
    pub text: String,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Wait {
    /// Return when every sidecar concerned has acknowledged, at most after this time.
    #[arg(id = "wait", long = "wait", num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = wait, value_name = "TIME")]
    pub longest: Option<Duration>,
}
