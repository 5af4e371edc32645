//! What can be asked, and refusals.

use super::answer;
use crate::admin::tests::snapshot;

#[test]
fn a_destination_is_a_service_a_host_or_an_address() {
    let snapshot = snapshot();
    let why = |query: &str| answer(&snapshot, query).expect(query)["why"].clone();
    for to in ["b", "namespaces/default/services/b", "sc-b.example", "SC-B.example:80", "10.96.0.2:80"] {
        assert_eq!(why(&format!("to={to}")), "WHY_BASELINE", "{to}");
    }
    assert_eq!(why("to=b&port=http"), "WHY_BASELINE");
    assert_eq!(why("to=nobody"), "WHY_PASSTHROUGH");
    assert_eq!(why("to=10.9.9.9:80"), "WHY_PASSTHROUGH");
}

#[test]
fn a_bad_question_says_what_is_wrong() {
    let snapshot = snapshot();
    for (query, words) in [
        ("direction=up", "inbound or outbound"),
        ("direction=outbound", "needs `to`"),
        ("direction=inbound&to=b", "`to` goes with outbound"),
        ("to=b&from=10.1.1.1", "`from` goes with inbound"),
        ("to=b&to=c", "to stands twice"),
        ("to=b&path=/x&path=/y", "path stands twice"),
        ("to=b&path=x", "begins with `/`"),
        ("to=b&header=x", "has no `:`"),
        ("to=b&header=x%20y:1", "is no header name"),
        ("to=b&port=grpc", "has no port"),
        ("port=x", "is no number"),
        ("from=x", "is no address"),
    ] {
        let wrong = answer(&snapshot, query).expect_err(query);
        assert!(wrong.contains(words), "{query}: {wrong}");
    }
}
