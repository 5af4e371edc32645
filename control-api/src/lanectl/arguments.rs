//! What can be typed after `lanectl`, and its two environment variables.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Laneway's command line: traffic lanes in your mesh.
#[derive(Debug, Parser)]
#[command(name = "lanectl", version, max_term_width = 100)]
pub struct Arguments {
    /// The control plane.
    #[arg(long, global = true, env = "LANECTL_SERVER", default_value = "http://127.0.0.1:15411", value_name = "URL")]
    pub server: String,
    /// How answers look.
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
    #[command(subcommand)]
    pub command: Command,
}

/// How answers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Yaml,
    /// Resource names, one a line.
    Name,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or replace objects from documents: all of them, or none.
    Apply(Apply),
    /// Show what apply would change. Exit status: 0 nothing, 1 something, 2 it failed.
    Diff(Diff),
    /// Show objects as documents.
    Get(Get),
    /// Delete one object.
    Delete(Delete),
    /// Switch a lane on or off, now.
    Lane {
        #[command(subcommand)]
        action: Do,
    },
    /// What was changed, by whom and why, newest first; of one revision, what exactly.
    History(History),
    /// Go back to how it was after a revision, by a new one. Lanes stay enabled or disabled as they are.
    Rollback(Rollback),
    /// Which sidecars are connected, and what they have acknowledged.
    Status(Status),
    /// Where a request would go and why, step by step, by the sidecars' own decision. No traffic.
    Explain(Explain),
}

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
    /// For the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Return when every sidecar concerned has acknowledged, at most after this time.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
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
pub struct Place {
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Group of the lane.
    #[arg(short, long)]
    pub group: Option<String>,
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
pub struct Delete {
    pub kind: Kind,
    pub name: String,
    #[command(flatten)]
    pub place: Place,
    /// A lane whose tag runs; a group with its lanes.
    #[arg(long)]
    pub force: bool,
    /// For the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
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

#[derive(Debug, Subcommand)]
pub enum Do {
    /// Its rules run, its pods stamp, its tag selects instances. A lane that was given a ttl begins it anew.
    Enable(Enable),
    /// Its requests go to baseline from the next hop on; works for a tag that has no lane too.
    Disable(Switch),
}

#[derive(Debug, Args)]
pub struct Enable {
    #[command(flatten)]
    pub switch: Switch,
    /// End the lane after this time from now, 1m to 8760h. Not said: the ttl it was given begins anew.
    #[arg(long, value_parser = ttl, value_name = "TIME", conflicts_with = "expire_time")]
    pub ttl: Option<prost_types::Duration>,
    /// End the lane then: `2030-01-01T00:00:00Z`.
    #[arg(long, value_parser = moment, value_name = "WHEN")]
    pub expire_time: Option<prost_types::Timestamp>,
    /// Refuse a lane without a ready instance of any service.
    #[arg(long)]
    pub require_coverage: bool,
}

#[derive(Debug, Args)]
pub struct Switch {
    pub name: String,
    #[command(flatten)]
    pub place: Place,
    /// Return when every sidecar concerned has acknowledged, at most after this time.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
    /// For the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
}

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
    /// For the history.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Return when every sidecar concerned has acknowledged, at most after this time.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5s", value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Status {
    /// One sidecar, with every resource it has.
    pub node: Option<String>,
}

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

/// `x-user-id: 100`
fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `name: value`, like 'x-user-id: 100'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// `7`, or its resource name.
fn revision(text: &str) -> Result<i64, String> {
    let number = text.strip_prefix("revisions/").unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a revision is a number from 1".to_owned())
}

/// `48h`, as documents say it; whether it is a good one is the control plane's question.
fn ttl(text: &str) -> Result<prost_types::Duration, String> {
    let (seconds, nanos) = laneway_core::document::parse_duration(text)
        .ok_or_else(|| "a time is a number and a unit of h, m or s: 48h, 90m".to_owned())?;
    Ok(prost_types::Duration { seconds, nanos })
}

fn moment(text: &str) -> Result<prost_types::Timestamp, String> {
    text.parse().map_err(|_| "a moment is written as 2030-01-01T00:00:00Z".to_owned())
}

/// `500ms`, `5s`, `1m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a time is a number and a unit: 500ms, 5s, 1m".to_owned())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(format!("unknown unit {unit:?}: ms, s or m")),
    };
    if duration > Duration::from_secs(60) { Err("at most 60s".to_owned()) } else { Ok(duration) }
}
