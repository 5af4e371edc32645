//! Both sides of a hand-over in one process: what goes over, and what a side that fails costs the other.

use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use super::*;

/// A path of the test's own, in a directory that goes with it.
struct Place(PathBuf);

impl Place {
    fn new(label: &str) -> Place {
        let path = std::env::temp_dir().join(format!("laneway-handover-{label}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("the name is new");
        Place(path)
    }

    fn config(&self, timeout: Duration) -> Config {
        Config { path: self.0.join("socket"), timeout }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LONG: Duration = Duration::from_secs(60);

fn listening() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports")
}

fn copies(sockets: &[TcpListener]) -> Vec<OwnedFd> {
    sockets.iter().map(|socket| socket.try_clone().expect("descriptors are there").into()).collect()
}

/// [`inherit`] is for the start of a process; here the other side runs in the same one.
async fn inherited(path: &Path) -> Inheritance {
    let path = path.to_owned();
    let taken = tokio::task::spawn_blocking(move || inherit(&path)).await.expect("it does not panic");
    taken.expect("it is given").expect("somebody runs there")
}

#[tokio::test]
async fn nobody_there_is_a_start_like_any_other() {
    let place = Place::new("nobody");
    let config = place.config(LONG);
    assert!(inherit(&config.path).expect("no file").is_none());
    drop(Offer::open(config.clone(), Vec::new()).expect("the place is free"));
    assert!(config.path.exists(), "a process that was killed leaves it");
    assert!(inherit(&config.path).expect("a file that nobody listens on").is_none());
}

#[tokio::test]
async fn every_socket_goes_over_with_who_waits_in_its_queue() {
    let place = Place::new("all");
    let config = place.config(LONG);
    // More than one batch.
    let sockets: Vec<_> = (0..BATCH + 3).map(|_| listening()).collect();
    let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("it is bound")).collect();
    let waiting = TcpStream::connect(addresses[BATCH]).expect("the kernel lets it in");
    let offer = Offer::open(config.clone(), copies(&sockets)).expect("the place is free");
    let taken = tokio::spawn(offer.taken(|| b"habits".to_vec(), |_| ()));
    let Inheritance { sockets: mut given, habits, predecessor } = inherited(&config.path).await;
    assert_eq!(habits, b"habits");
    let own: Vec<_> = addresses.iter().map(|address| given.take(*address).pop().expect("it came")).collect();
    assert!(given.addresses().is_empty(), "each is taken once");
    let successor = predecessor.ready().await.expect("we may");
    assert!(!taken.is_finished(), "until we say that we serve, it does");
    successor.serving().await.expect("it listens");
    taken.await.expect("it has been taken");
    drop(sockets);
    let (_, peer) = own[BATCH].accept().expect("it is still in the queue");
    assert_eq!(peer, waiting.local_addr().expect("it is connected"));
}

#[tokio::test]
async fn a_successor_that_fails_costs_nothing_and_the_next_one_is_served() {
    let place = Place::new("fails");
    let config = place.config(LONG);
    let sockets = [listening()];
    let offer = Offer::open(config.clone(), copies(&sockets)).expect("the place is free");
    let (engaged, heard) = std::sync::mpsc::channel();
    let taken = tokio::spawn(offer.taken(Vec::new, move |is_engaged| engaged.send(is_engaged).expect("it is heard")));
    // Ends before it is ready; says something else; ends when it may serve.
    drop(inherited(&config.path).await);
    let rude = inherited(&config.path).await.predecessor;
    (&rude.0).write_all(b"?").expect("it listens");
    drop(inherited(&config.path).await.predecessor.ready().await.expect("we may"));
    assert!(!taken.is_finished());
    let last = inherited(&config.path).await.predecessor;
    last.ready().await.expect("we may").serving().await.expect("it listens");
    taken.await.expect("it has been taken");
    assert_eq!(heard.iter().collect::<Vec<_>>(), [true, false, true, false, true, false, true]);
}

#[tokio::test]
async fn a_successor_that_never_gets_ready_is_given_up() {
    let place = Place::new("never");
    let config = place.config(Duration::from_millis(50));
    let offer = Offer::open(config.clone(), Vec::new()).expect("the place is free");
    let taken = tokio::spawn(offer.taken(Vec::new, |_| ()));
    let slow = inherited(&config.path).await.predecessor;
    let end = tokio::task::spawn_blocking(move || (&slow.0).read(&mut [0])).await.expect("it does not panic");
    assert_eq!(end.expect("a proper end"), 0, "it hangs up");
    assert!(!taken.is_finished(), "and waits for another");
}

#[tokio::test]
async fn whoever_speaks_another_form_is_not_believed() {
    let place = Place::new("form");
    let path = place.config(LONG).path;
    let listener = blocking::UnixListener::bind(&path).expect("the place is free");
    for (said, is_form) in [(&b"HTTP/1.1 400 no\r\n"[..], true), (b"LANEWAYH\xff\xff\xff\xff", true), (b"LANEW", false)]
    {
        let path = path.clone();
        let asked = std::thread::spawn(move || inherit(&path).map(|_| ()));
        listener.accept().expect("it comes").0.write_all(said).expect("it reads");
        let refused = asked.join().expect("it does not panic").expect_err("that is no hand-over");
        assert_eq!(matches!(refused, HandoverError::Form(_)), is_form, "{refused}");
    }
    let path_of_three = path.clone();
    let asked = std::thread::spawn(move || inherit(&path_of_three).map(|_| ()));
    listener.accept().expect("it comes").0.write_all(b"LANEWAYH\0\0\0\x03").expect("it reads");
    let refused = asked.join().expect("it does not panic").expect_err("none of three came");
    assert!(matches!(refused, HandoverError::Missing { sent: 3, came: 0 }), "{refused}");
}

#[test]
fn every_address_is_every_address_of_ipv4_where_there_is_no_other() {
    let same = |bound: &str, wished: &str| is_same(bound.parse().expect("one"), wished.parse().expect("one"));
    assert!(same("0.0.0.0:15401", "[::]:15401") && same("127.0.0.1:1", "127.0.0.1:1"));
    assert!(!same("127.0.0.1:15401", "[::]:15401") && !same("0.0.0.0:1", "[::]:2"));
}
