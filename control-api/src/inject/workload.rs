//! Where the pods are in a document: the pod itself, the template of what makes pods, the items of a list.

use std::fmt;

use super::identity::{ANNOTATION_SERVICE_COMPAT, ANNOTATION_TAG_COMPAT};
use super::note::Note;
use super::settings::PREFIX;
use super::value::{Map, Value};

/// What is said of an object in one line: `deployment/spring-cloud-a`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    kind: String,
    namespace: Option<String>,
    name: String,
    /// What stands on the object and is read in its template alone.
    pub(super) idle: Vec<Note>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.to_ascii_lowercase(), self.name)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// A kind that has pods: group of its API (before the `/`; none for `v1`), kind, fields down to the template.
const KINDS: [(&str, &str, &[&str]); 8] = [
    ("", "Pod", &[]),
    ("", "ReplicationController", &["spec", "template"]),
    ("apps", "Deployment", &["spec", "template"]),
    ("apps", "StatefulSet", &["spec", "template"]),
    ("apps", "DaemonSet", &["spec", "template"]),
    ("apps", "ReplicaSet", &["spec", "template"]),
    ("batch", "Job", &["spec", "template"]),
    ("batch", "CronJob", &["spec", "jobTemplate", "spec", "template"]),
];

/// Why there is no pod to work on.
#[derive(Debug)]
pub(super) enum NoPod {
    /// The way to it is.
    Wrong(String),
    /// A kind that is not known has what looks like one.
    Unknown,
}

/// Calls `each` on every pod and every template of an object; what has none is passed over.
pub(super) fn pods(object: &mut Map, each: &mut impl FnMut(Subject, Result<&mut Map, NoPod>)) {
    let group = match object.text("apiVersion").unwrap_or_default().split_once('/') {
        Some((group, _)) => group,
        None => "",
    };
    let kind = object.text("kind").unwrap_or_default();
    if kind == "List" && group.is_empty() {
        let subject = subject(object);
        match object.get_mut("items") {
            Some(Value::List(items)) => {
                for (at, item) in items.iter_mut().enumerate() {
                    match item {
                        Value::Map(item) => pods(item, each),
                        other => {
                            let problem = format!("items[{at}]: {}, not a map", other.kind());
                            each(subject.clone(), Err(NoPod::Wrong(problem)));
                        }
                    }
                }
            }
            None | Some(Value::Null) => {}
            Some(other) => each(subject, Err(NoPod::Wrong(format!("items: {}, not a list", other.kind())))),
        }
        return;
    }
    let known = KINDS.iter().find(|(of, name, _)| *of == group && *name == kind);
    if let Some((_, _, path)) = known {
        let mut subject = subject(object);
        if !path.is_empty() {
            subject.idle = idle(object, path);
        }
        each(subject, descend(object, path).map_err(NoPod::Wrong));
    } else if has_template(object) {
        each(subject(object), Err(NoPod::Unknown));
    }
}

/// Where most kinds have theirs: an OpenKruise CloneSet, an Argo Rollout, a Service of Knative.
fn has_template(object: &Map) -> bool {
    let template = object.map("spec").and_then(|spec| spec.map("template")).and_then(|template| template.map("spec"));
    template.is_some_and(|pod| !pod.list("containers").is_empty())
}

fn subject(object: &Map) -> Subject {
    let metadata = object.map("metadata");
    let said = |key| metadata.and_then(|metadata| metadata.text(key)).map(str::to_owned);
    let generated = || said("generateName").map(|name| format!("{name}*"));
    Subject {
        kind: object.text("kind").unwrap_or_default().to_owned(),
        namespace: said("namespace"),
        name: said("name").or_else(generated).unwrap_or_else(|| "?".to_owned()),
        idle: Vec::new(),
    }
}

/// Labels and annotations of ours that were meant for the pods.
fn idle(object: &Map, path: &[&str]) -> Vec<Note> {
    let is_ours =
        |key: &str| key.starts_with(PREFIX) || [ANNOTATION_SERVICE_COMPAT, ANNOTATION_TAG_COMPAT].contains(&key);
    let (kind, template) = (object.text("kind").unwrap_or_default(), path.join("."));
    let said = |list: &'static str, what: &'static str| {
        let fields = object.map("metadata").and_then(|metadata| metadata.map(list)).into_iter().flat_map(Map::iter);
        fields.filter(|(key, _)| is_ours(key)).map(move |(key, _)| (what, key))
    };
    let all = said("labels", "label").chain(said("annotations", "annotation"));
    let note = |(what, key)| {
        Note::Oddity(format!(
            "{what} {key} stands on the {kind} itself, where nobody reads it; it belongs into {template}.metadata"
        ))
    };
    all.map(note).collect()
}

fn descend<'a>(object: &'a mut Map, path: &[&str]) -> Result<&'a mut Map, String> {
    let mut at = object;
    for (depth, key) in path.iter().enumerate() {
        let shown = || path[..=depth].join(".");
        at = match at.get_mut(key) {
            Some(Value::Map(inner)) => inner,
            Some(other) => return Err(format!("{}: {}, not a map", shown(), other.kind())),
            None => return Err(format!("{}: is not there", shown())),
        };
    }
    Ok(at)
}
