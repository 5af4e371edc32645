//! Arguments of `lanectl lane`.

use clap::{Args, Subcommand};
use laneway_proto::routing::{Condition, Percent, StickyKey};

use super::values::{header_test, moment, percent, span, sticky_key};
use super::{Place, Reason, Wait};

#[derive(Debug, Subcommand)]
pub enum Do {
    /// The lanes that are there.
    List(List),
    /// A new lane, with at most one rule. A document says more: lanectl apply.
    Create(Create),
    /// Its rules run, its pods stamp, its tag selects instances. A lane that was given a ttl begins it anew.
    Enable(Enable),
    /// Its requests go to baseline from the next hop on; works for a tag that has no lane too.
    Disable(Switch),
    /// Another share of requests for one rule; everything else stays.
    SetPercentage(SetPercentage),
    /// How the lane's versions become the baseline: what is to be done, and what stands in the way. Changes nothing.
    Promote(Promote),
    /// Switch it off, see every sidecar obey, then remove it. Refused while its pods run.
    Close(Close),
    /// How the lane does beside its baseline, service by service.
    Compare(Compare),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub place: Place,
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

#[derive(Debug, Args)]
pub struct Create {
    pub name: String,
    #[command(flatten)]
    pub place: Place,
    /// Tag of its pods; not said: the name.
    #[arg(long)]
    pub tag: Option<String>,
    /// Services where requests get in, comma between.
    #[arg(long, value_delimiter = ',', value_name = "SERVICES")]
    pub entry: Vec<String>,
    /// A rule: requests with this header, `name: value`. Given several times: all must hold.
    #[arg(long = "header", value_parser = header_test, value_name = "HEADER", requires = "entry")]
    pub headers: Vec<Condition>,
    /// A rule: this share of the requests.
    #[arg(long, value_parser = percent, value_name = "PERCENT", requires = "entry")]
    pub percent: Option<Percent>,
    /// What keeps a caller on one side of the share: header:NAME, cookie:NAME, query:NAME or jwtClaim:NAME.
    #[arg(long, value_parser = sticky_key, value_name = "KEY", requires = "percent")]
    pub sticky: Vec<StickyKey>,
    /// Whose rules come first: larger first; its own where lanes have rules.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// End the lane after this time, 1m to 8760h.
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub ttl: Option<prost_types::Duration>,
    /// The people to ask.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub owner: String,
    /// Not switched on yet.
    #[arg(long)]
    pub disabled: bool,
    /// Say what would be created, as a document, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub reason: Reason,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub struct Enable {
    #[command(flatten)]
    pub switch: Switch,
    /// End the lane after this time from now, 1m to 8760h. Not said: the ttl it was given begins anew.
    #[arg(long, value_parser = span, value_name = "TIME", conflicts_with = "expire_time")]
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
    #[command(flatten)]
    pub wait: Wait,
    #[command(flatten)]
    pub reason: Reason,
}

#[derive(Debug, Args)]
pub struct SetPercentage {
    pub name: String,
    /// `20`, `20%`, `0.5%`
    #[arg(value_parser = percent)]
    pub percent: Percent,
    /// Name of the rule; need not be said where the lane has one.
    #[arg(long)]
    pub rule: Option<String>,
    #[command(flatten)]
    pub place: Place,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub reason: Reason,
    #[command(flatten)]
    pub wait: Wait,
}

#[derive(Debug, Args)]
pub struct Promote {
    pub name: String,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, Args)]
pub struct Close {
    #[command(flatten)]
    pub switch: Switch,
    /// Although its pods run: their tag is routed all the same, as one without a lane.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Compare {
    pub name: String,
    #[command(flatten)]
    pub place: Place,
    /// Over how long, 1s to 1h.
    #[arg(long, default_value = "60s", value_parser = span, value_name = "TIME")]
    pub window: prost_types::Duration,
}
