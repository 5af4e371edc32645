//! Arguments of the verbs that look at what runs: explain, status, proxy, top, watch.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Place;
use super::values::{header, span};

#[derive(Debug, Args)]
pub struct Explain {
    /// Service that the request enters from outside, and whose application then calls --to. Without it the request enters
    /// at --to.
    #[arg(long, value_name = "SERVICE")]
    pub from: Option<String>,
    /// Tag of the pod of --from.
    #[arg(long, value_name = "TAG", requires = "from")]
    pub from_tag: Option<String>,
    /// Address that the request comes from.
    #[arg(long, value_name = "ADDRESS")]
    pub from_ip: Option<String>,
    /// Service that is called.
    #[arg(long, value_name = "SERVICE")]
    pub to: String,
    /// Tag of the pod of --to that the request arrives at.
    #[arg(long, value_name = "TAG", conflicts_with = "from")]
    pub to_tag: Option<String>,
    /// Name of the port of --to; without it the first.
    #[arg(long, value_name = "NAME")]
    pub port: Option<String>,
    /// A header, `name: value`. May be given several times.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    pub headers: Vec<(String, String)>,
    #[arg(long, default_value = "GET")]
    pub method: String,
    /// May hold a query.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Authority of the request; without it the service.
    #[arg(long)]
    pub host: Option<String>,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Documents that are tried over what is stored: file, folder, or `-` for stdin. May be given several times.
    #[arg(short, long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Status {
    /// One sidecar, with every resource it has.
    pub node: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Ask {
    /// Every resource that it has, and the version.
    Config(Sidecar),
    /// Services and their instances.
    Endpoints(Sidecar),
    /// Lane groups, lanes and service policies.
    Lanes(Sidecar),
    /// What it logs; with LEVEL: from now on.
    LogLevel(LogLevel),
}

/// Which sidecar, and who is asked.
#[derive(Debug, Args)]
pub struct Sidecar {
    /// As `lanectl status` names it: what the control plane knows of it.
    #[arg(required_unless_present = "admin", conflicts_with = "admin")]
    pub node: Option<String>,
    /// Its admin port, as `kubectl port-forward POD 15400` brings it here: the sidecar itself answers.
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = false, default_missing_value = "http://127.0.0.1:15400")]
    pub admin: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogLevel {
    /// A level, or directives: `debug`, `info,laneway_proxy::control=debug`.
    pub level: Option<String>,
    /// The sidecar's admin port, as `kubectl port-forward POD 15400` brings it here.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:15400")]
    pub admin: String,
}

#[derive(Debug, Args)]
pub struct Top {
    /// Only this service, as caller or destination.
    pub service: Option<String>,
    #[command(flatten)]
    pub place: Place,
    /// Only requests of these tags, comma between; `baseline` is none.
    #[arg(long, value_delimiter = ',', value_name = "TAGS")]
    pub tags: Vec<String>,
    /// One table of the last steps, and an end.
    #[arg(long)]
    pub once: bool,
    /// How often, and over how long: 1s or more, not said 1s; with --once 10s or more.
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub step: Option<prost_types::Duration>,
}

#[derive(Debug, Args)]
pub struct Watch {
    #[arg(default_value = "objects")]
    pub what: Watched,
    /// Only below this namespace (`shop`) or group (`shop/web`).
    #[arg(long, value_name = "PARENT")]
    pub under: Option<String>,
    /// End after so many lines.
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u32>,
    /// Go on after this revision instead of beginning with what is there.
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    pub after: i64,
}

/// What can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Watched {
    /// Lane groups, lanes and policies.
    Objects,
    /// Sidecars: who comes and goes, and who has acknowledged what.
    Sidecars,
}
