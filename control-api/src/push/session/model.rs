//! The session of a real sidecar and the session of the real server, and all that may happen between them.
//!
//! ```text
//!   delta::Session (core) --to_server--> [in order, at any time, or cut] --> Session (here) <-- World: compile of documents
//!        ^------------------to_sidecar-------------------------------------------'
//! ```
//! Each direction of a stream keeps its order; when something of which direction arrives is drawn, and so is when the stream
//! is cut, the server restarted, the configuration changed, a key asked for or given up, time passed. Some resources are such that
//! the sidecar refuses them. When nothing happens any more, both must fall silent soon, and the sidecar must have what the
//! server says it should.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use laneway_core::back_off::Spread;
use laneway_core::compile::{Compiled, WireResource, compile, sort};
use laneway_core::delta;
use laneway_core::document::read;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{
    DISCOVERY_REQUEST_BYTES_MAX, DISCOVERY_RESPONSE_BYTES, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER,
    TYPE_RECONNECT, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::discovery::{self, lane};
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use proptest::prelude::*;
use prost::Message;

use super::{HOLD_MAX, Now, Session, Source, View};

const WILDCARD: [&str; 3] = [TYPE_RECONNECT, TYPE_LANE_GROUP, TYPE_LANE];
const ON_DEMAND: [&str; 4] = [TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_ENDPOINTS, TYPE_PEER];
const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const SHOP: &str = "namespaces/default/laneGroups/shop";
const B: &str = "namespaces/default/services/b";
/// What the data path may ask for.
const KEYS: [&str; 8] =
    ["ip/10.96.0.12", "host/sc-b", "ip/10.1.0.12", "ip/10.1.0.22", "host/sc-c", "ip/192.0.2.1", "host/example.org", B];

/// A configuration, and the resources of it that no sidecar can read.
struct World {
    compiled: Compiled,
    spoiled: &'static [&'static str],
}

impl World {
    fn spoil(&self, resource: Arc<WireResource>) -> Arc<WireResource> {
        let is_spoiled = self.spoiled.iter().any(|spoiled| resource.name.starts_with(spoiled));
        match is_spoiled {
            true => Arc::new(WireResource {
                version: format!("bad-{}", resource.version),
                body: vec![0xff],
                ..WireResource::clone(&resource)
            }),
            false => resource,
        }
    }
}

/// It, and how to come back.
struct Offer {
    world: &'static World,
    spread: Spread,
}

impl Source for Offer {
    fn subscribed(&self, type_url: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        if type_url == TYPE_RECONNECT {
            return vec![Arc::new(self.spread.to_resource())];
        }
        let all = self.world.compiled.subscribed(type_url, node);
        all.into_iter().map(|resource| self.world.spoil(resource)).collect()
    }

    fn answer(&self, type_url: &str, key: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        let all = self.world.compiled.answer(type_url, key, node);
        all.into_iter().map(|resource| self.world.spoil(resource)).collect()
    }
}

static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| {
    const GROUP: &str = "{kind: LaneGroup, name: shop, services: [a, b]}\n---\n";
    const ON: &str =
        "{kind: Lane, name: gray, group: shop, entry: {services: [a], rules: [{match: {header: x, exact: y}}]}}\n---\n";
    const OFF: &str = "{kind: Lane, name: gray, group: shop, enabled: false}\n---\n";
    const POLICY: &str =
        "{kind: ServicePolicy, name: b, rules: [{match: {header: x-vip, present: true}, to: [{tag: gray}]}]}\n---\n";
    const BASE: &str = "{address: '10.1.0.12:80', meshed: true}";
    const BOTH: &str = "{address: '10.1.0.12:80', meshed: true}, {address: '10.1.0.22:80', tag: gray, meshed: true}";
    let b = |endpoints: &str, more: &str| {
        format!(
            "{{kind: Service, name: b, hosts: [sc-b], addresses: [10.96.0.12], endpoints: [{endpoints}]{more}}}\n---\n"
        )
    };
    let c = |addresses: &str| {
        format!(
            "{{kind: Service, name: c, hosts: [sc-c], addresses: [{addresses}], endpoints: [{{address: '10.1.0.13:80'}}]}}\n---\n"
        )
    };
    let many: Vec<String> = (0..1200).map(|n| format!("{{address: '10.2.{}.{}:80'}}", n / 250, n % 250)).collect();
    let world = |text: &[&str], spoiled| {
        let (objects, catalog, _) = sort(read(&text.concat()).expect("good documents")).expect("each once");
        World { compiled: compile(&objects, &catalog), spoiled }
    };
    vec![
        world(&[GROUP, ON, POLICY, &b(BOTH, "")], &[]),
        world(&[GROUP, OFF, &b(BASE, "")], &[]),
        world(&[GROUP, ON, &b(BASE, ""), &c("")], &[]),
        // The own service leaves the group.
        world(
            &[
                "{kind: LaneGroup, name: shop, services: [b]}\n---\n",
                ON,
                "{kind: Lane, name: red}\n---\n",
                &b(BOTH, ""),
            ],
            &[],
        ),
        world(&[""], &[]),
        // An address goes to another service, and what had it may not be seen any more.
        world(&[GROUP, ON, POLICY, &b(BASE, ", visibleTo: [other]"), &c("10.96.0.12")], &[]),
        world(&[GROUP, OFF, &b(&many.join(", "), "")], &[]),
        world(&[GROUP, ON, POLICY, &b(BOTH, "")], &[GRAY]),
        world(&[GROUP, ON, POLICY, &b(BOTH, ""), &c("")], &[B, SHOP]),
        // What two worlds spoil in different versions.
        world(&[GROUP, OFF, &b(BASE, "")], &[GRAY, B]),
    ]
});

#[derive(Clone, Debug)]
enum Step {
    /// Another configuration; no stream has looked at it yet.
    Publish(usize),
    /// So many streams there are now.
    Count(usize),
    /// The stream's task looks whether there is something to send.
    Look,
    Want(usize),
    GiveUp(usize),
    /// The next message arrives at the server, or at the sidecar.
    ToServer,
    ToSidecar,
    /// The stream ends with all that is on it, and the sidecar opens another.
    Cut,
    /// And at a process that counts revisions, editions and streams anew.
    Restart,
    PassMs(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..WORLDS.len()).prop_map(Step::Publish),
        1 => (0..3_000_usize).prop_map(Step::Count),
        2 => Just(Step::Look),
        3 => (0..KEYS.len()).prop_map(Step::Want),
        1 => (0..KEYS.len()).prop_map(Step::GiveUp),
        10 => Just(Step::ToServer),
        10 => Just(Step::ToSidecar),
        1 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => prop_oneof![Just(1_u64), Just(500), Just(1000)].prop_map(Step::PassMs),
    ]
}

/// Both ends and what is between them.
struct Run {
    sidecar: delta::Session,
    server: Session,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_sidecar: VecDeque<DeltaDiscoveryResponse>,
    world: usize,
    spread: Spread,
    edition: u64,
    revision: i64,
    now: Now,
    /// What the data path asked for and has not given up, and what of it is answered.
    wanted: BTreeSet<Arc<str>>,
    answered: BTreeSet<Arc<str>>,
    /// By type: the nonce that is not answered yet on this stream.
    unanswered: BTreeMap<String, String>,
    nonces: BTreeSet<String>,
    /// Lanes that are on and not sent so, since when.
    due: BTreeMap<String, Instant>,
    /// Lanes that this stream was told are on.
    told_on: BTreeSet<String>,
    messages: usize,
}

impl Run {
    fn new() -> Run {
        let sidecar = delta::Session::new(node());
        let mut run = Run {
            to_server: sidecar.open().into(),
            sidecar,
            server: Session::new(node()),
            to_sidecar: VecDeque::new(),
            world: 0,
            spread: Spread::SHORTEST,
            edition: 1,
            revision: 41,
            now: Now { steady: Instant::now(), wall: SystemTime::UNIX_EPOCH },
            wanted: BTreeSet::new(),
            answered: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            nonces: BTreeSet::new(),
            due: BTreeMap::new(),
            told_on: BTreeSet::new(),
            messages: 0,
        };
        run.look();
        run
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish(world) => {
                (self.world, self.edition, self.revision) = (world, self.edition + 1, self.revision + 1)
            }
            Step::Count(streams) => {
                self.spread = self.spread.with(streams);
                self.server.look_again(TYPE_RECONNECT);
            }
            Step::Look => self.look(),
            Step::Want(index) => {
                let key = Arc::from(KEYS[index]);
                let messages = self.sidecar.want(&key);
                self.wanted.insert(key);
                self.tell(messages);
            }
            Step::GiveUp(index) => {
                let forgotten = self.sidecar.forget(vec![Arc::from(KEYS[index])]);
                self.wanted.retain(|key| !forgotten.keys.contains(key));
                self.answered.retain(|key| !forgotten.keys.contains(key));
                self.tell(forgotten.messages);
            }
            Step::ToServer => {
                if let Some(message) = self.to_server.pop_front() {
                    self.at_server(message);
                    self.look();
                }
            }
            Step::ToSidecar => {
                if let Some(response) = self.to_sidecar.pop_front() {
                    let reply = self.sidecar.receive(response);
                    self.answered.extend(reply.answered);
                    self.tell(vec![reply.message]);
                }
            }
            Step::Cut => self.cut(),
            Step::Restart => {
                (self.edition, self.revision, self.spread) = (1, 3, Spread::SHORTEST);
                self.cut();
            }
            Step::PassMs(milliseconds) => {
                self.now.steady += Duration::from_millis(milliseconds);
                self.look();
            }
        }
    }

    fn cut(&mut self) {
        self.to_sidecar.clear();
        self.unanswered.clear();
        self.nonces.clear();
        self.due.clear();
        self.told_on.clear();
        self.server = Session::new(node());
        self.to_server = self.sidecar.open().into();
    }

    fn tell(&mut self, messages: Vec<DeltaDiscoveryRequest>) {
        for message in &messages {
            assert!(message.encoded_len() < DISCOVERY_REQUEST_BYTES_MAX);
        }
        self.messages += messages.len();
        self.to_server.extend(messages);
    }

    fn at_server(&mut self, message: DeltaDiscoveryRequest) {
        if !message.response_nonce.is_empty() {
            let of = self.unanswered.remove(&message.type_url);
            assert_eq!(of.as_deref(), Some(&*message.response_nonce), "an answer to what this stream waits for");
        }
        self.server.request(message, self.now).expect("a sidecar of ours breaks no rule");
    }

    fn offer(&self) -> Offer {
        Offer { world: &WORLDS[self.world], spread: self.spread }
    }

    fn look(&mut self) {
        let offer = self.offer();
        self.note_due_lanes();
        let view = View { source: &offer, edition: self.edition, revision: self.revision };
        for response in self.server.poll(view, self.now) {
            assert!(self.nonces.insert(response.nonce.clone()), "a nonce is used once");
            let before = self.unanswered.insert(response.type_url.clone(), response.nonce.clone());
            assert_eq!(before, None, "one response in flight");
            let is_small = response.encoded_len() <= DISCOVERY_RESPONSE_BYTES;
            assert!(is_small || response.resources.len() == 1, "{} bytes", response.encoded_len());
            if response.type_url == TYPE_LANE {
                self.lanes_may_go(&response);
            }
            self.messages += 1;
            self.to_sidecar.push_back(response);
        }
    }

    /// From now on these are late.
    fn note_due_lanes(&mut self) {
        let all = self.offer().subscribed(TYPE_LANE, &node());
        let on: BTreeSet<String> = all.iter().filter(|lane| is_on(&lane.body)).map(|lane| lane.name.clone()).collect();
        self.due.retain(|lane, _| on.contains(lane) && !self.told_on.contains(lane));
        for lane in on.difference(&self.told_on).cloned() {
            self.due.entry(lane).or_insert(self.now.steady);
        }
    }

    /// Make before break: what a lane needs is acknowledged when it goes, or it has waited for a second.
    fn lanes_may_go(&mut self, response: &DeltaDiscoveryResponse) {
        let are_endpoints_under_way =
            self.to_sidecar.iter().any(|other| other.type_url == TYPE_ENDPOINTS && !other.resources.is_empty());
        for lane in &response.resources {
            let body = lane.resource.as_ref().map(|any| any.value.as_slice()).unwrap_or_default();
            if !is_on(body) {
                self.told_on.remove(&lane.name);
            } else if self.told_on.insert(lane.name.clone()) && are_endpoints_under_way {
                let waited = self.due.get(&lane.name).map_or(Duration::ZERO, |since| self.now.steady - *since);
                assert!(waited >= HOLD_MAX, "{} goes before its endpoints, after {waited:?}", lane.name);
            }
        }
        for name in &response.removed_resources {
            self.told_on.remove(name);
        }
    }

    /// Lets everything arrive. That must end, and soon.
    fn settle(&mut self) {
        self.look();
        self.messages = 0;
        loop {
            while !self.to_server.is_empty() || !self.to_sidecar.is_empty() {
                self.take(Step::ToServer);
                self.take(Step::ToSidecar);
                assert!(self.messages <= 100, "the two talk for ever");
            }
            match self.server.deadline() {
                Some(at) => {
                    self.now.steady = at;
                    self.look();
                }
                None => return,
            }
        }
    }

    fn sidecar_has_what_it_should(&self) {
        let world = self.offer();
        let own = format!("namespaces/default/services/{}", node().service);
        let keys: Vec<&str> = self.wanted.iter().map(|key| &**key).chain([own.as_str()]).collect();
        for kind in WILDCARD.into_iter().chain(ON_DEMAND) {
            let all = match ON_DEMAND.contains(&kind) {
                true => keys.iter().flat_map(|key| world.answer(kind, key, &node())).collect(),
                false => world.subscribed(kind, &node()),
            };
            let mut wanted: BTreeMap<&str, &str> = all.iter().map(|wire| (&*wire.name, &*wire.version)).collect();
            let mut held: BTreeMap<&str, &str> = self.sidecar.resources().versions(kind).into_iter().collect();
            for spoiled in all.iter().filter(|wire| wire.version.starts_with("bad-")) {
                wanted.remove(&*spoiled.name);
                let last_good = held.remove(&*spoiled.name).unwrap_or_default();
                assert!(!last_good.starts_with("bad-"), "{} was taken", spoiled.name);
                assert!(
                    self.server.holding(kind, &spoiled.name).is_refused,
                    "{} is not known as refused",
                    spoiled.name
                );
            }
            assert_eq!(held, wanted, "{kind}");
            for (name, version) in held {
                let acked = self.server.holding(kind, name).acked.map(|(version, _)| version);
                assert_eq!(acked.as_deref(), Some(version), "the server knows of {name}");
            }
        }
        assert!(self.sidecar.is_complete());
        assert_eq!(self.answered, self.wanted, "every key is answered, and none that was given up");
    }
}

fn node() -> Identity {
    Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None }
}

fn is_on(body: &[u8]) -> bool {
    discovery::Lane::decode(body).is_ok_and(|lane| lane.state() != lane::State::Disabled)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_sidecar_and_server_agree_and_fall_silent(steps in prop::collection::vec(step(), 0..120)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
        run.settle();
        run.sidecar_has_what_it_should();
        // The same again, and everything again to a sidecar that has it all: nothing is said but that this is all.
        run.messages = 0;
        run.edition += 1;
        run.look();
        assert_eq!(run.messages, 0, "nothing new, and yet something was said");
        run.take(Step::Restart);
        run.settle();
        run.sidecar_has_what_it_should();
    }
}
