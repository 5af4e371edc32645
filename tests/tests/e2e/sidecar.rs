//! One sidecar in static mode, with one outbound listener in front of one service: what tests of single bytes need.

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
        let address = free();
        let file = scratch.path().join("resources.yaml");
        let text = format!(
            "kind: Service\nname: b\nhosts: [sc-b]\nports: [{{port: 80, protocol: {protocol}}}]\n\
             endpoints: [{{address: '{instance}'}}]\n---\n\
             kind: Proxy\nservice: a\n\
             listeners: [{{address: '{address}', direction: outbound, defaultService: b}}]\n"
        );
        std::fs::write(&file, text).expect("the directory is ours");
        let mut command = Command::new(program("laneway-proxy").expect("it is built"));
        command.arg("--resources").arg(&file).args(["--status", &free().to_string(), "--admin", &admin.to_string()]);
        command.args(flags);
        let mut process = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
        let listens = || TcpStream::connect(address).is_ok();
        process.wait_until(DEADLINE, "listening", listens).expect("it listens");
        Self { address, process, scratch }
    }

    /// A directory of the test's own.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.scratch.path()
    }
}
