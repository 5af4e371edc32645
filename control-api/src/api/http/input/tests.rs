//! Which message a request becomes.

use axum::http::{HeaderMap, HeaderValue, Method};
use laneway_proto::admin::{ListLanesRequest, RollbackRequest, UpdateLaneRequest, WatchRequest};
use laneway_proto::status::QueryLaneStatsRequest;
use prost::Message;
use tonic::Status;
use tonic_types::StatusExt;

use super::super::route::{Found, all, find};
use super::{message, resume};

fn read<M: Message + Default>(http: Method, path: &str, query: &str, body: &str) -> Result<M, Status> {
    let routes = all();
    let Found::Route(route, value) = find(&routes, &http, path) else { panic!("{path} is in the table") };
    let message = message(route, value, query, body.as_bytes())?;
    Ok(message.transcode_to().expect("a message of the contract"))
}

const LANE: &str = "/v1/namespaces/a/laneGroups/b/lanes/c";

#[test]
fn what_the_body_does_not_say_is_in_the_query() {
    let query = "updateMask=priority,entry.minHealthy&validate_only=true&reason=two+words%20%26";
    let update: UpdateLaneRequest =
        read(Method::PATCH, LANE, query, r#"{"priority": 7, "ttl": "90s"}"#).expect("it is good");
    let lane = update.lane.expect("a lane");
    assert_eq!((lane.name.as_str(), lane.priority), ("namespaces/a/laneGroups/b/lanes/c", 7));
    assert_eq!(update.update_mask.expect("a mask").paths, ["priority", "entry.min_healthy"]);
    assert!(update.validate_only && !update.allow_missing);
    assert_eq!(update.reason, "two words &");

    let list: ListLanesRequest =
        read(Method::GET, "/v1/namespaces/-/laneGroups/-/lanes", "pageSize=3&filter=a%3Db", "").expect("it is good");
    assert_eq!((list.parent.as_str(), list.page_size, list.filter.as_str()), ("namespaces/-/laneGroups/-", 3, "a=b"));
    let stats: QueryLaneStatsRequest =
        read(Method::GET, "/v1/stats:query", "selector.tags=a&selector.tags=b&window=60s", "").expect("it is good");
    assert_eq!(stats.selector.expect("a selector").tags, ["a", "b"]);
    assert_eq!(stats.window.expect("a window").seconds, 60);
    let rollback: RollbackRequest =
        read(Method::POST, "/v1/revisions/7:rollback", "", r#"{"withState": true}"#).expect("it is good");
    assert_eq!((rollback.name.as_str(), rollback.with_state), ("revisions/7", true));
    let bare: RollbackRequest = read(Method::POST, "/v1/revisions/7:rollback", "", "").expect("it is good");
    assert_eq!(bare.name, "revisions/7");
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (http, path, query, body, words) in [
        (Method::PATCH, LANE, "", r#"{"colour": 1}"#, &["body", "colour"][..]),
        (Method::PATCH, LANE, "", r#"{"priority": "x"}"#, &["body"]),
        (Method::PATCH, LANE, "", r#"{} {}"#, &["body"]),
        (Method::PATCH, LANE, "", "{\"priority\": 1", &["body"]),
        (Method::PATCH, LANE, "", r#"{"name": "namespaces/x"}"#, &["lane.name", "namespaces/x"]),
        (Method::PATCH, LANE, "priority=7", "", &["priority", "updateMask"]),
        (Method::PATCH, LANE, "lane.priority=7", "{}", &["lane.priority", "body"]),
        (
            Method::PATCH,
            LANE,
            "validateOnly=yes&allowMissing=&reason=%f",
            "{}",
            &["validateOnly", "allowMissing", "reason"],
        ),
        (Method::GET, "/v1/revisions", "view=FULL", "", &["view", "REVISION_VIEW_FULL"]),
        (Method::GET, "/v1/revisions", "pageSize=1&pageSize=2", "", &["pageSize", "twice"]),
        (Method::GET, "/v1/revisions", "", "{}", &["body", "query"]),
        (
            Method::GET,
            "/v1/stats:query",
            "selector=x&selector.colour=red&window=soon",
            "",
            &["selector", "colour", "window"],
        ),
        (Method::GET, "/v1/server", "x=1", "", &["x", "none"]),
        (Method::POST, "/v1/revisions/7:rollback", "reason=x", "{}", &["reason", "body"]),
    ] {
        let refusal = read::<RollbackRequest>(http, path, query, body).expect_err("it is refused");
        let found = refusal.get_details_bad_request().expect("fields are named").field_violations;
        let text = format!("{found:?}");
        assert!(words.iter().all(|word| text.contains(word)), "{path}?{query} {body}: {text}");
    }
}

#[test]
fn a_stream_goes_on_where_it_was_cut_off() {
    let routes = all();
    for (query, id, expected) in [("", "7", 7), ("resumeRevision=5", "7", 5), ("", "x", 0), ("", "-1", 0)] {
        let Found::Route(route, value) = find(&routes, &Method::GET, "/v1/watch") else { panic!("it is in the table") };
        let mut message = message(route, value, query, b"").expect("it is good");
        let mut headers = HeaderMap::new();
        headers.insert("last-event-id", HeaderValue::from_static(id));
        resume(&mut message, &headers);
        let request: WatchRequest = message.transcode_to().expect("a watch");
        assert_eq!(request.resume_revision, expected, "{query} {id}");
    }
}
