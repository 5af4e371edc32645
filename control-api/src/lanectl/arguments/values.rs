//! Values that are typed in a form of their own, read. Pure. Whether they are good ones is the control plane's question.

use std::time::Duration;

use laneway_core::document;
use laneway_proto::routing::{Condition, Percent, StickyKey, condition, sticky_key};

/// Longest wait that can be asked for; the control plane's own bound.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longer than a cluster takes to bring a new machine.
const START_MAX: Duration = Duration::from_secs(3600);

/// `x-user-id: 100`
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `name: value`, like 'x-user-id: 100'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// `x-user-id: 100` as a test that a rule makes.
pub(super) fn header_test(text: &str) -> Result<Condition, String> {
    let (name, value) = header(text)?;
    Ok(Condition {
        source: Some(condition::Source::Header(name)),
        operator: Some(condition::Operator::Exact(value)),
        ..Condition::default()
    })
}

/// `header:x-user-id`, `cookie:uid`, `query:user`, `jwtClaim:sub`
pub(super) fn sticky_key(text: &str) -> Result<StickyKey, String> {
    let source = match text.split_once(':') {
        Some(("header", name)) => sticky_key::Source::Header(name.to_owned()),
        Some(("cookie", name)) => sticky_key::Source::Cookie(name.to_owned()),
        Some(("query", name)) => sticky_key::Source::Query(name.to_owned()),
        Some(("jwtClaim", name)) => sticky_key::Source::JwtClaim(name.to_owned()),
        _ => return Err("a key is header:NAME, cookie:NAME, query:NAME or jwtClaim:NAME".to_owned()),
    };
    Ok(StickyKey { source: Some(source) })
}

/// `5`, `5%`, `0.5%`
pub(super) fn percent(text: &str) -> Result<Percent, String> {
    let basis_points = document::parse_percent(&format!("{}%", text.strip_suffix('%').unwrap_or(text)));
    let basis_points = basis_points.ok_or("a share is a percentage of at most two decimals: 5, 0.5%, 12.25%")?;
    Ok(Percent { basis_points })
}

/// `7`, or its resource name.
pub(super) fn revision(text: &str) -> Result<i64, String> {
    let number = text.strip_prefix("revisions/").unwrap_or(text).parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "a revision is a number from 1".to_owned())
}

/// `48h`, as documents say it.
pub(super) fn span(text: &str) -> Result<prost_types::Duration, String> {
    let (seconds, nanos) = document::parse_duration(text)
        .ok_or_else(|| "a time is a number and a unit of h, m or s: 48h, 90m".to_owned())?;
    Ok(prost_types::Duration { seconds, nanos })
}

pub(super) fn moment(text: &str) -> Result<prost_types::Timestamp, String> {
    text.parse().map_err(|_| "a moment is written as 2030-01-01T00:00:00Z".to_owned())
}

/// `500ms`, `5s`, `1m`: for an answer.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    time(text, WAIT_MAX)
}

/// The same: for pods to start.
pub(super) fn start(text: &str) -> Result<Duration, String> {
    time(text, START_MAX)
}

fn time(text: &str, max: Duration) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "a time is a number and a unit: 500ms, 5s, 1m".to_owned())?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(format!("unknown unit {unit:?}: ms, s or m")),
    };
    if duration > max { Err(format!("at most {}s", max.as_secs())) } else { Ok(duration) }
}
