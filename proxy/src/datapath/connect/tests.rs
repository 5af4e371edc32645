//! Which connections are our own, come back by the redirect.

use std::net::SocketAddr;

use super::OwnSockets;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("test address")
}

#[test]
fn a_connection_is_ours_by_both_its_ends_and_as_long_as_it_lasts() {
    let own = OwnSockets::default();
    let held = own.hold(address("10.0.0.1:40000"), address("10.0.0.2:80"));
    assert!(own.contains(address("10.0.0.1:40000"), address("10.0.0.2:80")));
    // The kernel gives one local port to connections with different destinations.
    assert!(!own.contains(address("10.0.0.1:40000"), address("10.0.0.3:80")));
    assert!(!own.contains(address("10.0.0.1:40001"), address("10.0.0.2:80")));
    drop(held);
    assert!(!own.contains(address("10.0.0.1:40000"), address("10.0.0.2:80")));
}
