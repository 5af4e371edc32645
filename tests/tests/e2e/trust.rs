//! Who calls: whose tag is believed, and whom a rule takes.

use laneway_tests::conformance::names;
use laneway_tests::mesh::{Mesh, Plan};

use crate::support::namespaces_or_skip;

#[test]
fn with_trust_mesh_only_callers_with_a_sidecar_are_believed() {
    if !namespaces_or_skip("with_trust_mesh_only_callers_with_a_sidecar_are_believed") {
        return;
    }
    let tags: &[&str] = &["", "gray"];
    let mesh = Mesh::up(Plan::chain("trust", true, &[("a", tags), ("b", tags)])).expect("the mesh comes up");
    let documents = mesh.directory().join("trust.yaml");
    std::fs::write(&documents, "kind: LaneGroup\nname: shop\ntag: {trust: mesh}\n").expect("the documents are written");
    mesh.apply(&documents).expect("the documents are applied");
    let call = |pod: &str, header: &str| {
        let url = format!("http://{}/a", mesh.socket(pod).expect("a pod of the mesh"));
        names(mesh.curl(&["-H", "Host: sc-a", "-H", header, &url]).expect("curl runs").trim())
    };
    assert_eq!(call("a-base", "x-mse-tag: gray"), "A -> B", "curl has no sidecar: its tag is not believed");
    assert_eq!(call("a-gray", "x-other: 1"), "Agray -> Bgray", "a-gray stamps, and b believes a's sidecar");
    let counted = mesh.status_page("a-base", "metrics").expect("the metrics are read");
    assert!(counted.contains("laneway_tag_rejected_total{reason=\"untrusted\"} 1"), "{counted}");
}

/// `trust: any` believes everybody, so that nothing but the rule makes the sidecar ask who calls.
const BY_CALLER: &str = "
{kind: LaneGroup, name: shop, tag: {trust: any}}
---
kind: Lane
name: gray
group: shop
entry:
  services: [b]
  rules:
    - name: of-gray-a
      match: {all: [{attribute: sourceService, exact: a}, {attribute: sourceTag, exact: gray}]}
";

#[test]
fn a_rule_takes_what_a_service_calls_and_not_what_others_do() {
    if !namespaces_or_skip("a_rule_takes_what_a_service_calls_and_not_what_others_do") {
        return;
    }
    let tags: &[&str] = &["", "gray"];
    let plan = Plan::chain("callers", true, &[("a", tags), ("b", &[""]), ("c", tags)]);
    let mesh = Mesh::up(plan).expect("the mesh comes up");
    let documents = mesh.directory().join("callers.yaml");
    std::fs::write(&documents, BY_CALLER).expect("the documents are written");
    mesh.apply(&documents).expect("the documents are applied");
    let call = |pod: &str| {
        let url = format!("http://{}/", mesh.socket(pod).expect("a pod of the mesh"));
        names(mesh.curl(&["-H", "Host: somewhere", &url]).expect("curl runs").trim())
    };
    assert_eq!(call("a-gray"), "Agray -> B -> Cgray", "b's sidecar asks who called, and its rule takes the request");
    assert_eq!(call("a-base"), "A -> B -> C", "it has not that tag");
    assert_eq!(call("b-base"), "B -> C", "nobody knows who that is");
}
