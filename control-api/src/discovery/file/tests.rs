//! What is taken from files, and when.

use std::path::PathBuf;

use tokio::sync::watch;

use super::Files;
use crate::tests::{Folder, until};

fn service(name: &str, port: u16) -> String {
    format!("kind: Service\nname: {name}\nendpoints: [{{address: '10.0.0.1:{port}'}}]\n")
}

/// Follows a folder; what it says now.
fn follow(
    roots: Vec<PathBuf>,
) -> (watch::Receiver<Vec<laneway_core::document::ServiceDocument>>, tokio::task::JoinHandle<()>) {
    let (files, services) = Files::open(roots).expect("good files");
    let (sender, receiver) = watch::channel(services);
    (receiver, tokio::spawn(files.follow(sender)))
}

fn said(receiver: &watch::Receiver<Vec<laneway_core::document::ServiceDocument>>) -> Vec<(String, u16)> {
    let services = receiver.borrow();
    let all = services.iter().map(|service| {
        let port = service.endpoints.first().map_or(0, |endpoint| endpoint.address.port());
        (service.name.clone(), port)
    });
    all.collect()
}

#[tokio::test]
async fn changes_are_followed_and_a_bad_file_keeps_the_last_good_one() {
    let folder = Folder::new();
    folder.write("a.yaml", &service("a", 1));
    folder.write("b.yaml", &service("b", 1));
    folder.write("ignored.txt", "not ours");
    let (receiver, task) = follow(vec![folder.as_ref().to_owned()]);
    assert_eq!(said(&receiver), [("a".to_owned(), 1), ("b".to_owned(), 1)]);

    folder.write("a.yaml", &service("a", 2));
    until("the change is taken", || said(&receiver)[0] == ("a".to_owned(), 2)).await;

    folder.write("a.yaml", "kind: Service\nname: a\nendpoints: [{address: nowhere}]\n");
    folder.write("b.yaml", &service("b", 3));
    until("the good file is taken", || said(&receiver)[1] == ("b".to_owned(), 3)).await;
    assert_eq!(said(&receiver)[0], ("a".to_owned(), 2), "the bad file was taken");

    folder.write("a.yaml", &service("a", 4));
    until("it is good again", || said(&receiver)[0] == ("a".to_owned(), 4)).await;

    // The same service twice: neither is the whole truth, all stays.
    folder.write("c.yaml", &service("a", 5));
    folder.write("d.yaml", &service("d", 1));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(said(&receiver).len(), 2);
    std::fs::remove_file(folder.path("c.yaml")).expect("it is ours");
    until("the double is gone", || said(&receiver).len() == 3).await;
    std::fs::remove_file(folder.path("b.yaml")).expect("it is ours");
    until("a file that is gone takes its services along", || said(&receiver).len() == 2).await;
    task.abort();
}

#[test]
fn a_bad_file_at_the_start_is_an_error_that_names_it() {
    let folder = Folder::new();
    folder.write("bad.yaml", "kind: Service\nname: a\ncolour: red\n");
    let error = Files::open(vec![folder.path("bad.yaml")]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("bad.yaml") && error.contains("colour"), "{error}");
    folder.write("lane.yaml", "kind: Lane\nname: gray\n");
    let error = Files::open(vec![folder.path("lane.yaml")]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("lanectl apply"), "{error}");
    // What no sidecar could receive is no part of what runs.
    let long = "n".repeat(40_000);
    folder.write(
        "long.yaml",
        &format!("kind: Service\nname: a\nendpoints: [{{address: '10.0.0.1:80', portName: {long}}}]\n"),
    );
    let error = Files::open(vec![folder.path("long.yaml")]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("endpoints[0].portName") && error.contains("15728640"), "{error}");
    assert!(Files::open(vec![folder.path("none.yaml")]).is_err());
}

#[test]
fn a_file_that_is_replaced_before_every_look_is_taken_all_the_same() {
    let folder = Folder::new();
    folder.write("a.yaml", &service("a", 1));
    let (mut files, _) = Files::open(vec![folder.path("a.yaml")]).expect("a good file");
    let mut taken = Vec::new();
    for port in 2..10 {
        // Beside it and renamed, as whoever writes often should: another file each time.
        folder.write(".next", &service("a", port));
        std::fs::rename(folder.path(".next"), folder.path("a.yaml")).expect("it is ours");
        let found = files.look(std::time::SystemTime::now());
        taken.extend(found.and_then(|services| services[0].endpoints.first().map(|endpoint| endpoint.address.port())));
    }
    assert_eq!(taken, [3, 5, 7, 9], "every second look, with what is there then");
}
