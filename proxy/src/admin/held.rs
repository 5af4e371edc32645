//! What is in force, as JSON: the configuration with its versions, the lanes, the services and their instances.

use std::net::{IpAddr, SocketAddr};

use laneway_core::inventory::{EndpointView, LaneView, PoolView, PortView};
use laneway_core::name;
use laneway_core::snapshot::{Service, Snapshot};
use laneway_core::tag::Tag;
use laneway_proto::contract::BASELINE;
use serde::Serialize;

use super::{Admin, ENTRIES_MAX};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    /// `starting`, `ready`, `degraded` or `draining`.
    state: &'static str,
    /// `control` or `file`.
    source: &'static str,
    /// Does a stream to the control plane stand?
    connected: bool,
    /// Configurations that were put in force since the start.
    revision: u64,
    age_seconds: u64,
    refusals: u64,
    identity: Identity,
    total: usize,
    truncated: bool,
    resources: Vec<Resource>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    namespace: String,
    service: String,
    tag: String,
    pod_name: String,
}

#[derive(Serialize)]
struct Resource {
    r#type: String,
    name: String,
    version: String,
}

pub(super) fn config(admin: &Admin) -> Config {
    let Admin { status, pod_name, .. } = admin;
    let snapshot = status.snapshot();
    let held = status.held();
    let (held, since) = (&held.0, held.1);
    let resources = held.resources.iter().take(ENTRIES_MAX).map(|(kind, name, version)| Resource {
        r#type: kind.clone(),
        name: name.clone(),
        version: version.clone(),
    });
    Config {
        state: status.state().label(),
        source: status.source(),
        connected: status.is_connected(),
        revision: held.revision,
        age_seconds: since.elapsed().as_secs(),
        refusals: status.refusals(),
        identity: Identity {
            namespace: snapshot.identity.namespace.clone(),
            service: snapshot.identity.service.clone(),
            tag: word(snapshot.identity.tag),
            pod_name: pod_name.clone(),
        },
        total: held.resources.len(),
        truncated: held.resources.len() > ENTRIES_MAX,
        resources: resources.collect(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lanes {
    revision: u64,
    /// Resource name.
    group: String,
    tag_header: String,
    /// What this pod stamps on requests without a tag; null: nothing.
    stamps: Option<String>,
    total: usize,
    truncated: bool,
    lanes: Vec<Lane>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lane {
    name: String,
    tag: String,
    state: &'static str,
    priority: i32,
    entry_services: Vec<String>,
    redirect: bool,
    rules: Vec<String>,
    strict: bool,
    fallback: Vec<String>,
    service_fallbacks: Vec<ServiceFallback>,
}

#[derive(Serialize)]
struct ServiceFallback {
    service: String,
    strict: bool,
    fallback: Vec<String>,
}

pub(super) fn lanes(snapshot: &Snapshot) -> Lanes {
    let views = snapshot.lane_views();
    let total = views.len();
    let lane = |view: LaneView<'_>| Lane {
        name: view.name.to_owned(),
        tag: view.tag.to_string(),
        state: view.state,
        priority: view.priority,
        entry_services: view.entry_services.into_iter().map(str::to_owned).collect(),
        redirect: view.redirect,
        rules: view.rules.into_iter().map(str::to_owned).collect(),
        strict: view.fallback.is_empty(),
        fallback: words(view.fallback),
        service_fallbacks: view
            .service_fallbacks
            .into_iter()
            .map(|(service, chain)| ServiceFallback {
                service: service.to_owned(),
                strict: chain.is_empty(),
                fallback: words(chain),
            })
            .collect(),
    };
    Lanes {
        revision: snapshot.revision,
        group: snapshot.group().name.clone(),
        tag_header: snapshot.group().tag_header.clone(),
        stamps: snapshot.stamps().map(|tag| tag.to_string()),
        total,
        truncated: total > ENTRIES_MAX,
        lanes: views.take(ENTRIES_MAX).map(lane).collect(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Services {
    revision: u64,
    total: usize,
    truncated: bool,
    services: Vec<OneService>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneService {
    name: String,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    /// Of this sidecar's lane group.
    in_group: bool,
    has_policy: bool,
    tags: Vec<Pool>,
}

#[derive(Serialize)]
struct Port {
    port: u16,
    name: String,
    protocol: &'static str,
}

#[derive(Serialize)]
struct Pool {
    tag: String,
    endpoints: usize,
    usable: usize,
}

pub(super) fn services(snapshot: &Snapshot, wanted: Option<&str>) -> Services {
    let chosen: Vec<&Service> = chosen(snapshot, wanted).collect();
    let port = |view: PortView<'_>| Port { port: view.number, name: view.name.to_owned(), protocol: view.protocol };
    let pool = |view: PoolView| Pool { tag: word(view.tag), endpoints: view.endpoints, usable: view.usable };
    let service = |service: &&Service| OneService {
        name: service.name.to_string(),
        hosts: service.hosts().to_vec(),
        addresses: service.addresses().to_vec(),
        ports: service.port_views().map(port).collect(),
        in_group: snapshot.is_of_group(service),
        has_policy: service.has_policy(),
        tags: service.pool_views().map(pool).collect(),
    };
    Services {
        revision: snapshot.revision,
        total: chosen.len(),
        truncated: chosen.len() > ENTRIES_MAX,
        services: chosen.iter().take(ENTRIES_MAX).map(service).collect(),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoints {
    revision: u64,
    total: usize,
    truncated: bool,
    endpoints: Vec<OneEndpoint>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneEndpoint {
    service: String,
    /// Port 0: any.
    address: SocketAddr,
    port_name: String,
    tag: String,
    weight: u32,
    state: &'static str,
    usable: bool,
}

pub(super) fn endpoints(snapshot: &Snapshot, wanted: Option<&str>, tag: Option<&str>) -> Result<Endpoints, String> {
    let tag: Option<Option<Tag>> = match tag {
        None => None,
        Some(BASELINE) => Some(None),
        Some(text) => match Tag::parse(text.as_bytes()) {
            Ok(tag) => Some(Some(tag)),
            Err(error) => return Err(format!("tag {text:?} is none, nor {BASELINE}: {error}")),
        },
    };
    let of_tag = |view: &EndpointView<'_>| tag.is_none_or(|tag| tag == view.tag);
    let found = || {
        chosen(snapshot, wanted)
            .flat_map(|service| service.endpoint_views().filter(of_tag).map(move |view| (service, view)))
    };
    let total = found().count();
    Ok(Endpoints {
        revision: snapshot.revision,
        total,
        truncated: total > ENTRIES_MAX,
        endpoints: found().take(ENTRIES_MAX).map(|(service, view)| endpoint(&service.name, &view)).collect(),
    })
}

fn endpoint(service: &str, view: &EndpointView<'_>) -> OneEndpoint {
    OneEndpoint {
        service: service.to_owned(),
        address: view.address,
        port_name: view.port_name.to_owned(),
        tag: word(view.tag),
        weight: view.weight,
        state: view.state,
        usable: view.is_usable,
    }
}

/// All, or the one that is named by its id or its resource name.
fn chosen<'s>(snapshot: &'s Snapshot, wanted: Option<&str>) -> impl Iterator<Item = &'s Service> {
    let named = wanted.map(|wanted| name::service_reference(&snapshot.identity.namespace, wanted));
    snapshot.services().iter().filter(move |service| named.as_deref().is_none_or(|named| *service.name == *named))
}

fn word(tag: Option<Tag>) -> String {
    tag.map_or_else(|| BASELINE.to_owned(), |tag| tag.to_string())
}

fn words(tags: &[Option<Tag>]) -> Vec<String> {
    tags.iter().map(|tag| word(*tag)).collect()
}
