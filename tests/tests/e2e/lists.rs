//! A rule that lists a hundred thousand users, by the whole way: document, control plane, sidecar, decision.

use std::fmt::Write as _;

use laneway_tests::conformance::{names, plan};
use laneway_tests::mesh::Mesh;

use crate::support::namespaces_or_skip;

const USERS: usize = 100_000;

/// As long as a UUID.
fn user(number: usize) -> String {
    format!("{number:08x}-4b5a-6978-8796-a5b4c3d2e1f0")
}

#[test]
fn a_hundred_thousand_users_are_a_lane() {
    if !namespaces_or_skip("a_hundred_thousand_users_are_a_lane") {
        return;
    }
    let mesh = Mesh::up(plan("lists", true)).expect("the mesh comes up");
    let mut text = String::from(
        "{kind: LaneGroup, name: shop, services: [a, b, c]}\n---\n\
         {kind: Lane, name: gray, group: shop, entry: {services: [a], rules: [{match: {header: x-user-id, in: [",
    );
    for number in 0..USERS {
        let comma = if number == 0 { "" } else { ", " };
        write!(text, "{comma}{}", user(number)).expect("writing to a text cannot fail");
    }
    // Together more than the 4 MiB that a gRPC client takes unless it says otherwise.
    text.push_str("]}}, {match: {header: x-account, in: [");
    for number in 0..USERS / 2 {
        let comma = if number == 0 { "" } else { ", " };
        write!(text, "{comma}{}", user(number)).expect("writing to a text cannot fail");
    }
    text.push_str("]}}]}}\n");
    assert!(text.len() > 5 << 20);
    let file = mesh.directory().join("users.yaml");
    std::fs::write(&file, text).expect("the mesh's folder is ours");
    mesh.apply(&file).expect("a list of that size is good");
    let visited = |user: &str| {
        let url = format!("http://{}/a", mesh.socket("a-base").expect("a pod of the mesh"));
        names(mesh.curl(&["-H", &format!("x-user-id: {user}"), &url]).expect("curl runs").trim())
    };
    for number in [0, USERS / 2, USERS - 1] {
        assert_eq!(visited(&user(number)), "A -> Bgray -> Cgray", "user {number}");
    }
    assert_eq!(visited(&user(USERS)), "A -> B -> C");
    assert_eq!(visited("somebody"), "A -> B -> C");
}
