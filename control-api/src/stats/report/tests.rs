//! What a report becomes, and what is refused of one that keeps to no contract.

use laneway_proto::routing::TagSource;
use laneway_proto::telemetry::lane_stat::{SourceCount, WhyCount};

use super::*;

const NOW: u64 = 1_000_000;

fn node() -> Identity {
    Identity { namespace: "default".into(), service: "a".into(), tag: Tag::parse(b"gray").ok() }
}

fn stat() -> LaneStat {
    LaneStat {
        direction: Direction::Outbound.into(),
        peer_service: "namespaces/default/services/b".into(),
        peer_tag: "gray".into(),
        lane_group: "namespaces/default/laneGroups/shop".into(),
        request_tag: "gray".into(),
        requests: 3,
        errors: 1,
        by_source: vec![SourceCount { source: TagSource::Carried.into(), requests: 3 }],
        by_why: vec![
            WhyCount { why: Why::Hit.into(), requests: 1 },
            WhyCount { why: Why::FallbackAbsent.into(), requests: 2 },
        ],
        escapes: [("blue".to_owned(), 4), ("ambiguous".to_owned(), 1)].into(),
        latency_index: vec![10, 80],
        latency_count: vec![1, 2],
        ..LaneStat::default()
    }
}

fn slice(end: u64, stats: Vec<LaneStat>) -> Slice {
    let end_time = Some(prost_types::Timestamp { seconds: end as i64, nanos: 0 });
    Slice { end_time, stats, ..Slice::default() }
}

#[test]
fn what_a_sidecar_saw_is_kept_under_who_it_is_as_caller_and_as_called() {
    let inbound = LaneStat { direction: Direction::Inbound.into(), request_tag: String::new(), ..stat() };
    let unknown = LaneStat { direction: Direction::Unspecified.into(), ..stat() };
    let entries = read(&[slice(NOW, vec![stat(), inbound, unknown])], &node(), NOW).expect("a good report");
    let [Entry { second, key, cell }, Entry { key: own, .. }] = entries.as_slice() else {
        panic!("{} entries", entries.len())
    };
    assert_eq!((*second, key.view, own.view), (NOW - 1, View::Callers, View::Servers));
    assert_eq!((&*own.source_service, &*own.source_tag), ("", ""), "who called is told by who called");
    assert_eq!((&*own.destination_service, &*own.endpoint_tag), ("namespaces/default/services/a", "gray"));
    assert_eq!((&*own.request_tag, &*own.lane_group), ("", "namespaces/default/laneGroups/shop"));
    assert_eq!((&*key.source_service, &*key.source_tag), ("namespaces/default/services/a", "gray"));
    assert_eq!((&*key.destination_service, &*key.request_tag), ("namespaces/default/services/b", "gray"));
    assert_eq!((cell.requests, cell.errors, cell.fallbacks, cell.escapes), (3, 1, 2, 5));
    assert_eq!(cell.by_source[TagSource::Carried as usize], 3);
    assert_eq!(cell.latency, [(10, 1), (80, 2)].into());
}

#[test]
fn a_clock_that_is_off_does_not_move_a_report_in_time() {
    let seconds = |ends: &[u64]| {
        let slices: Vec<Slice> = ends.iter().map(|end| slice(*end, vec![stat()])).collect();
        let entries = read(&slices, &node(), NOW).expect("a good report");
        entries.iter().map(|entry| entry.second).collect::<Vec<_>>()
    };
    assert_eq!(seconds(&[NOW - 9, NOW - 1, NOW]), [NOW - 10, NOW - 2, NOW - 1]);
    assert_eq!(seconds(&[NOW + 4991, NOW + 5000]), [NOW - 10, NOW - 1], "an hour and more ahead");
    assert_eq!(seconds(&[5, 14]), [NOW - 10, NOW - 1], "at the beginning of time");
}

#[test]
fn a_report_that_keeps_to_no_contract_is_refused_by_what_is_wrong() {
    let with = |change: &dyn Fn(&mut LaneStat)| {
        let mut bad = stat();
        change(&mut bad);
        read(&[slice(NOW, vec![bad])], &node(), NOW).err().map(|refused| refused.to_string()).unwrap_or_default()
    };
    assert!(with(&|stat| stat.request_tag = "No Tag".into()).contains("request_tag"));
    assert!(with(&|stat| stat.peer_service = "x".repeat(2000)).contains("peer_service"));
    assert!(with(&|stat| stat.latency_count = vec![1]).contains("latency"));
    assert!(with(&|stat| stat.latency_index = vec![80, 10]).contains("latency"));
    assert!(with(&|stat| stat.latency_index = vec![10, 100_000]).contains("latency"));
    let many = vec![slice(NOW, Vec::new()); SLICES_MAX + 1];
    assert_eq!(read(&many, &node(), NOW).err(), Some(Refused::Slices(SLICES_MAX + 1)));
    let rows = slice(NOW, vec![LaneStat::default(); SERIES_MAX + 1]);
    assert_eq!(read(&[rows], &node(), NOW).err(), Some(Refused::Rows(SERIES_MAX + 1)));
    assert_eq!(read(&[slice(9, vec![]), slice(8, vec![])], &node(), NOW).err(), Some(Refused::Order));
    assert_eq!(read(&[Slice::default()], &node(), NOW).err(), Some(Refused::Order));
}

#[test]
fn counts_beyond_all_measure_stay_counts() {
    let huge = LaneStat {
        escapes: [("a".to_owned(), u64::MAX), ("b".to_owned(), u64::MAX)].into(),
        by_why: vec![WhyCount { why: Why::FallbackAbsent.into(), requests: u64::MAX }; 2],
        by_source: vec![SourceCount { source: 1, requests: u64::MAX }, SourceCount { source: 99, requests: 1 }],
        ..stat()
    };
    let entries = read(&[slice(NOW, vec![huge])], &node(), NOW).expect("a good report");
    assert_eq!((entries[0].cell.escapes, entries[0].cell.fallbacks), (u64::MAX, u64::MAX));
}
