//! A whole configuration in memory: documents read, checked, compiled, decoded and built into the snapshot of each sidecar,
//! by the code that the product runs. Shared by the tests of this folder.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use laneway_core::compile::{Compiled, WireResource, compile, sort};
use laneway_core::decide::Load;
use laneway_core::decode::{Resources, decode};
use laneway_core::facts::{Facts, Headers, Source};
use laneway_core::snapshot::{EndpointAddr, Identity, Snapshot};
use laneway_core::tag::Tag;
use laneway_core::{check, document};
use laneway_proto::admin::diagnostic::Severity;

/// Everything that runs, and what people wrote.
pub struct World {
    compiled: Compiled,
    /// In the order of their addresses' appearance in the catalogue.
    pub pods: Vec<Pod>,
    pub load: FixedLoad,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct Pod {
    pub identity: Identity,
    pub address: SocketAddr,
}

impl Pod {
    /// `Agray`: the service's id in capitals, then its tag.
    pub fn label(&self) -> String {
        let tag = self.identity.tag.map(|tag| tag.to_string()).unwrap_or_default();
        format!("{}{tag}", self.identity.service.to_ascii_uppercase())
    }
}

impl World {
    /// `mesh`: words like `Agray`, `Bgray draining ejected unmeshed weight=5`; see tests/scenarios/README.md.
    pub fn new(mesh: &[String], documents: &str) -> Result<World, String> {
        let mesh = Mesh::read(mesh)?;
        let text = format!("{}\n---\n{documents}", mesh.documents());
        let documents = document::read(&text).map_err(|errors| format!("documents: {errors:#?}"))?;
        let (objects, catalog, _) = sort(documents).map_err(|errors| format!("documents: {errors:#?}"))?;
        let findings = check::check(&objects, &catalog);
        let errors: Vec<_> = findings.iter().filter(|found| found.severity() == Severity::Error).collect();
        if !errors.is_empty() {
            return Err(format!("check refuses: {errors:#?}"));
        }
        let pods = catalog.services.values().flat_map(|service| {
            service.endpoints.iter().map(|endpoint| Pod {
                identity: Identity {
                    namespace: service.namespace.clone(),
                    service: service.name.clone(),
                    tag: endpoint.tag,
                },
                address: endpoint.address,
            })
        });
        let load = FixedLoad { ejected: mesh.ejected, ..FixedLoad::default() };
        Ok(World { pods: pods.collect(), compiled: compile(&objects, &catalog), load })
    }

    /// What the sidecar of a pod knows.
    pub fn snapshot(&self, identity: &Identity) -> Snapshot {
        let mut resources = Resources::default();
        for resource in self.compiled.everything(identity) {
            let WireResource { type_url, name, version, body } = &*resource;
            match decode(type_url, name, version, body) {
                Ok(decoded) => resources.insert(decoded),
                Err(errors) => panic!("a sidecar refuses what was compiled: {errors:#?}"),
            }
        }
        resources.snapshot(identity, 1)
    }

    /// The first instance with that label.
    pub fn pod(&self, label: &str) -> &Pod {
        let found = self.pods.iter().find(|pod| pod.label() == label);
        found.unwrap_or_else(|| panic!("no instance {label:?} among {:?}", self.pods))
    }

    pub fn pod_at(&self, address: SocketAddr) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.address == address)
    }
}

/// Load that does not change.
#[derive(Clone, Debug, Default)]
pub struct FixedLoad {
    pub ejected: HashSet<SocketAddr>,
    pub outstanding: HashMap<SocketAddr, u32>,
}

impl Load for FixedLoad {
    fn outstanding(&self, endpoint: EndpointAddr) -> u32 {
        self.outstanding.get(&endpoint.0).copied().unwrap_or(0)
    }

    fn is_ejected(&self, endpoint: EndpointAddr) -> bool {
        self.ejected.contains(&endpoint.0)
    }

    fn has_ejected(&self) -> bool {
        !self.ejected.is_empty()
    }
}

/// The instances of a mesh in words.
struct Mesh {
    /// Id of each service, and its instances.
    services: Vec<(String, Vec<Instance>)>,
    ejected: HashSet<SocketAddr>,
}

struct Instance {
    address: SocketAddr,
    tag: String,
    state: String,
    weight: u32,
    meshed: bool,
}

impl Mesh {
    fn read(words: &[String]) -> Result<Mesh, String> {
        let mut mesh = Mesh { services: Vec::new(), ejected: HashSet::new() };
        for line in words {
            let mut words = line.split_whitespace();
            let label = words.next().ok_or("an empty instance")?;
            let (id, tag) = split_label(label)?;
            let number = match mesh.services.iter().position(|(name, _)| *name == id) {
                Some(at) => at,
                None => {
                    mesh.services.push((id, Vec::new()));
                    mesh.services.len() - 1
                }
            };
            let instances = &mut mesh.services[number].1;
            let ip = IpAddr::from([10, 1, number as u8 + 1, instances.len() as u8 + 1]);
            let address = SocketAddr::new(ip, 8080);
            let mut instance = Instance { address, tag, state: "ready".to_owned(), weight: 1, meshed: true };
            for word in words {
                match word {
                    "ready" | "warming" | "draining" | "unhealthy" => instance.state = word.to_owned(),
                    "unmeshed" => instance.meshed = false,
                    "ejected" => {
                        mesh.ejected.insert(address);
                    }
                    _ => match word.strip_prefix("weight=").map(str::parse) {
                        Some(Ok(weight)) => instance.weight = weight,
                        _ => return Err(format!("{word:?} says nothing about an instance")),
                    },
                }
            }
            instances.push(instance);
        }
        Ok(mesh)
    }

    fn documents(&self) -> String {
        let services = self.services.iter().enumerate().map(|(number, (id, instances))| {
            let endpoints: Vec<String> = instances
                .iter()
                .map(|i| {
                    let (address, tag, state) = (i.address, &i.tag, &i.state);
                    let (weight, meshed) = (i.weight, i.meshed);
                    format!(
                        "  - {{address: '{address}', portName: http, tag: '{tag}', state: {state}, weight: {weight}, \
                         meshed: {meshed}}}"
                    )
                })
                .collect();
            format!(
                "kind: Service\nname: {id}\nhosts: [{id}]\naddresses: [10.96.0.{}]\nports: [{{port: 80, name: http, \
                 protocol: detect}}]\nendpoints:\n{}\n",
                number + 1,
                endpoints.join("\n")
            )
        });
        services.collect::<Vec<_>>().join("---\n")
    }
}

/// `Agray` is service `a`, tag `gray`.
fn split_label(label: &str) -> Result<(String, String), String> {
    let at = label.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(label.len());
    if at == 0 {
        return Err(format!("{label:?} does not begin with a service in capitals"));
    }
    Ok((label[..at].to_ascii_lowercase(), label[at..].to_owned()))
}

/// Headers of a request, in order.
#[derive(Clone, Debug, Default)]
pub struct Lines(pub Vec<(String, String)>);

impl Headers for Lines {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        let mut lines = self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        lines.nth(index).map(|(_, value)| value.as_bytes())
    }
}

impl Lines {
    pub fn of(pairs: &[(&str, &str)]) -> Lines {
        Lines(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A GET of `/a` by nobody in particular.
pub fn facts<'a>(headers: &'a Lines, source: Source<'a>) -> Facts<'a> {
    Facts { method: "GET", target: "/a", authority: headers.get("host").unwrap_or(""), headers, is_grpc: false, source }
}

/// What a callee's sidecar knows of a peer's address.
pub fn peer_source(snapshot: &Snapshot, address: IpAddr) -> Source<'_> {
    let peer = snapshot.peer(address);
    Source {
        service: peer.map_or("", |peer| peer.service.as_ref()),
        tag: peer.and_then(|peer| peer.tag),
        address: Some(address),
        is_meshed: peer.is_some(),
    }
}

/// What a caller's sidecar knows of itself.
pub fn own_source(snapshot: &Snapshot) -> Source<'_> {
    Source { service: snapshot.own_service_name(), tag: snapshot.identity.tag, address: None, is_meshed: true }
}

pub fn tag(text: &str) -> Tag {
    Tag::parse(text.as_bytes()).expect("tests write good tags")
}
