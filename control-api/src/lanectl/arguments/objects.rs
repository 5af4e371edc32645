//! Arguments of the verbs on objects: apply, diff, lint, get, describe, delete.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Place, Reason, Wait};

#[derive(Debug, Args)]
pub struct Apply {
    /// File, folder (its .yaml, .yml and .json files), or `-` for stdin. May be given several times.
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete what lies under this namespace (`shop`) or group (`shop/web`) and is not in the documents.
    #[arg(long, value_name = "PARENT")]
    pub prune: Option<String>,
    /// Fail if something was committed since this revision.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    pub expected_revision: i64,
    #[command(flatten)]
    pub reason: Reason,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// File, folder (its .yaml, .yml and .json files), or `-` for stdin. May be given several times.
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// As of apply: what would be deleted is shown too.
    #[arg(long, value_name = "PARENT")]
    pub prune: Option<String>,
}

#[derive(Debug, Args)]
pub struct Lint {
    /// File, folder (its .yaml, .yml and .json files), or `-` for stdin. May be given several times.
    #[arg(short, long = "file", required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// A warning fails too.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
pub struct Get {
    pub kind: Kinds,
    /// One object; without it all.
    pub name: Option<String>,
    #[command(flatten)]
    pub place: Place,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
}

#[derive(Debug, Args)]
pub struct Describe {
    pub kind: Kind,
    pub name: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct Delete {
    pub kind: Kind,
    pub name: String,
    #[command(flatten)]
    pub place: Place,
    /// A lane whose tag runs; a group with its lanes.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub reason: Reason,
}

/// Kinds of objects, as people write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    #[value(alias = "lanegroup", alias = "groups", alias = "group", alias = "lg")]
    Lanegroups,
    #[value(alias = "lane")]
    Lanes,
    #[value(alias = "policy", alias = "servicepolicies", alias = "servicepolicy", alias = "sp")]
    Policies,
    All,
}

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    #[value(alias = "lanegroups", alias = "groups", alias = "group", alias = "lg")]
    Lanegroup,
    #[value(alias = "lanes")]
    Lane,
    #[value(alias = "policies", alias = "servicepolicies", alias = "servicepolicy", alias = "sp")]
    Policy,
}
