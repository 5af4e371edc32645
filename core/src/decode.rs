//! Wire resources to the parts of a snapshot. Every field is checked here, once; past this nobody checks again. Called by
//! the sidecar for each resource that the control plane sends, and in static mode for each that it compiled itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use laneway_proto::contract::{
    TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_PROXY_CONFIG, TYPE_RECONNECT, TYPE_SERVICE,
    TYPE_SERVICE_POLICY,
};
use laneway_proto::discovery;

use crate::back_off::Spread;
use crate::condition::Refusal;
use crate::lane::Lane;
use crate::policy::Policy;
use crate::snapshot::{FastMap, Group, Identity, Index, KnownPeer, Parts, Peer, Snapshot};
use crate::table::Table;

mod catalog;
mod group;

use catalog::{ServicePart, Shard};

/// One resource, checked, with its rules compiled.
#[derive(Clone)]
pub struct Decoded {
    type_url: &'static str,
    name: String,
    version: String,
    part: Part,
}

#[derive(Clone)]
enum Part {
    Group(Arc<Group>),
    Lane(Arc<Lane>),
    Policy(Arc<Policy>),
    Service(Arc<ServicePart>),
    Endpoints(Arc<Shard>),
    Peer(IpAddr, Peer),
    Config(Arc<discovery::ProxyConfig>),
    Reconnect(Spread),
}

impl Decoded {
    pub fn type_url(&self) -> &'static str {
        self.type_url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the control plane says about this proxy, if this is it.
    pub fn proxy_config(&self) -> Option<&discovery::ProxyConfig> {
        match &self.part {
            Part::Config(config) => Some(config),
            _ => None,
        }
    }
}

/// Reads one resource; `Err` names every field that is refused.
pub fn decode(
    type_url: &str,
    name: &str,
    version: &str,
    body: &[u8],
) -> Result<Decoded, Vec<discovery::ResourceError>> {
    let mut refusals = Vec::new();
    let read = read_part(type_url, name, body, &mut refusals);
    match read {
        Some((type_url, part)) if refusals.is_empty() => {
            Ok(Decoded { type_url, name: name.to_owned(), version: version.to_owned(), part })
        }
        _ => Err(refusals.into_iter().map(|refusal| to_error(refusal, name, version)).collect()),
    }
}

fn to_error(refusal: Refusal, name: &str, version: &str) -> discovery::ResourceError {
    let help = if refusal.help.is_empty() { String::new() } else { format!(" ({})", refusal.help) };
    discovery::ResourceError {
        name: name.to_owned(),
        version: version.to_owned(),
        field: refusal.field,
        reason: refusal.reason.to_owned(),
        message: refusal.message + &help,
    }
}

fn read_part(type_url: &str, name: &str, body: &[u8], refusals: &mut Vec<Refusal>) -> Option<(&'static str, Part)> {
    match type_url {
        TYPE_LANE_GROUP => {
            let group = group::compile(name, &message(body, refusals)?, refusals)?;
            Some((TYPE_LANE_GROUP, Part::Group(Arc::new(group))))
        }
        TYPE_LANE => {
            let lane = Lane::compile(name, &message(body, refusals)?, refusals)?;
            Some((TYPE_LANE, Part::Lane(Arc::new(lane))))
        }
        TYPE_SERVICE_POLICY => {
            let policy = Policy::compile(&message(body, refusals)?, refusals)?;
            Some((TYPE_SERVICE_POLICY, Part::Policy(Arc::new(policy))))
        }
        TYPE_SERVICE => {
            let service = ServicePart::compile(&message(body, refusals)?, refusals)?;
            Some((TYPE_SERVICE, Part::Service(Arc::new(service))))
        }
        TYPE_ENDPOINTS => {
            let shard = Shard::compile(&message(body, refusals)?, refusals)?;
            Some((TYPE_ENDPOINTS, Part::Endpoints(Arc::new(shard))))
        }
        TYPE_PEER => {
            let (address, peer) = catalog::compile_peer(name, message(body, refusals)?, refusals)?;
            Some((TYPE_PEER, Part::Peer(address, peer)))
        }
        TYPE_PROXY_CONFIG => Some((TYPE_PROXY_CONFIG, Part::Config(Arc::new(message(body, refusals)?)))),
        TYPE_RECONNECT => {
            let spread = Spread::compile(&message(body, refusals)?, refusals)?;
            Some((TYPE_RECONNECT, Part::Reconnect(spread)))
        }
        _ => {
            refusals.push(Refusal::new("", "UNKNOWN_TYPE", format!("unknown type {type_url:?}")));
            None
        }
    }
}

fn message<M: prost::Message + Default>(body: &[u8], refusals: &mut Vec<Refusal>) -> Option<M> {
    M::decode(body).map_err(|error| refusals.push(Refusal::new("", "UNDECODABLE", error.to_string()))).ok()
}

/// The resources that a sidecar holds. Cheap to clone; parts are shared.
#[derive(Clone, Default)]
pub struct Resources {
    groups: Arc<BTreeMap<String, Held<Arc<Group>>>>,
    lanes: Arc<BTreeMap<String, Held<Arc<Lane>>>>,
    policies: Arc<BTreeMap<String, Held<Arc<Policy>>>>,
    services: Arc<BTreeMap<String, Held<Arc<ServicePart>>>>,
    shards: Arc<BTreeMap<String, Held<Arc<Shard>>>>,
    // Names of the shards of each service.
    shards_of: Arc<BTreeMap<String, std::collections::BTreeSet<String>>>,
    peers: Arc<FastMap<IpAddr, KnownPeer>>,
    peer_versions: Arc<BTreeMap<String, Held<IpAddr>>>,
    configs: Arc<BTreeMap<String, Held<Arc<discovery::ProxyConfig>>>>,
    reconnects: Arc<BTreeMap<String, Held<Spread>>>,
    // Built when first asked for; a change of the service takes its table away, any change of one the index.
    tables: Arc<BTreeMap<String, OnceLock<Arc<Table>>>>,
    index: OnceLock<Arc<Index>>,
}

#[derive(Clone)]
struct Held<T> {
    version: String,
    part: T,
}

impl Resources {
    pub fn insert(&mut self, decoded: Decoded) {
        let Decoded { name, version, part, .. } = decoded;
        match part {
            Part::Group(part) => put(&mut self.groups, name, version, part),
            Part::Lane(part) => put(&mut self.lanes, name, version, part),
            Part::Policy(part) => put(&mut self.policies, name, version, part),
            Part::Config(part) => put(&mut self.configs, name, version, part),
            Part::Reconnect(part) => put(&mut self.reconnects, name, version, part),
            Part::Service(part) => {
                put(&mut self.services, name.clone(), version, part);
                self.forget_table(&name);
            }
            Part::Endpoints(part) => {
                self.remove(TYPE_ENDPOINTS, &name);
                self.forget_table(&part.service);
                Arc::make_mut(&mut self.shards_of).entry(part.service.clone()).or_default().insert(name.clone());
                put(&mut self.shards, name, version, part);
            }
            Part::Peer(address, peer) => {
                Arc::make_mut(&mut self.peers).insert(address, KnownPeer::new(peer));
                put(&mut self.peer_versions, name, version, address);
            }
        }
    }

    /// Removes a resource, if it is there.
    pub fn remove(&mut self, type_url: &str, name: &str) {
        match type_url {
            TYPE_LANE_GROUP => drop(take(&mut self.groups, name)),
            TYPE_LANE => drop(take(&mut self.lanes, name)),
            TYPE_SERVICE_POLICY => drop(take(&mut self.policies, name)),
            TYPE_PROXY_CONFIG => drop(take(&mut self.configs, name)),
            TYPE_RECONNECT => drop(take(&mut self.reconnects, name)),
            TYPE_SERVICE => {
                take(&mut self.services, name);
                self.forget_table(name);
            }
            TYPE_ENDPOINTS => {
                let Some(held) = take(&mut self.shards, name) else { return };
                let service = &held.part.service;
                let of = Arc::make_mut(&mut self.shards_of);
                if let Some(names) = of.get_mut(service) {
                    names.remove(name);
                    if names.is_empty() {
                        of.remove(service);
                    }
                }
                self.forget_table(service);
            }
            TYPE_PEER => {
                if let Some(held) = take(&mut self.peer_versions, name) {
                    Arc::make_mut(&mut self.peers).remove(&held.part);
                }
            }
            _ => {}
        }
    }

    /// Names of what is held, with versions, of one type: `initial_resource_versions`.
    pub fn versions(&self, type_url: &str) -> Vec<(&str, &str)> {
        fn of<T>(map: &BTreeMap<String, Held<T>>) -> Vec<(&str, &str)> {
            map.iter().map(|(name, held)| (name.as_str(), held.version.as_str())).collect()
        }
        match type_url {
            TYPE_LANE_GROUP => of(&self.groups),
            TYPE_LANE => of(&self.lanes),
            TYPE_SERVICE_POLICY => of(&self.policies),
            TYPE_SERVICE => of(&self.services),
            TYPE_ENDPOINTS => of(&self.shards),
            TYPE_PEER => of(&self.peer_versions),
            TYPE_PROXY_CONFIG => of(&self.configs),
            TYPE_RECONNECT => of(&self.reconnects),
            _ => Vec::new(),
        }
    }

    /// What the control plane says about this proxy.
    pub fn proxy_config(&self) -> Option<&discovery::ProxyConfig> {
        self.configs.values().next().map(|held| &*held.part)
    }

    /// Over what time a return to the control plane is spread, if it ever said so. Of several the longest, which is the safe side.
    pub fn return_spread(&self) -> Option<Spread> {
        self.reconnects.values().map(|held| held.part).max()
    }

    /// Builds the snapshot. Parts that did not change since the last are shared.
    pub fn snapshot(&self, identity: &Identity, revision: u64) -> Snapshot {
        let group = self.group_of(identity);
        let lanes = self.lanes.values().filter(|held| held.part.group == group.name);
        let lanes = lanes.map(|held| held.part.clone()).collect();
        let policies = self.policies.iter().map(|(name, held)| (name.clone(), held.part.clone()));
        let parts = Parts {
            group,
            lanes,
            policies: policies.collect(),
            index: self.index.get_or_init(|| Arc::new(self.build_index())).clone(),
            peers: self.peers.clone(),
        };
        Snapshot::build(identity.clone(), revision, parts)
    }

    /// The one in which the service takes part, which is the only one that the server sends.
    fn group_of(&self, identity: &Identity) -> Group {
        let service = identity.service_name();
        let groups = || self.groups.values().map(|held| &held.part);
        let default = Group::default_of(&identity.namespace);
        let found = groups()
            .find(|group| !service.is_empty() && group.has(&service))
            .or_else(|| groups().find(|group| group.name == default.name))
            .or_else(|| groups().next());
        found.map_or(default, |group| (**group).clone())
    }

    fn build_index(&self) -> Index {
        let tables = self.services.iter().map(|(name, held)| {
            let build = || {
                let names = self.shards_of.get(name).into_iter().flatten();
                let shards = names.filter_map(|name| self.shards.get(name)).map(|held| &*held.part);
                Arc::new(held.part.table(name, shards))
            };
            match self.tables.get(name) {
                Some(table) => table.get_or_init(build).clone(),
                None => build(),
            }
        });
        Index::build(tables.collect())
    }

    fn forget_table(&mut self, service: &str) {
        self.index = OnceLock::new();
        let tables = Arc::make_mut(&mut self.tables);
        if self.services.contains_key(service) {
            tables.insert(service.to_owned(), OnceLock::new());
        } else {
            tables.remove(service);
        }
    }
}

fn put<T: Clone>(map: &mut Arc<BTreeMap<String, Held<T>>>, name: String, version: String, part: T) {
    Arc::make_mut(map).insert(name, Held { version, part });
}

/// Maps are shared with clones, so one is copied only where the name is there.
fn take<T: Clone>(map: &mut Arc<BTreeMap<String, Held<T>>>, name: &str) -> Option<Held<T>> {
    if map.contains_key(name) { Arc::make_mut(map).remove(name) } else { None }
}

#[cfg(test)]
mod tests;
