//! Streams of what happens: objects, sidecars, rollouts.

use std::time::Duration;

use laneway_proto::admin::watch_event::{Kind, Resource};
use laneway_proto::admin::{
    DeleteLaneRequest, DisableLaneRequest, EnableLaneRequest, Lane, UpdateLaneRequest, WatchEvent, WatchRequest,
};
use laneway_proto::contract::{TYPE_LANE, TYPE_LANE_GROUP};
use laneway_proto::discovery::{ResourceError, ResourceErrors};
use laneway_proto::routing::{Condition, Entry, EntryRule, condition};
use laneway_proto::rpc;
use laneway_proto::status::{
    ConfigState, GetRolloutRequest, Rollout, WatchProxiesRequest, WatchProxiesResponse, WatchRolloutRequest,
};
use laneway_proto::xds::DeltaDiscoveryRequest;
use prost::Message;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use super::program::{Control, SHOP};
use super::sidecar::Sidecar;

const GROUP: &str = "namespaces/default/laneGroups/shop";
const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const OTHER: &str = "kind: Lane\nname: blue\nnamespace: other\n";
/// Longest wait for what is due.
const WAIT: Duration = Duration::from_secs(30);

async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    tokio::time::timeout(WAIT, stream.message()).await.expect("an answer comes in time")
}

async fn watch(control: &Control, parent: &str, resume_revision: i64) -> Streaming<WatchEvent> {
    let request = WatchRequest { parent: parent.to_owned(), resume_revision };
    control.admin().await.watch(request).await.expect("it is watched").into_inner()
}

fn name(event: &WatchEvent) -> &str {
    match &event.resource {
        Some(Resource::LaneGroup(group)) => &group.name,
        Some(Resource::Lane(lane)) => &lane.name,
        Some(Resource::ServicePolicy(policy)) => &policy.name,
        None => "",
    }
}

/// So many events: kind, name, where to resume.
async fn events(stream: &mut Streaming<WatchEvent>, count: usize) -> Vec<(Kind, String, i64)> {
    let mut found = Vec::new();
    while found.len() < count {
        let event = next(stream).await.expect("it goes on").expect("it goes on");
        found.push((event.kind(), name(&event).to_owned(), event.revision));
    }
    found
}

fn told(events: &[(Kind, String, i64)]) -> Vec<(Kind, &str, i64)> {
    events.iter().map(|(kind, name, revision)| (*kind, name.as_str(), *revision)).collect()
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_every_change() {
    let mut control = Control::start();
    control.apply(SHOP);
    let mut all = watch(&control, "", 0).await;
    let mut own = watch(&control, GROUP, 0).await;
    for stream in [&mut all, &mut own] {
        let found = events(stream, 3).await;
        let expected = [(Kind::Snapshot, GROUP, 0), (Kind::Snapshot, GRAY, 0), (Kind::Synced, "", 1)];
        assert_eq!(told(&found), expected);
    }

    let blue = "namespaces/other/laneGroups/default/lanes/blue";
    control.apply(&format!("{SHOP}priority: 7\n---\n{OTHER}"));
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    let found = events(&mut all, 3).await;
    // Whoever is cut off within revision 2 is told of it again.
    let expected = [(Kind::Changed, GRAY, 1), (Kind::Changed, blue, 2), (Kind::Deleted, GRAY, 3)];
    assert_eq!(told(&found), expected);
    let found = events(&mut own, 2).await;
    assert_eq!(told(&found), [(Kind::Changed, GRAY, 2), (Kind::Deleted, GRAY, 3)]);

    // Resumed, also by the next process: each object that was touched, as it is now.
    control.kill();
    control.restart();
    let found = events(&mut watch(&control, "", 1).await, 3).await;
    assert_eq!(told(&found), [(Kind::Deleted, GRAY, 1), (Kind::Changed, blue, 1), (Kind::Synced, "", 3)]);
    let mut current = watch(&control, "", 3).await;
    assert_eq!(told(&events(&mut current, 1).await), [(Kind::Synced, "", 3)]);
    control.apply(&format!("{SHOP}priority: 7\n"));
    assert_eq!(told(&events(&mut current, 1).await), [(Kind::Changed, GRAY, 4)]);

    // The drain ends it with a word.
    let (status, _) = control.terminate().await;
    assert_eq!(status, Some(0), "{}", control.log());
    let end = next(&mut current).await.expect_err("it ends");
    assert_eq!(end.code(), Code::Unavailable, "{end}");
    assert!(!control.log().contains("WARN") || !control.log().contains("cut what"), "{}", control.log());
}

#[tokio::test]
async fn a_watch_that_cannot_be_resumed_says_so() {
    let mut control = Control::start();
    control.apply(SHOP);
    control.apply(&format!("{SHOP}priority: 7\n"));
    control.apply(&format!("{SHOP}priority: 8\n"));
    control.kill();
    rusqlite::Connection::open(control.path("control.db"))
        .and_then(|database| database.execute_batch("DELETE FROM revisions WHERE revision <= 2"))
        .expect("nobody holds the database");
    control.restart();
    let mut admin = control.admin().await;
    for (parent, revision, code) in [
        ("", 1, Code::OutOfRange),
        ("", 9, Code::OutOfRange),
        ("", -1, Code::InvalidArgument),
        ("shop", 0, Code::InvalidArgument),
        (GRAY, 0, Code::InvalidArgument),
    ] {
        let request = WatchRequest { parent: parent.to_owned(), resume_revision: revision };
        let refusal = admin.watch(request).await.expect_err("it is refused");
        assert_eq!(refusal.code(), code, "{parent} {revision}: {refusal}");
    }
    assert_eq!(
        told(&events(&mut watch(&control, "", 2).await, 2).await),
        [(Kind::Changed, GRAY, 2), (Kind::Synced, "", 3)]
    );
}

async fn proxy(stream: &mut Streaming<WatchProxiesResponse>, is_it: impl Fn(ConfigState) -> bool) -> String {
    loop {
        let proxy = next(stream).await.expect("it goes on").expect("it goes on").proxy.expect("a proxy");
        if is_it(proxy.state()) {
            return proxy.name;
        }
    }
}

#[tokio::test]
async fn sidecars_are_told_of_as_they_come_and_go() {
    let control = Control::start();
    control.apply(SHOP);
    let first = Sidecar::connect(&control.discovery, "a-1", "a", "", &[TYPE_LANE]).await.obey();
    let request = WatchProxiesRequest { filter: "node.service = a".to_owned() };
    let mut status = control.status().await;
    let mut proxies = status.watch_proxies(request).await.expect("it is watched").into_inner();
    assert_eq!(proxy(&mut proxies, |state| state == ConfigState::Synced).await, "proxies/a-1");
    let _other = Sidecar::connect(&control.discovery, "b-1", "b", "", &[TYPE_LANE]).await.obey();
    let second = Sidecar::connect(&control.discovery, "a-2", "a", "", &[TYPE_LANE]).await.obey();
    assert_eq!(proxy(&mut proxies, |state| state == ConfigState::Synced).await, "proxies/a-2");
    first.abort();
    assert_eq!(proxy(&mut proxies, |state| state == ConfigState::Disconnected).await, "proxies/a-1");
    drop(second);
    let bad = WatchProxiesRequest { filter: "colour = red".to_owned() };
    assert_eq!(status.watch_proxies(bad).await.expect_err("it is refused").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_rollout_is_told_of_until_it_is_done() {
    let control = Control::start();
    control.apply(SHOP);
    let mut slow = Sidecar::connect(&control.discovery, "a-1", "a", "", &[TYPE_LANE_GROUP, TYPE_LANE]).await;
    let mut bad = Sidecar::connect(&control.discovery, "a-2", "a", "", &[TYPE_LANE_GROUP, TYPE_LANE]).await;
    slow.take_each(2).await;
    bad.take_each(2).await;
    let mut status = control.status().await;
    let mut follow = async |version: &str| {
        let request = WatchRolloutRequest { name: GRAY.to_owned(), version: version.to_owned() };
        status.watch_rollout(request).await.map(tonic::Response::into_inner)
    };
    let done = |rollout: &Rollout| (rollout.target_count, rollout.acked_count, rollout.nacked_count, rollout.done);

    // Nothing to wait for: one word, and the end.
    let mut settled = follow("").await.expect("it is followed");
    let mut last = next(&mut settled).await.expect("it answers").expect("it answers");
    while let Some(rollout) = next(&mut settled).await.expect("it ends well") {
        last = rollout;
    }
    assert_eq!(done(&last), (2, 2, 0, true));
    let before = last.version;

    let mut admin = control.admin().await;
    admin.disable_lane(DisableLaneRequest { name: GRAY.to_owned(), ..Default::default() }).await.expect("off");
    let mut rollout = follow("").await.expect("it is followed");
    let first = next(&mut rollout).await.expect("it answers").expect("it answers");
    assert_eq!((first.target_count, first.pending_count, first.done), (2, 2, false));
    assert!(first.version != before && first.elapsed.is_some(), "{first:?}");

    let (pushed, refused) = (slow.next().await.expect("pushed"), bad.next().await.expect("pushed"));
    slow.ack(&pushed).await;
    bad.send(nack(&refused.type_url, &refused.nonce)).await;
    let last = loop {
        let rollout = next(&mut rollout).await.expect("it goes on").expect("it ends when it is done");
        if rollout.done {
            break rollout;
        }
    };
    assert!(next(&mut rollout).await.expect("it ends well").is_none());
    assert_eq!(done(&last), (2, 1, 1, true));
    assert_eq!(last.nacked_proxies, ["proxies/a-2"]);
    let refusal = &last.refusals[0];
    assert_eq!((refusal.proxy.as_str(), refusal.errors[0].field.as_str()), ("proxies/a-2", "entry.rules[0]"));

    // An earlier version: who has it, or one that came after it.
    let earlier = GetRolloutRequest { name: GRAY.to_owned(), version: before.clone(), ..Default::default() };
    let found = status.get_rollout(earlier).await.expect("counted").into_inner();
    assert_eq!((found.version.as_str(), found.acked_count), (before.as_str(), 1));
    for (name, version) in [("gray", ""), (GRAY, "7")] {
        let request = WatchRolloutRequest { name: name.to_owned(), version: version.to_owned() };
        assert_eq!(status.watch_rollout(request).await.expect_err("it is refused").code(), Code::InvalidArgument);
    }

    // One that is deleted is followed to its end, too.
    let _obeying = [slow.obey(), bad.obey()];
    let enabled = admin.enable_lane(EnableLaneRequest { name: GRAY.to_owned(), ..Default::default() }).await;
    enabled.expect("on");
    let delete = DeleteLaneRequest { name: GRAY.to_owned(), force: true, ..Default::default() };
    admin.delete_lane(delete).await.expect("deleted");
    let request = WatchRolloutRequest { name: GRAY.to_owned(), version: String::new() };
    let mut gone = status.watch_rollout(request).await.expect("it is followed").into_inner();
    let mut last = None;
    while let Some(rollout) = next(&mut gone).await.expect("it ends well") {
        last = Some(rollout);
    }
    assert!(last.is_some_and(|rollout| rollout.done && rollout.version.is_empty()));
}

fn nack(type_url: &str, nonce: &str) -> DeltaDiscoveryRequest {
    let error = ResourceError {
        name: GRAY.to_owned(),
        field: "entry.rules[0]".to_owned(),
        reason: "INVALID_CONDITION".to_owned(),
        message: "no".to_owned(),
        ..ResourceError::default()
    };
    let errors = ResourceErrors { errors: vec![error] };
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/laneway.discovery.v1.ResourceErrors".to_owned(),
        value: errors.encode_to_vec(),
    };
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        response_nonce: nonce.to_owned(),
        error_detail: Some(rpc::Status { code: 3, message: "refused".to_owned(), details: vec![detail] }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// 40 MB.
const COMMITS: usize = 200;

/// A client that stops reading is let go, and told where to go on; the others are not held up.
#[tokio::test]
async fn a_watcher_that_does_not_read_is_let_go() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let mut slow = watch(&control, "", 0).await;
    // Larger than all that is held between server and client together, and than what is held of commits.
    let users: Vec<String> = (0..2_000).map(|user| format!("{user:0>100}")).collect();
    let lane = |number: usize| {
        let condition = Condition {
            source: Some(condition::Source::Header("x-user-id".to_owned())),
            r#in: users.clone(),
            ..Condition::default()
        };
        let rule = EntryRule { r#match: Some(condition), name: format!("r{number}"), ..EntryRule::default() };
        let entry = Entry { services: vec!["a".to_owned()], rules: vec![rule], ..Entry::default() };
        let lane = Lane { name: GRAY.to_owned(), entry: Some(entry), ..Lane::default() };
        UpdateLaneRequest { lane: Some(lane), ..UpdateLaneRequest::default() }
    };
    let mut quick = watch(&control, "", 0).await;
    events(&mut quick, 3).await;
    let reading = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(Some(event)) = next(&mut quick).await {
            count += usize::from(event.kind() == Kind::Changed);
            if count == COMMITS {
                break;
            }
        }
        count
    });
    for number in 0..COMMITS {
        admin.update_lane(lane(number)).await.expect("updated");
    }
    assert_eq!(reading.await.expect("no panic"), COMMITS);
    let end = loop {
        match next(&mut slow).await {
            Ok(event) => assert!(event.is_some(), "it ends with a word"),
            Err(end) => break end,
        }
    };
    let reason = end.get_details_error_info().expect("a reason").reason;
    assert_eq!((end.code(), reason.as_str()), (Code::Aborted, "TOO_SLOW"), "{end}");
    assert!(end.message().contains("resume"), "{end}");
}
