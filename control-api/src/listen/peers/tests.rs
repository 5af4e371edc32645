use std::net::Ipv4Addr;

use super::*;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

#[test]
fn a_peer_has_so_many_places_and_others_theirs() {
    let peers = Peers::new(2);
    let first = peers.take(address(1)).expect("the first");
    let _second = peers.take(address(1)).expect("the second");
    assert!(peers.take(address(1)).is_none());
    let _other = peers.take(address(2)).expect("of another peer");
    drop(first);
    assert!(peers.take(address(1)).is_some());
}

#[test]
fn one_address_is_one_peer_in_either_family() {
    let peers = Peers::new(1);
    let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
    let _held = peers.take(address(1)).expect("the first");
    assert!(peers.take(mapped).is_none());
}

#[test]
fn who_has_left_is_forgotten() {
    let peers = Peers::new(1);
    drop(peers.take(address(1)));
    let held = peers.take(address(1));
    assert!(peers.take(address(1)).is_none());
    drop(held);
    assert!(peers.held().is_empty());
}

#[test]
fn a_network_of_ipv6_is_one_peer() {
    let peers = Peers::new(1);
    let of = |last: u16, network: u16| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, last]);
    let _held = peers.take(of(1, 1)).expect("the first");
    assert!(peers.take(of(2, 1)).is_none());
    assert!(peers.take(of(1, 2)).is_some());
}
