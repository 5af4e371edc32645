//! Objects and catalogue to wire resources: flat, defaults filled in, one object one resource, versions hashes of bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use laneway_proto::admin;

use crate::document::{Document, ProxyDocument, ServiceDocument};
use crate::snapshot::Identity;

/// What people wrote, by resource name.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub groups: BTreeMap<String, admin::LaneGroup>,
    pub lanes: BTreeMap<String, admin::Lane>,
    pub policies: BTreeMap<String, admin::ServicePolicy>,
}

/// What runs, by resource name of the service.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub services: BTreeMap<String, ServiceDocument>,
}

/// One resource as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireResource {
    pub type_url: &'static str,
    pub name: String,
    /// 16 hex digits: the hash of the body.
    pub version: String,
    pub body: Vec<u8>,
}

/// Everything compiled, indexed by what a sidecar may ask.
#[derive(Clone, Debug, Default)]
pub struct Compiled {}

/// Sorts documents into objects, catalogue and proxies; a second one of a name is an error.
pub fn sort(documents: Vec<Document>) -> Result<(Objects, Catalog, Vec<ProxyDocument>), Vec<admin::Diagnostic>> {
    let _ = documents;
    Ok(Default::default())
}

/// `objects` must have passed [`crate::check::check`].
pub fn compile(objects: &Objects, catalog: &Catalog) -> Compiled {
    let _ = (objects, catalog);
    Compiled::default()
}

impl Compiled {
    /// What `*` means for a node: its group, the group's lanes (without rules where it is no entry), its own policy.
    pub fn subscribed(&self, type_url: &str, node: &Identity) -> Vec<Arc<WireResource>> {
        let _ = (type_url, node);
        Vec::new()
    }

    /// On demand, by key: a service's name, `host/{authority}`, `ip/{address}`.
    pub fn answer(&self, type_url: &str, key: &str) -> Vec<Arc<WireResource>> {
        let _ = (type_url, key);
        Vec::new()
    }

    /// All that a node may ever need: static mode.
    pub fn everything(&self, node: &Identity) -> Vec<Arc<WireResource>> {
        let _ = node;
        Vec::new()
    }

    /// Version of one resource; a policy has its service's name, so the type is part of the question.
    pub fn version_of(&self, type_url: &str, name: &str) -> Option<&str> {
        let _ = (type_url, name);
        None
    }
}
