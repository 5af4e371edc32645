//! What is selected, and what is refused of a request.

use super::*;

fn key(destination: &str, tag: &str) -> Key {
    Key {
        view: View::Callers,
        source_service: "namespaces/default/services/a".into(),
        source_tag: "".into(),
        destination_service: destination.into(),
        request_tag: tag.into(),
        endpoint_tag: tag.into(),
        lane_group: "namespaces/default/laneGroups/shop".into(),
    }
}

#[test]
fn all_that_is_given_must_hold() {
    let gray = key("namespaces/prod/services/b", "gray");
    let base = key("namespaces/prod/services/b", "");
    let selects = |selector: StatsSelector| (is_selected(&selector, &gray), is_selected(&selector, &base));
    let none = StatsSelector::default;
    assert_eq!(selects(none()), (true, true));
    assert_eq!(selects(StatsSelector { tags: vec!["gray".into()], ..none() }), (true, false));
    assert_eq!(selects(StatsSelector { tags: vec!["gray".into(), "baseline".into()], ..none() }), (true, true));
    assert_eq!(selects(StatsSelector { tags: vec!["baseline".into()], ..none() }), (false, true));
    assert_eq!(selects(StatsSelector { view: StatsView::Callers.into(), ..none() }), (true, true));
    assert_eq!(selects(StatsSelector { view: StatsView::Servers.into(), ..none() }), (false, false));
    assert_eq!(selects(StatsSelector { namespace: "prod".into(), ..none() }), (true, true));
    assert_eq!(selects(StatsSelector { namespace: "test".into(), ..none() }), (false, false));
    let service = "namespaces/default/services/a".to_owned();
    assert_eq!(selects(StatsSelector { service, ..none() }), (true, true), "as caller");
    let lane_group = "namespaces/default/laneGroups/other".to_owned();
    assert_eq!(selects(StatsSelector { lane_group, ..none() }), (false, false));
}

#[test]
fn what_the_called_counted_is_in_their_namespace_alone() {
    let servers = |service: &str, namespace: &str| {
        let key = Key { view: View::Servers, source_service: "".into(), ..key(service, "gray") };
        let selector =
            StatsSelector { namespace: namespace.into(), view: StatsView::Servers.into(), ..StatsSelector::default() };
        is_selected(&selector, &key)
    };
    assert!(servers("namespaces/prod/services/b", "prod") && servers("namespaces/default/services/b", "default"));
    assert!(!servers("namespaces/prod/services/b", "default"), "nobody is no service of default");
    assert!(!servers("other", "default") && servers("other", ""));
}

#[test]
fn windows_and_steps_outside_of_what_is_kept_are_refused_by_name() {
    let of = |seconds: i64| Some(prost_types::Duration { seconds, nanos: 0 });
    for (step, window, allowed) in
        [(None, 3600, true), (of(1), 300, true), (of(1), 301, false), (of(10), 3600, true), (of(0), 60, false)]
    {
        assert_eq!(step_of(step, window).is_ok(), allowed, "{step:?} of {window}");
    }
    let wrong = seconds("window", of(4000), 60, 1..COARSE_SECONDS + 1).expect_err("more than an hour");
    assert!(wrong.message().contains("window") && wrong.message().contains("3600"), "{}", wrong.message());
}

#[test]
fn a_point_says_what_its_cell_holds() {
    let mut cell = Cell { requests: 10, errors: 1, fallbacks: 2, escapes: 3, ambiguous: 4, ..Cell::default() };
    cell.by_source[TagSource::Carried as usize] = 10;
    cell.latency = [(80, 99), (160, 1)].into();
    let point = point(7, &cell);
    assert_eq!((point.requests, point.errors, point.fallbacks, point.escapes, point.ambiguous), (10, 1, 2, 3, 4));
    assert_eq!(point.by_source, [SourceCount { source: TagSource::Carried.into(), requests: 10 }]);
    assert!(point.p50_ms > 1.0 && point.p50_ms < 1.2 && point.p99_ms < 1.2, "{point:?}");
}
