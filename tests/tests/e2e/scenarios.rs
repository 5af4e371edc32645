//! The scenario files end to end: every case of tests/scenarios with a `chain` that ends in answers, through real sidecars behind a
//! real redirect. `core/tests/scenarios.rs` runs the same files pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use laneway_tests::conformance::names;
use laneway_tests::mesh::{Mesh, Plan};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::namespaces_or_skip;

#[derive(Deserialize)]
struct File {
    pods: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    documents: Vec<Value>,
    cases: Vec<Case>,
}

/// The keys that a chain has; those of the pure forms are not looked at.
#[derive(Deserialize)]
struct Case {
    claim: String,
    chain: Option<String>,
    #[serde(default)]
    enter: String,
    path: Option<String>,
    host: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    forwards: Option<Vec<String>>,
    pods: Option<BTreeMap<String, Vec<Value>>>,
    documents: Option<Vec<Value>>,
    /// Only a pure run can keep a change from some sidecars; `switches.rs` does it in another way.
    #[serde(default)]
    unheard: Value,
}

/// Cases that run in one mesh.
struct Group {
    pods: BTreeMap<String, Vec<String>>,
    cases: Vec<(Case, Vec<Value>)>,
}

#[test]
fn every_chain_of_the_scenario_files_holds_end_to_end() {
    if !namespaces_or_skip("every_chain_of_the_scenario_files_holds_end_to_end") {
        return;
    }
    let mut differs = Vec::new();
    let mut count = 0;
    for group in groups() {
        let tags: Vec<(&str, Vec<&str>)> = group
            .pods
            .iter()
            .map(|(service, tags)| (service.as_str(), tags.iter().map(String::as_str).collect()))
            .collect();
        let tags: Vec<(&str, &[&str])> = tags.iter().map(|(service, tags)| (*service, &tags[..])).collect();
        let mut mesh = Mesh::up(Plan::chain("scenarios", true, &tags)).expect("the mesh comes up");
        for (case, documents) in &group.cases {
            let actual = run(&mut mesh, case, documents);
            let expected = case.chain.as_deref().unwrap_or_default();
            count += 1;
            if names(&actual) != expected {
                differs.push(format!("{}: expected {expected}, got {actual}", case.claim));
            }
        }
    }
    assert!(differs.is_empty(), "{} of {count} differ:\n{}", differs.len(), differs.join("\n"));
    assert!(count >= 20, "only {count} cases have a chain: the files or this reader changed");
}

fn run(mesh: &mut Mesh, case: &Case, documents: &[Value]) -> String {
    let forward = case.forwards.as_deref().map_or("x-mse-tag".to_owned(), |forwards| {
        let name = |word: &String| if word == "tag" { "x-mse-tag".to_owned() } else { word.clone() };
        forwards.iter().map(name).collect::<Vec<_>>().join(",")
    });
    let pods: Vec<(String, String)> =
        mesh.plan().pods.iter().map(|pod| (pod.name.clone(), pod.forward.clone())).collect();
    for (name, now) in pods {
        if now != forward {
            mesh.restart_application(&name, |pod| pod.forward.clone_from(&forward)).expect("the application restarts");
        }
    }
    let file = write(mesh.directory(), documents);
    mesh.apply(&file).expect("the documents are applied");

    let (service, tag) = case.enter.split_once('/').unwrap_or((&case.enter, ""));
    let pod = format!("{service}-{}", if tag.is_empty() { "base" } else { tag });
    let socket = mesh.socket(&pod).expect("the case enters at a pod of the mesh");
    let url = format!("http://{socket}{}", case.path.as_deref().unwrap_or("/"));
    let host = format!("Host: {}", case.host.as_deref().unwrap_or(service));
    let mut arguments = vec!["-H", &host];
    for header in &case.headers {
        arguments.extend(["-H", header]);
    }
    arguments.push(&url);
    mesh.curl(&arguments).expect("curl runs").trim().to_owned()
}

fn write(directory: &Path, documents: &[Value]) -> PathBuf {
    let path = directory.join("scenario.yaml");
    // A file without a document is a mistake to lanectl; the group that is there anyway says nothing new.
    let nothing = [json!({"kind": "LaneGroup", "name": "default"})];
    let documents = if documents.is_empty() { &nothing[..] } else { documents };
    let text: String = documents.iter().map(|document| format!("---\n{document}\n")).collect();
    std::fs::write(&path, text).expect("the documents are written");
    path
}

/// The cases of all files by the pods that they need. A chain that ends in a refusal is for the pure run: an application
/// decides what it makes of a 503.
fn groups() -> Vec<Group> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("tests/scenarios is there")
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    paths.sort();
    let mut groups: Vec<Group> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("the file is readable");
        let file: File = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in file.cases {
            let answers = case.chain.as_ref().is_some_and(|chain| !chain.contains("503"));
            let documents = case.documents.clone().unwrap_or_else(|| file.documents.clone());
            let Some(pods) = plain(case.pods.as_ref().unwrap_or(&file.pods)) else { continue };
            if !answers || !case.unheard.is_null() || documents.iter().any(|document| document["kind"] == "Service") {
                continue;
            }
            match groups.iter_mut().find(|group| group.pods == pods) {
                Some(group) => group.cases.push((case, documents)),
                None => groups.push(Group { pods, cases: vec![(case, documents)] }),
            }
        }
    }
    groups
}

/// Pods that are ready and have sidecars, as a mesh makes them; `None`: the case wants others.
fn plain(pods: &BTreeMap<String, Vec<Value>>) -> Option<BTreeMap<String, Vec<String>>> {
    let of = |tags: &Vec<Value>| tags.iter().map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    pods.iter().map(|(service, tags)| Some((service.clone(), of(tags)?))).collect()
}
