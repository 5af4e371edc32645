//! How callers of a service wait for it and what they do when it fails, as its policy says: compiled once, read for each request
//! without an allocation. Says what is wanted; who does it has the connections and the clock (`proxy`).

use std::collections::HashMap;
use std::time::Duration;

use laneway_proto::contract::BASIS_POINTS;
use laneway_proto::discovery;
use laneway_proto::routing::{self, RetryCause, WarmupCurve};

use crate::condition::Refusal;
use crate::duration;

/// Paths with a time of their own.
pub(crate) const TIMEOUT_PATHS_MAX: usize = 50_000;
pub(crate) const RETRIES_MAX: u32 = 5;

/// Where nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// What runs on an instance that goes away has so long to finish.
const GRACE: Duration = Duration::from_secs(30);

/// What the owner of a service asks of its callers.
#[derive(Clone, Debug)]
pub struct Conduct {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    request_timeouts: RequestTimeouts,
    /// Without a byte in either direction.
    pub idle_timeout: Option<Duration>,
    pub retry: Retry,
    /// `None`: off.
    pub outliers: Option<Outliers>,
    pub warmup: Option<Warmup>,
    /// What runs on an instance is ended so long after the instance began to go away; `None`: it runs on.
    pub closes_streams_after: Option<Duration>,
    pub limits: Limits,
}

/// From the whole request to the whole answer.
#[derive(Clone, Debug, Default)]
struct RequestTimeouts {
    default: Option<Duration>,
    full: HashMap<String, Duration, foldhash::fast::RandomState>,
    /// With the slash at their end.
    prefixes: HashMap<String, Duration, foldhash::fast::RandomState>,
    /// Slashes of the prefix that has most: no path is looked at behind them.
    slashes_max: usize,
}

/// Another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub retries_max: u32,
    /// Of the requests of the last seconds to the service, so many may be tried again.
    pub budget_basis_points: u32,
    pub per_try_timeout: Option<Duration>,
    /// No connection: nothing was sent.
    pub on_connect: bool,
    /// It was not begun, or an idle connection was closed under it.
    pub on_unprocessed: bool,
    /// 502, 503, 504, or a connection lost before the answer.
    pub on_gateway_error: bool,
}

/// When an instance is taken out of the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outliers {
    /// At least 1.
    pub consecutive_failures: u32,
    pub base_ejection: Duration,
    pub max_ejection: Duration,
    /// Of the instances of one tag.
    pub max_ejected_basis_points: u32,
}

/// New instances get their share step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmup {
    pub window: Duration,
    pub is_quadratic: bool,
}

/// What one sidecar sends to one instance at a time. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub connections_max: u32,
    pub requests_max: u32,
    /// Requests that wait for a place.
    pub queued_max: u32,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            retries_max: 1,
            budget_basis_points: 2_000,
            per_try_timeout: None,
            on_connect: true,
            on_unprocessed: true,
            on_gateway_error: false,
        }
    }
}

impl Default for Outliers {
    fn default() -> Outliers {
        Outliers {
            consecutive_failures: 5,
            base_ejection: Duration::from_secs(10),
            max_ejection: Duration::from_secs(300),
            max_ejected_basis_points: 5_000,
        }
    }
}

impl Conduct {
    /// Of a service without a policy; how long a connection may take is the caller's own word.
    pub fn unasked(connect_timeout: Duration) -> Conduct {
        Conduct {
            connect_timeout,
            request_timeouts: RequestTimeouts::default(),
            idle_timeout: None,
            retry: Retry::default(),
            outliers: Some(Outliers::default()),
            warmup: None,
            closes_streams_after: None,
            limits: Limits::default(),
        }
    }

    /// How long a request to this target may take: that of its full path, else of the longest prefix, else the default.
    pub fn request_timeout(&self, target: &str) -> Option<Duration> {
        self.request_timeouts.of(target)
    }

    pub(crate) fn compile(from: &discovery::ServicePolicy, refusals: &mut Vec<Refusal>) -> Conduct {
        let mut times = Times { refusals };
        let timeouts = from.timeouts.as_ref();
        let connect = times.read("timeouts.connect", timeouts.and_then(|t| t.connect.as_ref()), A_MILLISECOND, DAY);
        let idle = times.read("timeouts.idle", timeouts.and_then(|t| t.idle.as_ref()), A_MILLISECOND, DAY);
        let request_timeouts = RequestTimeouts::compile(timeouts, &mut times);
        let retry = compile_retry(from.retry.as_ref(), &mut times);
        let outliers = compile_outliers(from.outlier_detection.as_ref(), &mut times);
        let warmup = from.warmup.as_ref().and_then(|warmup| compile_warmup(warmup, &mut times));
        let closes_streams_after = from.drain.as_ref().and_then(|drain| compile_drain(drain, &mut times));
        let limits = from.limits.unwrap_or_default();
        Conduct {
            connect_timeout: connect.unwrap_or(CONNECT_TIMEOUT),
            request_timeouts,
            idle_timeout: idle,
            retry,
            outliers,
            warmup,
            closes_streams_after,
            limits: Limits {
                connections_max: limits.max_connections,
                requests_max: limits.max_requests,
                queued_max: limits.max_queued,
            },
        }
    }
}

impl RequestTimeouts {
    fn of(&self, target: &str) -> Option<Duration> {
        if self.full.is_empty() && self.prefixes.is_empty() {
            return self.default;
        }
        let path = target.split(['?', '#']).next().unwrap_or(target);
        if let Some(time) = self.full.get(path) {
            return Some(*time);
        }
        let slashes = path.match_indices('/').take(self.slashes_max).map(|(at, _)| at + 1);
        let longest = slashes.filter_map(|end| self.prefixes.get(&path[..end])).last();
        longest.copied().or(self.default)
    }

    fn compile(from: Option<&routing::Timeouts>, times: &mut Times<'_>) -> RequestTimeouts {
        let default = times.read("timeouts.default", from.and_then(|t| t.default.as_ref()), A_MILLISECOND, DAY);
        let mut timeouts = RequestTimeouts { default, ..RequestTimeouts::default() };
        let paths = from.map(|from| &from.paths);
        if paths.is_some_and(|paths| paths.len() > TIMEOUT_PATHS_MAX) {
            let message = format!("at most {TIMEOUT_PATHS_MAX} paths have a time of their own");
            times.refusals.push(Refusal::new("timeouts.paths", "TOO_LARGE", message));
            return timeouts;
        }
        for (path, time) in paths.into_iter().flatten() {
            let field = format!("timeouts.paths[{path:?}]");
            let Some(time) = times.read(&field, Some(time), A_MILLISECOND, DAY) else { continue };
            match pattern(path) {
                Some(Pattern::Full) => drop(timeouts.full.insert(path.clone(), time)),
                Some(Pattern::Prefix(prefix)) => {
                    timeouts.slashes_max = timeouts.slashes_max.max(prefix.matches('/').count());
                    timeouts.prefixes.insert(prefix.to_owned(), time);
                }
                None => times.refusals.push(Refusal::new(&field, "INVALID_CONDITION", PATTERN_HELP)),
            }
        }
        timeouts
    }
}

/// How paths are named.
pub(crate) enum Pattern<'p> {
    Full,
    /// With the slash at its end.
    Prefix(&'p str),
}

pub(crate) const PATTERN_HELP: &str = "a full path (/order/create), or a prefix that ends in /* (/order/*)";

/// `None`: neither a full path nor a prefix.
pub(crate) fn pattern(path: &str) -> Option<Pattern<'_>> {
    if !path.starts_with('/') || path.contains(['?', '#']) {
        return None;
    }
    match path.strip_suffix('*') {
        Some(prefix) => (prefix.ends_with('/') && !prefix.contains('*')).then_some(Pattern::Prefix(prefix)),
        None => (!path.contains('*')).then_some(Pattern::Full),
    }
}

const A_MILLISECOND: Duration = Duration::from_millis(1);
const A_SECOND: Duration = Duration::from_secs(1);

struct Times<'r> {
    refusals: &'r mut Vec<Refusal>,
}

impl Times<'_> {
    fn read(
        &mut self,
        field: &str,
        from: Option<&prost_types::Duration>,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        let read = duration::read(*from?).filter(|time| (min..=max).contains(time));
        if read.is_none() {
            let message = format!("a time here is {min:?} to {max:?}");
            self.refusals.push(Refusal::new(field, "OUT_OF_RANGE", message));
        }
        read
    }

    /// Basis points.
    fn share(&mut self, field: &str, from: Option<&routing::Percent>, otherwise: u32) -> u32 {
        let Some(points) = from.map(|percent| percent.basis_points) else { return otherwise };
        if points > BASIS_POINTS {
            let message = format!("a percentage is 0 % to 100 %, not {points} basis points");
            self.refusals.push(Refusal::new(field, "OUT_OF_RANGE", message));
        }
        points
    }
}

fn compile_retry(from: Option<&routing::Retry>, times: &mut Times<'_>) -> Retry {
    let Some(from) = from else { return Retry::default() };
    let usual = Retry::default();
    let retries_max = from.max_retries.unwrap_or(usual.retries_max);
    if retries_max > RETRIES_MAX {
        let message = format!("at most {RETRIES_MAX} retries, not {retries_max}");
        times.refusals.push(Refusal::new("retry.max_retries", "OUT_OF_RANGE", message));
    }
    let mut retry = Retry {
        retries_max,
        budget_basis_points: times.share("retry.budget", from.budget.as_ref(), usual.budget_basis_points),
        per_try_timeout: times.read("retry.per_try_timeout", from.per_try_timeout.as_ref(), A_MILLISECOND, DAY),
        ..usual
    };
    if from.causes.is_empty() {
        return retry;
    }
    (retry.on_connect, retry.on_unprocessed) = (false, false);
    for (index, cause) in from.causes.iter().enumerate() {
        match RetryCause::try_from(*cause) {
            Ok(RetryCause::Connect) => retry.on_connect = true,
            Ok(RetryCause::Unprocessed) => retry.on_unprocessed = true,
            Ok(RetryCause::GatewayError) => retry.on_gateway_error = true,
            Ok(RetryCause::Unspecified) | Err(_) => {
                let field = format!("retry.causes[{index}]");
                times.refusals.push(Refusal::new(&field, "UNKNOWN_ENUM", format!("unknown cause {cause}")));
            }
        }
    }
    retry
}

fn compile_outliers(from: Option<&routing::OutlierDetection>, times: &mut Times<'_>) -> Option<Outliers> {
    let usual = Outliers::default();
    let Some(from) = from else { return Some(usual) };
    let time = |times: &mut Times<'_>, name: &str, from: Option<&prost_types::Duration>| {
        times.read(&format!("outlier_detection.{name}"), from, A_SECOND, HOUR)
    };
    let base_ejection = time(times, "base_ejection", from.base_ejection.as_ref()).unwrap_or(usual.base_ejection);
    let max_ejection = time(times, "max_ejection", from.max_ejection.as_ref()).unwrap_or(usual.max_ejection);
    let share = times.share("outlier_detection.max_ejected", from.max_ejected.as_ref(), usual.max_ejected_basis_points);
    let consecutive_failures = from.consecutive_failures.unwrap_or(usual.consecutive_failures);
    (consecutive_failures > 0).then_some(Outliers {
        consecutive_failures,
        base_ejection,
        max_ejection: max_ejection.max(base_ejection),
        max_ejected_basis_points: share,
    })
}

fn compile_warmup(from: &routing::Warmup, times: &mut Times<'_>) -> Option<Warmup> {
    let is_quadratic = match WarmupCurve::try_from(from.curve) {
        Ok(WarmupCurve::Linear) => false,
        Ok(WarmupCurve::Quadratic) => true,
        Ok(WarmupCurve::Unspecified) | Err(_) => {
            let message = format!("unknown curve {}", from.curve);
            times.refusals.push(Refusal::new("warmup.curve", "UNKNOWN_ENUM", message));
            return None;
        }
    };
    if from.window.is_none() {
        times.refusals.push(Refusal::new("warmup.window", "MISSING_FIELD", "a warm-up has a window"));
    }
    let window = times.read("warmup.window", from.window.as_ref(), A_SECOND, HOUR)?;
    Some(Warmup { window, is_quadratic })
}

/// A grace that is wrong is told of, whether or not anything is ended after it.
fn compile_drain(from: &routing::Drain, times: &mut Times<'_>) -> Option<Duration> {
    let grace = times.read("drain.grace", from.grace.as_ref(), Duration::ZERO, HOUR).unwrap_or(GRACE);
    from.close_streams.then_some(grace)
}

#[cfg(test)]
mod tests;
