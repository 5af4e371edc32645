//! The verbs of an installation in a cluster.

use std::time::Duration;

use clap::Args;

use super::values::start;
use crate::install::{NAMESPACE, Settings, namespace};

/// What is looked at.
#[derive(Debug, Args)]
pub struct Check {
    /// The cluster, before an installation: its version, what you may do there, other meshes.
    #[arg(long, conflicts_with = "cluster")]
    pub pre: bool,
    /// The installation in the cluster, as its API server sees it, in place of asking the control plane.
    #[arg(long)]
    pub cluster: bool,
    /// Namespace of the control plane, with --pre and --cluster.
    #[arg(short, long, value_name = "NAMESPACE", default_value = NAMESPACE, value_parser = namespace)]
    pub namespace: String,
}

/// Into a cluster, or printed.
#[derive(Debug, Args)]
pub struct Install {
    #[command(flatten)]
    pub place: Installed,
    #[command(flatten)]
    pub settings: Settings,
}

/// What is not said stays as it was installed.
#[derive(Debug, Args)]
pub struct Upgrade {
    #[command(flatten)]
    pub place: Installed,
    #[command(flatten)]
    pub settings: Settings,
}

/// Where an installation is.
#[derive(Debug, Args)]
pub struct Installed {
    /// Namespace of the control plane.
    #[arg(short, long, value_name = "NAMESPACE", default_value = NAMESPACE, value_parser = namespace)]
    pub namespace: String,
    /// Print the manifests, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Take over fields that somebody else has set since, or before; without it they are named and nothing is taken.
    #[arg(long)]
    pub force_conflicts: bool,
    /// How long to wait until every replica is ready; 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = start)]
    pub wait: Duration,
}
