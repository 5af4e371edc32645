//! How the product's programs are told what to do: the one place in the tests that knows their flags and environment.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use laneway_proto::contract::{PORT_ADMIN, PORT_CONTROL, PORT_DISCOVERY, PORT_OUTBOUND, PORT_STATUS};

use super::plan::PodPlan;

/// Written by the control plane when both of its ports are open.
pub const CONTROL_READY_FILE: &str = "control-ready.json";

/// Where a sidecar runs.
pub struct Place {
    pub address: IpAddr,
    pub control: SocketAddr,
    /// Without a redirect: where the application listens, beside its sidecar.
    pub application: Option<SocketAddr>,
}

/// The control plane: SQLite store and discovery file in `directory`.
pub fn control_arguments(command: &mut Command, address: IpAddr, directory: &Path) {
    command
        .arg("--store")
        .arg(directory.join("laneway.db"))
        .arg("--discovery")
        .arg(directory.join("services.yaml"))
        .arg("--ready-file")
        .arg(directory.join(CONTROL_READY_FILE))
        .args(["--discovery-listen", &SocketAddr::new(address, PORT_DISCOVERY).to_string()])
        .args(["--api-listen", &SocketAddr::new(address, PORT_CONTROL).to_string()])
        // A test writes as fast as it can; the limit on one user is tested where it is made.
        .args(["--writes-per-second", "100000"])
        // The mesh has its network to itself, namespace or loopback.
        .arg("--insecure-listen");
}

/// A sidecar of a pod.
pub fn sidecar_arguments(command: &mut Command, pod: &PodPlan, place: &Place) {
    command
        .env("LANEWAY_SERVICE", &pod.service)
        .env("LANEWAY_TAG", &pod.tag)
        .env("LANEWAY_CONTROL", format!("http://{}", place.control))
        .env("POD_NAME", &pod.name);
    if let Some(application) = place.application {
        let at = |port| SocketAddr::new(place.address, port).to_string();
        let (outbound, inbound) = (at(PORT_OUTBOUND), at(application.port()));
        command
            .env("POD_IP", place.address.to_string())
            .env("LANEWAY_LISTEN", format!("outbound={outbound};inbound={inbound},forward={application}"))
            .env("LANEWAY_STATUS", at(PORT_STATUS))
            .env("LANEWAY_ADMIN", at(PORT_ADMIN));
    }
    for (name, value) in &pod.sidecar_environment {
        command.env(name, value);
    }
}
