//! Documents of any text and requests of any bytes: whatever the checker lets through compiles, a sidecar takes what was compiled,
//! the decision is the same when it is asked why, and an instance that is chosen may be called.
//!
//! An input is documents, a zero, and the request: method, target, authority, then names and values, each ended by a zero.
#![allow(unreachable_pub, reason = "a module of tests")]

use laneway_core::compile::{compile, sort};
use laneway_core::decide::{InFlight, Scratch, decide_inbound, decide_outbound};
use laneway_core::decode::{Resources, decode};
use laneway_core::explain::{Idle, explain_inbound, explain_outbound};
use laneway_core::facts::{Facts, Headers, Source};
use laneway_core::hop::Hop;
use laneway_core::snapshot::{EndpointState, Identity};
use laneway_core::tag::Tag;
use laneway_core::why::Why;
use laneway_core::{check, document};
use laneway_proto::admin::diagnostic::Severity;
use laneway_proto::contract::HOP_HEADER;

use super::draw::Draw;

/// Lines of a request.
const LINES_MAX: usize = 16;
const PEER: [u8; 4] = [10, 1, 0, 9];

/// What runs, whatever the rules are.
const RUNNING: &str = "
---
kind: Service
name: a
endpoints: [{address: '10.1.0.1:8080'}, {address: '10.1.0.2:8080', tag: gray}]
---
kind: Service
name: b
hosts: [b.example]
endpoints: [{address: '10.1.1.1:8080'}, {address: '10.1.1.2:8080', tag: gray}, {address: '10.1.1.3:8080', tag: blue, state: draining}]
";

/// Returns whether the documents were good.
pub fn check(bytes: &[u8]) -> bool {
    let mut draw = Draw::new(bytes);
    let Ok(text) = std::str::from_utf8(draw.text()) else { return false };
    let Ok(documents) = document::read(&format!("{text}{RUNNING}")) else { return false };
    let Ok((objects, catalog, _)) = sort(documents) else { return false };
    if check::check(&objects, &catalog).iter().any(|found| found.severity() == Severity::Error) {
        return false;
    }
    let compiled = compile(&objects, &catalog);
    let (method, target, authority) = (word(&mut draw), word(&mut draw), word(&mut draw));
    let mut lines = Lines::default();
    while !draw.is_empty() && lines.0.len() < LINES_MAX {
        lines.0.push((String::from_utf8_lossy(draw.text()).to_ascii_lowercase(), draw.text().to_vec()));
    }
    for tag in [None, Tag::parse(b"gray").ok()] {
        let identity = Identity { namespace: "default".to_owned(), service: "a".to_owned(), tag };
        let mut resources = Resources::default();
        for wire in compiled.everything(&identity) {
            match decode(wire.type_url, &wire.name, &wire.version, &wire.body) {
                Ok(decoded) => resources.insert(decoded),
                Err(errors) => panic!("a sidecar refuses what was compiled from good documents: {errors:#?}"),
            }
        }
        let snapshot = resources.snapshot(&identity, 1);
        let facts = |source| Facts {
            method: &method,
            target: &target,
            authority: &authority,
            headers: &lines,
            is_grpc: false,
            source,
        };
        let peer = Source { address: Some(PEER.into()), ..Source::default() };
        let hop = lines.line(HOP_HEADER, 0).and_then(Hop::read);
        let inbound = decide_inbound(&snapshot, &facts(peer), 8080, hop, &Idle, &mut Scratch::new(7));
        let (explained, _) = explain_inbound(&snapshot, &facts(peer), 8080, hop, &Idle, &mut Scratch::new(7));
        assert_eq!(format!("{inbound:?}"), format!("{explained:?}"), "the same whether asked why or not");

        let destination = snapshot.destination(None, Some("b.example"), None);
        let own = Source { service: snapshot.own_service_name(), tag, address: None, is_meshed: true };
        let in_flight = InFlight::default();
        let scratch = || Scratch::new(7);
        let outbound = decide_outbound(&snapshot, &destination, &facts(own), &in_flight, &Idle, &mut scratch());
        let explained = explain_outbound(&snapshot, &destination, &facts(own), &in_flight, &Idle, &mut scratch());
        let (Some(outbound), Some((explained, _))) = (outbound, explained) else {
            panic!("b is known by its host");
        };
        let of = |endpoint: Option<&laneway_core::snapshot::Endpoint>| endpoint.map(|endpoint| endpoint.address);
        assert_eq!((outbound.why, of(outbound.endpoint)), (explained.why, of(explained.endpoint)));
        match outbound.endpoint {
            Some(endpoint) => {
                assert!(matches!(endpoint.state, EndpointState::Ready | EndpointState::Warming), "{endpoint:?}");
                assert_eq!(outbound.endpoint_tag, endpoint.tag);
            }
            None => assert!(matches!(outbound.why, Why::StrictReject | Why::NoEndpoint), "{:?}", outbound.why),
        }
    }
    true
}

fn word(draw: &mut Draw<'_>) -> String {
    String::from_utf8_lossy(draw.text()).into_owned()
}

#[derive(Default)]
struct Lines(Vec<(String, Vec<u8>)>);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        let mut lines = self.0.iter().filter(|(key, _)| key == name);
        lines.nth(index).map(|(_, value)| value.as_slice())
    }
}
