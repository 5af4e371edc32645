//! Arguments of history and rollback.

use clap::Args;

use super::values::revision;
use super::{Place, Reason, Wait};

#[derive(Debug, Args)]
pub struct History {
    /// Only this one, with what it changed.
    #[arg(value_parser = revision)]
    pub revision: Option<i64>,
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "revision")]
    pub limit: u32,
    /// What changed one object: `--for lane gray`; kinds as of get. It need not be there any more.
    #[arg(long = "for", num_args = 2, value_names = ["KIND", "NAME"], conflicts_with = "revision")]
    pub about: Vec<String>,
    /// Of the object.
    #[arg(long, default_value = "default", requires = "about")]
    pub namespace: String,
    /// Of the lane; not said: any.
    #[arg(short, long, requires = "about")]
    pub group: Option<String>,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The state to go back to: a revision of `lanectl history`.
    #[arg(value_parser = revision)]
    pub revision: i64,
    /// Only one object, or a namespace, or a group with its lanes: `--scope lane gray`, `--scope namespace shop`.
    #[arg(long, num_args = 2, value_names = ["KIND", "NAME"])]
    pub scope: Vec<String>,
    #[command(flatten)]
    pub place: Place,
    /// Enable and disable too, and restore when lanes end. A lane whose time is over stays off.
    #[arg(long)]
    pub with_state: bool,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Fail if something was committed since this revision.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    pub expected_revision: i64,
    #[command(flatten)]
    pub reason: Reason,
    #[command(flatten)]
    pub wait: Wait,
}
