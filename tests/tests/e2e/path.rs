//! `x-laneway-path`: an answer says which instances its request visited, to whom the group says.

use laneway_tests::client::Speech;
use laneway_tests::conformance::{SCENARIOS, arrange, plan};
use laneway_tests::mesh::Mesh;

use crate::support::namespaces_or_skip;

const PATH: &str = "x-laneway-path";

/// Of scenario 1, with this `pathHeader`.
fn apply(mesh: &Mesh, path_header: &str) {
    let text = format!(
        "{{kind: LaneGroup, name: shop, services: [a, b, c], pathHeader: {path_header}, propagate: {{stampPodTag: entry}}}}\n\
         ---\n{{kind: Lane, name: gray, group: shop, entry: {{services: [a]}}}}\n"
    );
    let file = mesh.directory().join(format!("path-{path_header}.yaml"));
    std::fs::write(&file, text).expect("the mesh's folder is ours");
    mesh.apply(&file).expect("the documents are good");
}

/// The values of the header in the answer at the entry.
fn paths(mesh: &Mesh, host: &str, headers: &[&str]) -> Vec<String> {
    let url = format!("http://{}/a", mesh.entry_address());
    let host = format!("Host: {host}");
    let mut arguments = vec!["--include", "-H", &host];
    for header in headers {
        arguments.extend(["-H", header]);
    }
    arguments.push(&url);
    let answer = mesh.curl(&arguments).expect("curl runs");
    let lines = answer.lines().take_while(|line| !line.is_empty());
    let values = lines.filter_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case(PATH)));
    values.map(|(_, value)| value.trim().to_owned()).collect()
}

#[test]
fn an_answer_says_which_instances_it_visited_to_whom_the_group_says() {
    if !namespaces_or_skip("an_answer_says_which_instances_it_visited_to_whom_the_group_says") {
        return;
    }
    let mut mesh = Mesh::up(plan("path", true)).expect("the mesh comes up");
    arrange(&mut mesh, &SCENARIOS[0]).expect("the scenario is arranged");
    apply(&mesh, "never");
    assert_eq!(paths(&mesh, "www.base.com", &[]), [""; 0], "nobody is told");
    apply(&mesh, "any");
    for speech in [Speech::Http1, Speech::H2c] {
        for pod in ["b-base", "b-gray"] {
            mesh.restart_application(pod, |pod| pod.speech = speech).expect("the application starts again");
        }
        assert_eq!(paths(&mesh, "www.base.com", &[]), ["a;source=none, b;why=baseline, c;why=baseline"]);
        let tagged = paths(&mesh, "www.base.com", &["x-mse-tag: gray"]);
        assert_eq!(tagged, ["a;source=carried, b;tag=gray;why=hit, c;tag=gray;why=hit"], "{speech:?}");
        let stamped = paths(&mesh, "www.gray.com", &[]);
        assert_eq!(stamped, ["a;tag=gray;source=pod, b;tag=gray;why=hit, c;tag=gray;why=hit"], "{speech:?}");
    }
    apply(&mesh, "mesh");
    assert_eq!(paths(&mesh, "www.base.com", &["x-mse-tag: gray"]), [""; 0], "the entry has no sidecar");
}
