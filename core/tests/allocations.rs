//! A decision allocates nothing, for inputs never seen before either. A file of its own: the allocator counts for the whole
//! program.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use laneway_core::compile::{compile, sort};
use laneway_core::decide::{InFlight, Load, Scratch, decide_connection, decide_inbound, decide_outbound};
use laneway_core::decode::{Resources, decode};
use laneway_core::document;
use laneway_core::facts::{Facts, Headers, Source};
use laneway_core::snapshot::{EndpointAddr, Identity, Snapshot};
use laneway_core::tag::Tag;
use laneway_core::why::TagSource;

#[path = "world/large.rs"]
mod large;

/// Counts allocations of each thread.
struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DOCUMENTS: &str = r#"
kind: LaneGroup
name: shop
tag: {aliases: [x-tag], trust: mesh}
fallback: {minHealthyPercent: 30%, noBaseline: any}
---
kind: Lane
name: gray
group: shop
priority: 9
entry:
  services: [a]
  redirect: true
  rules:
    - match: {header: x-user-id, regex: '[0-9]{1,6}7|(vip|gold)-[a-z]+'}
    - match: {all: [{attribute: path, prefix: /a}, {attribute: host, suffix: .demo.com}, {query: name, in: [xiaoming, "小明"]}]}
    - match: {any: [{cookie: vip, exact: '1'}, {header: x-level, between: {min: 3, max: 9}}, {attribute: sourceIp, in: [10.0.0.0/8]}]}
    - match: {header: x-roles, ignoreCase: true, in: ["ADMIN,ops"]}
    - match: {any: [{jwtClaim: tenant.name, regex: 'n\.[0-9a-f]+7'}, {jwtClaim: level, gt: 90000}]}
    - {percent: 10%, sticky: {by: [{header: x-user-id}, {jwtClaim: sub}, {attribute: sourceIp}]}}
    - {match: {header: x-mse-tag, present: true, negate: true}, percent: 1%}
---
kind: Lane
name: feature
group: shop
fallback: {chain: [gray, blue, baseline]}
---
kind: Lane
name: blue
group: shop
enabled: false
---
kind: ServicePolicy
name: b
rules:
  - match: {not: {header: x-user-id, mod: {divisor: 10, remainders: [1, 2]}}}
    to: [{tag: gray, weight: 2}, {tag: baseline, weight: 8}]
    sticky: {by: [{header: x-user-id}]}
  - {match: {attribute: method, exact: POST}, to: [{tag: gray}, {tag: blue}]}
"#;

#[test]
fn decisions_allocate_nothing() {
    let mut snapshots = Vec::new();
    for tag in [None, Some("gray")] {
        let tag = tag.map(|tag: &str| Tag::parse(tag.as_bytes()).expect("a tag"));
        let identity = Identity { namespace: "default".into(), service: "a".into(), tag };
        snapshots.push(snapshot(&identity));
    }
    let inputs: Vec<Input> = (0..2_000).map(Input::new).collect();
    // A worker makes its scratch once, when it starts.
    let mut scratch = Scratch::new(1);
    let before = COUNT.get();
    let mut reached = 0;
    for (number, input) in inputs.iter().enumerate() {
        let snapshot = &snapshots[number % 2];
        let facts = input.facts();
        let inbound = decide_inbound(snapshot, &facts, 8080, None, &SomeEjected, &mut scratch);
        reached += usize::from(inbound.rule.is_some());
        let destination = snapshot.destination(input.original, Some("SC-B.example:80"), None);
        let in_flight = InFlight { total: 2, own_tag: 2, ..InFlight::default() };
        let outbound = decide_outbound(snapshot, &destination, &facts, &in_flight, &SomeEjected, &mut scratch);
        reached += usize::from(outbound.is_some_and(|outbound| outbound.endpoint.is_some()));
        let connection = decide_connection(snapshot, &destination, &SomeEjected, &mut scratch);
        reached += usize::from(connection.is_some());
        reached += usize::from(snapshot.peer(IpAddr::from([10, 1, 0, 1])).is_some());
    }
    let allocated = COUNT.get() - before;
    assert_eq!(allocated, 0, "{} decisions allocated", inputs.len());
    assert!(reached > inputs.len(), "the inputs reach rules and instances: {reached}");
}

#[test]
fn decisions_among_a_thousand_rules_and_a_list_of_all_users_allocate_nothing() {
    const VALUES: usize = 100_000;
    let snapshot = large::snapshot(1_000, VALUES);
    let requests: Vec<large::Request> =
        (0..200).map(|n| large::Request::new(&large::user(n * VALUES / 100), None)).collect();
    let mut scratch = Scratch::new(1);
    let before = COUNT.get();
    let mut taken = 0;
    for request in &requests {
        let inbound = decide_inbound(&snapshot, &request.facts(), 8080, None, &SomeEjected, &mut scratch);
        taken += usize::from(inbound.source == TagSource::Rule);
    }
    assert_eq!(COUNT.get() - before, 0, "{} decisions allocated", requests.len());
    assert_eq!(taken, 100, "the first half are users of the list, the others are not");
}

fn snapshot(identity: &Identity) -> Snapshot {
    let mut text = DOCUMENTS.to_owned();
    for (n, service) in ["a", "b"].iter().enumerate() {
        let endpoint = |m: usize| {
            let tag = ["", "gray", "blue", "green"][m % 4];
            let state = if m % 7 == 6 { "unhealthy" } else { "ready" };
            format!("{{address: '10.1.{n}.{m}:8080', portName: http, tag: '{tag}', state: {state}, meshed: true}}")
        };
        let endpoints: Vec<String> = (1..60).map(endpoint).collect();
        text += &format!(
            "---\nkind: Service\nname: {service}\nhosts: [sc-{service}.example]\naddresses: [10.96.0.{n}]\n\
             ports: [{{port: 80, name: http, protocol: detect}}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        );
    }
    let documents = document::read(&text).expect("good documents");
    let (objects, catalog, _) = sort(documents).expect("different names");
    let mut resources = Resources::default();
    for wire in compile(&objects, &catalog).everything(identity) {
        resources.insert(decode(wire.type_url, &wire.name, &wire.version, &wire.body).expect("accepted"));
    }
    resources.snapshot(identity, 1)
}

/// A request that no other is like.
struct Input {
    lines: Vec<(&'static str, String)>,
    target: String,
    authority: String,
    original: Option<SocketAddr>,
    address: IpAddr,
}

impl Input {
    fn new(number: u64) -> Input {
        let word = format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let tag = ["gray", "feature", "blue", "nobody", "baseline", "b_d"][(number % 6) as usize];
        let mut lines = vec![("x-user-id", format!("{number}")), ("cookie", format!("sid={word}; vip={}", number % 3))];
        match number % 5 {
            0 => lines.push(("x-mse-tag", tag.to_owned())),
            1 => lines.push(("baggage", format!("k={word}, x-mse-tag={tag};p"))),
            2 => lines.extend([("traceparent", word.clone()), ("tracestate", format!("laneway={tag}"))]),
            3 => lines.extend([("x-roles", "admin".to_owned()), ("x-roles", format!("{word}ü"))]),
            _ => lines.push(("x-level", word.clone())),
        }
        if number.is_multiple_of(4) {
            let (nested, junk) = ("[".repeat(number as usize % 40), "]".repeat(number as usize % 39));
            let claims = format!(
                r#"{{"sub":"u{word}","level":{number}00,"aud":{nested}1{junk},"tenant":{{"name":"\u006e.{word}"}}}}"#
            );
            lines.push(("authorization", format!("Bearer e30.{}.{word}", base64url(&claims))));
        }
        Input {
            lines,
            target: format!("/a/./b/../%7e{word}?x={word}&name=%E5%B0%8F{word}+1"),
            authority: format!("{word}.Demo.com:8080"),
            original: match number % 3 {
                0 => Some(SocketAddr::from(([10, 96, 0, 1], 80))),
                1 => Some(SocketAddr::from(([10, 1, 1, (number % 59 + 1) as u8], 8080))),
                _ => None,
            },
            address: IpAddr::from((number as u32).wrapping_mul(2_654_435_761).to_be_bytes()),
        }
    }

    fn facts(&self) -> Facts<'_> {
        let source = Source { service: "", tag: None, address: Some(self.address), is_meshed: true };
        Facts {
            method: "POST",
            target: &self.target,
            authority: &self.authority,
            headers: self,
            is_grpc: false,
            source,
        }
    }
}

impl Headers for Input {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.lines.iter().filter(|(n, _)| *n == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

fn base64url(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = text.as_bytes().chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |at| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]))
    });
    letters.collect()
}

struct SomeEjected;

impl Load for SomeEjected {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        u32::from(endpoint.0.port()) % 3
    }

    fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
        matches!(endpoint.0.ip(), IpAddr::V4(address) if address.octets()[3].is_multiple_of(5))
    }
}
