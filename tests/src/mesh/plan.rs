//! What a mesh shall be: services, pods, and what discovery says of them. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::json;

use super::network::{virtual_v4, virtual_v6};
use crate::client::Speech;

/// Virtual addresses are numbered from here.
const VIRTUAL_NUMBER_FIRST: u8 = 11;

/// A mesh that is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Part of the namespaces' names.
    pub label: String,
    pub services: Vec<ServicePlan>,
    pub pods: Vec<PodPlan>,
    /// Namespaces and a real redirect; else loopback.
    pub redirect: bool,
    /// Pods and virtual addresses are IPv6.
    pub v6: bool,
    /// Arguments of laneway-init.
    pub init_arguments: Vec<String>,
}

/// One service: `sc-NAME` resolves to its virtual address.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    pub name: String,
    pub port: u16,
}

/// One application instance with its sidecar.
#[derive(Clone, Debug)]
pub struct PodPlan {
    pub name: String,
    pub service: String,
    pub tag: String,
    /// Whom the echo application calls; empty: nobody.
    pub next: String,
    pub speech: Speech,
    /// Headers that it forwards, separated by commas.
    pub forward: String,
    /// Another application than echo.
    pub program: Option<(PathBuf, Vec<String>)>,
    /// More environment of the application.
    pub application_environment: Vec<(String, String)>,
    /// As discovery says: `ready`, `notReady`, `draining`, `warming`; empty: not listed.
    pub state: String,
    /// More environment of the sidecar.
    pub sidecar_environment: Vec<(String, String)>,
}

impl Plan {
    /// Services A, B, C in a chain, one pod each for every tag given ("" is baseline).
    pub fn chain(label: &str, redirect: bool, tags: &[(&str, &[&str])]) -> Self {
        let services: Vec<ServicePlan> = tags
            .iter()
            .zip(20_001u16..)
            .map(|((name, _), port)| ServicePlan { name: (*name).to_owned(), port })
            .collect();
        let mut pods = Vec::new();
        for (position, (service, tags)) in tags.iter().enumerate() {
            let next = services.get(position + 1).map_or(String::new(), ServicePlan::url);
            pods.extend(tags.iter().map(|tag| PodPlan::new(service, tag, &next)));
        }
        Self { label: label.to_owned(), services, pods, redirect, v6: false, init_arguments: Vec::new() }
    }

    pub fn service(&self, name: &str) -> Result<&ServicePlan> {
        self.services
            .iter()
            .find(|service| service.name == name)
            .with_context(|| format!("the plan has no service `{name}`"))
    }

    /// The virtual addresses of a service.
    pub fn virtual_addresses(&self, name: &str) -> Result<[IpAddr; 2]> {
        let position = self.services.iter().position(|service| service.name == name);
        let number =
            VIRTUAL_NUMBER_FIRST + position.with_context(|| format!("the plan has no service `{name}`"))? as u8;
        Ok([virtual_v4(number).into(), virtual_v6(number).into()])
    }

    /// /etc/hosts of every pod.
    pub fn hosts_file(&self) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        for service in &self.services {
            let [v4, v6] = self.virtual_addresses(&service.name).expect("the service is the plan's own");
            let _ = writeln!(text, "{} {}", if self.v6 { v6 } else { v4 }, service.host());
        }
        text
    }

    /// The documents of static discovery.
    pub fn discovery(&self, address_of: impl Fn(usize) -> IpAddr) -> String {
        let mut text = String::new();
        for service in &self.services {
            let endpoints: Vec<_> = self
                .pods
                .iter()
                .enumerate()
                .filter(|(_, pod)| pod.service == service.name && !pod.state.is_empty())
                .map(|(index, pod)| {
                    let address = SocketAddr::new(address_of(index), service.port).to_string();
                    json!({"address": address, "portName": "app", "tag": pod.tag, "state": pod.state, "meshed": true})
                })
                .collect();
            let addresses = if self.redirect {
                let [v4, v6] = self.virtual_addresses(&service.name).expect("the service is the plan's own");
                vec![if self.v6 { v6 } else { v4 }.to_string()]
            } else {
                Vec::new()
            };
            let document = json!({
                "kind": "Service", "name": service.name, "hosts": [service.host()], "addresses": addresses,
                "ports": [{"port": service.port, "name": "app"}], "endpoints": endpoints,
            });
            // JSON is YAML, and a document a line is easy to read beside a diff.
            let _ = writeln!(text, "---\n{document}");
        }
        text
    }
}

impl ServicePlan {
    /// The name that applications dial.
    pub fn host(&self) -> String {
        format!("sc-{}", self.name)
    }

    /// Where applications call it.
    pub fn url(&self) -> String {
        format!("http://{}:{}/{}", self.host(), self.port, self.name)
    }
}

impl PodPlan {
    /// A pod named `SERVICE-TAG`, `SERVICE-base` for the baseline.
    pub fn new(service: &str, tag: &str, next: &str) -> Self {
        Self {
            name: format!("{service}-{}", if tag.is_empty() { "base" } else { tag }),
            service: service.to_owned(),
            tag: tag.to_owned(),
            next: next.to_owned(),
            speech: Speech::Http1,
            forward: "x-mse-tag".to_owned(),
            program: None,
            application_environment: Vec::new(),
            state: "ready".to_owned(),
            sidecar_environment: Vec::new(),
        }
    }

    /// Whether the applications of both are the same program, told the same.
    pub fn runs_the_same(&self, other: &Self) -> bool {
        let told = |pod: &Self| (pod.next.clone(), pod.forward.clone(), pod.application_environment.clone());
        self.program == other.program && self.speech == other.speech && told(self) == told(other)
    }
}

#[cfg(test)]
mod tests;
