use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

#[tokio::test(start_paused = true)]
async fn a_connection_that_brings_nothing_ends_and_one_that_did_is_given_longer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut taken = connections(listener, None, Bounds::shared(128));
    let mut quiet_for = async |first: &[u8]| {
        let mut other = TcpStream::connect(address).await.expect("it listens");
        let mut own = taken.next().await.expect("the port is open").expect("it is taken");
        other.write_all(first).await.expect("it is read");
        own.read_exact(&mut vec![0; first.len()]).await.expect("what was written");
        let since = tokio::time::Instant::now();
        let error = own.read(&mut [0; 1]).await.expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        since.elapsed().as_secs()
    };
    assert_eq!(quiet_for(b"").await, 10);
    assert_eq!(quiet_for(b"GET / HTTP/1.1").await, 300);
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

#[test]
fn no_address_has_all_of_a_shared_port() {
    let bounds = Bounds::shared(4_096);
    assert_eq!((bounds.all_max, bounds.peer_max), (4_096, 4_032));
}
