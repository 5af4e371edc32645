//! The rows of the table of known xDS bugs (control-api.md, 1.2) that a server can have, and the order of a push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use laneway_core::compile::WireResource;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{
    DISCOVERY_NAMES_MAX, DISCOVERY_RESPONSE_BYTES, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_SERVICE,
};
use laneway_proto::discovery::{self, ResourceError, ResourceErrors, lane};
use laneway_proto::rpc;
use laneway_proto::status::ConfigState;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proptest::prelude::*;
use prost::Message;

use super::{Heard, Now, Session, Source, View, Violation};

/// What a test says there is: by type and name, the version, the keys that stand for it, and bytes.
#[derive(Clone, Default)]
struct World {
    resources: BTreeMap<(&'static str, String), Known>,
}

/// A resource, and the keys that stand for it.
type Known = (Arc<WireResource>, BTreeSet<String>);

impl World {
    fn put(&mut self, type_url: &'static str, name: &str, version: &str, keys: &[&str]) {
        self.put_body(type_url, name, version, keys, version.as_bytes().to_vec());
    }

    fn put_lane(&mut self, name: &str, version: &str, state: lane::State) {
        let body = discovery::Lane { tag: name.to_owned(), state: state.into(), ..Default::default() };
        self.put_body(TYPE_LANE, name, version, &[], body.encode_to_vec());
    }

    fn put_body(&mut self, type_url: &'static str, name: &str, version: &str, keys: &[&str], body: Vec<u8>) {
        let resource = WireResource { type_url, name: name.to_owned(), version: version.to_owned(), body };
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.resources.insert((type_url, name.to_owned()), (Arc::new(resource), keys));
    }

    fn remove(&mut self, type_url: &'static str, name: &str) {
        self.resources.remove(&(type_url, name.to_owned()));
    }

    fn of<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Known> {
        self.resources.iter().filter(move |((type_url, _), _)| *type_url == wanted).map(|(_, value)| value)
    }
}

impl Source for World {
    fn subscribed(&self, type_url: &str, _node: &Identity) -> Vec<Arc<WireResource>> {
        self.of(type_url).map(|(resource, _)| Arc::clone(resource)).collect()
    }

    fn answer(&self, type_url: &str, key: &str, _node: &Identity) -> Vec<Arc<WireResource>> {
        let all = self.of(type_url).filter(|(resource, keys)| resource.name == key || keys.contains(key));
        all.map(|(resource, _)| Arc::clone(resource)).collect()
    }
}

/// A session and the world it serves.
struct Stream {
    session: Session,
    world: World,
    edition: u64,
    now: Now,
}

impl Stream {
    fn new() -> Stream {
        let now = Now { steady: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        Stream { session: Session::new(Identity::default()), world: World::default(), edition: 1, now }
    }

    fn say(&mut self, request: DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
        self.session.request(request, self.now).expect("the request is good");
        self.poll()
    }

    fn poll(&mut self) -> Vec<DeltaDiscoveryResponse> {
        self.session.poll(View { source: &self.world, edition: self.edition, revision: 7 }, self.now)
    }

    fn change(&mut self, change: impl FnOnce(&mut World)) -> Vec<DeltaDiscoveryResponse> {
        change(&mut self.world);
        self.edition += 1;
        self.poll()
    }

    fn subscribe(&mut self, type_url: &str, names: &[&str]) -> Vec<DeltaDiscoveryResponse> {
        self.say(subscribe(type_url, names))
    }

    fn ack(&mut self, response: &DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryResponse> {
        self.say(answer(response))
    }

    /// Acknowledges until nothing more comes.
    fn settle(&mut self, mut responses: Vec<DeltaDiscoveryResponse>) {
        for _ in 0..100 {
            let Some(response) = responses.pop() else { return };
            responses.extend(self.ack(&response));
        }
        panic!("the session goes on for ever");
    }
}

fn subscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: type_url.to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn unsubscribe(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    let request = subscribe(type_url, names);
    DeltaDiscoveryRequest {
        resource_names_unsubscribe: request.resource_names_subscribe,
        resource_names_subscribe: Vec::new(),
        ..request
    }
}

fn answer(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

fn refuse(response: &DeltaDiscoveryResponse, names: &[&str]) -> DeltaDiscoveryRequest {
    let errors = names.iter().map(|name| ResourceError {
        name: (*name).to_owned(),
        field: "tag".to_owned(),
        message: "is bad".to_owned(),
        ..Default::default()
    });
    let errors = ResourceErrors { errors: errors.collect() };
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/laneway.discovery.v1.ResourceErrors".to_owned(),
        value: errors.encode_to_vec(),
    };
    let status = rpc::Status { code: 3, message: "refused".to_owned(), details: vec![detail] };
    DeltaDiscoveryRequest { error_detail: Some(status), ..answer(response) }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

/// The one response of a push.
fn only(responses: Vec<DeltaDiscoveryResponse>) -> DeltaDiscoveryResponse {
    assert_eq!(responses.len(), 1, "{responses:?}");
    responses.into_iter().next().expect("there is one")
}

#[test]
fn a_resource_deleted_while_the_stream_was_away_is_removed() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "kept", "1", &[]);
    stream.world.put(TYPE_LANE, "changed", "2", &[]);
    let known = [("kept", "1"), ("changed", "1"), ("gone", "1")];
    let known = known.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
    let request = DeltaDiscoveryRequest { initial_resource_versions: known, ..subscribe(TYPE_LANE, &["*"]) };
    let response = only(stream.say(request));
    assert_eq!(names(&response), ["changed"]);
    assert_eq!(response.removed_resources, ["gone"]);
}

#[test]
fn a_name_that_is_held_is_not_sent_again_on_a_reopened_stream() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_SERVICE, "b", "1", &["host/b"]);
    let known = BTreeMap::from([("b".to_owned(), "1".to_owned())]);
    let request = DeltaDiscoveryRequest { initial_resource_versions: known, ..subscribe(TYPE_SERVICE, &["b"]) };
    assert!(stream.say(request).is_empty());
    // An alias is answered all the same: the server cannot know what the sidecar remembers of it.
    let response = only(stream.subscribe(TYPE_SERVICE, &["host/b"]));
    assert_eq!(names(&response), ["b"]);
    assert_eq!(response.resources[0].aliases, ["host/b"]);
}

#[test]
fn a_key_that_comes_to_stand_for_what_is_held_is_answered() {
    let mut stream = Stream::new();
    let known = BTreeMap::from([("b".to_owned(), "1".to_owned())]);
    let request = DeltaDiscoveryRequest { initial_resource_versions: known, ..subscribe(TYPE_SERVICE, &["host/b"]) };
    let gone = only(stream.say(request));
    // Asked for while nothing is there and that cannot be said yet; then it is there again, as the sidecar has it.
    assert!(stream.subscribe(TYPE_SERVICE, &["ip/10.0.0.1"]).is_empty());
    assert!(stream.change(|world| world.put(TYPE_SERVICE, "b", "1", &["host/b", "ip/10.0.0.1"])).is_empty());
    let back = only(stream.ack(&gone));
    assert_eq!(back.resources[0].aliases, ["host/b", "ip/10.0.0.1"]);
}

#[test]
fn a_nonce_of_another_stream_says_nothing_but_its_subscriptions_count() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_SERVICE, "b", "1", &[]);
    stream.world.put(TYPE_SERVICE, "c", "1", &[]);
    let first = only(stream.subscribe(TYPE_SERVICE, &["b"]));
    let stale = DeltaDiscoveryRequest { response_nonce: "old".to_owned(), ..subscribe(TYPE_SERVICE, &["c"]) };
    assert_eq!(stream.session.request(stale, stream.now), Ok(Heard::Request));
    assert!(stream.poll().is_empty(), "one response is in flight");
    assert!(stream.session.holding(TYPE_SERVICE, "b").acked.is_none());
    let second = only(stream.ack(&first));
    assert_eq!(names(&second), ["c"]);
}

#[test]
fn what_was_refused_is_not_sent_again_and_the_rest_counts_as_applied() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "bad", "1", &[]);
    stream.world.put(TYPE_LANE, "good", "1", &[]);
    let first = only(stream.subscribe(TYPE_LANE, &["*"]));
    let heard = stream.session.request(refuse(&first, &["bad"]), stream.now);
    assert_eq!(heard, Ok(Heard::Nack("bad tag: is bad".to_owned())));
    assert!(stream.poll().is_empty(), "the same bytes would be refused again");
    assert!(stream.session.holding(TYPE_LANE, "bad").is_refused);
    assert_eq!(stream.session.holding(TYPE_LANE, "good").acked, Some(("1".to_owned(), 7)));
    let report = &stream.session.report(true)[0];
    assert_eq!(report.state(), ConfigState::Error);
    assert_eq!(report.errors[0].field, "tag");

    let second = only(stream.change(|world| world.put(TYPE_LANE, "bad", "2", &[])));
    assert_eq!(names(&second), ["bad"]);
    stream.ack(&second);
    assert_eq!(stream.session.report(false)[0].state(), ConfigState::Synced);
    assert!(stream.session.report(false)[0].errors.is_empty());
}

#[test]
fn a_nack_without_details_refuses_the_whole_response() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "a", "1", &[]);
    stream.world.put(TYPE_LANE, "b", "1", &[]);
    let first = only(stream.subscribe(TYPE_LANE, &["*"]));
    let status = rpc::Status { code: 3, message: "no".to_owned(), details: Vec::new() };
    stream.say(DeltaDiscoveryRequest { error_detail: Some(status), ..answer(&first) });
    assert!(["a", "b"].iter().all(|name| stream.session.holding(TYPE_LANE, name).is_refused));
}

#[test]
fn a_name_that_is_not_there_is_said_to_be_missing_once_and_sent_when_it_comes() {
    let mut stream = Stream::new();
    let first = only(stream.subscribe(TYPE_SERVICE, &["late"]));
    assert_eq!(first.removed_resources, ["late"]);
    assert!(stream.ack(&first).is_empty());
    assert!(stream.change(|_| {}).is_empty(), "nothing new, nothing said");
    let second = only(stream.change(|world| world.put(TYPE_SERVICE, "late", "1", &[])));
    assert_eq!(names(&second), ["late"]);
    stream.ack(&second);
    let third = only(stream.change(|world| world.remove(TYPE_SERVICE, "late")));
    assert_eq!(third.removed_resources, ["late"]);
}

#[test]
fn each_name_is_answered_alone_and_again_when_it_is_asked_for_again() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_SERVICE, "b", "1", &[]);
    stream.world.put(TYPE_SERVICE, "c", "1", &[]);
    let first = only(stream.subscribe(TYPE_SERVICE, &["b"]));
    assert_eq!(names(&first), ["b"]);
    stream.ack(&first);
    assert_eq!(names(&only(stream.subscribe(TYPE_SERVICE, &["b"]))), ["b"]);
}

#[test]
fn an_unknown_type_is_answered_and_stays_quiet() {
    let mut stream = Stream::new();
    let response = only(stream.subscribe("type.googleapis.com/other.Thing", &["x"]));
    assert_eq!(response.removed_resources, ["x"]);
    assert!(stream.ack(&response).is_empty());
    let response = only(stream.subscribe("type.googleapis.com/other.Wild", &["*"]));
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    assert!(stream.ack(&response).is_empty());
}

#[test]
fn only_types_that_were_subscribed_are_reported() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "gray", "1", &[]);
    assert!(stream.session.report(true).is_empty());
    let first = only(stream.subscribe(TYPE_LANE, &["*"]));
    assert_eq!(stream.session.report(false)[0].state(), ConfigState::Stale);
    stream.ack(&first);
    let report = stream.session.report(true);
    assert_eq!(report.len(), 1);
    assert_eq!((report[0].state(), report[0].acked_revision), (ConfigState::Synced, 7));
    assert_eq!(report[0].resources[0].acked_version, "1");
}

#[test]
fn a_response_is_cut_at_the_limit() {
    let mut stream = Stream::new();
    for number in 0..5 {
        let body = vec![0; DISCOVERY_RESPONSE_BYTES * 2 / 5];
        stream.world.put_body(TYPE_ENDPOINTS, &format!("e{number}"), "1", &["b"], body);
    }
    let mut sent = Vec::new();
    let mut responses = stream.subscribe(TYPE_ENDPOINTS, &["b"]);
    while let Some(response) = responses.pop() {
        assert!(responses.is_empty() && response.encoded_len() <= DISCOVERY_RESPONSE_BYTES);
        sent.extend(names(&response).into_iter().map(str::to_owned));
        responses = stream.ack(&response);
    }
    assert_eq!(sent, ["e0", "e1", "e2", "e3", "e4"]);
}

#[test]
fn names_that_are_gone_are_cut_at_the_limit_too() {
    let mut stream = Stream::new();
    let names = |prefix: &str| (0..700).map(|n| format!("{prefix}{n:0>900}")).collect::<Vec<_>>();
    let (gone, missing) = (names("g"), names("m"));
    for name in &gone {
        stream.world.put(TYPE_SERVICE, name, "1", &[]);
    }
    for keys in gone.chunks(50) {
        let responses = stream.subscribe(TYPE_SERVICE, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        stream.settle(responses);
    }
    let mut responses = stream.change(|world| world.resources.clear());
    for keys in missing.chunks(50) {
        responses.extend(stream.subscribe(TYPE_SERVICE, &keys.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    let mut told = BTreeSet::new();
    while let Some(response) = responses.pop() {
        assert!(responses.is_empty() && response.encoded_len() <= DISCOVERY_RESPONSE_BYTES);
        told.extend(response.removed_resources.iter().cloned());
        responses = stream.ack(&response);
    }
    assert_eq!(told, gone.into_iter().chain(missing).collect());
}

#[test]
fn the_first_answer_comes_even_when_there_is_nothing() {
    let mut stream = Stream::new();
    let response = only(stream.subscribe(TYPE_LANE, &["*"]));
    assert!(response.resources.is_empty() && response.removed_resources.is_empty());
    // The legacy form of the wildcard.
    let response =
        only(stream.say(DeltaDiscoveryRequest { type_url: TYPE_LANE_GROUP.to_owned(), ..Default::default() }));
    assert!(response.resources.is_empty());
}

#[test]
fn changes_while_a_response_is_in_flight_become_one() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "gray", "1", &[]);
    let first = only(stream.subscribe(TYPE_LANE, &["*"]));
    for version in ["2", "3", "4"] {
        assert!(stream.change(|world| world.put(TYPE_LANE, "gray", version, &[])).is_empty());
    }
    let second = only(stream.ack(&first));
    assert_eq!(second.resources[0].version, "4");
    assert!(stream.ack(&second).is_empty());
}

#[test]
fn a_push_goes_upwards_and_removals_downwards() {
    let mut stream = Stream::new();
    for type_url in [TYPE_LANE, TYPE_LANE_GROUP, TYPE_SERVICE, TYPE_ENDPOINTS] {
        let first = stream.subscribe(type_url, &["*"]);
        stream.settle(first);
    }
    let order = |responses: &[DeltaDiscoveryResponse]| -> Vec<String> {
        responses.iter().map(|response| response.type_url.clone()).collect()
    };
    let up = stream.change(|world| {
        world.put(TYPE_LANE_GROUP, "g", "1", &[]);
        world.put(TYPE_SERVICE, "b", "1", &[]);
        world.put(TYPE_ENDPOINTS, "e", "1", &[]);
    });
    assert_eq!(order(&up), [TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_LANE_GROUP]);
    stream.settle(up);
    let down = stream.change(|world| {
        world.remove(TYPE_LANE_GROUP, "g");
        world.remove(TYPE_SERVICE, "b");
        world.remove(TYPE_ENDPOINTS, "e");
    });
    assert_eq!(order(&down), [TYPE_LANE_GROUP, TYPE_SERVICE, TYPE_ENDPOINTS]);
}

#[test]
fn a_lane_that_is_switched_on_waits_for_its_endpoints_but_no_longer_than_a_second() {
    let mut stream = Stream::new();
    stream.world.put_lane("gray", "off", lane::State::Disabled);
    for type_url in [TYPE_LANE, TYPE_ENDPOINTS] {
        let first = stream.subscribe(type_url, &["*"]);
        stream.settle(first);
    }
    let endpoints = only(stream.change(|world| {
        world.put(TYPE_ENDPOINTS, "e", "1", &[]);
        world.put_lane("gray", "on", lane::State::Enabled);
    }));
    assert_eq!(endpoints.type_url, TYPE_ENDPOINTS);
    let until = stream.session.deadline().expect("it is held for a time");
    assert_eq!(until - stream.now.steady, Duration::from_secs(1));
    let lane = only(stream.ack(&endpoints));
    assert_eq!(names(&lane), ["gray"]);
    assert_eq!(stream.session.deadline(), None);
    stream.ack(&lane);

    // Endpoints that are never acknowledged; switched off at once, on again after a second.
    let _endpoints = only(stream.change(|world| world.put(TYPE_ENDPOINTS, "e", "2", &[])));
    let off = only(stream.change(|world| world.put_lane("gray", "off", lane::State::Disabled)));
    assert_eq!(off.resources[0].version, "off");
    stream.ack(&off);
    assert!(stream.change(|world| world.put_lane("gray", "on", lane::State::Enabled)).is_empty());
    stream.now.steady += Duration::from_secs(1);
    assert_eq!(only(stream.poll()).resources[0].version, "on");
}

#[test]
fn a_lane_waits_for_endpoints_that_were_asked_for_on_demand_and_for_none_that_were_not() {
    let mut stream = Stream::new();
    stream.world.put_lane("gray", "off", lane::State::Disabled);
    stream.world.put(TYPE_ENDPOINTS, "b/gray", "1", &["host/b"]);
    let first = stream.subscribe(TYPE_LANE, &["*"]);
    stream.settle(first);
    // Nobody asked for endpoints: there is nothing to wait for, the first request will ask.
    let lane = only(stream.change(|world| world.put_lane("gray", "on", lane::State::Enabled)));
    assert_eq!((names(&lane), stream.session.deadline()), (vec!["gray"], None));
    stream.ack(&lane);
    // Its endpoints are on their way when another one is switched on.
    let endpoints = only(stream.subscribe(TYPE_ENDPOINTS, &["host/b"]));
    assert!(stream.change(|world| world.put_lane("blue", "on", lane::State::Enabled)).is_empty());
    assert!(stream.session.deadline().is_some());
    assert_eq!(names(&only(stream.ack(&endpoints))), ["blue"]);
}

#[test]
fn each_lane_that_is_switched_on_has_its_own_second() {
    let mut stream = Stream::new();
    for type_url in [TYPE_LANE, TYPE_ENDPOINTS] {
        let first = stream.subscribe(type_url, &["*"]);
        stream.settle(first);
    }
    // Endpoints that are never acknowledged.
    only(stream.change(|world| world.put(TYPE_ENDPOINTS, "e", "1", &[])));
    assert!(stream.change(|world| world.put_lane("gray", "on", lane::State::Enabled)).is_empty());
    stream.now.steady += Duration::from_millis(900);
    assert!(stream.change(|world| world.put_lane("blue", "on", lane::State::Enabled)).is_empty());
    stream.now.steady += Duration::from_millis(100);
    let gray = only(stream.poll());
    assert_eq!(names(&gray), ["gray"]);
    assert_eq!(stream.session.deadline(), Some(stream.now.steady + Duration::from_millis(900)));
    // While the one is not answered the second of the other passes; that is not begun anew.
    stream.now.steady += Duration::from_millis(900);
    assert!(stream.poll().is_empty());
    assert_eq!(stream.session.deadline(), None, "nothing to wake up for before the answer");
    assert_eq!(names(&only(stream.ack(&gray))), ["blue"]);
}

/// The stream's task may look at what is published for another reason, before it is told of the change.
#[test]
fn a_change_that_is_first_seen_while_an_answer_is_taken_is_not_lost() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "gray", "1", &[]);
    let first = only(stream.subscribe(TYPE_LANE, &["*"]));
    stream.world.put(TYPE_LANE, "gray", "2", &[]);
    stream.edition += 1;
    assert_eq!(only(stream.ack(&first)).resources[0].version, "2");
}

#[test]
fn a_key_brings_all_its_resources_under_its_name() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_ENDPOINTS, "b/-", "1", &["b", "ip/10.0.0.1"]);
    stream.world.put(TYPE_ENDPOINTS, "b/gray", "1", &["b", "ip/10.0.0.1"]);
    let first = only(stream.subscribe(TYPE_ENDPOINTS, &["b"]));
    assert_eq!(names(&first), ["b/-", "b/gray"]);
    assert_eq!(first.resources[0].aliases, ["b"]);
    stream.ack(&first);
    // A second key for what is held: said again, with both.
    let second = only(stream.subscribe(TYPE_ENDPOINTS, &["ip/10.0.0.1"]));
    assert_eq!(second.resources[0].aliases, ["b", "ip/10.0.0.1"]);
    stream.ack(&second);
    // One of two keys given up: nothing to say; the other one too: nothing is left to be kept.
    assert!(stream.say(unsubscribe(TYPE_ENDPOINTS, &["b"])).is_empty());
    assert!(stream.say(unsubscribe(TYPE_ENDPOINTS, &["ip/10.0.0.1"])).is_empty());
    assert!(stream.change(|world| world.put(TYPE_ENDPOINTS, "b/-", "2", &["b"])).is_empty());
}

#[test]
fn an_address_that_moves_to_another_service_is_told() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_SERVICE, "a", "1", &["ip/10.0.0.1"]);
    stream.world.put(TYPE_SERVICE, "b", "1", &[]);
    let first = stream.subscribe(TYPE_SERVICE, &["ip/10.0.0.1", "b"]);
    stream.settle(first);
    let moved = only(stream.change(|world| {
        world.put(TYPE_SERVICE, "a", "1", &[]);
        world.put(TYPE_SERVICE, "b", "1", &["ip/10.0.0.1"]);
    }));
    assert_eq!(moved.resources[0].aliases, ["ip/10.0.0.1"]);
    // The removal follows in the same push or after the answer, never before.
    let removed: Vec<String> = moved
        .removed_resources
        .iter()
        .cloned()
        .chain(stream.ack(&moved).into_iter().flat_map(|r| r.removed_resources))
        .collect();
    assert_eq!(removed, ["a"]);
}

#[test]
fn a_name_given_up_under_the_wildcard_is_answered() {
    let mut stream = Stream::new();
    stream.world.put(TYPE_LANE, "gray", "1", &[]);
    let first = stream.subscribe(TYPE_LANE, &["*", "gray", "none"]);
    stream.settle(first);
    assert_eq!(names(&only(stream.say(unsubscribe(TYPE_LANE, &["gray"])))), ["gray"]);
    let mut stream = Stream::new();
    let first = stream.subscribe(TYPE_LANE, &["*", "none"]);
    stream.settle(first);
    assert_eq!(only(stream.say(unsubscribe(TYPE_LANE, &["none"]))).removed_resources, ["none"]);
}

#[test]
fn a_stream_that_asks_for_too_much_ends() {
    let mut stream = Stream::new();
    let many: Vec<String> = (0..=DISCOVERY_NAMES_MAX).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let check = |stream: &mut Stream, request, expected| {
        assert_eq!(stream.session.request(request, stream.now), Err(expected));
    };
    check(&mut stream, subscribe(TYPE_SERVICE, &many), Violation::TooManyNames);
    check(&mut stream, subscribe(TYPE_SERVICE, &["x".repeat(2000).as_str()]), Violation::LongName(2000));
    check(&mut stream, subscribe("", &["x"]), Violation::NoType);
    let told = |from: usize| {
        let held = (from..from + 50).map(|n| (format!("{n:0>1000}"), "1".to_owned()));
        DeltaDiscoveryRequest { initial_resource_versions: held.collect(), ..subscribe(TYPE_SERVICE, &[]) }
    };
    let mut greedy = Stream::new();
    let refused = (0..1000).find_map(|part| {
        let refused = greedy.session.request(told(part * 50), greedy.now).err();
        // The first answer is never acknowledged.
        greedy.poll();
        refused
    });
    assert_eq!(refused, Some(Violation::TooMuchTold), "what is told is bounded, asked or not");
    for number in 0..32 {
        stream.subscribe(&format!("type{number}"), &["*"]);
    }
    check(&mut stream, subscribe("one more", &["*"]), Violation::TooManyTypes);
}

/// A sidecar that does what the protocol says.
#[derive(Default)]
struct Sidecar {
    keys: BTreeSet<String>,
    has: BTreeMap<String, (String, BTreeSet<String>)>,
    missing: BTreeSet<String>,
}

impl Sidecar {
    fn take(&mut self, response: &DeltaDiscoveryResponse) {
        for resource in &response.resources {
            let mut aliases: BTreeSet<String> = resource.aliases.iter().cloned().collect();
            aliases.insert(resource.name.clone());
            self.missing.retain(|key| !aliases.contains(key));
            // An answer to a key that was given up meanwhile.
            if aliases.iter().any(|alias| self.keys.contains(alias)) {
                self.has.insert(resource.name.clone(), (resource.version.clone(), aliases));
            }
        }
        for name in &response.removed_resources {
            self.has.remove(name);
            self.forget(name);
            if self.keys.contains(name) {
                self.missing.insert(name.clone());
            }
        }
    }

    fn give_up(&mut self, key: &str) {
        self.keys.remove(key);
        self.missing.remove(key);
        self.forget(key);
    }

    /// The key stands for nothing any more.
    fn forget(&mut self, key: &str) {
        let keys = &self.keys;
        self.has.retain(|_, (_, aliases)| {
            aliases.remove(key);
            aliases.iter().any(|alias| keys.contains(alias))
        });
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put { service: usize, version: usize, key: usize },
    Remove { service: usize },
    Ask { key: usize },
    GiveUp { key: usize },
    Answer { refuse: bool },
}

const KEYS: [&str; 6] = ["s0", "s1", "s2", "ip/1", "ip/2", "host/x"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3usize, 0..4usize, 3..6usize).prop_map(|(service, version, key)| Step::Put { service, version, key }),
        (0..3usize).prop_map(|service| Step::Remove { service }),
        (0..6usize).prop_map(|key| Step::Ask { key }),
        (0..6usize).prop_map(|key| Step::GiveUp { key }),
        any::<bool>().prop_map(|refuse| Step::Answer { refuse }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: after a few answers nothing more is said, and the sidecar has exactly what its
    /// keys stand for, or knows that there is nothing.
    #[test]
    fn a_stream_comes_to_rest_with_what_was_asked_for(steps in prop::collection::vec(step(), 1..60)) {
        let mut stream = Stream::new();
        let mut sidecar = Sidecar::default();
        let mut waiting: Vec<DeltaDiscoveryResponse> = Vec::new();
        for step in steps {
            let said = match step {
                Step::Put { service, version, key } => stream.change(|world| {
                    world.put(TYPE_SERVICE, KEYS[service], &version.to_string(), &[KEYS[key]]);
                }),
                Step::Remove { service } => stream.change(|world| world.remove(TYPE_SERVICE, KEYS[service])),
                Step::Ask { key } => {
                    sidecar.keys.insert(KEYS[key].to_owned());
                    stream.subscribe(TYPE_SERVICE, &[KEYS[key]])
                }
                Step::GiveUp { key } => {
                    sidecar.give_up(KEYS[key]);
                    stream.say(unsubscribe(TYPE_SERVICE, &[KEYS[key]]))
                }
                Step::Answer { refuse: refused } => match waiting.pop() {
                    Some(response) => {
                        sidecar.take(&response);
                        // What is refused here is kept as "sent": the sidecar model applies it, so versions agree.
                        let names = names(&response);
                        if refused && !names.is_empty() {
                            stream.say(refuse(&response, &names[..1]))
                        } else {
                            stream.ack(&response)
                        }
                    }
                    None => Vec::new(),
                },
            };
            waiting.extend(said);
            prop_assert!(waiting.len() <= 1, "more than one response in flight");
        }
        let mut rounds = 0;
        while let Some(response) = waiting.pop() {
            sidecar.take(&response);
            waiting.extend(stream.ack(&response));
            rounds += 1;
            prop_assert!(rounds <= 4, "no rest after {} rounds", rounds);
        }
        let world = stream.world.clone();
        let mut expected = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for key in &sidecar.keys {
            let found = world.answer(TYPE_SERVICE, key, &Identity::default());
            if found.is_empty() {
                missing.insert(key.clone());
            }
            expected.extend(found.into_iter().map(|resource| (resource.name.clone(), resource.version.clone())));
        }
        let has: BTreeMap<String, String> =
            sidecar.has.iter().map(|(name, (version, _))| (name.clone(), version.clone())).collect();
        prop_assert_eq!(has, expected);
        prop_assert_eq!(&sidecar.missing, &missing);
    }
}
