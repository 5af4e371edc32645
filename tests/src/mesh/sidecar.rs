//! How the product's programs are told what to do: the one place in the tests that knows their flags and environment.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::{Plan, PodPlan};

/// Where a sidecar runs.
pub struct Place {
    pub address: IpAddr,
    pub control: SocketAddr,
    pub directory: PathBuf,
    pub redirected: bool,
    pub service_port: u16,
}

/// The control plane: SQLite store and discovery file in `directory`.
pub fn control_arguments(command: &mut Command, address: IpAddr, directory: &Path) {
    command
        .arg("--store")
        .arg(directory.join("laneway.db"))
        .arg("--discovery")
        .arg(directory.join("services.yaml"))
        .args(["--discovery-listen", &SocketAddr::new(address, 15410).to_string()])
        .args(["--api-listen", &SocketAddr::new(address, 15411).to_string()])
        .arg("--insecure-listen");
}

/// A sidecar of a pod.
pub fn sidecar_arguments(command: &mut Command, pod: &PodPlan, place: &Place, _plan: &Plan) {
    command
        .env("LANEWAY_SERVICE", &pod.service)
        .env("LANEWAY_TAG", &pod.tag)
        .env("LANEWAY_CONTROL", format!("http://{}", place.control))
        .env("POD_NAME", &pod.name)
        .env("POD_IP", place.address.to_string());
    for (name, value) in &pod.sidecar_environment {
        command.env(name, value);
    }
}
