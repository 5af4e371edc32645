//! The delta protocol from the sidecar's side, pure: messages in, messages out. What outlives a stream (resources, keys, what
//! was answered once) is kept apart from the stream itself, of which nothing is kept: each opens with everything again.
//!
//! ```text
//!  open() -> first messages          want(key) -> subscribe in four types
//!  receive(response) -> Reply { ACK or NACK, changed?, answered keys }      forget(keys) -> unsubscribe, and drop what only they held
//!  recall(what was on disk) -> the same, of no stream
//! ```
//! A nonce is answered once. A resource that was refused is never "known": at the next stream the last good version is told.
//! Good resources of a response count although others of it are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use laneway_proto::contract::{
    DISCOVERY_REQUEST_BYTES_MAX, TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_RECONNECT, TYPE_SERVICE,
    TYPE_SERVICE_POLICY,
};
use laneway_proto::discovery::{ResourceError, ResourceErrors};
use laneway_proto::rpc::Status;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use prost::Message as _;

use crate::decode::{Decoded, Resources, decode};
use crate::name;
use crate::snapshot::Identity;

#[cfg(test)]
mod tests;

/// Sent whole, whoever we are.
const WILDCARD: [&str; 3] = [TYPE_RECONNECT, TYPE_LANE_GROUP, TYPE_LANE];
/// Those of them that a first configuration consists of.
const FIRST: [&str; 2] = [TYPE_LANE_GROUP, TYPE_LANE];
/// Asked for by key, all at once. The server answers each message as it reads it: a service that came before its endpoints
/// would be known and without an instance, and its second caller refused.
const ON_DEMAND: [&str; 4] = [TYPE_ENDPOINTS, TYPE_SERVICE_POLICY, TYPE_SERVICE, TYPE_PEER];
/// google.rpc.Code.
const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;
/// Names and versions, or errors, in one request. The server takes no larger request than
/// [`DISCOVERY_REQUEST_BYTES_MAX`]; the half leaves room for `node`, lengths and tags.
const PART_BYTES_MAX: usize = DISCOVERY_REQUEST_BYTES_MAX / 2;
/// What a name costs beside its bytes: tag and length, twice in a map.
const NAME_OVERHEAD_BYTES: usize = 16;
/// Characters of a refusal in words, for people.
const WORDS_MAX: usize = 1024;

pub struct Session {
    pub identity: Identity,
    resources: Resources,
    /// What the data path asked for, and the own service.
    keys: BTreeSet<Arc<str>>,
    /// Types that have not said yet what a key stands for, on no stream.
    pending: BTreeMap<Arc<str>, BTreeSet<&'static str>>,
    /// Keys that have stood for something.
    found: BTreeSet<Arc<str>>,
    /// Of what is asked for by key: the keys that each resource was told with. What loses the last of them is dropped, for
    /// the server has forgotten it too.
    holders: BTreeMap<&'static str, BTreeMap<String, BTreeSet<Arc<str>>>>,
    /// Types that have had a response.
    heard: BTreeSet<&'static str>,
}

/// What giving keys up leads to.
#[derive(Default)]
pub struct Forgotten {
    pub keys: Vec<Arc<str>>,
    /// What was held for nobody else, by type, and is no part of the resources any more.
    pub removed: BTreeMap<&'static str, Vec<String>>,
    /// To be sent when that is in force.
    pub messages: Vec<DeltaDiscoveryRequest>,
}

/// What a response leads to.
pub struct Reply {
    /// ACK or NACK; to be sent when the change is in force.
    pub message: DeltaDiscoveryRequest,
    /// The resources differ from before, in what a snapshot is made of.
    pub is_changed: bool,
    /// Keys of which all is known now.
    pub answered: Vec<Arc<str>>,
    /// What was refused, in words.
    pub refused: Option<String>,
    /// What became part of the resources, as it came, and the names of what no longer is.
    pub taken: Vec<Resource>,
    pub removed: Vec<String>,
}

impl Session {
    /// Knows nothing yet, and wants what concerns its own service.
    pub fn new(identity: Identity) -> Session {
        // Its policy, and its instances: for a hand-over, and to know them when they call.
        let own_key = (!identity.service.is_empty())
            .then(|| Arc::<str>::from(name::service(&identity.namespace, &identity.service)));
        Session {
            identity,
            resources: Resources::default(),
            keys: own_key.into_iter().collect(),
            pending: BTreeMap::new(),
            found: BTreeSet::new(),
            holders: BTreeMap::new(),
            heard: BTreeSet::new(),
        }
    }

    /// What is held.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Back to what was good.
    pub fn restore(&mut self, resources: Resources) {
        self.resources = resources;
    }

    /// The first messages of a new stream: everything that is wanted, and what is there already. `node` goes into the first.
    pub fn open(&self) -> Vec<DeltaDiscoveryRequest> {
        let mut messages = Vec::new();
        for kind in WILDCARD {
            messages.extend(self.opening(kind, ["*"].into_iter()));
        }
        if !self.keys.is_empty() {
            for kind in ON_DEMAND {
                messages.extend(self.opening(kind, self.keys.iter().map(|key| &**key)));
            }
        }
        messages
    }

    /// Names and known versions of one type, in as few messages as fit.
    fn opening<'k>(
        &self,
        kind: &'static str,
        names: impl Iterator<Item = &'k str>,
    ) -> impl Iterator<Item = DeltaDiscoveryRequest> {
        let mut messages = vec![of_type(kind)];
        let mut bytes = 0;
        let mut part = |cost: usize, add: &mut dyn FnMut(&mut DeltaDiscoveryRequest)| {
            if bytes > 0 && bytes + cost > PART_BYTES_MAX {
                messages.push(of_type(kind));
                bytes = 0;
            }
            bytes += cost;
            add(messages.last_mut().expect("there is one from the start"));
        };
        // Names first: a version without its name would look like something that nobody wants any more, and be removed.
        for name in names {
            part(name.len() + NAME_OVERHEAD_BYTES, &mut |message| {
                message.resource_names_subscribe.push(name.to_owned());
            });
        }
        for (name, version) in self.resources.versions(kind) {
            part(name.len() + version.len() + NAME_OVERHEAD_BYTES, &mut |message| {
                message.initial_resource_versions.insert(name.to_owned(), version.to_owned());
            });
        }
        messages.into_iter()
    }

    /// Asks for one more key; nothing where it was asked for before.
    pub fn want(&mut self, key: &Arc<str>) -> Vec<DeltaDiscoveryRequest> {
        if !self.keys.insert(Arc::clone(key)) {
            return Vec::new();
        }
        // What is held by that very name is not sent again on a stream that is opened with it.
        let is_held = |kind: &str| self.resources.versions(kind).iter().any(|(name, _)| *name == &**key);
        let unknown = ON_DEMAND.into_iter().filter(|kind| !is_held(kind));
        self.pending.insert(Arc::clone(key), unknown.collect());
        let ask = |kind: &'static str| DeltaDiscoveryRequest {
            resource_names_subscribe: vec![key.to_string()],
            ..of_type(kind)
        };
        ON_DEMAND.map(ask).into()
    }

    /// Gives up those of `keys` that were asked for, but never the own service; and with them what is held for nobody else.
    pub fn forget(&mut self, keys: Vec<Arc<str>>) -> Forgotten {
        let own = self.identity.service_name();
        let given_up: Vec<_> = keys.into_iter().filter(|key| **key != own && self.keys.remove(key)).collect();
        for key in &given_up {
            self.pending.remove(key);
            self.found.remove(key);
        }
        let mut removed = BTreeMap::new();
        for (kind, holders) in &mut self.holders {
            let mut of_kind = Vec::new();
            holders.retain(|name, keys| {
                keys.retain(|key| self.keys.contains(key));
                // By its own name it may be on its way, and counts as answered.
                let is_held = !keys.is_empty() || self.keys.contains(name.as_str());
                if !is_held {
                    of_kind.push(name.clone());
                }
                is_held
            });
            of_kind.iter().for_each(|name| self.resources.remove(kind, name));
            if !of_kind.is_empty() {
                removed.insert(*kind, of_kind);
            }
        }
        let mut messages = Vec::new();
        for kind in ON_DEMAND {
            messages.extend(given_up.chunks(256).map(|part| DeltaDiscoveryRequest {
                resource_names_unsubscribe: part.iter().map(ToString::to_string).collect(),
                ..of_type(kind)
            }));
        }
        Forgotten { keys: given_up, removed, messages }
    }

    /// The keys for which a resource of a type is held.
    pub fn keys_of(&self, kind: &str, name: &str) -> impl Iterator<Item = &Arc<str>> {
        self.holders.get(kind).and_then(|holders| holders.get(name)).into_iter().flatten()
    }

    /// The first configuration is here: group and lanes.
    pub fn is_complete(&self) -> bool {
        FIRST.iter().all(|kind| self.heard.contains(kind))
    }

    /// Takes what an earlier process held: `keys` as if they were asked for, `responses` as if a control plane had sent
    /// them. No stream has said anything yet, so nothing is complete by it; the next one opens with all of it.
    pub fn recall(&mut self, keys: &[Arc<str>], responses: Vec<DeltaDiscoveryResponse>) -> Vec<Reply> {
        for key in keys {
            self.want(key);
        }
        let replies = responses.into_iter().map(|response| self.receive(response)).collect();
        self.heard.clear();
        replies
    }

    /// Keys that stand for something.
    pub fn found(&self) -> impl Iterator<Item = &Arc<str>> {
        self.found.iter()
    }

    pub fn receive(&mut self, response: DeltaDiscoveryResponse) -> Reply {
        let mut reply = Reply {
            message: DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            },
            is_changed: false,
            answered: Vec::new(),
            refused: None,
            taken: Vec::new(),
            removed: Vec::new(),
        };
        let Some(kind) = WILDCARD.iter().chain(&ON_DEMAND).find(|kind| **kind == response.type_url).copied() else {
            reply.refuse(UNIMPLEMENTED, format!("unknown type {}", response.type_url), Vec::new());
            return reply;
        };
        self.heard.insert(kind);
        // How to come back is no business of the data path.
        let is_of_snapshot = kind != TYPE_RECONNECT;

        let mut errors = Vec::new();
        let mut good = BTreeSet::new();
        let twice = names_twice(&response);
        for (index, resource) in response.resources.iter().enumerate() {
            let told = || resource.aliases.iter().chain([&resource.name]);
            // Given up while it was on its way: the server has forgotten it, and would never take it back.
            if ON_DEMAND.contains(&kind) && !told().any(|key| self.keys.contains(&**key)) {
                continue;
            }
            for key in told() {
                if let Some(key) = self.keys.get(&**key).cloned() {
                    self.found.insert(Arc::clone(&key));
                    self.told(kind, key, &mut reply.answered);
                }
            }
            let holders = told().filter_map(|key| self.keys.get(&**key)).cloned().collect();
            if twice.contains(&*resource.name) {
                continue;
            }
            match read(kind, resource) {
                Ok(decoded) => {
                    self.resources.insert(decoded);
                    if ON_DEMAND.contains(&kind) {
                        self.holders.entry(kind).or_default().insert(resource.name.clone(), holders);
                    }
                    good.insert(index);
                    reply.is_changed |= is_of_snapshot;
                }
                Err(refused) => {
                    errors.extend(refused);
                    // The last good one stays, for those who want it now.
                    if let Some(held) = self.holders.get_mut(kind).and_then(|of| of.get_mut(&resource.name)) {
                        *held = holders;
                    }
                }
            }
        }
        for name in &response.removed_resources {
            if let Some(key) = self.keys.get(&**name).cloned() {
                self.told(kind, key, &mut reply.answered);
            }
            if !twice.contains(&**name) && self.resources.versions(kind).iter().any(|(held, _)| held == name) {
                self.resources.remove(kind, name);
                if let Some(holders) = self.holders.get_mut(kind) {
                    holders.remove(name);
                }
                reply.removed.push(name.clone());
                reply.is_changed |= is_of_snapshot;
            }
        }
        errors.extend(twice.iter().map(|name| ResourceError {
            name: (*name).to_owned(),
            version: version_in(&response, name),
            reason: "DUPLICATE_NAME".to_owned(),
            message: "stands twice in one response".to_owned(),
            ..ResourceError::default()
        }));
        if !errors.is_empty() {
            let words: Vec<String> =
                errors.iter().map(|error| format!("{} {}: {}", error.name, error.field, error.message)).collect();
            reply.refuse(INVALID_ARGUMENT, words.join("; "), errors);
        }
        let resources = response.resources.into_iter().enumerate();
        reply.taken = resources.filter(|(index, _)| good.contains(index)).map(|(_, resource)| resource).collect();
        reply
    }

    /// A type has said what a key stands for.
    fn told(&mut self, kind: &'static str, key: Arc<str>, answered: &mut Vec<Arc<str>>) {
        let Some(pending) = self.pending.get_mut(&key) else { return };
        pending.remove(kind);
        if pending.is_empty() {
            self.pending.remove(&key);
            answered.push(key);
        }
    }
}

impl Reply {
    fn refuse(&mut self, code: i32, words: String, mut errors: Vec<ResourceError>) {
        let bytes = |errors: &[ResourceError]| errors.iter().map(prost::Message::encoded_len).sum::<usize>();
        if bytes(&errors) > PART_BYTES_MAX {
            errors.iter_mut().for_each(|error| error.message.clear());
        }
        if bytes(&errors) > PART_BYTES_MAX {
            // What is not listed counts as applied; no list refuses everything, which is the safe side.
            errors.clear();
        }
        let details = prost_types::Any {
            type_url: "type.googleapis.com/laneway.discovery.v1.ResourceErrors".to_owned(),
            value: ResourceErrors { errors }.encode_to_vec(),
        };
        let words: String = words.chars().take(WORDS_MAX).collect();
        self.message.error_detail = Some(Status { code, message: words.clone(), details: vec![details] });
        self.refused = Some(words);
    }
}

fn of_type(kind: &'static str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: kind.to_owned(), ..DeltaDiscoveryRequest::default() }
}

fn read(kind: &'static str, resource: &Resource) -> Result<Decoded, Vec<ResourceError>> {
    let refuse = |reason: &str, message: String| {
        Err(vec![ResourceError {
            name: resource.name.clone(),
            version: resource.version.clone(),
            reason: reason.to_owned(),
            message,
            ..ResourceError::default()
        }])
    };
    let Some(body) = &resource.resource else {
        return refuse("MISSING_FIELD", "a resource without its message".to_owned());
    };
    if body.type_url != kind {
        return refuse("UNKNOWN_TYPE", format!("is a {} in a response of {kind}", body.type_url));
    }
    decode(kind, &resource.name, &resource.version, &body.value)
}

/// Names that a response tells more than once.
fn names_twice(response: &DeltaDiscoveryResponse) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    response.resources.iter().map(|resource| &*resource.name).filter(|name| !seen.insert(*name)).collect()
}

fn version_in(response: &DeltaDiscoveryResponse, name: &str) -> String {
    response.resources.iter().rfind(|resource| resource.name == name).map(|r| r.version.clone()).unwrap_or_default()
}
