//! Slices tell everything once, whatever comes between two looks.

use std::time::UNIX_EPOCH;

use laneway_core::snapshot::{Identity, Snapshot};
use laneway_core::tag::RequestTag;
use proptest::prelude::*;

use super::super::{Config, Meter, Party};
use super::*;

fn rig() -> (Telemetry, Meter, Snapshot) {
    let telemetry = Telemetry::new(1, Config::FOR_TESTS);
    let meter = Meter::new(telemetry.worker(0));
    let tag = Tag::parse(b"gray").expect("a tag");
    (telemetry, meter, Snapshot::empty(Identity { namespace: "default".into(), service: "a".into(), tag: Some(tag) }))
}

fn outcome(code: u16, why: Why) -> Outcome {
    Outcome { spoken: Spoken::Http1, code, why, source: TagSource::Carried }
}

fn gray() -> RequestTag {
    RequestTag::Lane(Tag::parse(b"gray").expect("a tag"))
}

#[test]
fn a_second_is_told_by_flow_and_an_empty_one_is_not() {
    let (telemetry, meter, snapshot) = rig();
    let flow = meter.flow(&snapshot, Direction::Outbound, Party::Unknown, gray()).expect("it counts");
    flow.request(outcome(200, Why::Hit), 1000, 1, 2);
    let mut slicer = Slicer::new(telemetry.clone());
    assert!(slicer.slice(UNIX_EPOCH, 10).is_none(), "what came before nobody tells");
    flow.request(outcome(200, Why::Hit), 1000, 10, 20);
    flow.request(outcome(503, Why::FallbackAbsent), 1, 0, 5);
    flow.escaped(laneway_core::in_flight::InLane::Several);
    flow.doubted();
    telemetry.worker(0).rule_matched("lanes/gray", "vip", RuleMode::DryRun);
    let (slice, dropped) = slicer.slice(UNIX_EPOCH, 10).expect("something came");
    assert_eq!(dropped, 0);
    let [row] = slice.stats.as_slice() else { panic!("{slice:?}") };
    assert_eq!((row.requests, row.errors, row.sent_bytes, row.received_bytes), (2, 1, 10, 25));
    assert_eq!((row.request_tag.as_str(), row.direction()), ("gray", lane_stat::Direction::Outbound));
    let whys: Vec<_> = row.by_why.iter().map(|by| (by.why(), by.requests)).collect();
    assert_eq!(whys, [(Why::Hit, 1), (Why::FallbackAbsent, 1)]);
    assert_eq!((row.latency_index.as_slice(), row.latency_count.as_slice()), ([0, 79].as_slice(), [1, 1].as_slice()));
    assert_eq!((row.escapes.get("ambiguous"), row.ambiguous), (Some(&1), 1));
    let [rule] = slice.rule_stats.as_slice() else { panic!("{slice:?}") };
    assert_eq!(
        (rule.resource.as_str(), rule.rule.as_str(), rule.selected, rule.dry_run),
        ("lanes/gray", "vip", 1, true)
    );
    assert!(slicer.slice(UNIX_EPOCH, 10).is_none());
}

#[test]
fn a_flow_that_was_forgotten_is_told_from_nothing_again() {
    let (telemetry, meter, snapshot) = rig();
    let count = |times: usize| {
        let flow = meter.flow(&snapshot, Direction::Inbound, Party::Unknown, RequestTag::None).expect("it counts");
        (0..times).for_each(|_| flow.request(outcome(200, Why::Hit), 1, 0, 0));
    };
    let mut slicer = Slicer::new(telemetry);
    count(5);
    assert_eq!(slicer.slice(UNIX_EPOCH, 10).expect("five").0.stats[0].requests, 5);
    meter.sweep(1);
    meter.sweep(100_000);
    count(3);
    assert_eq!(slicer.slice(UNIX_EPOCH, 10).expect("three").0.stats[0].requests, 3);
}

proptest! {
    #[test]
    fn rows_that_find_no_room_are_added_up(counts in prop::collection::vec(1_u64..100, 1..40), rows_max in 2_usize..20) {
        let rows: Vec<LaneStat> = counts.iter().enumerate().map(|(index, count)| LaneStat {
            direction: 1 + (index % 2) as i32,
            peer_service: format!("s{index}"),
            requests: *count,
            by_why: vec![WhyCount { why: 1, requests: *count }],
            latency_index: vec![index as u32 % 3],
            latency_count: vec![*count],
            ..LaneStat::default()
        }).collect();
        let total: u64 = counts.iter().sum();
        let (folded, dropped) = fold(rows, rows_max);
        prop_assert!(folded.len() <= rows_max || dropped == 0);
        prop_assert_eq!(folded.iter().map(|row| row.requests).sum::<u64>(), total);
        prop_assert_eq!(folded.iter().flat_map(|row| &row.latency_count).sum::<u64>(), total);
        prop_assert_eq!(folded.iter().flat_map(|row| &row.by_why).map(|by| by.requests).sum::<u64>(), total);
        prop_assert!(folded.iter().all(|row| row.latency_index.is_sorted_by(|a, b| a < b)));
    }
}
