//! Arguments of the verbs that put sidecars into manifests: inject, uninject.

use std::path::PathBuf;

use clap::Args;

use crate::inject::Settings;

#[derive(Debug, Args)]
pub struct Inject {
    /// File, folder (its .yaml, .yml and .json files), or `-` for stdin.
    #[arg(required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct Uninject {
    /// File, folder (its .yaml, .yml and .json files), or `-` for stdin.
    #[arg(required = true, value_name = "PATH")]
    pub files: Vec<PathBuf>,
}
