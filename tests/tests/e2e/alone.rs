//! One sidecar without a control plane and without a redirect: documents from a file, listeners of its own; and what it
//! refuses to start with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, run, wait_for};

const DEADLINE: Duration = Duration::from_secs(10);

/// An address on which nobody listens, and nobody else will: each call has a loopback address of its own, because a port alone
/// may be another test's by the time that it is used.
pub(crate) fn free() -> SocketAddr {
    static TAKEN: AtomicU8 = AtomicU8::new(1);
    let address = Ipv4Addr::new(127, 77, 0, TAKEN.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((address, 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound")
}

pub(crate) fn start_echo(name: &str, tag: &str, at: SocketAddr, directory: &Path) -> Process {
    let mut command = Command::new(program("laneway-echo").expect("it is built"));
    command.args(["--listen", &at.to_string(), "--name", name, "--tag", tag, "--address", &at.ip().to_string()]);
    Process::start("echo", command, &directory.join(format!("echo-{tag}.log"))).expect("it starts")
}

fn curl(arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "5"]).args(arguments);
    run(command).ok()
}

#[test]
fn a_sidecar_runs_from_a_file_and_follows_its_changes() {
    let scratch = Scratch::new("alone").expect("a directory");
    let (base, gray, outbound, status) = (free(), free(), free(), free());
    let _base = start_echo("B", "", base, scratch.path());
    let _gray = start_echo("B", "gray", gray, scratch.path());
    let file = scratch.path().join("resources.yaml");
    let write = |lane: &str| {
        let text = format!(
            "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, name: http}}]\nendpoints:\n\
             - {{address: '{base}', portName: http}}\n- {{address: '{gray}', portName: http, tag: gray}}\n---\n\
             kind: Lane\nname: gray\n{lane}---\n\
             kind: Proxy\nservice: a\nlisteners: [{{address: '{outbound}', direction: outbound, defaultService: b}}]\n"
        );
        let fresh = scratch.path().join("fresh");
        std::fs::write(&fresh, text).expect("the directory is ours");
        std::fs::rename(&fresh, &file).expect("the directory is ours");
    };
    write("");
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.arg("--resources").arg(&file).args(["--status", &status.to_string(), "--admin", &free().to_string()]);
    let mut proxy = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    let ready = format!("http://{status}/ready");
    proxy.wait_until(DEADLINE, "ready", || curl(&["--fail", &ready]).is_some()).expect("it gets ready");

    let url = format!("http://{outbound}/");
    let visit = |arguments: &[&str]| curl(&[arguments, &[&url]].concat()).unwrap_or_default();
    assert!(wait_for(DEADLINE, || visit(&[]).starts_with("B[").then_some(())).is_some(), "{}", proxy.log());
    assert!(visit(&["-H", "x-mse-tag: gray"]).starts_with("Bgray["));
    assert!(visit(&["-H", "x-mse-tag: gray", "-H", "Host: sc-b"]).starts_with("Bgray["));

    write("enabled: false\n");
    let off = wait_for(DEADLINE, || visit(&["-H", "x-mse-tag: gray"]).starts_with("B[").then_some(()));
    assert!(off.is_some(), "a disabled lane selects nothing: {}", proxy.log());

    // A file that is wrong changes nothing.
    write("colour: red\n");
    let told = wait_for(DEADLINE, || proxy.log().contains("colour").then_some(()));
    assert!(told.is_some(), "the log names the field: {}", proxy.log());
    assert!(visit(&["-H", "x-mse-tag: gray"]).starts_with("B["));

    write("");
    let on = wait_for(DEADLINE, || visit(&["-H", "x-mse-tag: gray"]).starts_with("Bgray[").then_some(()));
    assert!(on.is_some(), "{}", proxy.log());
}

/// A proxy with this environment ends at once; what it said.
fn refused_start(environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let scratch = Scratch::new("refused").expect("a directory");
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.args(arguments).envs(environment.iter().copied());
    command.args(["--status", &free().to_string(), "--admin", &free().to_string()]);
    command.args(["--inbound", &free().to_string(), "--outbound", &free().to_string()]);
    let mut proxy = Process::start("sidecar", command, &scratch.path().join("log")).expect("it starts");
    let status = proxy.wait(DEADLINE).expect("it does not run with this");
    assert!(!status.success());
    proxy.log()
}

#[test]
fn a_bad_value_stops_the_start_and_is_named() {
    let said = refused_start(&[("LANEWAY_TAG", "with_underscore")], &[]);
    assert!(said.contains("LANEWAY_TAG") && said.contains("with_underscore"), "{said}");
    let said = refused_start(&[("LANEWAY_SERVICE", "a b")], &[]);
    assert!(said.contains("LANEWAY_SERVICE"), "{said}");
    let said = refused_start(&[("LANEWAY_CONNECT_TIMEOUT", "soon")], &[]);
    assert!(said.contains("connect-timeout") && said.contains("soon"), "{said}");
    let said = refused_start(&[], &["--colour"]);
    assert!(said.contains("--colour"), "{said}");
    let said = refused_start(&[], &["--resources", "/nowhere.yaml"]);
    assert!(said.contains("/nowhere.yaml"), "{said}");
}
