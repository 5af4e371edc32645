//! Bad input is refused with a message that names the field, and nothing changes.

use laneway_tests::mesh::{Mesh, Plan};

/// A bundle, and words of which each must be in the refusal.
const BAD: [(&str, &[&str]); 6] = [
    (
        "kind: Lane\nname: gray\nentry:\n  services: [a]\n  rules:\n    - match: {header: x-user-id, regex: '[unclosed'}\n",
        &["rules[0].match", "regex"],
    ),
    ("kind: Lane\nname: gray\ncolour: red\n", &["colour"]),
    ("kind: Lane\nname: one\ntag: gray\n---\nkind: Lane\nname: two\ntag: gray\n", &["tag", "gray"]),
    ("kind: Lane\nname: gray\ntag: with_underscore\n", &["tag", "with_underscore"]),
    ("kind: Lane\nname: gray\nentry: {rules: [{match: {header: x, exact: '1'}}]}\n", &["entry.services"]),
    ("kind: Lane\nname: gray\nlimits: {requestsPerSecond: 5}\n", &["limits", "LANE0900"]),
];

#[test]
fn a_bad_bundle_is_refused_by_field_and_changes_nothing() {
    let redirect = laneway_tests::mesh::network::namespaces_work();
    let mut plan = Plan::chain("bad", redirect, &[("a", &[])]);
    plan.pods.clear();
    let mesh = Mesh::up(plan).expect("the control plane comes up");
    let file = mesh.directory().join("bundle.yaml");
    let apply = |text: &str| {
        std::fs::write(&file, text).expect("the directory is ours");
        mesh.lanectl(&["apply", "-f", &file.to_string_lossy()])
    };
    apply("kind: Lane\nname: steady\n").expect("a good bundle is taken");
    let before = mesh.lanectl(&["get", "lanes", "-o", "json"]).expect("lanes are listed");
    for (bundle, words) in BAD {
        let refusal = match apply(&format!("kind: Lane\nname: innocent\n---\n{bundle}")) {
            Ok(answer) => panic!("this bundle was taken:\n{bundle}\n{answer}"),
            Err(error) => format!("{error:#}"),
        };
        for word in words {
            assert!(refusal.contains(word), "the refusal does not say `{word}`:\n{bundle}\n{refusal}");
        }
        assert_eq!(mesh.lanectl(&["get", "lanes", "-o", "json"]).expect("lanes are listed"), before, "after\n{bundle}");
    }
}
