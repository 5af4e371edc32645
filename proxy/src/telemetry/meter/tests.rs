//! Whatever clients say, what is kept is bounded, nothing is lost, and each count lands where it belongs.

use std::collections::BTreeMap;

use laneway_core::compile::{compile, sort};
use laneway_core::decode::{Resources, decode};
use laneway_core::document;
use laneway_core::in_flight::InLane;
use laneway_core::snapshot::Identity;
use laneway_core::why::{TagSource, Why};
use proptest::prelude::*;

use super::super::{Config, Outcome, Spoken, Telemetry};
use super::*;

fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("a tag")
}

/// Services `s0`, `s1`, ... with instances of baseline and of each of `tags`.
fn snapshot(services: usize, tags: &[&str], revision: u64) -> Snapshot {
    let mut documents = Vec::new();
    for service in 0..services {
        let tagged = std::iter::once("").chain(tags.iter().copied()).enumerate().map(|(index, tag)| {
            format!("{{address: '10.{service}.{}.{}:80', tag: '{tag}'}}", index / 250, index % 250 + 1)
        });
        let endpoints = tagged.collect::<Vec<_>>().join(", ");
        documents.push(format!("kind: Service\nname: s{service}\nports: [{{port: 80}}]\nendpoints: [{endpoints}]\n"));
    }
    let documents = document::read(&documents.join("---\n")).expect("good documents");
    let (objects, catalog, _) = sort(documents).expect("different names");
    let identity = Identity { namespace: "default".into(), service: "a".into(), tag: None };
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(&identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(&identity, revision)
}

fn answered(code: u16) -> Outcome {
    Outcome { spoken: Spoken::Http1, code, why: Why::Hit, source: TagSource::Carried }
}

fn call(meter: &Meter, snapshot: &Snapshot, service: usize, endpoint: Option<&str>, lane: Option<&str>, code: u16) {
    let service = snapshot.service(&format!("namespaces/default/services/s{service}")).expect("it is there");
    let party = Party::Callee(service, endpoint.map(tag));
    let lane = lane.map_or(RequestTag::None, |lane| RequestTag::Lane(tag(lane)));
    let flow = meter.flow(snapshot, Direction::Outbound, party, lane).expect("it counts");
    flow.request(answered(code), 1500, 10, 100);
}

fn telemetry(series_max: u32) -> (Telemetry, Meter) {
    let telemetry = Telemetry::new(1, Config { series_max, ..Config::FOR_TESTS });
    let meter = Meter::new(telemetry.worker(0));
    (telemetry, meter)
}

/// Samples of one metric, by their labels.
fn samples(page: &str, name: &str) -> BTreeMap<String, u64> {
    let lines = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' '));
    lines.map(|(labels, value)| (labels.to_owned(), value.parse().expect("a whole number"))).collect()
}

#[test]
fn a_request_is_shown_with_both_ends_its_lane_and_what_became_of_it() {
    let (telemetry, meter) = telemetry(5000);
    let snapshot = snapshot(2, &["gray"], 1);
    for _ in 0..3 {
        call(&meter, &snapshot, 0, Some("gray"), Some("gray"), 200);
    }
    call(&meter, &snapshot, 1, None, None, 503);
    let page = telemetry.render(&snapshot).into_text();
    let requests = samples(&page, "laneway_requests_total");
    let rest = "protocol=\"http1\",code=\"200\",why=\"hit\",source=\"carried\"}";
    let gray = format!(
        "direction=\"outbound\",service=\"a\",tag=\"baseline\",peer_service=\"s0\",peer_tag=\"gray\",group=\"default\",lane=\"gray\",{rest}"
    );
    assert_eq!(requests.get(&gray), Some(&3), "{page}");
    assert_eq!(requests.len(), 2, "{page}");
    assert!(requests.keys().any(|labels| labels.contains("lane=\"baseline\"") && labels.contains("code=\"503\"")));
    let buckets = samples(&page, "laneway_request_duration_seconds_bucket");
    let bucket = |bound: &str| {
        buckets[&format!("direction=\"outbound\",service=\"a\",lane=\"gray\",peer_service=\"s0\",le=\"{bound}\"}}")]
    };
    assert_eq!((bucket("0.001"), bucket("0.0025"), bucket("+Inf")), (0, 3, 3));
    let few = "direction=\"outbound\",service=\"a\",lane=\"gray\",peer_service=\"s0\"}";
    assert_eq!(samples(&page, "laneway_request_bytes_total").get(few), Some(&30));
    assert_eq!(samples(&page, "laneway_response_bytes_total").get(few), Some(&300));
    assert_eq!(
        samples(&page, "laneway_tag_source_total"),
        [("direction=\"outbound\",source=\"carried\"}".to_owned(), 4)].into()
    );
}

#[test]
fn ten_thousand_tags_that_clients_made_up_are_one_lane() {
    let (telemetry, meter) = telemetry(5000);
    let snapshot = snapshot(1, &["gray"], 1);
    for number in 0..10_000 {
        call(&meter, &snapshot, 0, None, Some(&format!("made-up-{number}")), 200);
    }
    call(&meter, &snapshot, 0, Some("gray"), Some("gray"), 200);
    let page = telemetry.render(&snapshot).into_text();
    let requests = samples(&page, "laneway_requests_total");
    assert_eq!(requests.len(), 2, "{page}");
    let (_, others) = requests.iter().find(|(labels, _)| labels.contains("lane=\"other\"")).expect("one of them");
    assert_eq!(*others, 10_000);
    assert!(!page.contains("made-up"));
    assert!(page.contains("laneway_series_dropped_total 0\n"), "nothing was wanting: {page}");
}

#[test]
fn more_lanes_than_have_labels_are_other() {
    let (telemetry, meter) = telemetry(100_000);
    let tags: Vec<String> = (0..LANES_MAX + 50).map(|number| format!("lane-{number}")).collect();
    let snapshot = snapshot(1, &tags.iter().map(String::as_str).collect::<Vec<_>>(), 1);
    for tag in &tags {
        call(&meter, &snapshot, 0, Some(tag), Some(tag), 200);
    }
    let lanes: HashSet<TagLabel> = telemetry.totals().keys().map(|labels| labels.lane).collect();
    assert_eq!(lanes.len(), LANES_MAX + 1);
    assert!(lanes.contains(&TagLabel::Other));
}

#[test]
fn a_flow_that_rests_is_forgotten_and_comes_back_from_nothing() {
    let (telemetry, meter) = telemetry(100);
    let snapshot = snapshot(5, &[], 1);
    for service in 0..5 {
        call(&meter, &snapshot, service, None, None, 200);
    }
    let shown = |labels: &str| telemetry.render(&snapshot).into_text().contains(labels);
    assert!(shown("peer_service=\"s0\"") && !shown("peer_service=\"s4\""), "three flows fill the budget");
    assert!(shown("peer_service=\"other\""));
    let held = meter
        .flow(
            &snapshot,
            Direction::Outbound,
            Party::Callee(snapshot.services().first().expect("s0"), None),
            RequestTag::None,
        )
        .expect("it counts");
    meter.sweep(1);
    meter.sweep(IDLE_SECONDS);
    assert!(shown("peer_service=\"s1\""), "not yet");
    meter.sweep(IDLE_SECONDS + 1);
    assert!(!shown("peer_service=\"s1\"") && !shown("peer_service=\"other\""));
    assert!(shown("peer_service=\"s0\""), "a request of it is under way");
    drop(held);
    meter.sweep(2 * IDLE_SECONDS + 1);
    assert!(!shown("peer_service=\"s0\""));
    call(&meter, &snapshot, 4, None, None, 200);
    assert!(shown("peer_service=\"s4\""), "its place is free again");
}

#[test]
fn a_new_snapshot_finds_the_flows_of_the_old_one() {
    let (telemetry, meter) = telemetry(5000);
    for revision in 1..=3 {
        let snapshot = snapshot(1, &["gray"], revision);
        call(&meter, &snapshot, 0, Some("gray"), Some("gray"), 200);
    }
    assert_eq!(telemetry.totals().values().map(|total| total.latencies.count()).collect::<Vec<_>>(), [3]);
}

#[test]
fn escapes_are_counted_by_the_lane_that_was_lost() {
    let (telemetry, meter) = telemetry(5000);
    let snapshot = snapshot(1, &["gray"], 1);
    let party = Party::Callee(snapshot.services().first().expect("s0"), None);
    let flow = meter.flow(&snapshot, Direction::Outbound, party, RequestTag::None).expect("it counts");
    flow.escaped(InLane::None);
    flow.escaped(InLane::One(tag("gray")));
    flow.escaped(InLane::One(tag("gray")));
    flow.escaped(InLane::Several);
    for number in 0..100 {
        flow.escaped(InLane::One(tag(&format!("lane-{number}"))));
    }
    let escapes = samples(&telemetry.render(&snapshot).into_text(), "laneway_escapes_total");
    assert_eq!(escapes.get("lane=\"gray\"}"), Some(&2), "{escapes:?}");
    assert_eq!(escapes.values().sum::<u64>(), 103, "none is lost: {escapes:?}");
    assert!(escapes.len() <= 17, "{escapes:?}");
}

#[test]
fn nothing_is_counted_by_lane_where_that_is_off() {
    let telemetry = Telemetry::new(1, Config { by_lane: false, ..Config::FOR_TESTS });
    let meter = Meter::new(telemetry.worker(0));
    assert!(meter.flow(&snapshot(0, &[], 1), Direction::Inbound, Party::Unknown, RequestTag::None).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle: a plain map by what the labels say, for everything that has room; and the sum for all.
    #[test]
    fn no_request_is_lost_and_no_bound_is_passed(
        calls in prop::collection::vec((0_usize..6, 0_usize..4, 0_usize..8, 200_u16..230), 1..400),
        series_max in 100_u32..2000,
    ) {
        let (telemetry, meter) = telemetry(series_max);
        let tags = ["gray", "blue", "feature-1", "feature-2"];
        let snapshot = snapshot(6, &tags, 1);
        let made_up = ["x1", "x2", "x3", "x4"];
        let mut expected: BTreeMap<(String, String, u16), u64> = BTreeMap::new();
        for (service, endpoint, lane, code) in &calls {
            let lane = tags.iter().chain(&made_up).nth(*lane).expect("eight of them");
            call(&meter, &snapshot, *service, Some(tags[*endpoint]), Some(lane), *code);
            let shown = if made_up.contains(lane) { OTHER } else { lane };
            *expected.entry((format!("s{service}"), shown.to_owned(), *code)).or_default() += 1;
        }
        let totals = telemetry.totals();
        let counted: u64 = totals.values().map(|total| total.latencies.count()).sum();
        prop_assert_eq!(counted, calls.len() as u64);
        let outcomes: usize = totals.values().map(|total| total.outcomes.len()).sum();
        let own = totals.keys().filter(|labels| *labels.peer_service != *OTHER).count() as u64 * FLOW_SERIES;
        // Each flow has one outcome for what finds no room.
        prop_assert!(own + outcomes as u64 <= u64::from(series_max) + totals.len() as u64);
        let mut seen: BTreeMap<(String, String, u16), u64> = BTreeMap::new();
        for (labels, total) in &totals {
            let service = labels.peer_service.rsplit('/').next().unwrap_or_default().to_owned();
            for (outcome, count) in &total.outcomes {
                *seen.entry((service.clone(), labels.lane.as_str().to_owned(), outcome.code)).or_default() += count;
            }
        }
        let dropped = telemetry.workers[0].budget().dropped();
        if dropped == 0 {
            prop_assert_eq!(seen, expected);
        } else {
            let more = seen.iter().filter(|((service, _, code), _)| service != OTHER && *code != 0);
            for (key, count) in more {
                prop_assert!(expected.get(key).is_some_and(|all| count <= all), "{key:?} {count}");
            }
        }
    }
}
