//! Watches against a server that answers what the test says: lists in pages, watches that expire, connections that break.

use std::time::{Duration, Instant};

use kube::{Client, Config};
use laneway_core::document::ServiceDocument;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::super::super::PodService;
use super::super::super::standing::Standing;
use super::super::{Cluster, PAUSE_MIN};
use super::{pod, with};
use crate::tests::until;

/// A request for pods, that the test answers.
struct Asked {
    /// Path and query.
    target: String,
    stream: TcpStream,
}

impl Asked {
    async fn list(mut self, pods: &[Value], version: u32, more: &str) {
        let list = json!({
            "kind": "PodList", "apiVersion": "v1", "items": pods,
            "metadata": {"resourceVersion": version.to_string(), "continue": more},
        });
        answer(&mut self.stream, &list).await;
    }

    /// Keeps the watch open.
    async fn watch(mut self) -> Watched {
        assert!(self.target.contains("watch=true"), "{}", self.target);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        self.stream.write_all(head.as_bytes()).await.expect("it listens");
        Watched(self.stream)
    }

    /// Says no.
    async fn refuse(mut self, status: &str, headers: &str) {
        let code: u16 = status.split(' ').next().and_then(|code| code.parse().ok()).expect("a status");
        let error =
            json!({"kind": "Status", "status": "Failure", "message": "no", "reason": "X", "code": code}).to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            error.len()
        );
        self.stream.write_all((head + &error).as_bytes()).await.expect("it listens");
    }
}

struct Watched(TcpStream);

impl Watched {
    async fn tell(&mut self, kind: &str, object: Value) {
        let line = json!({"type": kind, "object": object}).to_string() + "\n";
        self.0.write_all(line.as_bytes()).await.expect("it listens");
    }
}

async fn answer(stream: &mut TcpStream, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await.expect("it listens");
}

/// Requests for pods come out; there are no Services and no slices.
async fn server() -> (Client, mpsc::Receiver<Asked>) {
    server_with(super::super::SILENT_MAX).await
}

/// An answer may be silent for so long.
async fn server_with(silent_max: Duration) -> (Client, mpsc::Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    let (send, asked) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let send = send.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).expect("a request is text");
                let target = head.split(' ').nth(1).expect("a request line").to_owned();
                if target.contains("/pods") {
                    let _ = send.send(Asked { target, stream }).await;
                    return;
                }
                if target.contains("watch=true") {
                    let _open = Asked { target, stream }.watch().await;
                    std::future::pending::<()>().await;
                } else {
                    answer(&mut stream, &json!({"items": [], "metadata": {"resourceVersion": "1"}})).await;
                }
            });
        }
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let config = crate::kubernetes::for_long(Config::new(url), silent_max);
    (Client::try_from(config).expect("no TLS, nothing to read"), asked)
}

fn a(number: u32, version: u32) -> Value {
    let object = pod(&format!("p{number}"), &format!("10.0.0.{number}"), json!({"app": "a"}));
    with(object, "/metadata/resourceVersion", json!(version.to_string()))
}

fn addresses(found: &watch::Receiver<Vec<ServiceDocument>>) -> Vec<String> {
    let found = found.borrow();
    let endpoints = found.iter().flat_map(|service| &service.endpoints);
    endpoints.map(|endpoint| format!("{}{:?}", endpoint.address.ip(), endpoint.state)).collect()
}

async fn next(asked: &mut mpsc::Receiver<Asked>) -> Asked {
    let waited = tokio::time::timeout(Duration::from_secs(30), asked.recv()).await;
    waited.expect("it asks").expect("the server runs")
}

#[tokio::test]
async fn nothing_is_lost_by_an_expired_watch_a_broken_connection_or_a_list_that_takes_its_time() {
    let (client, mut asked) = server().await;
    let opening = tokio::spawn(async move { Cluster::open(&client, &[], Standing::default()).await });
    let first = next(&mut asked).await;
    let parameters = first.target.split('?').nth(1).unwrap_or_default();
    assert!(parameters.split('&').any(|parameter| parameter == "limit=50"), "{}", first.target);
    first.list(&[a(1, 3)], 10, "page-2").await;
    let second = next(&mut asked).await;
    assert!(second.target.contains("continue=page-2"), "{}", second.target);
    second.list(&[a(2, 4)], 10, "").await;
    let (cluster, services) = opening.await.expect("no panic").expect("all was listed");
    let (found, seen) = watch::channel(services);
    let following = tokio::spawn(cluster.follow(found));
    assert_eq!(addresses(&seen), ["10.0.0.1Ready", "10.0.0.2Ready"]);

    // Events, from where the list ended.
    let watching = next(&mut asked).await;
    assert!(watching.target.contains("resourceVersion=10"), "{}", watching.target);
    let mut watching = watching.watch().await;
    watching.tell("MODIFIED", with(a(2, 11), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))).await;
    until("it drains", || addresses(&seen) == ["10.0.0.1Ready", "10.0.0.2Draining"]).await;

    // The connection breaks: it goes on from the last event.
    drop(watching);
    let watching = next(&mut asked).await;
    assert!(watching.target.contains("resourceVersion=11"), "{}", watching.target);
    let mut watching = watching.watch().await;
    watching.tell("ADDED", a(3, 12)).await;
    until("a third", || addresses(&seen) == ["10.0.0.1Ready", "10.0.0.2Draining", "10.0.0.3Ready"]).await;

    // The server has forgotten where we were: all is listed again, and as long as that lasts nothing is taken away.
    watching
        .tell(
            "ERROR",
            json!({"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410}),
        )
        .await;
    next(&mut asked).await.list(&[a(4, 20)], 30, "page-2").await;
    until("what is listed is taken at once", || addresses(&seen).len() == 4).await;
    let held = next(&mut asked).await;
    assert_eq!(addresses(&seen), ["10.0.0.1Ready", "10.0.0.2Draining", "10.0.0.3Ready", "10.0.0.4Ready"]);
    // It breaks in the middle of the list, too.
    drop(held);
    next(&mut asked).await.list(&[a(4, 20)], 30, "page-2").await;
    let held = next(&mut asked).await;
    assert_eq!(addresses(&seen).len(), 4);
    held.list(&[a(3, 25)], 30, "").await;
    until("those are gone", || addresses(&seen) == ["10.0.0.3Ready", "10.0.0.4Ready"]).await;
    let mut watching = next(&mut asked).await.watch().await;
    watching.tell("DELETED", a(3, 31)).await;
    until("one is left", || addresses(&seen) == ["10.0.0.4Ready"]).await;
    drop(seen);
    following.await.expect("it ends when nobody listens");
}

#[tokio::test]
async fn of_a_namespace_that_is_not_read_no_pod_is_ever_known_and_that_is_said() {
    let (client, mut asked) = server().await;
    let opening = tokio::spawn(async move { Cluster::open(&client, &["shop".to_owned()], Standing::default()).await });
    next(&mut asked).await.list(&[a(1, 3)], 10, "").await;
    let (cluster, _) = opening.await.expect("no panic").expect("all was listed");
    let pods = cluster.pods();
    assert_eq!(pods.service_of("shop", "p1", ""), PodService::Of("a".to_owned()));
    assert_eq!(pods.service_of("shop", "p2", ""), PodService::Unknown);
    assert_eq!(pods.service_of("other", "p1", ""), PodService::Unread);
}

/// A cluster with one pod, and what is known of how it is heard.
async fn opened() -> (Cluster, Vec<ServiceDocument>, Standing, mpsc::Receiver<Asked>) {
    let (client, mut asked) = server().await;
    let standing = Standing::default();
    let told = standing.clone();
    let opening = tokio::spawn(async move { Cluster::open(&client, &[], told).await });
    next(&mut asked).await.list(&[a(1, 3)], 10, "").await;
    let (cluster, services) = opening.await.expect("no panic").expect("all was listed");
    (cluster, services, standing, asked)
}

#[tokio::test]
async fn a_watch_that_dies_is_started_again_and_lists_what_it_missed() {
    let (mut cluster, services, standing, mut asked) = opened().await;
    let _watching = next(&mut asked).await.watch().await;
    // As a panic would; and one of somebody else's tasks is none of ours.
    cluster.watches.abort_all();
    cluster.watches.spawn(async { panic!("a panic that belongs to the test") });
    let (found, seen) = watch::channel(services);
    let following = tokio::spawn(cluster.follow(found));
    next(&mut asked).await.list(&[a(2, 20)], 30, "").await;
    until("it was listed again", || addresses(&seen) == ["10.0.0.2Ready"]).await;
    let restarts =
        || standing.watched(Instant::now()).into_values().map(|watched| watched.restarts).collect::<Vec<_>>();
    until("each was started again", || restarts() == [1, 1, 1]).await;
    let mut watching = next(&mut asked).await.watch().await;
    watching.tell("ADDED", a(3, 31)).await;
    until("it follows", || addresses(&seen) == ["10.0.0.2Ready", "10.0.0.3Ready"]).await;
    drop(seen);
    following.await.expect("it ends when nobody listens");
}

#[tokio::test]
async fn a_list_that_is_never_complete_is_not_heard_and_is_asked_for_ever_more_seldom() {
    let (cluster, services, standing, mut asked) = opened().await;
    let (found, seen) = watch::channel(services);
    let _following = tokio::spawn(cluster.follow(found));
    let is_heard_since = |mark: Instant| {
        let now = Instant::now();
        now - standing.watched(now)["pods"].silence > mark
    };
    let watching = next(&mut asked).await;
    let mark = Instant::now();
    let mut watching = watching.watch().await;
    until("it is open", || is_heard_since(mark)).await;
    let mark = Instant::now();
    let expired =
        json!({"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410});
    watching.tell("ERROR", expired).await;
    // The first page comes each time, the second never.
    for round in 1..=3_u32 {
        next(&mut asked).await.list(&[a(1, 3), a(10 + round, 20)], 30, "page-2").await;
        until("what is listed is taken", || addresses(&seen).len() == 1 + round as usize).await;
        drop(next(&mut asked).await);
    }
    let last = next(&mut asked).await;
    assert!(mark.elapsed() >= PAUSE_MIN * (1 + 2 + 4 + 8), "a pause is no shorter for what came before");
    assert!(!is_heard_since(mark), "nothing of it counts as heard");
    // When it is complete it is.
    last.list(&[a(1, 3)], 30, "").await;
    until("it is heard", || is_heard_since(mark)).await;
    until("the rest is gone", || addresses(&seen) == ["10.0.0.1Ready"]).await;
}

#[tokio::test]
async fn a_watch_that_is_open_is_heard_though_it_has_nothing_to_tell() {
    let (cluster, services, standing, mut asked) = opened().await;
    let (found, _seen) = watch::channel(services);
    let _following = tokio::spawn(cluster.follow(found));
    let watching = next(&mut asked).await;
    let mark = Instant::now();
    let is_heard_since = |mark: Instant| {
        let now = Instant::now();
        now - standing.watched(now)["pods"].silence > mark
    };
    assert!(!is_heard_since(mark), "it was listed before");
    let open = watching.watch().await;
    until("it is open", || is_heard_since(mark)).await;
    // A server that answers with an error is not heard.
    drop(open);
    let refused = next(&mut asked).await;
    let mark = Instant::now();
    refused.refuse("403 Forbidden", "").await;
    let again = next(&mut asked).await;
    assert!(!is_heard_since(mark));
    let _open = again.watch().await;
    until("it is open again", || is_heard_since(mark)).await;
}

#[tokio::test]
async fn a_server_that_has_no_room_is_told_of_and_asked_again_by_our_own_pauses() {
    let (client, mut asked) = server().await;
    let opening = tokio::spawn(async move { Cluster::open(&client, &[], Standing::default()).await });
    next(&mut asked).await.list(&[a(1, 3)], 10, "").await;
    let (mut cluster, _) = opening.await.expect("no panic").expect("all was listed");
    let failures = |cluster: &Cluster| cluster.sources.iter().filter(|source| source.failure.is_some()).count();
    // Each of them, whatever time it names: its hours are not ours.
    for status in ["503 Service Unavailable", "429 Too Many Requests", "504 Gateway Timeout"] {
        next(&mut asked).await.refuse(status, "retry-after: 3600\r\n").await;
        while failures(&cluster) == 0 {
            cluster.take_in().await;
        }
        // Whoever is heard again is asked for the next.
        let open = next(&mut asked).await.watch().await;
        while failures(&cluster) > 0 {
            cluster.take_in().await;
        }
        drop(open);
    }
}

#[tokio::test]
async fn a_page_that_there_is_no_room_for_is_asked_for_again_and_the_list_goes_on() {
    let (client, mut asked) = server().await;
    let opening = tokio::spawn(async move { Cluster::open(&client, &[], Standing::default()).await });
    next(&mut asked).await.list(&[a(1, 3)], 10, "page-2").await;
    for status in ["429 Too Many Requests", "503 Service Unavailable", "504 Gateway Timeout"] {
        let page = next(&mut asked).await;
        assert!(page.target.contains("continue=page-2"), "{}", page.target);
        page.refuse(status, "retry-after: 3600\r\n").await;
    }
    let page = next(&mut asked).await;
    assert!(page.target.contains("continue=page-2"), "{}", page.target);
    page.list(&[a(2, 4)], 10, "").await;
    let (_, services) = opening.await.expect("no panic").expect("all was listed");
    assert_eq!(services.iter().map(|service| service.endpoints.len()).sum::<usize>(), 2);
}

#[tokio::test]
async fn a_list_that_is_never_answered_is_asked_for_again() {
    let (client, mut asked) = server_with(Duration::from_secs(1)).await;
    let mut opening = tokio::spawn(async move { Cluster::open(&client, &[], Standing::default()).await });
    // Neither a word, nor the half of an answer.
    let _silent = next(&mut asked).await;
    let mut half = next(&mut asked).await;
    half.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{").await.expect("it listens");
    let (_, services) = loop {
        tokio::select! {
            opened = &mut opening => break opened.expect("no panic").expect("all was listed"),
            // On a machine with much to do it may have been given up too, and comes again.
            again = next(&mut asked) => drop(tokio::spawn(async move { again.list(&[a(1, 3)], 10, "").await })),
        }
    };
    assert_eq!(services.len(), 1);
}
