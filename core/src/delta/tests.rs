//! The client's side of the table of known xDS bugs, and a property: whatever changes, is asked for or is cut, once nothing
//! happens any more the sidecar holds what the server would give it, and both are silent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};

use laneway_proto::contract::{
    DISCOVERY_REQUEST_BYTES_MAX, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE,
    TYPE_SERVICE_POLICY,
};
use laneway_proto::discovery::{self, ResourceErrors};
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use proptest::prelude::{Strategy, prop, prop_oneof, proptest};
use proptest::test_runner::Config as Cases;
use prost::Message as _;

use super::{Forgotten, ON_DEMAND, Session};
use crate::compile::{Compiled, WireResource, compile, sort};
use crate::document::read;
use crate::snapshot::Identity;

const B: &str = "\
kind: Service
name: b
hosts: [sc-b]
addresses: [10.96.0.12]
ports: [{port: 80, name: http, protocol: detect}]
endpoints:
  - {address: '10.1.0.12:20002', portName: http}
";
const GRAY: &str = "  - {address: '10.1.0.22:20002', portName: http, tag: gray, meshed: true}\n";
const A: &str = "---\nkind: Service\nname: a\nendpoints: [{address: '10.1.0.11:8000'}]\n";
const C: &str = "---\nkind: Service\nname: c\nhosts: [sc-c]\nendpoints: [{address: '10.1.0.13:8000'}]\n";
const LANE: &str = "---\nkind: Lane\nname: gray\n";
const LANE_OFF: &str = "---\nkind: Lane\nname: gray\nenabled: false\n";
const BLUE: &str = "---\nkind: Lane\nname: blue\n";

/// States of the mesh that follow each other.
static STATES: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let texts = [
        [B, GRAY, A, LANE].concat(),
        [B, A, LANE_OFF].concat(),
        [C, BLUE].concat(),
        [B, GRAY, C, LANE, BLUE].concat(),
        String::new(),
    ];
    texts.iter().map(|text| compiled(text)).collect()
});
const KEYS: [&str; 6] = ["ip/10.96.0.12", "host/sc-b", "ip/10.1.0.22", "host/sc-c", "ip/192.0.2.1", "host/example.org"];

fn compiled(text: &str) -> Compiled {
    let documents = read(text).expect("good documents");
    let (objects, catalog, _) = sort(documents).expect("good documents");
    compile(&objects, &catalog)
}

fn identity() -> Identity {
    Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None }
}

fn key(name: &str) -> Arc<str> {
    Arc::from(name)
}

fn resource(wire: &WireResource, aliases: &[&str]) -> Resource {
    Resource {
        name: wire.name.clone(),
        version: wire.version.clone(),
        resource: Some(prost_types::Any { type_url: wire.type_url.to_owned(), value: wire.body.clone() }),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ttl: None,
    }
}

fn response(kind: &str, resources: Vec<Resource>, removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: kind.to_owned(),
        nonce: "n1".to_owned(),
        resources,
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

fn lane(text: &str) -> Resource {
    let lanes = compiled(text).subscribed(TYPE_LANE, &identity());
    let [lane] = &lanes[..] else { panic!("one lane, not {}", lanes.len()) };
    resource(lane, &[])
}

/// The same resource in a version that cannot be read.
fn broken(good: &Resource) -> Resource {
    let body = discovery::Lane { tag: "not_a_tag".to_owned(), ..discovery::Lane::default() }.encode_to_vec();
    let any = prost_types::Any { type_url: TYPE_LANE.to_owned(), value: body };
    Resource { version: "00000000000000bd".to_owned(), resource: Some(any), ..good.clone() }
}

fn errors(message: &DeltaDiscoveryRequest) -> Vec<(String, String)> {
    let status = message.error_detail.as_ref().expect("a NACK");
    let details = status.details.first().expect("details");
    let errors = ResourceErrors::decode(&*details.value).expect("ResourceErrors").errors;
    errors.into_iter().map(|error| (error.name, error.reason)).collect()
}

fn known(session: &Session, kind: &str) -> BTreeMap<String, String> {
    let of = session.open().into_iter().filter(|message| message.type_url == kind);
    of.flat_map(|message| message.initial_resource_versions).collect()
}

#[test]
fn a_refused_resource_is_not_known_and_takes_no_other_with_it() {
    let mut session = Session::new(identity());
    let (gray, blue) = (lane(&LANE[4..]), lane(&BLUE[4..]));
    let reply = session.receive(response(TYPE_LANE, vec![gray.clone()], &[]));
    assert_eq!((reply.message.response_nonce.as_str(), reply.message.error_detail), ("n1", None));

    let reply = session.receive(response(TYPE_LANE, vec![broken(&gray), blue.clone()], &[]));
    assert!(reply.is_changed, "blue is good");
    assert!(errors(&reply.message).iter().all(|(name, _)| *name == gray.name));
    let now = known(&session, TYPE_LANE);
    assert_eq!(now.get(&gray.name), Some(&gray.version), "the last good version");
    assert_eq!(now.get(&blue.name), Some(&blue.version));
}

#[test]
fn the_latest_version_is_told_at_the_next_stream_and_nothing_of_what_was_removed() {
    let mut session = Session::new(identity());
    let (on, off) = (lane(&LANE[4..]), lane(&LANE_OFF[4..]));
    assert_ne!(on.version, off.version);
    session.receive(response(TYPE_LANE, vec![on], &[]));
    session.receive(response(TYPE_LANE, vec![off.clone()], &[]));
    assert_eq!(known(&session, TYPE_LANE), BTreeMap::from([(off.name.clone(), off.version)]));
    let reply = session.receive(response(TYPE_LANE, Vec::new(), &[&off.name]));
    assert!(reply.is_changed);
    assert!(known(&session, TYPE_LANE).is_empty());
    let reply = session.receive(response(TYPE_LANE, Vec::new(), &[&off.name]));
    assert!(!reply.is_changed, "it was gone already");
}

#[test]
fn a_resource_twice_in_one_response_is_refused_and_the_others_are_taken() {
    let mut session = Session::new(identity());
    let (gray, blue) = (lane(&LANE[4..]), lane(&BLUE[4..]));
    let reply = session.receive(response(TYPE_LANE, vec![gray.clone(), blue.clone(), gray.clone()], &[]));
    assert_eq!(errors(&reply.message), [(gray.name, "DUPLICATE_NAME".to_owned())]);
    assert_eq!(known(&session, TYPE_LANE).into_keys().collect::<Vec<_>>(), [blue.name]);
}

#[test]
fn what_is_no_resource_of_the_type_is_refused() {
    let mut session = Session::new(identity());
    let reply = session.receive(response("type.googleapis.com/other.Thing", Vec::new(), &[]));
    assert_eq!(reply.message.error_detail.expect("a NACK").code, super::UNIMPLEMENTED);
    assert_eq!(reply.message.response_nonce, "n1");

    let good = lane(&LANE[4..]);
    let empty = Resource { resource: None, ..good.clone() };
    let reply = session.receive(response(TYPE_LANE, vec![empty], &[]));
    assert_eq!(errors(&reply.message), [(good.name.clone(), "MISSING_FIELD".to_owned())]);
    let reply = session.receive(response(TYPE_LANE_GROUP, vec![good.clone()], &[]));
    assert_eq!(errors(&reply.message), [(good.name, "UNKNOWN_TYPE".to_owned())]);
    assert!(known(&session, TYPE_LANE).is_empty() && known(&session, TYPE_LANE_GROUP).is_empty());
}

#[test]
fn what_was_recalled_is_in_force_and_told_at_the_next_stream_but_completes_nothing() {
    let mut before = Session::new(identity());
    before.want(&key("ip/10.96.0.12"));
    let service = STATES[0].answer(TYPE_SERVICE, "ip/10.96.0.12", &identity());
    let came = [
        response(TYPE_LANE, vec![lane(LANE)], &[]),
        response(TYPE_SERVICE, vec![resource(&service[0], &["ip/10.96.0.12"])], &[]),
    ];
    let mut saved = Vec::new();
    for response in came {
        let type_url = response.type_url.clone();
        let reply = before.receive(response);
        saved.push(DeltaDiscoveryResponse { type_url, resources: reply.taken, ..DeltaDiscoveryResponse::default() });
    }
    let keys: Vec<_> = before.found().cloned().collect();
    assert_eq!(keys, [key("ip/10.96.0.12")]);

    let mut after = Session::new(identity());
    let replies = after.recall(&keys, saved);
    assert!(replies.iter().all(|reply| reply.refused.is_none()));
    for kind in [TYPE_LANE, TYPE_SERVICE] {
        assert_eq!(after.resources().versions(kind), before.resources().versions(kind));
    }
    assert!(!after.is_complete(), "no control plane has spoken");
    let opening = after.open();
    let told = |kind: &str| {
        let of_kind = opening.iter().filter(|message| message.type_url == kind);
        of_kind.flat_map(|message| message.initial_resource_versions.keys().cloned()).collect::<Vec<_>>()
    };
    assert_eq!(told(TYPE_LANE), ["namespaces/default/laneGroups/default/lanes/gray"]);
    assert_eq!(told(TYPE_SERVICE), ["namespaces/default/services/b"]);
    assert!(opening.iter().any(|message| message.resource_names_subscribe.contains(&"ip/10.96.0.12".to_owned())));
}

#[test]
fn only_what_is_good_is_kept_for_the_next_process() {
    let mut session = Session::new(identity());
    let bad = Resource { resource: None, ..lane(LANE) };
    let reply = session.receive(response(TYPE_LANE, vec![bad, lane(BLUE)], &[]));
    assert_eq!(reply.taken, [lane(BLUE)]);
    let reply = session.receive(response(TYPE_LANE, vec![], &[&lane(BLUE).name, "never/heard/of"]));
    assert_eq!(reply.removed, [lane(BLUE).name]);
}

#[test]
fn the_first_configuration_is_complete_when_groups_and_lanes_have_answered_even_with_nothing() {
    let mut session = Session::new(identity());
    session.receive(response(TYPE_LANE, Vec::new(), &[]));
    assert!(!session.is_complete());
    // A cut between the two loses nothing.
    session.open();
    session.receive(response(TYPE_LANE_GROUP, Vec::new(), &[]));
    assert!(session.is_complete());
}

#[test]
fn a_key_is_answered_when_all_four_types_have_spoken_on_whatever_stream() {
    let mut session = Session::new(identity());
    let unknown = key("ip/192.0.2.1");
    let asked: BTreeSet<_> = session.want(&unknown).into_iter().map(|message| message.type_url).collect();
    assert_eq!(asked, ON_DEMAND.iter().map(|kind| (*kind).to_owned()).collect());
    assert!(session.want(&unknown).is_empty(), "asked once");
    assert!(session.receive(response(TYPE_SERVICE, Vec::new(), &[&unknown])).answered.is_empty());
    assert!(session.receive(response(TYPE_SERVICE_POLICY, Vec::new(), &[&unknown])).answered.is_empty());
    let opened = session.open();
    let names = opened.iter().filter(|message| message.resource_names_subscribe.iter().any(|name| **name == *unknown));
    assert_eq!(names.count(), 4, "asked again on the next stream");
    assert!(session.receive(response(TYPE_PEER, Vec::new(), &[&unknown])).answered.is_empty());
    let reply = session.receive(response(TYPE_ENDPOINTS, Vec::new(), &[&unknown]));
    assert_eq!(reply.answered, std::slice::from_ref(&unknown));
    assert!(!reply.is_changed, "nothing is there");
    assert!(session.receive(response(TYPE_ENDPOINTS, Vec::new(), &[&unknown])).answered.is_empty(), "once");
}

#[test]
fn a_name_that_is_held_already_is_answered_though_a_reopened_stream_is_silent_about_it() {
    let mut session = Session::new(identity());
    let (alias, name) = (key("host/sc-b"), key("namespaces/default/services/b"));
    session.want(&alias);
    let service = &STATES[0].answer(TYPE_SERVICE, &alias, &identity())[0];
    session.receive(response(TYPE_SERVICE, vec![resource(service, &[&alias])], &[]));
    session.want(&name);
    // The stream is cut; on the next one the server sees that the service is held, and says nothing of it.
    session.open();
    assert!(session.receive(response(TYPE_SERVICE_POLICY, Vec::new(), &[&name])).answered.is_empty());
    assert!(session.receive(response(TYPE_PEER, Vec::new(), &[&name])).answered.is_empty());
    assert_eq!(session.receive(response(TYPE_ENDPOINTS, Vec::new(), &[&name])).answered, [name]);
}

#[test]
fn a_key_that_is_given_up_takes_along_what_was_held_for_it_alone() {
    let mut session = Session::new(identity());
    let (host, address, unknown) = (key("host/sc-b"), key("ip/10.96.0.12"), key("ip/192.0.2.1"));
    for key in [&host, &address, &unknown] {
        session.want(key);
    }
    let b = &STATES[0].answer(TYPE_SERVICE, &host, &identity())[0];
    session.receive(response(TYPE_SERVICE, vec![resource(b, &[&host, &address])], &[&unknown]));
    let keys_of = |session: &Session| session.keys_of(TYPE_SERVICE, &b.name).cloned().collect::<Vec<_>>();
    assert_eq!(keys_of(&session), [host.clone(), address.clone()]);

    let Forgotten { keys, removed, messages } = session.forget(vec![host.clone(), unknown.clone()]);
    assert_eq!(keys, [host, unknown.clone()]);
    assert!(removed.is_empty(), "the other key stands for it too");
    assert_eq!(keys_of(&session), std::slice::from_ref(&address));
    assert!(messages.iter().all(|message| message.resource_names_unsubscribe.len() == 2));
    assert_eq!(messages.len(), 4, "in service, policy, endpoints and peer");
    // What was on its way for it the server has forgotten; it must not stay for ever.
    let late = &STATES[3].answer(TYPE_SERVICE, "host/sc-c", &identity())[0];
    let reply = session.receive(response(TYPE_SERVICE, vec![resource(late, &[&unknown])], &[]));
    assert!(!reply.is_changed && reply.message.error_detail.is_none());

    let forgotten = session.forget(vec![address.clone()]);
    assert_eq!(forgotten.removed, BTreeMap::from([(TYPE_SERVICE, vec![b.name.clone()])]));
    assert!(session.resources().versions(TYPE_SERVICE).is_empty());
    assert_eq!(session.want(&address).len(), 4, "whoever needs it again asks as if for the first time");
    session.receive(response(TYPE_SERVICE, vec![resource(b, &[&address])], &[]));
    assert_eq!(session.resources().versions(TYPE_SERVICE).len(), 1);
}

#[test]
fn what_was_refused_last_is_held_for_those_who_want_it_now() {
    let mut session = Session::new(identity());
    let (host, address) = (key("host/sc-b"), key("ip/10.96.0.12"));
    session.want(&host);
    session.want(&address);
    let b = &STATES[0].answer(TYPE_SERVICE, &host, &identity())[0];
    session.receive(response(TYPE_SERVICE, vec![resource(b, &[&host])], &[]));
    let bad = Resource { resource: None, ..resource(b, &[&host, &address]) };
    assert!(session.receive(response(TYPE_SERVICE, vec![bad], &[])).refused.is_some());
    assert!(session.forget(vec![host]).removed.is_empty());
    assert_eq!(session.resources().versions(TYPE_SERVICE).len(), 1, "the last good one");
}

#[test]
fn the_own_service_is_never_given_up() {
    let mut session = Session::new(identity());
    let own = key("namespaces/default/services/a");
    let forgotten = session.forget(vec![own]);
    assert!(forgotten.keys.is_empty() && forgotten.messages.is_empty());
}

#[test]
fn no_request_is_larger_than_the_server_takes() {
    let mut session = Session::new(identity());
    let keys: Vec<_> = (0..2000).map(|index| key(&format!("host/{index}.{}.example.org", "n".repeat(60)))).collect();
    for key in &keys {
        session.want(key);
    }
    let opened = session.open();
    assert!(opened.iter().all(|message| message.encoded_len() < DISCOVERY_REQUEST_BYTES_MAX));
    let names = |kind: &str| {
        let of = opened.iter().filter(|message| message.type_url == kind);
        of.flat_map(|message| message.resource_names_subscribe.iter().cloned()).collect::<BTreeSet<_>>()
    };
    for kind in ON_DEMAND {
        assert_eq!(names(kind).len(), keys.len() + 1, "every name in {kind}");
    }
    let forgotten = session.forget(keys.clone());
    assert_eq!(forgotten.keys.len(), keys.len());
    assert!(forgotten.messages.iter().all(|message| message.encoded_len() < DISCOVERY_REQUEST_BYTES_MAX));

    let one = broken(&lane(&LANE[4..]));
    let bad = (0..5000).map(|index| Resource { name: format!("{index}"), ..one.clone() }).collect();
    let reply = session.receive(response(TYPE_LANE, bad, &[]));
    assert!(reply.message.error_detail.is_some());
    assert!(reply.message.encoded_len() < DISCOVERY_REQUEST_BYTES_MAX, "a NACK too");
}

/// What the contract says of a server, in the shortest form.
#[derive(Default)]
struct Server {
    state: usize,
    types: BTreeMap<String, Subscription>,
    nonces: u64,
}

#[derive(Default)]
struct Subscription {
    wildcard: bool,
    /// The first answer says that this is all.
    owes_answer: bool,
    /// By key: asked for since the last look; told that there is nothing.
    keys: BTreeMap<String, (bool, bool)>,
    /// Version, and the keys under which it was told; nothing where an earlier stream told it.
    sent: BTreeMap<String, (String, Option<BTreeSet<String>>)>,
    in_flight: Option<String>,
}

impl Server {
    fn request(&mut self, message: DeltaDiscoveryRequest) {
        let of = self.types.entry(message.type_url).or_default();
        if !message.response_nonce.is_empty() {
            assert_eq!(
                of.in_flight.take(),
                Some(message.response_nonce),
                "an answer to what is in flight on this stream"
            );
            assert_eq!(message.error_detail, None, "everything here is good");
        }
        for (name, version) in message.initial_resource_versions {
            of.sent.entry(name).or_insert((version, None));
        }
        for name in message.resource_names_subscribe {
            if name == "*" {
                (of.wildcard, of.owes_answer) = (true, true);
            } else {
                of.keys.insert(name, (true, false));
            }
        }
        for name in message.resource_names_unsubscribe {
            of.keys.remove(&name);
            for told in of.sent.values_mut().filter_map(|(_, told)| told.as_mut()) {
                told.remove(&name);
            }
        }
    }

    fn poll(&mut self) -> Vec<DeltaDiscoveryResponse> {
        let state = &STATES[self.state];
        let mut responses = Vec::new();
        for (kind, of) in &mut self.types {
            if of.in_flight.is_some() {
                continue;
            }
            let mut wanted: BTreeMap<String, (Arc<WireResource>, BTreeSet<String>, bool)> = BTreeMap::new();
            if of.wildcard {
                let all = state.subscribed(kind, &identity()).into_iter();
                wanted.extend(all.map(|wire| (wire.name.clone(), (wire, BTreeSet::new(), false))));
            }
            let mut removed = BTreeSet::new();
            for (name, (is_fresh, is_told_missing)) in &mut of.keys {
                let answer = state.answer(kind, name, &identity());
                if answer.is_empty() && !*is_told_missing {
                    removed.insert(name.clone());
                }
                *is_told_missing = answer.is_empty();
                for wire in answer {
                    let entry = wanted.entry(wire.name.clone()).or_insert_with(|| (wire, BTreeSet::new(), false));
                    entry.1.insert(name.clone());
                    entry.2 |= *is_fresh;
                }
                *is_fresh = false;
            }
            removed.extend(of.sent.keys().filter(|name| !wanted.contains_key(*name)).cloned());
            of.sent.retain(|name, _| wanted.contains_key(name));
            let mut resources = Vec::new();
            for (name, (wire, aliases, is_fresh)) in wanted {
                // Told again, too, when other keys stand for it than those it was told under.
                let before = of.sent.insert(name, (wire.version.clone(), Some(aliases.clone())));
                let is_told = before
                    .is_some_and(|(version, told)| version == wire.version && told.is_none_or(|told| told == aliases));
                if !is_told || is_fresh {
                    let aliases: Vec<&str> = aliases.iter().map(|alias| &**alias).collect();
                    resources.push(resource(&wire, &aliases));
                }
            }
            if resources.is_empty() && removed.is_empty() && !std::mem::take(&mut of.owes_answer) {
                continue;
            }
            of.owes_answer = false;
            self.nonces += 1;
            of.in_flight = Some(format!("{}", self.nonces));
            responses.push(DeltaDiscoveryResponse {
                type_url: kind.clone(),
                nonce: format!("{}", self.nonces),
                resources,
                removed_resources: removed.into_iter().collect(),
                ..DeltaDiscoveryResponse::default()
            });
        }
        responses
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change(usize),
    Want(usize),
    GiveUp(usize),
    /// The next message arrives at the server, or at the sidecar.
    ToServer,
    ToSidecar,
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..5_usize).prop_map(Step::Change),
        2 => (0..KEYS.len()).prop_map(Step::Want),
        1 => (0..KEYS.len()).prop_map(Step::GiveUp),
        6 => proptest::strategy::Just(Step::ToServer),
        6 => proptest::strategy::Just(Step::ToSidecar),
        1 => proptest::strategy::Just(Step::Cut),
    ]
}

/// Both ends and the messages between them.
struct Run {
    session: Session,
    server: Server,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_sidecar: VecDeque<DeltaDiscoveryResponse>,
    answered: BTreeSet<Arc<str>>,
}

impl Run {
    fn new() -> Run {
        let session = Session::new(identity());
        let to_server = session.open().into();
        let (server, to_sidecar, answered) = (Server::default(), VecDeque::new(), BTreeSet::new());
        Run { session, server, to_server, to_sidecar, answered }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Change(state) => {
                self.server.state = state;
                self.to_sidecar.extend(self.server.poll());
            }
            Step::Want(index) => self.to_server.extend(self.session.want(&key(KEYS[index]))),
            Step::GiveUp(index) => {
                let forgotten = self.session.forget(vec![key(KEYS[index])]);
                self.answered.retain(|key| !forgotten.keys.contains(key));
                self.to_server.extend(forgotten.messages);
            }
            Step::ToServer => {
                if let Some(message) = self.to_server.pop_front() {
                    self.server.request(message);
                    self.to_sidecar.extend(self.server.poll());
                }
            }
            Step::ToSidecar => {
                if let Some(response) = self.to_sidecar.pop_front() {
                    let reply = self.session.receive(response);
                    self.answered.extend(reply.answered);
                    self.to_server.push_back(reply.message);
                }
            }
            Step::Cut => {
                self.server.types.clear();
                self.to_sidecar.clear();
                self.to_server = self.session.open().into();
            }
        }
    }

    /// Lets everything arrive; that must end.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if self.to_server.is_empty() && self.to_sidecar.is_empty() {
                return;
            }
            self.take(Step::ToServer);
            self.take(Step::ToSidecar);
        }
        panic!("the two talk for ever");
    }

    fn holds_what_it_should(&self) {
        let state = &STATES[self.server.state];
        for kind in [TYPE_LANE_GROUP, TYPE_LANE].into_iter().chain(ON_DEMAND) {
            let wanted = match ON_DEMAND.contains(&kind) {
                true => self.session.keys.iter().flat_map(|key| state.answer(kind, key, &identity())).collect(),
                false => state.subscribed(kind, &identity()),
            };
            let wanted: BTreeMap<&str, &str> = wanted.iter().map(|wire| (&*wire.name, &*wire.version)).collect();
            let held: BTreeMap<&str, &str> = self.session.resources.versions(kind).into_iter().collect();
            assert_eq!(held, wanted, "{kind}");
        }
        assert!(self.session.is_complete());
        let asked = self.session.keys.iter().filter(|key| !key.starts_with("namespaces/")).cloned().collect();
        assert_eq!(self.answered, asked, "every key is answered, and none that was given up");
    }
}

proptest! {
    #![proptest_config(Cases { cases: 512, failure_persistence: None, ..Cases::default() })]

    #[test]
    fn whatever_happens_the_sidecar_ends_with_what_the_server_has(steps in prop::collection::vec(step(), 0..80)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.settle();
        run.holds_what_it_should();
    }
}
