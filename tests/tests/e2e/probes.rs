//! A probe that only opens a connection tells nothing behind the redirect; asked of the sidecar it tells the truth.

use std::time::Duration;

use laneway_tests::mesh::{Mesh, Plan};
use laneway_tests::process::wait_for;

use crate::support::{in_pod, namespaces_or_skip};

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn a_dead_application_fails_its_probe_although_the_redirect_takes_connections() {
    if !namespaces_or_skip("a_dead_application_fails_its_probe_although_the_redirect_takes_connections") {
        return;
    }
    for v6 in [false, true] {
        let mut plan = Plan::chain("prob", true, &[("a", &[""]), ("b", &[""])]);
        plan.v6 = v6;
        plan.pods[0].sidecar_environment.push(("LANEWAY_PROBE_PORTS".to_owned(), "20001".to_owned()));
        let mut mesh = Mesh::up(plan).expect("the mesh comes up");
        mesh.await_application("a-base").expect("it listens");
        // As a kubelet: from outside of the pod.
        assert!(connects(&mesh), "v6: {v6}");
        assert_eq!(asked(&mesh), "200", "v6: {v6}");
        mesh.pod("a-base").expect("a pod").application = None;
        let seen = wait_for(DEADLINE, || (asked(&mesh) == "503").then_some(()));
        assert!(seen.is_some(), "v6: {v6}: {}", asked(&mesh));
        assert!(connects(&mesh), "the sidecar takes connections for whom it cannot reach, v6: {v6}");
    }
}

/// What a `tcpSocket` probe finds.
fn connects(mesh: &Mesh) -> bool {
    let socket = mesh.socket("a-base").expect("a pod");
    let command = format!("exec 3<>/dev/tcp/{}/{}", socket.ip(), socket.port());
    in_pod(mesh, "entry", "bash", &["-c", &command]).is_ok()
}

/// What the probe finds that it is rewritten to.
fn asked(mesh: &Mesh) -> String {
    let mut socket = mesh.socket("a-base").expect("a pod");
    let path = format!("/app-health/{}", socket.port());
    socket.set_port(15_421);
    let url = format!("http://{socket}{path}");
    in_pod(mesh, "entry", "curl", &["-sg", "-o", "/dev/null", "-w", "%{http_code}", &url]).unwrap_or_default()
}
