use std::time::Duration;

use laneway_proto::discovery::ServicePolicy;
use laneway_proto::routing;

use super::{Conduct, Limits, Outliers, Retry, Warmup};

fn ms(millis: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: (millis / 1000) as i64, nanos: (millis % 1000) as i32 * 1_000_000 }
}

fn compiled(policy: ServicePolicy) -> Conduct {
    let mut refusals = Vec::new();
    let conduct = Conduct::compile(&policy, &mut refusals);
    assert!(refusals.is_empty(), "{refusals:?}");
    conduct
}

#[test]
fn the_full_path_wins_and_then_the_longest_prefix() {
    let paths = [("/order/create", 500), ("/order/*", 2000), ("/order/list/*", 100), ("/*", 9000)];
    let paths = paths.into_iter().map(|(path, time)| (path.to_owned(), ms(time))).collect();
    let timeouts = routing::Timeouts { paths, default: Some(ms(3000)), ..Default::default() };
    let conduct = compiled(ServicePolicy { timeouts: Some(timeouts), ..Default::default() });
    for (target, expected) in [
        ("/order/create", 500),
        ("/order/create?a=/order/list/1", 500),
        ("/order/create/", 2000),
        ("/order/", 2000),
        ("/order", 9000),
        ("/order/list/1/2", 100),
        ("/order/listing", 2000),
        ("/", 9000),
        ("*", 3000),
        ("", 3000),
    ] {
        let time = conduct.request_timeout(target);
        assert_eq!(time, Some(Duration::from_millis(expected)), "{target}");
    }
}

#[test]
fn what_is_not_said_is_the_default() {
    let conduct = compiled(ServicePolicy::default());
    assert_eq!(conduct.request_timeout("/"), None);
    assert_eq!(conduct.idle_timeout, None);
    assert_eq!(conduct.connect_timeout, Duration::from_secs(1));
    assert_eq!(conduct.retry, Retry::default());
    assert_eq!(conduct.outliers, Some(Outliers::default()));
    assert_eq!(conduct.warmup, None);
    assert_eq!(conduct.closes_streams_after, None);
    assert_eq!(conduct.limits, Limits::default());
}

#[test]
fn what_is_said_counts() {
    let policy = ServicePolicy {
        retry: Some(routing::Retry {
            max_retries: Some(3),
            budget: Some(routing::Percent { basis_points: 100 }),
            per_try_timeout: Some(ms(250)),
            causes: vec![routing::RetryCause::GatewayError.into()],
        }),
        outlier_detection: Some(routing::OutlierDetection { consecutive_failures: Some(0), ..Default::default() }),
        warmup: Some(routing::Warmup { window: Some(ms(120_000)), curve: routing::WarmupCurve::Quadratic.into() }),
        drain: Some(routing::Drain { grace: Some(ms(1_500)), close_streams: true }),
        limits: Some(routing::EndpointLimits { max_connections: 1, max_requests: 2, max_queued: 3 }),
        ..Default::default()
    };
    let conduct = compiled(policy);
    let retry = Retry {
        retries_max: 3,
        budget_basis_points: 100,
        per_try_timeout: Some(Duration::from_millis(250)),
        on_connect: false,
        on_unprocessed: false,
        on_gateway_error: true,
    };
    assert_eq!(conduct.retry, retry);
    assert_eq!(conduct.outliers, None, "0 failures: off");
    assert_eq!(conduct.warmup, Some(Warmup { window: Duration::from_secs(120), is_quadratic: true }));
    assert_eq!(conduct.closes_streams_after, Some(Duration::from_millis(1_500)));
    assert_eq!(conduct.limits, Limits { connections_max: 1, requests_max: 2, queued_max: 3 });
}

#[test]
fn streams_are_ended_only_where_the_policy_says_so_and_after_its_grace() {
    for (grace, close_streams, expected) in [
        (None, true, Some(30_000)),
        (Some(0), true, Some(0)),
        (Some(3_600_000), true, Some(3_600_000)),
        (Some(1), false, None),
        (None, false, None),
    ] {
        let drain = routing::Drain { grace: grace.map(ms), close_streams };
        let conduct = compiled(ServicePolicy { drain: Some(drain), ..Default::default() });
        assert_eq!(conduct.closes_streams_after, expected.map(Duration::from_millis), "{grace:?} {close_streams}");
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let paths = [("order", 1), ("/a*", 1), ("/a/*/b", 1), ("/a?b", 1), ("/ok", 0)];
    let policy = ServicePolicy {
        timeouts: Some(routing::Timeouts {
            default: Some(ms(0)),
            idle: Some(ms(25 * 3_600_000)),
            paths: paths.into_iter().map(|(path, time)| (path.to_owned(), ms(time))).collect(),
            ..Default::default()
        }),
        retry: Some(routing::Retry {
            max_retries: Some(6),
            budget: Some(routing::Percent { basis_points: 10_001 }),
            causes: vec![9],
            ..Default::default()
        }),
        outlier_detection: Some(routing::OutlierDetection { base_ejection: Some(ms(999)), ..Default::default() }),
        warmup: Some(routing::Warmup { window: None, curve: 1 }),
        drain: Some(routing::Drain { grace: Some(ms(3_600_001)), close_streams: false }),
        ..Default::default()
    };
    let mut refusals = Vec::new();
    Conduct::compile(&policy, &mut refusals);
    let mut fields: Vec<_> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
    fields.sort_unstable();
    let expected = [
        "drain.grace",
        "outlier_detection.base_ejection",
        "retry.budget",
        "retry.causes[0]",
        "retry.max_retries",
        "timeouts.default",
        "timeouts.idle",
        "timeouts.paths[\"/a*\"]",
        "timeouts.paths[\"/a/*/b\"]",
        "timeouts.paths[\"/a?b\"]",
        "timeouts.paths[\"/ok\"]",
        "timeouts.paths[\"order\"]",
        "warmup.window",
    ];
    assert_eq!(fields, expected);
}
