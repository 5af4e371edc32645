//! One sidecar in static mode, with one outbound listener in front of one service: what tests of single bytes need.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program};

use crate::alone::free;

const DEADLINE: Duration = Duration::from_secs(10);

/// Ends with its handle.
pub(crate) struct Sidecar {
    /// The listener.
    pub(crate) address: SocketAddr,
    /// /ready, /live, /metrics.
    pub(crate) status: SocketAddr,
    pub(crate) process: Process,
    scratch: Scratch,
}

impl Sidecar {
    /// Calls to its listener go to `instance` of a service whose port says `protocol`.
    pub(crate) fn start(label: &str, protocol: &str, instance: SocketAddr) -> Self {
        Self::start_with(label, protocol, instance, &[])
    }

    /// The same with further flags.
    pub(crate) fn start_with(label: &str, protocol: &str, instance: SocketAddr, flags: &[&str]) -> Self {
        Self::start_at(label, protocol, instance, free(), flags)
    }

    /// With its admin port there.
    pub(crate) fn start_with_admin(label: &str, protocol: &str, instance: SocketAddr, admin: SocketAddr) -> Self {
        Self::start_at(label, protocol, instance, admin, &[])
    }

    fn start_at(label: &str, protocol: &str, instance: SocketAddr, admin: SocketAddr, flags: &[&str]) -> Self {
        let scratch = Scratch::new(label).expect("a directory");
        let (address, status) = (free(), free());
        let file = scratch.path().join("resources.yaml");
        let text = format!(
            "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, protocol: {protocol}}}]\n\
             endpoints: [{{address: '{instance}'}}]\n---\n\
             kind: Proxy\nservice: a\n\
             listeners: [{{address: '{address}', direction: outbound, defaultService: b}}]\n"
        );
        std::fs::write(&file, text).expect("the directory is ours");
        let mut command = Command::new(program("laneway-proxy").expect("it is built"));
        command.arg("--resources").arg(&file).args(["--status", &status.to_string(), "--admin", &admin.to_string()]);
        command.args(flags);
        let mut process = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
        let listens = || TcpStream::connect(address).is_ok();
        process.wait_until(DEADLINE, "listening", listens).expect("it listens");
        Self { address, status, process, scratch }
    }

    /// How often this has happened, by `laneway_failures_total`.
    pub(crate) fn failures(&self, reason: &str) -> u64 {
        let mut stream = TcpStream::connect(self.status).expect("the status port listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: status\r\nconnection: close\r\n\r\n").expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page of text");
        let series = format!("laneway_failures_total{{reason=\"{reason}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<f64>().ok());
        value.unwrap_or_default() as u64
    }

    /// A directory of the test's own.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.scratch.path()
    }
}
