//! Documents: what people write, as YAML or JSON, read into objects and written back.
//!
//! A document is the ProtoJSON of its object with four additions (the contract's README): `kind`, `name`, `namespace` and
//! `group` stand for the resource name, enum values may be short, a duration may be `48h`, a percentage `2%`. The form of a
//! Kubernetes object (`metadata`, `spec`) is read too. Kinds `Service` and `Proxy` are for files alone. One walk over the
//! descriptors of the contract finds everything that is wrong, by name and path.

mod files;
mod lines;
mod units;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use laneway_proto::contract::{GROUP_DEFAULT, NAMESPACE_DEFAULT};
use laneway_proto::{admin, descriptors};
use prost_reflect::DynamicMessage;
use serde_json::{Map, Value};

pub use self::files::{Direction, EndpointDocument, ListenerDocument, PortDocument, ProxyDocument, ServiceDocument};
pub use self::lines::Lines;
pub use self::units::{enum_words, parse_duration, parse_percent, write_percent};
use self::walk::{BAD_VALUE, Walk};
pub use self::write::{write_group, write_lane, write_policy};
use crate::name;

/// One document.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    LaneGroup(admin::LaneGroup),
    Lane(admin::Lane),
    ServicePolicy(admin::ServicePolicy),
    /// Static discovery alone.
    Service(ServiceDocument),
    /// A proxy that is told its listeners alone.
    Proxy(ProxyDocument),
}

impl Document {
    pub fn kind(&self) -> &'static str {
        match self {
            Document::LaneGroup(_) => "LaneGroup",
            Document::Lane(_) => "Lane",
            Document::ServicePolicy(_) => "ServicePolicy",
            Document::Service(_) => "Service",
            Document::Proxy(_) => "Proxy",
        }
    }

    /// Resource name; a proxy has none.
    pub fn name(&self) -> String {
        match self {
            Document::LaneGroup(group) => group.name.clone(),
            Document::Lane(lane) => lane.name.clone(),
            Document::ServicePolicy(policy) => policy.name.clone(),
            Document::Service(service) => service.resource_name(),
            Document::Proxy(_) => String::new(),
        }
    }
}

const KINDS: [&str; 5] = ["LaneGroup", "Lane", "ServicePolicy", "Service", "Proxy"];
const API: &str = "laneway.io/";
/// Of a Kubernetes object: its id, where Kubernetes does not take it as a name.
pub const ID_ANNOTATION: &str = "laneway.io/id";

const SYNTAX: &str = "LANE0001";
const KIND: &str = "LANE0004";
const NAME: &str = "LANE0005";
const TWICE: &str = "LANE0006";

/// One document of a text, and what is wrong with it.
#[derive(Debug)]
pub struct Read {
    /// From 1, as findings name it.
    pub number: usize,
    /// Nothing where it cannot be read. It may be there though it has findings.
    pub document: Option<Document>,
    /// Where there is no document: what could be read of it, without the fields that could not. To say more about it, never to
    /// be taken for what was meant.
    pub partial: Option<Document>,
    pub findings: Vec<admin::Diagnostic>,
}

/// Reads all documents of a text, YAML or JSON. Either all are good, or everything that is wrong with them is told.
pub fn read(text: &str) -> Result<Vec<Document>, Vec<admin::Diagnostic>> {
    let all = read_each(text).map_err(|syntax| vec![*syntax])?;
    let (mut documents, mut diagnostics) = (Vec::new(), Vec::new());
    for read in all {
        documents.extend(read.document);
        diagnostics.extend(read.findings);
    }
    if diagnostics.is_empty() { Ok(documents) } else { Err(diagnostics) }
}

/// Reads each document of a text by itself; only a text that is neither YAML nor JSON is none at all.
pub fn read_each(text: &str) -> Result<Vec<Read>, Box<admin::Diagnostic>> {
    // Held, so that they are made once for all documents.
    let _descriptors = descriptors();
    let values = serde_saphyr::from_multiple_with_options::<Value>(text, yaml()).map_err(|error| {
        Box::new(admin::Diagnostic {
            severity: admin::diagnostic::Severity::Error.into(),
            code: SYNTAX.into(),
            message: format!("the text is neither YAML nor JSON: {error}"),
            help: "correct the text at the line it names".into(),
            ..Default::default()
        })
    })?;
    let mut seen = BTreeSet::new();
    let values = values.into_iter().flat_map(items).enumerate();
    Ok(values.map(|(at, value)| read_one(at + 1, value, &mut seen)).collect())
}

/// Reads one document that is a value already.
pub fn read_value(value: Value) -> Read {
    let _descriptors = descriptors();
    read_one(1, value, &mut BTreeSet::new())
}

/// `seen`: which objects the documents before it are.
fn read_one(number: usize, value: Value, seen: &mut BTreeSet<(&'static str, String)>) -> Read {
    let mut reader = Reader { number, walk: Walk::default(), kind: String::new(), name: String::new() };
    let read = reader.document(value);
    let is_whole = reader.walk.findings.is_empty();
    let mut findings = Vec::new();
    if let Some(document) = &read {
        if !seen.insert((document.kind(), document.name())) && !matches!(document, Document::Proxy(_)) {
            reader.walk.report(TWICE, "name", TWICE_MESSAGE.to_owned(), TWICE_HELP);
        }
        let unsupported = match document {
            _ if !is_whole => Vec::new(),
            Document::LaneGroup(group) => crate::check::unsupported_group(group),
            Document::Lane(lane) => crate::check::unsupported_lane(lane),
            Document::ServicePolicy(policy) => crate::check::unsupported_policy(policy),
            Document::Service(_) | Document::Proxy(_) => Vec::new(),
        };
        findings.extend(
            unsupported
                .into_iter()
                .map(|d| admin::Diagnostic { message: format!("{}: {}", reader.title(), d.message), ..d }),
        );
    }
    findings.extend(reader.diagnostics());
    let (document, partial) = if is_whole { (read, None) } else { (None, read) };
    Read { number, document, partial, findings }
}

/// YAML 1.2: `on`, `yes` and their like are words. The bounds are for the size of a file, which is its reader's to limit:
/// 10,000 instances, or 100,000 users, must fit.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_documents: 100_000,
            max_nodes: 10_000_000,
            max_events: 30_000_000,
        },
    }
}

/// The documents of one value: itself, the items of a list, nothing for an empty document.
fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => {
            match list.remove("items") {
                Some(Value::Array(items)) => items,
                _ => vec![Value::Object(list)],
            }
        }
        one => vec![one],
    }
}

/// Reads one document and says which one it is.
struct Reader {
    number: usize,
    walk: Walk,
    kind: String,
    /// The id that was written, or the resource name once it is known.
    name: String,
}

impl Reader {
    /// `document 2, Lane gray`
    fn title(&self) -> String {
        let mut title = format!("document {}", self.number);
        if !self.kind.is_empty() {
            title.push_str(&format!(", {}", self.kind));
            if !self.name.is_empty() {
                title.push_str(&format!(" {}", name::id_of(&self.name)));
            }
        }
        title
    }

    fn diagnostics(self) -> Vec<admin::Diagnostic> {
        let title = self.title();
        let findings = self.walk.findings.into_iter();
        findings
            .map(|finding| admin::Diagnostic {
                severity: admin::diagnostic::Severity::Error.into(),
                code: finding.code.into(),
                resource: if self.name.contains('/') { self.name.clone() } else { String::new() },
                message: format!("{title}: {}", finding.message),
                field: finding.field,
                help: finding.help,
            })
            .collect()
    }

    /// As much of it as can be read; whole where nothing was found.
    fn document(&mut self, value: Value) -> Option<Document> {
        let Value::Object(mut fields) = value else {
            self.walk.wrong_type("", &value, "a document, a map with `kind`,");
            return None;
        };
        match fields.remove("kind") {
            Some(Value::String(kind)) if KINDS.contains(&kind.as_str()) => self.kind = kind,
            Some(other) => {
                let written = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                let near = units::nearest(&written, KINDS).map(|k| format!("did you mean `{k}`? ")).unwrap_or_default();
                let help = format!("{near}one of: {}", KINDS.join(", "));
                self.walk.report(KIND, "kind", format!("unknown kind `{written}`"), help);
                return None;
            }
            None => {
                let help = format!("one of: {}", KINDS.join(", "));
                self.walk.report(KIND, "kind", "the document has no `kind`".into(), help);
                return None;
            }
        }
        if let Some(Value::String(name)) = fields.get("name") {
            self.name = name.clone();
        }
        if ["apiVersion", "metadata", "spec"].iter().any(|key| fields.contains_key(*key)) {
            fields = self.kubernetes(fields);
        }
        match self.kind.as_str() {
            "LaneGroup" => self.object(fields, &["laneGroups"]).map(Document::LaneGroup),
            "Lane" => self.object(fields, &["laneGroups", "lanes"]).map(Document::Lane),
            "ServicePolicy" => self.object(fields, &["servicePolicies"]).map(Document::ServicePolicy),
            "Service" => {
                let service = files::service(&mut self.walk, fields);
                self.name = service.resource_name();
                Some(Document::Service(service))
            }
            _ => {
                let proxy = files::proxy(&mut self.walk, fields);
                self.name = proxy.service.clone();
                Some(Document::Proxy(proxy))
            }
        }
    }

    /// `metadata` and `spec` as plain fields.
    fn kubernetes(&mut self, mut object: Map<String, Value>) -> Map<String, Value> {
        match object.remove("apiVersion") {
            Some(Value::String(version)) if version.starts_with(API) => {}
            Some(other) => {
                let message = format!("apiVersion {other} is not ours");
                self.walk.report(KIND, "apiVersion", message, format!("{API}v1alpha1"));
            }
            None => {
                let message = "an object with `metadata` or `spec` needs an `apiVersion`".to_owned();
                self.walk.report(KIND, "apiVersion", message, format!("{API}v1alpha1"));
            }
        }
        let mut fields = match object.remove("spec") {
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                self.walk.wrong_type("spec", &other, "a map");
                Map::new()
            }
            None => Map::new(),
        };
        match object.remove("metadata") {
            Some(Value::Object(mut metadata)) => {
                // Of the rest (uid, resourceVersion, annotations, ...) nothing concerns us.
                for key in ["name", "namespace", "labels"] {
                    if let Some(value) = metadata.remove(key) {
                        fields.entry(key).or_insert(value);
                    }
                }
                if let Some(id) = metadata.get("annotations").and_then(|own| own.get(ID_ANNOTATION)) {
                    fields.insert("name".into(), id.clone());
                }
            }
            Some(other) => {
                self.walk.wrong_type("metadata", &other, "a map");
            }
            None => {}
        }
        // What a cluster reports, not what was written.
        object.remove("status");
        for key in object.keys() {
            self.walk.unknown_field("", key, &["apiVersion", "kind", "metadata", "spec"]);
        }
        if let Some(Value::String(name)) = fields.get("name") {
            self.name = name.clone();
        }
        self.group_of_name(&mut fields);
        fields
    }

    /// Names of objects are unique in their namespace, those of lanes in their group: `shop.gray` is the lane gray of shop.
    fn group_of_name(&mut self, fields: &mut Map<String, Value>) {
        let Some((group, lane)) = self.name.split_once('.').map(|(group, lane)| (group.to_owned(), lane.to_owned()))
        else {
            return;
        };
        if self.kind != "Lane" || group.contains('/') {
            return;
        }
        fields.insert("name".into(), lane.into());
        let written = fields.entry("group").or_insert_with(|| group.clone().into());
        if written.as_str().is_some_and(|written| name::id_of(written) != group) {
            let message = format!("`group` differs from the one in `{}`", self.name);
            self.walk.report(NAME, "group", message, "leave one of them out");
        }
    }

    /// An object of the admin API.
    fn object<M: prost::Message + Default>(
        &mut self,
        mut fields: Map<String, Value>,
        collections: &[&str],
    ) -> Option<M> {
        let name = self.resource_name(&mut fields, collections);
        let desc = descriptors()
            .get_message_by_name(&format!("laneway.admin.v1.{}", self.kind))
            .expect("the kinds are messages of the contract");
        self.walk.beside = if self.kind == "Lane" { &["kind", "namespace", "group"] } else { &["kind", "namespace"] };
        let value = self.walk.message(&desc, Value::Object(fields), "");
        let (name, Value::Object(mut fields)) = (name?, value?) else { return None };
        fields.insert("name".into(), name.into());
        let object = DynamicMessage::deserialize(desc, Value::Object(fields))
            .map_err(|e| e.to_string())
            .and_then(|dynamic| dynamic.transcode_to::<M>().map_err(|e| e.to_string()));
        match object {
            Ok(object) => Some(object),
            Err(error) => {
                // Of what was found already this may only follow.
                if self.walk.findings.is_empty() {
                    self.walk.report(BAD_VALUE, "", error, "see the reference of the kind");
                }
                None
            }
        }
    }

    /// Takes `name`, `namespace` and `group` out of the fields.
    fn resource_name(&mut self, fields: &mut Map<String, Value>, collections: &[&str]) -> Option<String> {
        let before = self.walk.findings.len();
        let written_namespace = self.walk.string(fields, "namespace");
        let written_group = if self.kind == "Lane" { self.walk.string(fields, "group") } else { None };
        let mut written = self.walk.string(fields, "name");
        if written.is_none() && self.kind == "ServicePolicy" {
            // A policy is named by its service.
            written = fields.get("service").and_then(Value::as_str).map(str::to_owned);
        }
        let Some(written) = written else {
            if self.walk.findings.len() == before {
                self.walk.report(NAME, "name", format!("a {} needs a name", self.kind), "give `name`");
            }
            return None;
        };
        let namespace = written_namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT);
        let name = if written.contains('/') {
            written.clone()
        } else {
            match self.kind.as_str() {
                "LaneGroup" => name::group(namespace, &written),
                "Lane" => match written_group.as_deref().unwrap_or(GROUP_DEFAULT) {
                    group if group.contains('/') => format!("{group}/lanes/{written}"),
                    group => name::lane(namespace, group, &written),
                },
                _ => name::policy(namespace, &written),
            }
        };
        if !name::is_name(&name, collections) {
            let (field, help) = match () {
                () if !name::is_id(namespace) => ("namespace", ID_HELP),
                () if self.kind == "ServicePolicy" => {
                    ("name", "a service's id: A-Z a-z 0-9 . _ : @ -, at most 253 bytes")
                }
                () if name::parent_group(&name).is_some_and(|g| !name::is_name(g, &["laneGroups"])) => {
                    ("group", ID_HELP)
                }
                () => ("name", ID_HELP),
            };
            let value = match field {
                "namespace" => namespace.to_owned(),
                "group" => written_group.unwrap_or_default(),
                _ => written,
            };
            self.walk.report(NAME, field, format!("`{value}` cannot be a {field}{}", underscore(&value)), help);
            return None;
        }
        let differs = |written: Option<&String>, is: &str| {
            written.is_some_and(|w| w != is && !(w.contains('/') && name::id_of(w) == is))
        };
        let group = name::parent_group(&name).map(name::id_of).unwrap_or_default();
        if differs(written_namespace.as_ref(), name::namespace_of(&name)) {
            let message = format!("`namespace` differs from the one in `{name}`");
            self.walk.report(NAME, "namespace", message, "leave one of them out");
        }
        if differs(written_group.as_ref(), group) {
            self.walk.report(
                NAME,
                "group",
                format!("`group` differs from the one in `{name}`"),
                "leave one of them out",
            );
        }
        self.name = name.clone();
        Some(name)
    }
}

pub(crate) const ID_HELP: &str = "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit";

/// The commonest wrong character of a tag, named.
pub(crate) fn underscore(value: &str) -> &'static str {
    if value.contains('_') { ": it has an underscore, which is not allowed" } else { "" }
}

const TWICE_MESSAGE: &str = "this object is given twice";
const TWICE_HELP: &str = "keep one of the two documents";

/// Two documents are one object.
pub(crate) fn given_twice(kind: &str, name: &str) -> admin::Diagnostic {
    admin::Diagnostic {
        severity: admin::diagnostic::Severity::Error.into(),
        code: TWICE.into(),
        resource: name.to_owned(),
        field: "name".into(),
        message: format!("{kind} {}: {TWICE_MESSAGE}", name::id_of(name)),
        help: TWICE_HELP.into(),
    }
}
