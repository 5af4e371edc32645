//! Which view a service is shown in.

use laneway_proto::status::LanePoint;

use super::*;

fn series(from: &str, service: &str, tag: &str, requests: u64) -> LaneSeries {
    LaneSeries {
        source_service: from.to_owned(),
        destination_service: service.to_owned(),
        request_tag: tag.to_owned(),
        points: vec![LanePoint { requests, ..LanePoint::default() }],
        ..LaneSeries::default()
    }
}

#[test]
fn each_service_is_shown_as_those_saw_it_who_saw_more_of_the_lane_and_never_twice() {
    let callers = vec![
        series("a", "b", "gray", 10),
        series("a", "b", "", 90),
        // Most of its callers have no sidecar.
        series("b", "c", "gray", 1),
        series("b", "c", "", 900),
    ];
    let servers = vec![
        series("", "a", "gray", 10),
        series("", "a", "", 90),
        series("", "b", "gray", 10),
        series("", "b", "", 90),
        series("", "c", "gray", 30),
        series("", "c", "", 90),
    ];
    let services = by_service(&fuller(callers, servers, "gray"), "gray");
    let requests: Vec<(&str, [u64; 2])> =
        services.iter().map(|(service, sums)| (service.as_str(), sums.map(|side| side.requests))).collect();
    assert_eq!(requests, [("a", [90, 10]), ("b", [90, 10]), ("c", [90, 30])]);
}
