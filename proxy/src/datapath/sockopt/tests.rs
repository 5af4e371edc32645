use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Fate, fate};

const DEADLINE: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    let (far, _) = listener.accept().expect("somebody connects");
    (near, far)
}

/// The fate, once it is known.
fn settled(near: &TcpStream, bytes: usize) -> Fate {
    let end = Instant::now() + DEADLINE;
    loop {
        match fate(near, bytes).expect("a TCP socket") {
            Fate::Open if Instant::now() < end => std::thread::yield_now(),
            fate => return fate,
        }
    }
}

#[test]
fn what_reaches_a_closed_peer_is_untaken() {
    let (mut near, mut far) = pair();
    near.write_all(b"first").expect("the peer is there");
    far.read_exact(&mut [0; 5]).expect("it comes");
    far.write_all(b"answer").expect("the peer is there");
    drop(far);
    near.read_exact(&mut [0; 6]).expect("it comes");
    near.write_all(b"second").expect("the kernel takes it");
    assert_eq!(settled(&near, 6), Fate::Untaken);
}

#[test]
fn what_the_kernel_of_a_peer_took_may_have_been_read() {
    let (mut near, mut far) = pair();
    near.write_all(b"read").expect("the peer is there");
    far.read_exact(&mut [0; 4]).expect("it comes");
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).ok(), Some(0));
    assert_eq!(settled(&near, 4), Fate::Taken, "read, and then closed");

    let (mut near, far) = pair();
    near.write_all(b"unread").expect("the peer is there");
    assert_eq!(settled(&near, 6), Fate::Taken, "the connection stands");
    drop(far);
    assert_eq!(settled(&near, 6), Fate::Taken, "closed without being read: nobody can tell from here");
    assert_eq!(fate(&near, 0).expect("a TCP socket"), Fate::Taken, "nothing proves nothing");
}
