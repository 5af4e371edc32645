//! What a policy says of waiting, failing and filling: the ranges that a sidecar takes.

use std::ops::RangeInclusive;
use std::time::Duration;

use laneway_proto::routing::{self, RetryCause};
use laneway_proto::{admin, routing::WarmupCurve};

use super::{Report, code};
use crate::conduct::{self, RETRIES_MAX, TIMEOUT_PATHS_MAX};

const EJECTION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const EJECTION_HELP: &str = "1s to 1h";
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

pub(super) fn policy(report: &mut Report, policy: &admin::ServicePolicy) {
    if let Some(timeouts) = &policy.timeouts {
        self::timeouts(report, timeouts);
    }
    if let Some(retry) = &policy.retry {
        self::retry(report, retry);
    }
    if let Some(outliers) = &policy.outlier_detection {
        let times = [("baseEjection", &outliers.base_ejection), ("maxEjection", &outliers.max_ejection)];
        for (name, time) in times {
            report.time(&format!("outlierDetection.{name}"), time.as_ref(), EJECTION, EJECTION_HELP);
        }
        report.percent("outlierDetection.maxEjected", outliers.max_ejected.as_ref());
    }
    if let Some(warmup) = &policy.warmup {
        if warmup.window.is_none() {
            let message = "a warm-up has a window".to_owned();
            report.error(code::DURATION, "warmup.window", message, "1s to 1h, as `window: 120s`");
        }
        report.time("warmup.window", warmup.window.as_ref(), EJECTION, EJECTION_HELP);
        report.known::<WarmupCurve>("warmup.curve", warmup.curve);
    }
    if let Some(drain) = &policy.drain {
        report.time("drain.grace", drain.grace.as_ref(), GRACE, "0s to 1h");
    }
}

fn timeouts(report: &mut Report, timeouts: &routing::Timeouts) {
    report.timeout("timeouts.connect", timeouts.connect.as_ref());
    report.timeout("timeouts.default", timeouts.default.as_ref());
    report.timeout("timeouts.idle", timeouts.idle.as_ref());
    if timeouts.paths.len() > TIMEOUT_PATHS_MAX {
        let message = format!("{} paths have a time of their own", timeouts.paths.len());
        report.error(code::TOO_MANY, "timeouts.paths", message, "at most 50,000");
    }
    for (path, time) in &timeouts.paths {
        let field = format!("timeouts.paths.{path}");
        report.timeout(&field, Some(time));
        if conduct::pattern(path).is_none() {
            report.error(code::PATH, &field, format!("`{path}` names no paths"), conduct::PATTERN_HELP);
        }
    }
}

fn retry(report: &mut Report, retry: &routing::Retry) {
    if let Some(retries) = retry.max_retries.filter(|retries| *retries > RETRIES_MAX) {
        report.error(code::TOO_MANY, "retry.maxRetries", format!("{retries} retries"), "at most 5");
    }
    report.percent("retry.budget", retry.budget.as_ref());
    report.timeout("retry.perTryTimeout", retry.per_try_timeout.as_ref());
    for (at, cause) in retry.causes.iter().enumerate() {
        if matches!(RetryCause::try_from(*cause), Ok(RetryCause::Unspecified) | Err(_)) {
            let field = format!("retry.causes[{at}]");
            report.error(code::ENUM, &field, format!("unknown value {cause}"), "connect, unprocessed or gatewayError");
        }
    }
}
