//! Expressions that need a cache (lazy and simulated automata): what they allocate once, and that nothing follows. Decisions
//! without such a cache: allocations.rs.

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use laneway_core::decide::{InFlight, Scratch, decide_connection, decide_inbound, decide_outbound};
use laneway_core::facts::Facts;
use laneway_core::hop::Hop;
use laneway_core::snapshot::Snapshot;
use world::{Lines, World, facts, own_source, peer_source};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter left, and nobody asks for it.
    let _ = ALLOCATIONS.try_with(|counter| counter.set(counter.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DOCUMENTS: &str = r#"
kind: LaneGroup
name: shop
tag: {aliases: [x-old-tag]}
---
kind: Lane
name: gray
group: shop
priority: 9
entry:
  services: [a]
  redirect: true
  rules:
    - {name: users, match: {header: x-user-id, in: ["1", "2", "3"]}}
    - {name: joined, match: {header: x-list, suffix: ",end"}}
    - {name: dense, match: {header: x-name, regex: '[a-f]+-[0-9]{2,4}'}}
    - {name: simulated, match: {header: x-name, regex: '.*\bq\w+\b'}}
    - {name: query, match: {query: name, exact: "xiao ming"}}
    - {name: cookie, match: {cookie: sid, prefix: "v2."}}
    - {name: path, match: {attribute: path, prefix: /checkout}}
    - {name: host, match: {attribute: host, exact: www.demo.com}}
    - {name: share, percent: 5%, sticky: {by: [{header: x-user-id}, {query: name}]}}
    - {name: dice, percent: 5%}
---
kind: ServicePolicy
service: b
rules:
  - match: {any: [{header: x-vip, present: true}, {query: name, regex: '.*z'}]}
    to: [{tag: gray, weight: 30}, {tag: baseline, weight: 70}]
    sticky: {by: [{header: x-user-id}]}
"#;

/// Headers and targets that differ in every round.
fn inputs(round: usize) -> (Lines, String) {
    let mut lines = vec![
        ("host", format!("WWW{round}.demo.com:80")),
        ("x-user-id", (round * 7919).to_string()),
        ("x-name", format!("{}@mail{round}.example.com", "n".repeat(round % 50))),
        ("x-list", "first".to_owned()),
        ("x-list", format!("second{round}")),
        ("cookie", format!("a=b; sid=v{round}.{}", "s".repeat(round % 90))),
        ("baggage", format!("user={round},other=%20")),
    ];
    match round % 5 {
        0 => lines.push(("x-mse-tag", "gray".to_owned())),
        1 => lines.push(("x-old-tag", format!("lane-{round}"))),
        2 => lines.push(("x-mse-tag", format!("Bad_{round}"))),
        3 => lines.push(("baggage", "x-mse-tag=gr%61y".to_owned())),
        _ => {}
    }
    let target = format!("/a/../{}/%7e{round}?name=xiao+{round}%20ming&b=c", "p".repeat(round % 70));
    (Lines(lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()), target)
}

fn hop(round: usize) -> Option<Hop> {
    match round % 11 {
        0 => Some(Hop::HandedOver),
        1 => Hop::read(b"lane=7"),
        _ => None,
    }
}

fn decide_all(world: &World, snapshot: &Snapshot, scratch: &mut Scratch, lines: &Lines, target: &str, round: usize) {
    let outsider = std::net::IpAddr::from([192, 0, 2, (round % 200) as u8]);
    let inbound = Facts { target, ..facts(lines, peer_source(snapshot, outsider)) };
    let decision = decide_inbound(snapshot, &inbound, 8080, hop(round), &world.load, scratch);
    std::hint::black_box(&decision);

    let outbound = Facts { target, ..facts(lines, own_source(snapshot)) };
    let in_flight = InFlight { total: (round % 3) as u32, own_tag: (round % 2) as u32, ..InFlight::default() };
    let dialled = std::net::SocketAddr::from(([10, 1, 2, 1], 8080));
    let virtual_ip = std::net::SocketAddr::from(([10, 96, 0, 2], 80));
    let unknown = std::net::SocketAddr::from(([203, 0, 113, 9], 80));
    for original in [Some(dialled), Some(virtual_ip), Some(unknown), None] {
        let destination = snapshot.destination(original, Some("B:80"), None);
        let decision = decide_outbound(snapshot, &destination, &outbound, &in_flight, &world.load, scratch);
        std::hint::black_box(decision.is_some());
        let decision = decide_connection(snapshot, &destination, &world.load, scratch);
        std::hint::black_box(decision.is_some());
    }
    std::hint::black_box(snapshot.may_be_called(dialled));
}

#[test]
fn with_its_caches_made_a_worker_allocates_nothing() {
    let mesh = ["A", "Agray", "B", "B ejected", "Bgray", "Bgray unhealthy"].map(str::to_owned);
    let world = World::new(&mesh, DOCUMENTS).expect("good documents");
    for label in ["A", "Agray"] {
        let snapshot = world.snapshot(&world.pod(label).identity);
        let mut scratch = Scratch::new(7);
        // The first requests of a worker make the caches of its expressions and let buffers grow.
        for round in 0..300 {
            let (lines, target) = inputs(round);
            decide_all(&world, &snapshot, &mut scratch, &lines, &target, round);
        }
        let fresh: Vec<_> = (100_000..101_000).map(|round| (round, inputs(round))).collect();
        let before = ALLOCATIONS.with(Cell::get);
        for (round, (lines, target)) in &fresh {
            decide_all(&world, &snapshot, &mut scratch, lines, target, *round);
        }
        let after = ALLOCATIONS.with(Cell::get);
        assert_eq!(after - before, 0, "allocations in 1000 rounds at {label}");
    }
}

/// The exception: an expression too large for a dense automaton builds its states as values need them, and keeps them. So it
/// allocates for a state that it never had, and not again.
#[test]
fn a_lazy_automaton_allocates_only_for_states_that_it_never_had() {
    let lazy =
        "    - {name: lazy, match: {header: x-name, regex: '[a-z0-9.@]*[nm][a-z0-9.@]{14}'}}\n    - {name: users,";
    let documents = DOCUMENTS.replace("    - {name: users,", lazy);
    let world = World::new(&["A", "Agray", "B"].map(str::to_owned), &documents).expect("good documents");
    let snapshot = world.snapshot(&world.pod("A").identity);
    let mut scratch = Scratch::new(7);
    let known: Vec<_> = (0..300).map(|round| (round, inputs(round))).collect();
    let mut decide = || {
        let before = ALLOCATIONS.with(Cell::get);
        for (round, (lines, target)) in &known {
            decide_all(&world, &snapshot, &mut scratch, lines, target, *round);
        }
        ALLOCATIONS.with(Cell::get) - before
    };
    assert!(decide() > 0, "the expression is dense: this test shows nothing");
    assert_eq!(decide(), 0);
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.with(Cell::get);
    std::hint::black_box(Vec::<u8>::with_capacity(10));
    assert!(ALLOCATIONS.with(Cell::get) > before);
}
