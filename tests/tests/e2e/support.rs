//! Small parts that several tests share: a pair of pods, Python peers, and the word that something was skipped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use laneway_proto::contract::PROXY_UID;
use laneway_tests::mesh::network::{Network, namespaces_work};
use laneway_tests::mesh::{Mesh, Plan, PodPlan, ServicePlan};
use laneway_tests::process::{run, skip, wait_for};

/// Longest wait for an application to listen.
pub(crate) const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a test that needs namespaces may run; else it says by name that it was skipped, and in CI it fails.
pub(crate) fn namespaces_or_skip(test: &str) -> bool {
    if namespaces_work() {
        return true;
    }
    skip(test, "it needs root for network namespaces");
    false
}

/// A file of tests/python.
pub(crate) fn script(name: &str) -> String {
    format!("{}/python/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The Python that `./x` set up with grpcio and websockets.
pub(crate) fn python() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/python");
    assert!(own.exists(), "{} is not there: run `./x test`, which makes it", own.display());
    // Not canonical: the link is what makes it a virtual environment.
    own
}

/// The service that the pairs below call.
pub(crate) const SERVER_PORT: u16 = 7000;

/// A mesh of service `caller`, one pod, and service `server` with the pods of these tags, each running a Python program.
/// `ADDRESS` in its arguments is replaced by the address to listen on.
pub(crate) fn pair(label: &str, server_tags: &[&str], caller_tag: &str, arguments: &[&str]) -> Mesh {
    let mut plan = Plan {
        label: label.to_owned(),
        services: vec![
            ServicePlan { name: "caller".to_owned(), port: 20_001 },
            ServicePlan { name: "server".to_owned(), port: SERVER_PORT },
        ],
        pods: vec![PodPlan::new("caller", caller_tag, "http://sc-server:7000/")],
        redirect: true,
        v6: false,
        init_arguments: Vec::new(),
    };
    for tag in server_tags {
        let mut pod = PodPlan::new("server", tag, "");
        if !arguments.is_empty() {
            let listen = format!("0.0.0.0:{SERVER_PORT}");
            let arguments = arguments.iter().map(|argument| argument.replace("ADDRESS", &listen)).collect();
            pod.program = Some((python(), arguments));
        }
        plan.pods.push(pod);
    }
    let mesh = Mesh::up(plan).expect("the mesh comes up");
    for tag in server_tags {
        let pod = PodPlan::new("server", tag, "").name;
        await_listening(&mesh, &pod, SERVER_PORT);
    }
    mesh
}

/// Waits until something in the pod listens on the port; loopback is not redirected, so it is the application.
pub(crate) fn await_listening(mesh: &Mesh, pod: &str, port: u16) {
    let listening = wait_for(LISTEN_TIMEOUT, || {
        let mut command = mesh.command(pod, "bash").ok()?;
        command.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]);
        run(command).ok()
    });
    assert!(listening.is_some(), "the application of {pod} does not listen on {port}");
}

/// Runs a program as the application's user in a pod, and returns what it printed.
pub(crate) fn in_pod(
    mesh: &Mesh,
    pod: &str,
    program: impl AsRef<std::ffi::OsStr>,
    arguments: &[&str],
) -> anyhow::Result<String> {
    as_user_in_pod(mesh, pod, 10_001, program, arguments)
}

fn as_user_in_pod(
    mesh: &Mesh,
    pod: &str,
    user: u32,
    program: impl AsRef<std::ffi::OsStr>,
    arguments: &[&str],
) -> anyhow::Result<String> {
    let mut command = mesh.command(pod, program)?;
    command.args(arguments);
    laneway_tests::process::confine::as_user(&mut command, user);
    run(command)
}

const CURL: [&str; 4] = ["--silent", "--show-error", "--max-time", "15"];

/// curl in a pod, as its application would call.
pub(crate) fn curl_in(mesh: &Mesh, pod: &str, arguments: &[&str]) -> anyhow::Result<String> {
    in_pod(mesh, pod, "curl", &[&CURL, arguments].concat())
}

/// curl in a pod, as its sidecar would call: past the redirect, from the pod's address.
pub(crate) fn curl_as_sidecar(mesh: &Mesh, pod: &str, arguments: &[&str]) -> anyhow::Result<String> {
    as_user_in_pod(mesh, pod, PROXY_UID, "curl", &[&CURL, arguments].concat())
}

/// Runs a client of our own in a pod's network; names do not resolve there, addresses do.
pub(crate) fn from_pod<T: Send + 'static>(
    mesh: &Mesh,
    pod: &str,
    work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
) -> anyhow::Result<T> {
    let Network::Namespaces(namespaces) = mesh.network() else { anyhow::bail!("the mesh has no namespaces") };
    let name = namespaces.name(pod);
    let thread = std::thread::spawn(move || {
        laneway_tests::process::confine::enter_namespace(&name)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    });
    thread.join().expect("the client does not panic")
}
