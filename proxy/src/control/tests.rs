//! Giving up what is idle, with the follower of a real sidecar and the answers of a real configuration; the wire is left out.

use std::net::SocketAddr;
use std::time::Duration;

use laneway_core::compile::{Compiled, compile, sort};
use laneway_core::delta::Session;
use laneway_core::document::read;
use laneway_core::snapshot::{Destination, Identity, Snapshot};
use laneway_proto::contract::{TYPE_ENDPOINTS, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY};
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use tokio::time::advance;

use super::{Follower, IDLE_LOOK, IDLE_MAX};
use crate::current::{Asked, Demand, Demands, View, channel, demand};
use crate::habits::Habits;
use crate::journal::Outlets;
use crate::status::Status;
use crate::telemetry::{Config, Telemetry};
use crate::timer::Timer;

const SECOND: Duration = Duration::from_secs(1);
const KINDS: [&str; 4] = [TYPE_ENDPOINTS, TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_PEER];
const MESH: &str = "
{kind: Service, name: b, hosts: [sc-b], addresses: [10.96.0.12], endpoints: [{address: '10.1.0.12:80', meshed: true}]}
---
{kind: Service, name: c, hosts: [sc-c], endpoints: [{address: '10.1.0.13:80', meshed: true}]}
";

struct Pod {
    follower: Follower,
    demand: Demand,
    demands: Demands,
    view: View,
    mesh: Compiled,
}

impl Pod {
    fn new() -> Pod {
        let identity = Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None };
        // Nobody decides on it, so nobody is waited for.
        let (publisher, _) = channel(0, Snapshot::empty(identity.clone()));
        let view = publisher.view();
        let telemetry = Telemetry::new(1, Config::FOR_TESTS);
        let status = Status::new(telemetry, "control", publisher.view(), Outlets::default());
        let session = Session::new(identity);
        let follower = Follower {
            session,
            publisher,
            status,
            revision: 0,
            unsettled: Vec::new(),
            saver: None,
            habits: Habits::default(),
            awaited: Default::default(),
            is_settling: false,
        };
        let (demand, demands) = demand();
        let (objects, catalog, _) = sort(read(MESH).expect("good documents")).expect("each once");
        Pod { follower, demand, demands, view, mesh: compile(&objects, &catalog) }
    }

    /// The data path asks, and the control plane answers. How long it waited.
    async fn ask(&mut self, key: &str) -> Duration {
        let Pod { follower, demand, demands, mesh, .. } = self;
        let timer = Timer::current();
        let start = tokio::time::Instant::now();
        let control = async {
            let Ok(Some(key)) = tokio::time::timeout(SECOND / 2, demands.next()).await else { return };
            assert_eq!(follower.session.want(&key).len(), KINDS.len(), "it is asked for on the wire");
            for kind in KINDS {
                let (mut reply, snapshot) = follower.apply(answer(mesh, kind, &key)).expect("no panic");
                if let Some(snapshot) = snapshot {
                    follower.publish(snapshot, demands).await;
                }
                demands.answered(reply.answered.drain(..));
            }
        };
        let wait = async {
            demand.ensure(&timer, key, SECOND).await;
            start.elapsed()
        };
        let ((), waited) = tokio::join!(control, wait);
        waited
    }

    /// Ten minutes and a look, in which this is made use of again and again.
    async fn rest(&mut self, mut make_use: impl FnMut(&Snapshot)) -> Vec<DeltaDiscoveryRequest> {
        let mut messages = Vec::new();
        for _ in 0..=IDLE_MAX.as_secs() / IDLE_LOOK.as_secs() {
            advance(IDLE_LOOK).await;
            make_use(&self.view.current());
            messages.extend(self.follower.give_up_idle(IDLE_MAX, &self.demands).await);
        }
        messages
    }
}

fn answer(mesh: &Compiled, kind: &str, key: &str) -> DeltaDiscoveryResponse {
    let found = mesh.answer(kind, key, &Identity { namespace: "default".to_owned(), ..Identity::default() });
    let resources = found.iter().map(|wire| Resource {
        name: wire.name.clone(),
        version: wire.version.clone(),
        aliases: vec![key.to_owned()],
        resource: Some(prost_types::Any { type_url: wire.type_url.to_owned(), value: wire.body.clone() }),
        ..Resource::default()
    });
    let resources: Vec<Resource> = resources.collect();
    let removed_resources = if resources.is_empty() { vec![key.to_owned()] } else { Vec::new() };
    DeltaDiscoveryResponse { type_url: kind.to_owned(), resources, removed_resources, ..Default::default() }
}

fn knows(snapshot: &Snapshot, host: &str) -> bool {
    !matches!(snapshot.destination(None, Some(host), None), Destination::Unknown)
}

fn unsubscribed(messages: &[DeltaDiscoveryRequest]) -> Vec<&str> {
    let mut names: Vec<&str> =
        messages.iter().flat_map(|message| &message.resource_names_unsubscribe).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[tokio::test(start_paused = true)]
async fn what_nobody_called_for_ten_minutes_is_given_up_and_what_is_called_stays() {
    let mut pod = Pod::new();
    for key in ["host/sc-b", "host/sc-c", "host/example.org"] {
        pod.ask(key).await;
    }
    let messages = pod.rest(|snapshot| assert!(knows(snapshot, "sc-b"), "it is in use")).await;
    assert_eq!(unsubscribed(&messages), ["host/example.org", "host/sc-c"]);
    let snapshot = pod.view.current();
    assert!(!knows(&snapshot, "sc-c") && snapshot.peer("10.1.0.13".parse().expect("an address")).is_none());
    assert!(pod.follower.session.resources().versions(TYPE_ENDPOINTS).len() == 1, "that of b");
    let messages = pod.rest(|_| ()).await;
    assert_eq!(unsubscribed(&messages), ["host/sc-b"], "also when it is called no more");
    assert!(pod.follower.session.resources().versions(TYPE_SERVICE).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_asked_for_and_there_again() {
    let mut pod = Pod::new();
    pod.ask("host/sc-b").await;
    let asked = Asked::default();
    asked.now(&pod.demand);
    assert!(asked.holds(&pod.demand));
    pod.rest(|_| ()).await;
    assert!(!knows(&pod.view.current(), "sc-b"));
    assert!(!asked.holds(&pod.demand), "a connection that was open all the time asks again too");
    assert!(pod.ask("host/sc-b").await < SECOND, "the answer is waited for, and no longer");
    assert!(knows(&pod.view.current(), "sc-b"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_calls_stays_known() {
    let mut pod = Pod::new();
    let (calls, rests) = ("10.1.0.12", "10.1.0.13");
    for address in [calls, rests] {
        pod.ask(&format!("ip/{address}")).await;
    }
    let peer = |snapshot: &Snapshot, address: &str| snapshot.peer(address.parse().expect("an address")).is_some();
    let messages = pod.rest(|snapshot| assert!(peer(snapshot, calls))).await;
    assert_eq!(unsubscribed(&messages), ["ip/10.1.0.13"]);
    let snapshot = pod.view.current();
    assert!(peer(&snapshot, calls) && !peer(&snapshot, rests));
    let to = SocketAddr::new(calls.parse().expect("an address"), 80);
    assert!(!matches!(snapshot.destination(Some(to), None, None), Destination::Unknown), "what came with it too");
}

#[tokio::test(start_paused = true)]
async fn use_between_two_versions_of_the_configuration_counts() {
    let mut pod = Pod::new();
    pod.ask("host/sc-b").await;
    for _ in 0..=IDLE_MAX.as_secs() / IDLE_LOOK.as_secs() {
        advance(IDLE_LOOK).await;
        assert!(knows(&pod.view.current(), "sc-b"), "it is in use");
        // Something changes: the snapshot with the mark is replaced before anybody looks.
        let next = pod.follower.session.resources().snapshot(&pod.follower.session.identity, pod.follower.revision + 1);
        pod.follower.publish(next, &pod.demands).await;
        assert!(pod.follower.give_up_idle(IDLE_MAX, &pod.demands).await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_from_the_disk_count_and_are_given_up_too() {
    let mut pod = Pod::new();
    // The own service is on disk too, and nobody gives it up.
    let keys = ["host/sc-b".into(), "host/gone".into(), "namespaces/default/services/a".into()];
    let saved = KINDS.map(|kind| answer(&pod.mesh, kind, "host/sc-b")).into();
    pod.follower.session.recall(&keys, saved);
    pod.demands.recalled(&keys);
    let messages = pod.rest(|_| ()).await;
    assert_eq!(unsubscribed(&messages), ["host/gone", "host/sc-b"]);
    let asked = Asked::default();
    asked.now(&pod.demand);
    assert!(pod.rest(|_| ()).await.is_empty() && asked.holds(&pod.demand), "nothing is left to give up");
}

#[tokio::test(start_paused = true)]
async fn a_bug_in_taking_a_configuration_leaves_the_last_good_one_and_what_comes_next_is_taken() {
    let mut pod = Pod::new();
    pod.ask("host/sc-b").await;
    let held = |pod: &Pod| pod.follower.session.resources().versions(TYPE_SERVICE).len();
    assert_eq!(held(&pod), 1);
    let done: Option<()> = pod.follower.guarded(|session, _| {
        session.receive(answer(&pod.mesh, TYPE_SERVICE, "host/sc-c"));
        assert_eq!(session.resources().versions(TYPE_SERVICE).len(), 2);
        panic!("a bug");
    });
    assert!(done.is_none());
    assert_eq!(held(&pod), 1, "half of it is not kept");
    assert!(knows(&pod.view.current(), "sc-b"), "the data path goes on with what it had");
    pod.ask("host/sc-c").await;
    assert!(knows(&pod.view.current(), "sc-b") && knows(&pod.view.current(), "sc-c"));
}
