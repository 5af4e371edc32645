//! The delta protocol from the sidecar's side, pure: messages in, messages out. What outlives a stream (resources, keys) is kept
//! apart from what belongs to one (which types have answered, what is pending), which is dropped whole when it ends.
//!
//! control-api: a nonce is answered once; a resource that was refused is never "known"; good resources of a response count although
//! others of it are refused; a resource twice in one response refuses the response.

use std::collections::{BTreeMap, BTreeSet};

use laneway_core::decode::{Resources, decode};
use laneway_core::name;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::{TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_SERVICE, TYPE_SERVICE_POLICY};
use laneway_proto::discovery::{ResourceError, ResourceErrors};
use laneway_proto::rpc::Status;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message as _;

/// Sent whole, whoever we are.
const WILDCARD: [&str; 2] = [TYPE_LANE_GROUP, TYPE_LANE];
/// Asked for by key, all three at once.
const ON_DEMAND: [&str; 3] = [TYPE_SERVICE, TYPE_SERVICE_POLICY, TYPE_ENDPOINTS];
/// google.rpc.Code.
const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;

pub(super) struct Session {
    pub(super) identity: Identity,
    resources: Resources,
    /// Keys that the data path asked for, and the own service.
    keys: BTreeSet<String>,
    stream: Stream,
}

/// What belongs to one stream.
#[derive(Default)]
struct Stream {
    /// Types that have had a response.
    heard: BTreeSet<&'static str>,
    /// Types that have not said yet what a key stands for.
    pending: BTreeMap<String, BTreeSet<&'static str>>,
}

/// What a response leads to.
pub(super) struct Reply {
    /// ACK or NACK; to be sent when the change is in force.
    pub(super) message: DeltaDiscoveryRequest,
    /// The resources differ from before.
    pub(super) is_changed: bool,
    /// Keys of which all is known now.
    pub(super) answered: Vec<String>,
    /// What was refused, in words.
    pub(super) refused: Option<String>,
}

impl Session {
    pub(super) fn new(identity: Identity) -> Session {
        let mut keys = BTreeSet::new();
        if !identity.service.is_empty() {
            // Its policy, and its instances: for a hand-over, and to know them when they call.
            keys.insert(name::service(&identity.namespace, &identity.service));
        }
        Session { identity, resources: Resources::default(), keys, stream: Stream::default() }
    }

    pub(super) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// (type, name, version) of what is held.
    pub(super) fn held(&self) -> Vec<(String, String, String)> {
        let types = WILDCARD.iter().chain(&ON_DEMAND);
        let of = |kind: &&'static str| {
            let kind = *kind;
            self.resources.versions(kind).into_iter().map(move |(name, version)| {
                (kind.rsplit('.').next().unwrap_or(kind).to_owned(), name.to_owned(), version.to_owned())
            })
        };
        types.flat_map(of).collect()
    }

    /// The first messages of a new stream: everything that is wanted, and what is there already. `node` goes into the first.
    pub(super) fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.stream = Stream::default();
        for key in &self.keys {
            self.stream.pending.insert(key.clone(), ON_DEMAND.into());
        }
        let first = |kind: &'static str, names: Vec<String>| DeltaDiscoveryRequest {
            type_url: kind.to_owned(),
            resource_names_subscribe: names,
            initial_resource_versions: self
                .resources
                .versions(kind)
                .into_iter()
                .map(|(name, version)| (name.to_owned(), version.to_owned()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        };
        let wildcard = WILDCARD.map(|kind| first(kind, vec!["*".to_owned()]));
        let keys: Vec<String> = self.keys.iter().cloned().collect();
        let on_demand = ON_DEMAND.iter().filter(|_| !keys.is_empty()).map(|kind| first(kind, keys.clone()));
        wildcard.into_iter().chain(on_demand).collect()
    }

    /// Asks for one more key; nothing where it was asked for before.
    pub(super) fn want(&mut self, key: &str) -> Vec<DeltaDiscoveryRequest> {
        if !self.keys.insert(key.to_owned()) {
            return Vec::new();
        }
        self.stream.pending.insert(key.to_owned(), ON_DEMAND.into());
        let ask = |kind: &&str| DeltaDiscoveryRequest {
            type_url: (*kind).to_owned(),
            resource_names_subscribe: vec![key.to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        ON_DEMAND.iter().map(ask).collect()
    }

    /// The first configuration is here: group and lanes.
    pub(super) fn is_complete(&self) -> bool {
        WILDCARD.iter().all(|kind| self.stream.heard.contains(kind))
    }

    pub(super) fn receive(&mut self, response: DeltaDiscoveryResponse) -> Reply {
        let mut reply = Reply {
            message: DeltaDiscoveryRequest {
                type_url: response.type_url.clone(),
                response_nonce: response.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            },
            is_changed: false,
            answered: Vec::new(),
            refused: None,
        };
        let Some(kind) = WILDCARD.iter().chain(&ON_DEMAND).find(|kind| **kind == response.type_url).copied() else {
            reply.refuse(UNIMPLEMENTED, format!("unknown type {}", response.type_url), Vec::new());
            return reply;
        };
        if let Some(twice) = first_twice(&response) {
            let error = ResourceError {
                name: twice.clone(),
                reason: "DUPLICATE_NAME".to_owned(),
                message: "stands twice in one response".to_owned(),
                ..ResourceError::default()
            };
            reply.refuse(INVALID_ARGUMENT, format!("{twice} stands twice in one response"), vec![error]);
            return reply;
        }
        self.stream.heard.insert(kind);

        let mut errors = Vec::new();
        let mut told: Vec<String> = Vec::new();
        for resource in response.resources {
            told.extend(resource.aliases);
            told.push(resource.name.clone());
            let body = resource.resource.unwrap_or_default();
            // The version stays with what is held: a refused resource is never known.
            match decode(kind, &resource.name, &resource.version, &body.value) {
                Ok(decoded) => {
                    self.resources.insert(decoded);
                    reply.is_changed = true;
                }
                Err(refused) => errors.extend(refused),
            }
        }
        for name in response.removed_resources {
            self.resources.remove(kind, &name);
            reply.is_changed = true;
            told.push(name);
        }
        for key in told {
            if let Some(pending) = self.stream.pending.get_mut(&key) {
                pending.remove(kind);
                if pending.is_empty() {
                    self.stream.pending.remove(&key);
                    reply.answered.push(key);
                }
            }
        }
        if !errors.is_empty() {
            let words: Vec<String> =
                errors.iter().map(|error| format!("{} {}: {}", error.name, error.field, error.message)).collect();
            reply.refuse(INVALID_ARGUMENT, words.join("; "), errors);
        }
        reply
    }
}

impl Reply {
    fn refuse(&mut self, code: i32, message: String, errors: Vec<ResourceError>) {
        let details = prost_types::Any {
            type_url: "type.googleapis.com/laneway.discovery.v1.ResourceErrors".to_owned(),
            value: ResourceErrors { errors }.encode_to_vec(),
        };
        self.message.error_detail = Some(Status { code, message: message.clone(), details: vec![details] });
        self.refused = Some(message);
    }
}

fn first_twice(response: &DeltaDiscoveryResponse) -> Option<String> {
    let mut seen = BTreeSet::new();
    response.resources.iter().find(|resource| !seen.insert(&resource.name)).map(|resource| resource.name.clone())
}
