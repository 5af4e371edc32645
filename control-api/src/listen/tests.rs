use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio_stream::StreamExt;

use super::*;

/// From an address of this machine.
async fn dial(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("all of 127/8 is ours");
    socket.connect(to).await.expect("it listens")
}

#[tokio::test]
async fn a_peer_that_holds_too_many_connections_is_closed_and_holds_up_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut taken = connections(listener, None, Bounds { all_max: 8, peer_max: 2 });
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((dial([127, 0, 0, 1], address).await, taken.next().await));
    }
    let mut third = dial([127, 0, 0, 1], address).await;
    let read = third.read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "it is closed: {read:?}");
    let (_other, of_other) = (dial([127, 0, 0, 2], address).await, taken.next().await);
    let peer = of_other.expect("the port is open").expect("it is taken").connect_info();
    assert_eq!(peer.address.ip(), std::net::Ipv4Addr::new(127, 0, 0, 2));
    // One that ends makes room.
    held.pop();
    let (_again, of_first) = (dial([127, 0, 0, 1], address).await, taken.next().await);
    assert!(of_first.expect("the port is open").is_ok());
}

#[test]
fn only_any_address_of_a_family_that_is_not_there_is_one_of_the_other() {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 15410));
    let no_family = || io::Error::from_raw_os_error(EAFNOSUPPORT);
    assert!(has_no_family(any, &no_family()));
    assert!(has_no_family(any, &io::ErrorKind::AddrNotAvailable.into()));
    assert!(!has_no_family(any, &io::ErrorKind::AddrInUse.into()));
    for other in ["[::1]:15410", "0.0.0.0:15410"] {
        assert!(!has_no_family(other.parse().expect("an address"), &no_family()), "{other}");
    }
}
