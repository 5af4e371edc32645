//! Nodes that are served, and that are not.

use std::collections::BTreeMap;

use laneway_proto::discovery::ProxyMode;
use laneway_proto::xds;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use super::{Node, NodeError};

fn node(fields: &[(&str, Kind)]) -> xds::Node {
    let fields: BTreeMap<String, Value> =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), Value { kind: Some(kind.clone()) })).collect();
    xds::Node { id: "a-1".to_owned(), metadata: Some(Struct { fields }), ..xds::Node::default() }
}

fn text(text: &str) -> Kind {
    Kind::StringValue(text.to_owned())
}

#[test]
fn metadata_becomes_an_identity() {
    let list = Kind::ListValue(ListValue { values: vec![Value { kind: Some(text("10.0.0.1")) }] });
    let node = node(&[
        ("namespace", text("shop")),
        ("service", text("a")),
        ("tag", text("gray")),
        ("podName", text("a-1")),
        ("addresses", list),
        ("mode", text("PROXY_MODE_SIDECAR")),
        ("ofANewerVersion", Kind::BoolValue(true)),
    ]);
    let node = Node::read(&node).expect("a good node");
    assert_eq!((node.identity.namespace.as_str(), node.identity.service.as_str()), ("shop", "a"));
    assert_eq!(node.identity.tag.map(|tag| tag.to_string()).as_deref(), Some("gray"));
    assert_eq!(node.metadata.addresses, ["10.0.0.1"]);
    assert_eq!(node.metadata.mode(), ProxyMode::Sidecar);
}

#[test]
fn nothing_said_is_the_default_namespace_and_no_service() {
    let node = Node::read(&xds::Node { id: "x".to_owned(), ..xds::Node::default() }).expect("a good node");
    assert_eq!((node.identity.namespace.as_str(), node.identity.service.as_str()), ("default", ""));
    assert_eq!(node.identity.tag, None);
}

#[test]
fn a_bad_node_is_refused() {
    assert_eq!(Node::read(&xds::Node::default()).err(), Some(NodeError::NoId));
    assert!(matches!(Node::read(&node(&[("tag", text("with_underscore"))])), Err(NodeError::Tag(..))));
    assert_eq!(Node::read(&node(&[("service", Kind::BoolValue(true))])).err(), Some(NodeError::Text("service")));
}

#[test]
fn a_service_is_an_id_and_never_the_name_of_one_in_another_namespace() {
    let said = |service: &str| Node::read(&node(&[("namespace", text("shop")), ("service", text(service))]));
    for good in ["a", "com.example.Cart:1.0", "a%2Fb"] {
        assert_eq!(said(good).map(|node| node.identity.service), Ok(good.to_owned()));
    }
    for bad in ["namespaces/payments/services/cards", "a/b", "*", "a b"] {
        let error = said(bad).expect_err("no id");
        assert!(error.to_string().contains(bad) && error.to_string().contains("node.metadata.namespace"), "{error}");
    }
}
