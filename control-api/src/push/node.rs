//! Who speaks on a stream: `Node.metadata` becomes an identity, or a reason to refuse. Pure.

use laneway_core::name;
use laneway_core::snapshot::Identity;
use laneway_core::tag::{Tag, TagError};
use laneway_proto::contract::NAMESPACE_DEFAULT;
use laneway_proto::discovery::{NodeMetadata, ProxyMode};
use laneway_proto::xds;
use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::access::Said;

#[cfg(test)]
mod tests;

/// Longest node id; it stands in logs, and in status as the last part of a name.
const ID_BYTES_MAX: usize = 512;
/// Longest text of the metadata.
const TEXT_BYTES_MAX: usize = 512;
/// Addresses of one pod.
const ADDRESSES_MAX: usize = 16;

/// One sidecar or gateway.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: String,
    pub identity: Identity,
    pub metadata: NodeMetadata,
}

/// Why a node is not served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error("the first request of a stream must name its node (node.id)")]
    NoId,
    #[error("node.id has more than {ID_BYTES_MAX} bytes")]
    LongId,
    #[error("node.metadata.tag {0:?}: {1}")]
    Tag(String, TagError),
    #[error(
        "node.metadata.service {0:?} is no id of a service (1 to 253 bytes of A-Z, a-z, 0-9 and `._:@-`, any other percent-encoded); \
         its namespace is in node.metadata.namespace"
    )]
    Service(String),
    #[error("node.metadata.{0} is not a text of at most {TEXT_BYTES_MAX} bytes")]
    Text(&'static str),
}

impl Node {
    /// What is held against its credentials.
    pub fn said(&self) -> Said<'_> {
        Said {
            node_id: &self.id,
            namespace: &self.identity.namespace,
            service: &self.identity.service,
            pod_name: &self.metadata.pod_name,
            pod_uid: &self.metadata.pod_uid,
        }
    }

    /// Reads the node of a stream's first request.
    pub fn read(node: &xds::Node) -> Result<Node, NodeError> {
        if node.id.is_empty() {
            return Err(NodeError::NoId);
        }
        if node.id.len() > ID_BYTES_MAX {
            return Err(NodeError::LongId);
        }
        let none = Struct::default();
        let fields = node.metadata.as_ref().unwrap_or(&none);
        let mut metadata = NodeMetadata {
            namespace: text(fields, "namespace")?,
            service: text(fields, "service")?,
            tag: text(fields, "tag")?,
            pod_name: text(fields, "podName")?,
            pod_uid: text(fields, "podUid")?,
            service_account: text(fields, "serviceAccount")?,
            addresses: addresses(fields),
            proxy_version: text(fields, "proxyVersion")?,
            mode: mode(fields).into(),
        };
        if metadata.namespace.is_empty() {
            metadata.namespace = NAMESPACE_DEFAULT.to_owned();
        }
        // It would be held against credentials as it is written, so it is never more than an id: no name with a namespace of its own.
        if !metadata.service.is_empty() && !name::is_service_id(&metadata.service) {
            return Err(NodeError::Service(metadata.service));
        }
        let tag = match metadata.tag.as_str() {
            "" => None,
            tag => Some(Tag::parse(tag.as_bytes()).map_err(|error| NodeError::Tag(tag.to_owned(), error))?),
        };
        let identity = Identity { namespace: metadata.namespace.clone(), service: metadata.service.clone(), tag };
        Ok(Node { id: node.id.clone(), identity, metadata })
    }
}

fn text(fields: &Struct, name: &'static str) -> Result<String, NodeError> {
    match fields.fields.get(name).and_then(|value| value.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => Ok(String::new()),
        Some(Kind::StringValue(text)) if text.len() <= TEXT_BYTES_MAX => Ok(text.clone()),
        Some(_) => Err(NodeError::Text(name)),
    }
}

/// Only shown; what is no text is left out.
fn addresses(fields: &Struct) -> Vec<String> {
    let Some(Value { kind: Some(Kind::ListValue(list)) }) = fields.fields.get("addresses") else { return Vec::new() };
    let texts = list.values.iter().filter_map(|value| match &value.kind {
        Some(Kind::StringValue(text)) if text.len() <= TEXT_BYTES_MAX => Some(text.clone()),
        _ => None,
    });
    texts.take(ADDRESSES_MAX).collect()
}

fn mode(fields: &Struct) -> ProxyMode {
    match fields.fields.get("mode").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StringValue(name)) => ProxyMode::from_str_name(name).unwrap_or(ProxyMode::Unspecified),
        _ => ProxyMode::Unspecified,
    }
}
