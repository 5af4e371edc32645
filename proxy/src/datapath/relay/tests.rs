//! What both sides of a relay see of an end that is none of theirs.

use std::future::pending;
use std::net::Ipv4Addr;
use std::task::Poll;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Relay;
use crate::datapath::websocket::going_away;
use crate::datapath::wire::Wire;
use crate::timer::Timer;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// `client ── a | relay | b ── instance`
struct World {
    client: TcpStream,
    instance: TcpStream,
    a: Wire,
    b: Wire,
    relay: Relay,
}

async fn pair() -> (TcpStream, Wire) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has free ports");
    let peer = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
    let (stream, _) = listener.accept().await.expect("it has connected");
    (peer, Wire::new(stream))
}

async fn world(relay: Relay) -> World {
    let ((client, a), (instance, b)) = (pair().await, pair().await);
    World { client, instance, a, b, relay }
}

/// What came until the end, and whether that was a proper one.
async fn heard(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let is_proper = stream.read_to_end(&mut bytes).await.is_ok();
    (bytes, is_proper)
}

impl World {
    /// Runs until this much has gone each way, and ends it then, while the peers do what `meanwhile` says.
    async fn end_after<T>(
        self,
        count: usize,
        meanwhile: impl AsyncFnOnce(&mut TcpStream, &mut TcpStream) -> T,
    ) -> (T, TcpStream, TcpStream) {
        let World { mut client, mut instance, mut a, mut b, mut relay } = self;
        let gone = std::cell::Cell::new(0);
        let moved = |forth: usize, back: usize| gone.set(gone.get() + forth + back);
        let is_over =
            |_: &mut std::task::Context<'_>| if gone.get() == count { Poll::Ready(()) } else { Poll::Pending };
        relay.run(&mut a, &mut b, moved, is_over).await.expect("it is stopped");
        let ended = async {
            relay.end(&mut a, &mut b, &Timer::current(), MASK).await;
            drop((a, b));
            pending::<()>().await;
        };
        let said = tokio::select! {
            () = ended => unreachable!("it waits for ever"),
            said = meanwhile(&mut client, &mut instance) => said,
        };
        (said, client, instance)
    }
}

#[tokio::test]
async fn a_websocket_between_messages_hears_1001_on_both_sides_behind_everything_that_was_said() {
    let mut world = world(Relay::of_websocket()).await;
    let (from_client, from_instance) = ([&[0x81, 0x82][..], &MASK, b"hi"].concat(), [&[0x81, 3][..], b"hey"].concat());
    world.client.write_all(&from_client).await.expect("it reads");
    world.instance.write_all(&from_instance).await.expect("it reads");
    let count = from_client.len() + from_instance.len();
    let (said, ..) = world
        .end_after(count, async |client, instance| {
            // They answer as they should.
            client.write_all(&going_away(Some(MASK))).await.expect("it reads");
            instance.write_all(&going_away(None)).await.expect("it reads");
            (heard(client).await, heard(instance).await)
        })
        .await;
    assert_eq!(said.0, ([from_instance, going_away(None)].concat(), true));
    assert_eq!(said.1, ([from_client, going_away(Some(MASK))].concat(), true));
}

#[tokio::test]
async fn a_message_that_is_passing_is_finished_and_the_next_one_is_not_begun() {
    let mut world = world(Relay::of_websocket()).await;
    // A message of two frames, in the middle of the first.
    world.instance.write_all(&[0x01, 4, b'a', b'b']).await.expect("it reads");
    let (said, ..) = world
        .end_after(4, async |client, instance| {
            let rest = [&[b'c', b'd', 0x80, 1, b'e', 0x81, 1, b'f'][..], &going_away(None)].concat();
            instance.write_all(&rest).await.expect("it reads");
            client.write_all(&going_away(Some(MASK))).await.expect("it reads");
            let said = heard(client).await;
            (said, heard(instance).await)
        })
        .await;
    let whole = [&[0x01, 4, b'a', b'b', b'c', b'd', 0x80, 1, b'e'][..], &going_away(None)].concat();
    assert_eq!(said.0, (whole, true));
    assert_eq!(said.1, (going_away(Some(MASK)), true));
}

#[tokio::test]
async fn a_message_that_is_not_finished_is_closed_between_its_frames() {
    let mut world = world(Relay::of_websocket()).await;
    world.instance.write_all(&[0x01, 1, b'a']).await.expect("it reads");
    let (said, ..) = world.end_after(3, async |client, _| heard(client).await).await;
    assert_eq!(said.0, [&[0x01, 1, b'a'][..], &going_away(None)].concat());
}

#[tokio::test]
async fn a_frame_that_is_not_finished_is_cut_and_the_other_side_hears_1001() {
    let mut world = world(Relay::of_websocket()).await;
    world.instance.write_all(&[0x81, 9, b'a']).await.expect("it reads");
    let (said, ..) = world
        .end_after(3, async |client, instance| {
            let of_instance = heard(instance).await;
            (heard(client).await, of_instance)
        })
        .await;
    assert_eq!(said.0, (vec![0x81, 9, b'a'], false), "nothing is said within a frame, and the end is no proper one");
    assert_eq!(said.1.0, going_away(Some(MASK)));
}

#[tokio::test]
async fn who_has_said_close_is_told_nothing_more() {
    let mut world = world(Relay::of_websocket()).await;
    world.client.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.expect("it reads");
    let (said, ..) = world
        .end_after(6, async |client, instance| {
            let of_instance = heard(instance).await;
            (heard(client).await, of_instance)
        })
        .await;
    assert_eq!(said.0.0, going_away(None));
    assert_eq!(said.1.0, [0x88, 0x80, 1, 2, 3, 4], "its close frame is the last");
}

#[tokio::test]
async fn other_bytes_are_ended_without_a_word_and_what_is_said_behind_it_harms_nobody() {
    let mut world = world(Relay::default()).await;
    world.client.write_all(b"select").await.expect("it reads");
    world.instance.write_all(b"rows").await.expect("it reads");
    let (said, ..) = world
        .end_after(10, async |client, instance| {
            client.write_all(b" more").await.expect("it reads");
            let said = (heard(client).await, heard(instance).await);
            client.shutdown().await.expect("it is open");
            instance.shutdown().await.expect("it is open");
            said
        })
        .await;
    assert_eq!(said.0, (b"rows".to_vec(), true));
    assert_eq!(said.1.0.len(), 6, "what came before the end, and no more: {:?}", said.1);
}
