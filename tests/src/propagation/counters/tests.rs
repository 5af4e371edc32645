//! Reading a page of metrics.

use super::Counters;

const PAGE: &str = r#"# TYPE laneway_requests_total counter
laneway_requests_total{direction="inbound",why="lane",source="carried"} 9
laneway_requests_total{direction="outbound",why="lane",source="carried"} 3
laneway_requests_total{direction="outbound",why="fallback",source="carried"} 4
laneway_requests_total{direction="outbound",why="baseline",source="none"} 5
laneway_ambiguous_total{kind="conflict"} 0
laneway_ambiguous_total{kind="ambiguous"} 2
laneway_connections_opened_total{direction="inbound"} 7
laneway_connections_opened_total{direction="outbound"} 6
"#;

fn read(page: &str) -> Counters {
    let mut counters = Counters::default();
    counters.add_page(page).expect("the page is metrics");
    counters
}

#[test]
fn outbound_requests_are_summed_by_source() {
    let counters = read(PAGE);
    assert_eq!(counters.sources, [("carried".to_owned(), 7), ("none".to_owned(), 5)].into());
    assert_eq!((counters.ambiguous, counters.connections), (2, 6));
}

#[test]
fn a_difference_names_only_what_moved() {
    let later = read(&PAGE.replace("\"none\"} 5", "\"none\"} 8"));
    let moved = Counters { sources: [("none".to_owned(), 3)].into(), ..Counters::default() };
    assert_eq!(later.since(&read(PAGE)), moved);
}
