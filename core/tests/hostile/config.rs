//! What a control plane may send, damaged: a session answers each response once, keeps what was good, and what it holds is a
//! configuration by which requests are decided.
//!
//! An input is a script: which good resources are delivered in which order, renamed, damaged, doubled or removed.
#![allow(unreachable_pub, reason = "a module of tests")]

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use laneway_core::compile::{WireResource, compile, sort};
use laneway_core::decide::{InFlight, Scratch, decide_inbound, decide_outbound};
use laneway_core::delta::Session;
use laneway_core::document;
use laneway_core::explain::Idle;
use laneway_core::facts::{Facts, NoHeaders, Source};
use laneway_core::snapshot::{EndpointState, Identity};
use laneway_proto::contract::{
    TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use laneway_proto::xds::{DeltaDiscoveryResponse, Resource};
use prost_types::Any;

use super::draw::Draw;

const TYPES: [&str; 7] = [
    TYPE_LANE_GROUP,
    TYPE_LANE,
    TYPE_SERVICE_POLICY,
    TYPE_SERVICE,
    TYPE_ENDPOINTS,
    TYPE_PEER,
    "type.googleapis.com/google.protobuf.Any",
];
const KEYS: [&str; 4] =
    ["namespaces/default/services/b", "host/b.example", "ip/10.1.1.1", "namespaces/default/services/nobody"];
const RESPONSES_MAX: usize = 12;
const RESOURCES_MAX: usize = 6;

const GOOD: &str = r#"
kind: LaneGroup
name: default
tag: {aliases: [x-tag], trust: mesh, carriers: [header, baggage, tracestate]}
fallback: {minHealthyPercent: 30%, noBaseline: any}
---
kind: Lane
name: gray
priority: 9
entry:
  services: [a]
  rules:
    - match: {header: x-user-id, regex: '[0-9]{1,6}7|(vip|gold)-[a-z]+'}
    - match: {all: [{attribute: path, prefix: /a}, {query: name, in: [xiaoming]}, {not: {cookie: vip, exact: '1'}}]}
    - {percent: 10%, sticky: {by: [{header: x-user-id}]}}
---
kind: Lane
name: blue
enabled: false
fallback: {chain: [gray, baseline]}
---
kind: ServicePolicy
name: b
rules: [{match: {attribute: method, exact: POST}, to: [{tag: gray, weight: 2}, {tag: baseline, weight: 8}]}]
timeouts: {connect: 2s}
---
kind: Service
name: a
endpoints: [{address: '10.1.0.1:8080', meshed: true}]
---
kind: Service
name: b
hosts: [b.example]
addresses: [10.96.0.1]
ports: [{port: 80, name: http, protocol: detect}]
endpoints:
  - {address: '10.1.1.1:8080', portName: http, meshed: true}
  - {address: '10.1.1.2:8080', portName: http, tag: gray, weight: 3, meshed: true}
  - {address: '[fd00::3]:8080', portName: http, tag: blue, state: warming}
"#;

pub fn check(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let identity = Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag: None };
    let good = good(&identity);
    let mut session = Session::new(identity.clone());
    for key in KEYS {
        session.want(&Arc::from(key));
    }
    for number in 0..RESPONSES_MAX {
        if draw.is_empty() {
            break;
        }
        let response = response(&mut draw, &good, number);
        let before = versions(&session);
        let (nonce, kind) = (response.nonce.clone(), response.type_url.clone());
        let reply = session.receive(response);
        assert_eq!((&*reply.message.response_nonce, &*reply.message.type_url), (&*nonce, &*kind), "answers what came");
        assert_eq!(
            reply.message.error_detail.is_some(),
            reply.refused.is_some(),
            "a refusal is told, and nothing else"
        );
        assert!(reply.is_changed || versions(&session) == before, "what changed is told");
        if draw.below(4) == 0 {
            // A stream was lost: the next one opens with all that is held.
            let opened = session.open();
            let held: usize = opened.iter().map(|message| message.initial_resource_versions.len()).sum();
            assert_eq!(held, TYPES.iter().map(|kind| session.resources().versions(kind).len()).sum::<usize>());
        }
    }
    is_a_configuration(&session, &identity);
}

fn response(draw: &mut Draw<'_>, good: &[Arc<WireResource>], number: usize) -> DeltaDiscoveryResponse {
    let mut type_url = draw.one_of(&TYPES).to_owned();
    let mut resources = Vec::new();
    let mut removed_resources = Vec::new();
    for _ in 0..draw.below(RESOURCES_MAX) {
        let wire = draw.one_of(&good.iter().collect::<Vec<_>>());
        if draw.below(8) != 0 {
            type_url = wire.type_url.to_owned();
        }
        if draw.below(8) == 0 {
            removed_resources.push(wire.name.clone());
            continue;
        }
        let (mut name, mut body) = (wire.name.clone().into_bytes(), wire.body.clone());
        if draw.below(8) == 0 {
            draw.edit(&mut name);
        }
        draw.edit(&mut body);
        resources.push(Resource {
            name: String::from_utf8_lossy(&name).into_owned(),
            version: number.to_string(),
            aliases: vec![draw.one_of(&KEYS).to_owned()],
            resource: (draw.below(16) != 0).then(|| Any { type_url: wire.type_url.to_owned(), value: body }),
            ..Resource::default()
        });
    }
    DeltaDiscoveryResponse {
        type_url,
        resources,
        removed_resources,
        nonce: number.to_string(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// Whatever is held now, a decision can be made by it.
fn is_a_configuration(session: &Session, identity: &Identity) {
    let snapshot = session.resources().snapshot(identity, 1);
    let mut scratch = Scratch::new(7);
    let facts = |source| Facts {
        method: "POST",
        target: "/a?name=xiaoming",
        authority: "b.example",
        headers: &NoHeaders,
        is_grpc: false,
        source,
    };
    let peer = Source { address: Some([10, 1, 0, 9].into()), ..Source::default() };
    decide_inbound(&snapshot, &facts(peer), 8080, None, &Idle, &mut scratch);
    let own = Source { service: snapshot.own_service_name(), tag: None, address: None, is_meshed: true };
    for (address, host) in [(None, Some("b.example")), (Some(([10, 96, 0, 1], 80).into()), None)] {
        let destination = snapshot.destination(address, host, None);
        let outbound = decide_outbound(&snapshot, &destination, &facts(own), &InFlight::default(), &Idle, &mut scratch);
        if let Some(endpoint) = outbound.and_then(|outbound| outbound.endpoint) {
            assert!(matches!(endpoint.state, EndpointState::Ready | EndpointState::Warming), "{endpoint:?}");
        }
    }
}

fn versions(session: &Session) -> Vec<(String, String)> {
    let of = |kind: &&str| session.resources().versions(kind).into_iter();
    TYPES.iter().flat_map(of).map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
}

/// What a control plane would send for the documents above.
fn good(identity: &Identity) -> Rc<[Arc<WireResource>]> {
    thread_local! {
        static GOOD_RESOURCES: OnceCell<Rc<[Arc<WireResource>]>> = const { OnceCell::new() };
    }
    GOOD_RESOURCES.with(|cell| {
        Rc::clone(cell.get_or_init(|| {
            let (objects, catalog, _) = sort(document::read(GOOD).expect("good documents")).expect("different names");
            compile(&objects, &catalog).everything(identity).into()
        }))
    })
}
