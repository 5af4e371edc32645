//! Our kinds as Kubernetes knows them: the CustomResourceDefinitions of LaneGroup, Lane, ServicePolicy and Revision. Pure.
//!
//! ```text
//!   descriptors of the contract --schema--> openAPIV3Schema of `spec`   + rules (bounds, CEL)   + status and columns, from here
//! ```
//! A document in Kubernetes' form is valid as people write it (docs/rules.md); what the contract does not have is refused by the API server,
//! not dropped. What only the whole tells (a name that is taken, a regular expression that does not compile) is judged by the control plane,
//! which says so in the condition `Accepted`. deploy/kubernetes/crds.yaml is what this makes; a test compares.

mod rules;
mod schema;

use laneway_proto::descriptors;
use serde_json::{Map, Value, json};

use self::schema::Schema;

#[cfg(test)]
mod tests;

pub const GROUP: &str = "laneway.io";
pub const VERSION: &str = "v1alpha1";

/// One kind of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    pub kind: &'static str,
    pub plural: &'static str,
    pub singular: &'static str,
    pub short: Option<&'static str>,
}

pub const LANE_GROUP: Names =
    Names { kind: "LaneGroup", plural: "lanegroups", singular: "lanegroup", short: Some("lg") };
pub const LANE: Names = Names { kind: "Lane", plural: "lanes", singular: "lane", short: None };
pub const SERVICE_POLICY: Names =
    Names { kind: "ServicePolicy", plural: "servicepolicies", singular: "servicepolicy", short: Some("sp") };
pub const REVISION: Names = Names { kind: "Revision", plural: "revisions", singular: "revision", short: None };

/// All definitions, in the order in which they are applied.
pub fn all() -> Vec<Value> {
    vec![of_document(LANE_GROUP), of_document(LANE), of_document(SERVICE_POLICY), of_revision()]
}

/// The same as documents of one YAML text.
pub fn yaml() -> String {
    let documents = all().into_iter().map(|definition| {
        serde_saphyr::to_string(&definition).expect("a definition is of maps, lists and texts, which YAML has")
    });
    let documents: Vec<String> = documents.map(|text| text.trim_end().to_owned() + "\n").collect();
    documents.join("---\n")
}

/// A kind that people write.
fn of_document(names: Names) -> Value {
    let descriptors = descriptors();
    let message = descriptors
        .get_message_by_name(&format!("laneway.admin.v1.{}", names.kind))
        .expect("the kinds are messages of the contract");
    let schema = Schema::new();
    let root = json!({
        "type": "object",
        "description": schema.comment(message.full_name()),
        "required": ["metadata"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": schema.spec(&message),
            "status": status(names),
        },
        "x-kubernetes-validations": rules::of_object(names.kind),
    });
    definition(names, root, columns(names))
}

/// What one change was: written by the control plane, read by people.
fn of_revision() -> Value {
    let write = json!({
        "type": "object",
        "required": ["kind", "name"],
        "properties": {
            "kind": {"type": "string"},
            "name": {"type": "string", "description": "Resource name."},
            "body": {"type": "string", "format": "byte", "description": "As it became, encoded. Missing: it was deleted."},
        },
    });
    let spec = json!({
        "type": "object",
        "required": ["number", "time"],
        "properties": {
            "number": {"type": "integer", "format": "int64", "minimum": 1},
            "time": {"type": "string", "format": "date-time"},
            "principal": {"type": "string", "description": "Who changed it."},
            "reason": {"type": "string"},
            "method": {"type": "string", "description": "The call of the API; `kubectl` where the objects were written beside it."},
            "rollbackRevision": {"type": "integer", "format": "int64", "description": "The revision that was restored, if this is a rollback."},
            "changes": {"type": "string", "description": "What was changed, JSON: for each object its fields, before and after."},
            "writes": {"type": "array", "items": write, "description": "The objects as they became."},
        },
    });
    let root = json!({
        "type": "object",
        "description": "One change of lanes, whatever it touched. Written by laneway-control, and never altered once it is done; `lanectl history` shows it.",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
        },
    });
    let columns = json!([
        column("State", "string", ".metadata.labels.laneway\\.io/state", "Done, or still being written."),
        column("Principal", "string", ".spec.principal", "Who changed it."),
        column("Method", "string", ".spec.method", "By which call."),
        column("Reason", "string", ".spec.reason", "Why."),
        column("Age", "date", ".metadata.creationTimestamp", "Since when it is there."),
    ]);
    definition(REVISION, root, columns)
}

fn definition(names: Names, root: Value, columns: Value) -> Value {
    let mut version = Map::new();
    version.insert("name".to_owned(), VERSION.into());
    version.insert("served".to_owned(), true.into());
    version.insert("storage".to_owned(), true.into());
    version.insert("schema".to_owned(), json!({ "openAPIV3Schema": root }));
    version.insert("additionalPrinterColumns".to_owned(), columns);
    if names != REVISION {
        version.insert("subresources".to_owned(), json!({"status": {}}));
    }
    let mut own = json!({
        "kind": names.kind,
        "listKind": format!("{}List", names.kind),
        "plural": names.plural,
        "singular": names.singular,
        "categories": ["laneway"],
    });
    if let (Some(short), Value::Object(own)) = (names.short, &mut own) {
        own.insert("shortNames".to_owned(), json!([short]));
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{GROUP}", names.plural)},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": own, "versions": [version]},
    })
}

/// What the leading replica of the control plane reports.
fn status(names: Names) -> Value {
    let condition = json!({
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {"type": "string", "maxLength": 316, "description": "Accepted, Programmed, or of a lane Covered."},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "reason": {"type": "string", "maxLength": 1024},
            "message": {"type": "string", "maxLength": 32768},
        },
    });
    let mut properties = Map::new();
    let mut add = |name: &str, value: Value| properties.insert(name.to_owned(), value);
    add(
        "conditions",
        json!({
            "type": "array", "items": condition, "maxItems": 8,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        }),
    );
    let observed = "Of the spec that the conditions speak of.";
    add("observedGeneration", json!({"type": "integer", "format": "int64", "description": observed}));
    let revision = "Revision of the last change that was accepted.";
    add("revision", json!({"type": "integer", "format": "int64", "description": revision}));
    let in_force = "What is in force, as JSON: kept here too, for a spec that is not accepted says something else.";
    add("inForce", json!({"type": "string", "description": in_force}));
    let acked = "Sidecars that have it, of those that it concerns: 5/5.";
    add("acked", json!({"type": "string", "description": acked}));
    if names == SERVICE_POLICY {
        add("enabled", json!({"type": "boolean"}));
    }
    if names == LANE {
        add("enabled", json!({"type": "boolean"}));
        add("tag", json!({"type": "string"}));
        let state = "enabled, dryRun, disabled, expired or tripped.";
        add("state", json!({"type": "string", "description": state}));
        let covered = "Services of the group that the lane has, of all: 2/3.";
        add("covered", json!({"type": "string", "description": covered}));
        add(
            "expireTime",
            json!({"type": "string", "format": "date-time", "description": "When the lane is disabled."}),
        );
    }
    json!({"type": "object", "description": "Written by laneway-control.", "properties": properties})
}

fn columns(names: Names) -> Value {
    let accepted = column(
        "Accepted",
        "string",
        ".status.conditions[?(@.type==\"Accepted\")].status",
        "Is what the spec says in force?",
    );
    let acked = column("Acked", "string", ".status.acked", "Sidecars that have it, of those that it concerns.");
    let age = column("Age", "date", ".metadata.creationTimestamp", "Since when it is there.");
    let enabled = column("Enabled", "boolean", ".status.enabled", "Is it switched on?");
    if names == LANE {
        let group = column("Group", "string", ".spec.group", "None: default.");
        let tag = column("Tag", "string", ".status.tag", "Of its instances.");
        let covered =
            column("Covered", "string", ".status.covered", "Services that the lane has, of those of its group.");
        return json!([group, tag, enabled, covered, acked, accepted, age]);
    }
    if names == SERVICE_POLICY { json!([enabled, acked, accepted, age]) } else { json!([acked, accepted, age]) }
}

fn column(name: &str, kind: &str, path: &str, description: &str) -> Value {
    json!({"name": name, "type": kind, "jsonPath": path, "description": description})
}
