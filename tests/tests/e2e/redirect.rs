//! `redirect: true`: a request is handed over once, to whichever pod of its service the rules say, and never back.

use std::time::Duration;

use laneway_tests::conformance::names;
use laneway_tests::mesh::{Mesh, Plan};
use laneway_tests::process::wait_for;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{curl_as_sidecar, from_pod, namespaces_or_skip};

/// A pod that hands over has to learn of its own service first.
const DEADLINE: Duration = Duration::from_secs(20);

const DOCUMENTS: &str = "
{kind: LaneGroup, name: shop}
---
kind: Lane
name: gray
group: shop
entry: {services: [a], redirect: true, rules: [{name: testers, match: {header: x-user-id, exact: '100'}}]}
";

#[test]
fn a_request_is_handed_over_once_and_never_back() {
    if !namespaces_or_skip("a_request_is_handed_over_once_and_never_back") {
        return;
    }
    let tags: &[&str] = &["", "gray"];
    let mesh = Mesh::up(Plan::chain("redirect", true, &[("a", tags), ("b", tags)])).expect("the mesh comes up");
    let documents = mesh.directory().join("redirect.yaml");
    std::fs::write(&documents, DOCUMENTS).expect("the mesh's folder is ours");
    mesh.apply(&documents).expect("the documents are good");
    let url = |pod: &str| format!("http://{}/a", mesh.socket(pod).expect("a pod of the mesh"));
    let from_outside = |pod: &str, header: &str| {
        names(mesh.curl(&["-H", "Host: sc-a", "-H", header, &url(pod)]).expect("curl runs").trim())
    };
    let handed_over = || {
        let both = [from_outside("a-base", "x-user-id: 100"), from_outside("a-gray", "x-user-id: 101")];
        (both == ["Agray -> Bgray", "A -> B"]).then_some(())
    };
    wait_for(DEADLINE, handed_over).expect("both pods hand over what is the other's");
    assert_eq!(from_outside("a-gray", "x-user-id: 100"), "Agray -> Bgray", "it is where it belongs");
    assert_eq!(from_outside("a-gray", "x-laneway-hop: 1"), "A -> B", "the mark of a stranger is not believed");

    // Two sidecars that disagree, as while a change is on its way to one of them: each would hand this back to the other.
    let from_sidecar = |pod: &str, to: &str, header: &str| {
        let arguments = ["-H", "Host: sc-a", "-H", "x-laneway-hop: 1", "-H", header, &url(to)];
        names(curl_as_sidecar(&mesh, pod, &arguments).expect("curl runs").trim())
    };
    assert_eq!(from_sidecar("a-base", "a-gray", "x-user-id: 101"), "Agray -> B", "served, and not coloured");
    assert_eq!(from_sidecar("a-gray", "a-base", "x-user-id: 100"), "A -> B", "its rules are not asked again");
    assert_eq!(from_sidecar("a-gray", "a-base", "x-mse-tag: gray"), "A -> Bgray", "the tag is that of who handed over");
}

/// Behind the redirect both connections are from the same port to the same listener, which a host must keep apart.
#[test]
fn an_application_may_use_one_local_port_for_two_destinations() {
    const LOCAL_PORT: u16 = 5555;
    if !namespaces_or_skip("an_application_may_use_one_local_port_for_two_destinations") {
        return;
    }
    let mesh = Mesh::up(Plan::chain("one-port", true, &[("a", &[""]), ("b", &[""]), ("c", &[""])]));
    let mesh = mesh.expect("the mesh comes up");
    let to = [("b-base", "sc-b"), ("c-base", "sc-c")].map(|(pod, host)| (mesh.socket(pod).expect("a pod"), host));
    let answers = from_pod(&mesh, "a-base", async move {
        let mut connections = Vec::new();
        for (to, host) in to {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind((std::net::Ipv4Addr::UNSPECIFIED, LOCAL_PORT).into())?;
            connections.push((tokio::time::timeout(DEADLINE, socket.connect(to)).await??, host));
        }
        let mut answers = Vec::new();
        for (connection, host) in &mut connections {
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            tokio::time::timeout(DEADLINE, connection.read_to_string(&mut answer)).await??;
            answers.push(answer);
        }
        Ok(answers)
    });
    let answers = answers.expect("both connections stand");
    for (answer, name) in answers.iter().zip(["B", "C"]) {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(names(body.trim()).starts_with(name), "{name}: {answer}");
    }
}
