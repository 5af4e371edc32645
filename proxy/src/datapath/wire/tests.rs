//! What is known of a message when the connection under it is over.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// After one exchange, so that acknowledgements are in no hurry.
async fn pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    let near = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
    let (mut far, _) = listener.accept().await.expect("somebody connects");
    let mut near = Wire::new(near);
    near.send(&[b"first"]).expect("the kernel takes it");
    far.read_exact(&mut [0; 5]).await.expect("it comes");
    far.write_all(b"answer").await.expect("the peer is there");
    let heard = poll_fn(|cx| near.poll_bytes(cx, |bytes| (bytes.len(), bytes.len()))).await;
    assert_eq!(heard.expect("it comes"), 6);
    (near, far)
}

/// Reads until the connection is over, and tells what became of the last bytes.
async fn settled(near: &mut Wire, bytes: usize) -> Fate {
    let over = poll_fn(|cx| near.poll_bytes(cx, |bytes| (bytes.len(), bytes.len()))).await;
    assert!(matches!(over, Ok(0) | Err(_)), "{over:?}");
    loop {
        match near.fate(bytes) {
            Fate::Open => tokio::time::sleep(Duration::from_millis(1)).await,
            fate => return fate,
        }
    }
}

#[tokio::test]
async fn what_was_read_before_a_reset_is_never_taken_for_unread() {
    for read in [6, 3] {
        let (mut near, mut far) = pair().await;
        near.send(&[b"second"]).expect("the kernel takes it");
        far.read_exact(&mut vec![0; read]).await.expect("it comes");
        SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(far);
        assert_eq!(settled(&mut near, 6).await, Fate::Taken, "{read} bytes were read");
    }
}

#[tokio::test]
async fn what_came_behind_the_end_is_untaken() {
    let (mut near, far) = pair().await;
    drop(far);
    near.send(&[b"second"]).expect("the kernel takes it");
    assert_eq!(settled(&mut near, 6).await, Fate::Untaken);
}
