//! Which worker serves which socket.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::shares;

fn listening(count: usize) -> Vec<TcpListener> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    (0..count).map(|_| TcpListener::bind(any).expect("loopback has free ports")).collect()
}

#[test]
fn every_inherited_socket_is_served_and_every_worker_serves_one() {
    for (sockets, workers) in [(1, 1), (2, 2), (4, 2), (5, 2), (1, 4), (3, 4), (2, 5)] {
        let inherited = listening(sockets);
        let address = |socket: &TcpListener| socket.local_addr().expect("it is bound");
        let mut addresses: Vec<SocketAddr> = inherited.iter().map(address).collect();
        let shares = shares(inherited, workers).expect("descriptors are there");
        assert_eq!(shares.len(), workers);
        assert!(shares.iter().all(|share| !share.is_empty()), "{sockets} sockets, {workers} workers");
        let mut served: Vec<SocketAddr> = shares.iter().flatten().map(address).collect();
        served.sort_unstable();
        served.dedup();
        addresses.sort_unstable();
        assert_eq!(served, addresses, "{sockets} sockets, {workers} workers");
    }
    assert!(shares(Vec::new(), 2).expect("nothing to do").iter().all(Vec::is_empty));
}
