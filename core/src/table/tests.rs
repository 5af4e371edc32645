//! Choosing among instances: who may be taken, how often, and what ejection does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Among, Table};
use crate::decide::{Load, WHOLE_SHARE};
use crate::share::Dice;
use crate::snapshot::{Endpoint, EndpointAddr, EndpointState};

/// Outstanding requests and ejection by the last number of the address.
#[derive(Default)]
struct Known {
    outstanding: BTreeMap<u8, u32>,
    ejected: Vec<u8>,
    warming: BTreeMap<u8, u32>,
}

impl Load for Known {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        self.outstanding.get(&number(endpoint)).copied().unwrap_or(0)
    }

    fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
        self.ejected.contains(&number(endpoint))
    }

    fn has_ejected(&self) -> bool {
        !self.ejected.is_empty()
    }

    fn has_warming(&self) -> bool {
        !self.warming.is_empty()
    }

    fn share(&self, endpoint: EndpointAddr) -> u32 {
        self.warming.get(&number(endpoint)).copied().unwrap_or(WHOLE_SHARE)
    }
}

fn number(endpoint: EndpointAddr) -> u8 {
    match endpoint.0 {
        SocketAddr::V4(address) => address.ip().octets()[3],
        SocketAddr::V6(_) => 0,
    }
}

fn endpoint(number: u8, port: u16, weight: u32, state: EndpointState) -> Endpoint {
    let address = EndpointAddr(SocketAddr::from(([10, 0, 0, number], port)));
    Endpoint { address, tag: None, weight, state, is_secondary: false, is_meshed: false }
}

fn table(endpoints: Vec<(Endpoint, &str)>) -> Table {
    let named = endpoints.into_iter().map(|(endpoint, name)| (endpoint, Arc::from(name)));
    Table {
        name: "namespaces/default/services/b".into(),
        id: "b".into(),
        hosts: Vec::new(),
        addresses: Vec::new(),
        ports: Vec::new(),
        pools: Table::pools(named.collect()),
    }
}

fn counts(table: &Table, port_name: &str, is_last_resort: bool, load: &Known) -> BTreeMap<u8, u32> {
    let mut dice = Dice::new(11);
    let mut counts = BTreeMap::new();
    for _ in 0..10_000 {
        let among = Among { table, pools: &[0], port_name, port: 80, is_last_resort };
        if let Some(chosen) = among.pick(None, load, &mut dice) {
            *counts.entry(number(chosen.address)).or_default() += 1;
        }
    }
    counts
}

fn simple(weights: &[u32]) -> Table {
    let endpoints = weights.iter().enumerate();
    let ready = |(n, weight): (usize, &u32)| (endpoint(n as u8 + 1, 8080, *weight, EndpointState::Ready), "http");
    table(endpoints.map(ready).collect())
}

#[test]
fn idle_instances_are_taken_by_weight() {
    let counts = counts(&simple(&[1, 3]), "http", false, &Known::default());
    assert!((2_200..2_800).contains(&counts[&1]), "{counts:?}");
}

#[test]
fn of_two_the_one_with_fewer_requests_is_taken() {
    let load = Known { outstanding: BTreeMap::from([(1, 5)]), ..Known::default() };
    let counts = counts(&simple(&[1, 1]), "http", false, &load);
    assert_eq!(counts, BTreeMap::from([(2, 10_000)]));
}

#[test]
fn only_usable_instances_with_the_port_name_are_taken() {
    let table = table(vec![
        (endpoint(1, 8080, 1, EndpointState::Unhealthy), "http"),
        (endpoint(2, 8080, 1, EndpointState::Draining), "http"),
        (endpoint(3, 8080, 1, EndpointState::Warming), "http"),
        (endpoint(4, 9090, 1, EndpointState::Ready), "grpc"),
    ]);
    assert_eq!(counts(&table, "http", false, &Known::default()), BTreeMap::from([(3, 10_000)]));
    assert_eq!(counts(&table, "grpc", false, &Known::default()), BTreeMap::from([(4, 10_000)]));
    assert!(counts(&table, "admin", false, &Known::default()).is_empty());
    assert_eq!(counts(&table, "", false, &Known::default()).len(), 2);
}

#[test]
fn instances_aside_are_taken_by_who_dials_one_and_by_nobody_else() {
    let aside = || (endpoint(1, 80, 1, EndpointState::Ready), "aside.fronts");
    let table_of_two = table(vec![aside(), (endpoint(2, 80, 1, EndpointState::Ready), "")]);
    assert_eq!(counts(&table_of_two, "", true, &Known::default()).keys().collect::<Vec<_>>(), [&2]);
    // Also where there is nobody else, and where others have names alone.
    let table_of_one = table(vec![aside()]);
    assert_eq!(counts(&table_of_one, "", true, &Known::default()), BTreeMap::new());
    let named = table(vec![aside(), (endpoint(2, 80, 1, EndpointState::Ready), "http")]);
    assert_eq!(counts(&named, "", true, &Known::default()).keys().collect::<Vec<_>>(), [&2]);
    let health = |table: &Table| {
        let among = Among { table, pools: &[0], port_name: "", port: 80, is_last_resort: true };
        among.health(&Known::default()).usable
    };
    assert_eq!((health(&table_of_two), health(&table_of_one), health(&named)), (1, 0, 1));
    assert_eq!(counts(&table_of_two, "aside.fronts", true, &Known::default()).keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn ejection_never_takes_the_last_of_baseline() {
    let some = Known { ejected: vec![1], ..Known::default() };
    assert_eq!(counts(&simple(&[1, 1]), "http", true, &some), BTreeMap::from([(2, 10_000)]));
    let all = Known { ejected: vec![1, 2], ..Known::default() };
    assert_eq!(counts(&simple(&[1, 1]), "http", true, &all).len(), 2);
    assert!(counts(&simple(&[1, 1]), "http", false, &all).is_empty());
}

#[test]
fn ejection_is_asked_at_the_port_that_is_called() {
    struct At(u16);
    impl Load for At {
        fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
            assert_eq!(endpoint.0.port(), self.0, "the port is filled in");
            0
        }
        fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
            assert_eq!(endpoint.0.port(), self.0, "the port is filled in");
            false
        }
    }
    let any_port = |n| (endpoint(n, 0, 1, EndpointState::Ready), "http");
    let table = table(vec![any_port(1), any_port(2)]);
    let among = Among { table: &table, pools: &[0], port_name: "http", port: 7777, is_last_resort: false };
    assert!(among.pick(None, &At(7777), &mut Dice::new(1)).is_some());
}

proptest! {
    #[test]
    fn a_choice_is_usable_and_there_is_one_if_any_is(
        states in proptest::collection::vec((0..4_u8, 1..5_u32), 0..20),
        ejected in proptest::collection::vec(1..20_u8, 0..10),
        seed: u64,
    ) {
        let state = |code| [EndpointState::Ready, EndpointState::Warming, EndpointState::Draining,
            EndpointState::Unhealthy][usize::from(code)];
        let endpoints: Vec<_> = states.iter().enumerate()
            .map(|(n, (code, weight))| (endpoint(n as u8 + 1, 8080, *weight, state(*code)), "http")).collect();
        let load = Known { ejected, ..Known::default() };
        let usable: Vec<u8> = endpoints.iter().map(|(e, _)| e).filter(|e| {
            e.state.is_usable() && !load.is_ejected(e.address)
        }).map(|e| number(e.address)).collect();
        let table = table(endpoints);
        let pools: &[u32] = if table.pools.is_empty() { &[] } else { &[0] };
        let among = Among { table: &table, pools, port_name: "http", port: 80, is_last_resort: false };
        let chosen = among.pick(None, &load, &mut Dice::new(seed)).map(|e| number(e.address));
        prop_assert_eq!(chosen.is_some(), !usable.is_empty());
        prop_assert!(chosen.is_none_or(|chosen| usable.contains(&chosen)));
        prop_assert_eq!(among.health(&load).usable as usize, usable.len());
    }
}

#[test]
fn an_instance_that_warms_up_gets_less_than_its_share() {
    // A third of it, beside one that has all: one of four requests.
    let warming = Known { warming: BTreeMap::from([(2, WHOLE_SHARE / 3)]), ..Known::default() };
    let counted = counts(&simple(&[1, 1]), "http", false, &warming);
    assert!((2_200..2_800).contains(&counted[&2]), "{counted:?}");
    let nothing = Known { warming: BTreeMap::from([(2, 0)]), ..Known::default() };
    assert_eq!(counts(&simple(&[1, 1]), "http", false, &nothing).get(&2), None);
    let all = Known { warming: BTreeMap::from([(1, 100), (2, 100)]), ..Known::default() };
    let counted = counts(&simple(&[1, 3]), "http", false, &all);
    assert!((2_200..2_800).contains(&counted[&1]), "all that is left is theirs, by weight: {counted:?}");
    let one = Known { warming: BTreeMap::from([(1, 0)]), ..Known::default() };
    assert_eq!(counts(&simple(&[1]), "http", false, &one)[&1], 10_000, "somebody is to be called");
}
