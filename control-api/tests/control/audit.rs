//! The audit trail: what was done and what was refused, as a user of the API finds it.

use laneway_proto::admin::{
    ApplyBundleRequest, AuditEvent, Bundle, DeleteLaneRequest, DisableLaneRequest, Lane, ListAuditEventsRequest,
};
use tonic::{Code, Request};

use super::program::{Control, SHOP};

const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn events(control: &Control, filter: &str) -> Vec<AuditEvent> {
    let request = ListAuditEventsRequest { filter: filter.to_owned(), ..ListAuditEventsRequest::default() };
    let listed = control.admin().await.list_audit_events(request).await.expect("listed").into_inner();
    assert!(listed.next_page_token.is_empty());
    listed.audit_events
}

fn brief(event: &AuditEvent) -> (&str, &str, i32, i64) {
    let method = event.method.rsplit('/').next().unwrap_or_default();
    (method, &event.resource, event.status_code, event.revision)
}

#[tokio::test]
async fn every_call_that_means_to_change_something_is_recorded() {
    let mut control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let disable = DisableLaneRequest { name: GRAY.to_owned(), reason: "night".to_owned(), ..Default::default() };
    let mut call = Request::new(disable.clone());
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    call.metadata_mut().insert("traceparent", parent.parse().expect("it is ASCII"));
    admin.disable_lane(call).await.expect("off");
    admin.disable_lane(disable.clone()).await.expect("it is off already");
    let stale = DisableLaneRequest { etag: "0".to_owned(), ..disable.clone() };
    admin.disable_lane(stale).await.expect_err("it is stale");
    admin.disable_lane(DisableLaneRequest { name: "gray".to_owned(), ..disable.clone() }).await.expect_err("no name");
    admin.delete_lane(DeleteLaneRequest { name: GRAY.to_owned(), ..Default::default() }).await.expect_err("it runs");
    // A trial is no attempt.
    let trial = DisableLaneRequest { validate_only: true, etag: "0".to_owned(), ..disable };
    admin.disable_lane(trial).await.expect_err("it is stale");

    let aborted = Code::Aborted as i32;
    let (invalid, precondition) = (Code::InvalidArgument as i32, Code::FailedPrecondition as i32);
    let all = events(&control, "").await;
    let found: Vec<_> = all.iter().map(brief).collect();
    assert_eq!(
        found,
        [
            ("DeleteLane", GRAY, precondition, 0),
            ("DisableLane", "gray", invalid, 0),
            ("DisableLane", GRAY, aborted, 0),
            ("DisableLane", GRAY, 0, 0),
            ("DisableLane", GRAY, 0, 2),
            ("ApplyBundle", "", 0, 1),
        ]
    );
    let done = &all[4];
    assert_eq!((done.principal.as_str(), done.reason.as_str(), done.trace_id.as_str()), ("anonymous", "night", TRACE));
    assert!(done.remote_address.starts_with("127.0.0.1:"), "{done:?}");
    assert!(all[2].status_message.contains("has changed"), "{:?}", all[2]);

    let of = async |filter: &str| events(&control, filter).await.len();
    assert_eq!(of("status_code != 0").await, 3);
    assert_eq!(of("statusCode > 5 AND method = */DisableLane").await, 1);
    assert_eq!(of(&format!("resource = {GRAY} AND principal = anonymous")).await, 4);
    assert_eq!(of("event_time < 2020-01-01T00:00:00Z").await, 0);
    let bad = ListAuditEventsRequest { filter: "status_code = bad".to_owned(), ..Default::default() };
    let refusal = admin.list_audit_events(bad).await.expect_err("no number");
    assert!(refusal.message().contains("status_code"), "{refusal}");

    // It is there after a kill: what was committed at once, what was refused since it was read.
    control.kill();
    control.restart();
    assert_eq!(events(&control, "").await, all);
}

#[tokio::test]
async fn the_trail_comes_in_pages_and_json_is_in_it_too() {
    let control = Control::start();
    let mut admin = control.admin().await;
    for number in 0..5 {
        let lane = Lane { name: format!("{GRAY}{number}"), ..Lane::default() };
        let bundle = Bundle { lanes: vec![lane], ..Bundle::default() };
        let request = ApplyBundleRequest { bundle: Some(bundle), reason: number.to_string(), ..Default::default() };
        admin.apply_bundle(request).await.expect_err("there is no group shop");
    }
    let mut request = ListAuditEventsRequest { page_size: 2, ..ListAuditEventsRequest::default() };
    let mut reasons = String::new();
    for expected in [2, 2, 1] {
        let page = admin.list_audit_events(request.clone()).await.expect("listed").into_inner();
        assert_eq!(page.audit_events.len(), expected);
        reasons.extend(page.audit_events.into_iter().map(|event| event.reason));
        request.page_token = page.next_page_token;
    }
    assert_eq!((reasons.as_str(), request.page_token.as_str()), ("43210", ""));

    let refusal = control.http("POST", "/v1/revisions/9:rollback", "");
    assert!(refusal.starts_with("HTTP/1.1 404"), "{refusal}");
    let last = &events(&control, "").await[0];
    assert_eq!(brief(last), ("Rollback", "revisions/9", Code::NotFound as i32, 0));
    assert!(last.remote_address.starts_with("127.0.0.1:"), "{last:?}");
}
