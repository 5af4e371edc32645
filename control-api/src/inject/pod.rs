//! One pod, or the template of one: puts the sidecar in, and takes it out again.
//!
//! ```text
//!  as it was ──▶ taken out, if it is in ──▶ left alone? refused? ──▶ put in, with a note of what stood there before
//! ```
//! So putting in twice is the same as once, and with other settings the same as putting in anew.

use super::containers;
use super::guards;
use super::identity::Identity;
use super::local_volumes;
use super::note::Note;
use super::probes::{self, Probes};
use super::settings::{PREFIX, Settings};
use super::status::{self, Grace, Status};
use super::value::{Map, Value};

const GRACE: &str = "terminationGracePeriodSeconds";
/// Reasons that are collected against one pod: whoever has so many reads no more of them.
const WRONG_MAX: usize = 64;
/// What annotations of ours may be beside the settings.
const INJECT: &str = "laneway.io/inject";

/// What became of a pod that can be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With what the sidecar is told, and what was changed beside.
    Injected(Vec<Note>),
    /// It has no sidecar, because of this.
    Skipped(String),
}

/// Puts the sidecar into a pod (a map with `metadata` and `spec`). Refused is what cannot be meant, with every reason; the pod is
/// unchanged then.
pub fn inject(pod: &mut Map, settings: &Settings) -> Result<Verdict, Vec<String>> {
    let mut work = pod.clone();
    uninject(&mut work).map_err(|problem| vec![problem])?;
    guards::shape(&work)?;
    let verdict = put_in(&mut work, settings)?;
    *pod = work;
    Ok(verdict)
}

/// Whether the sidecar is in, by our hand, as all else of the pod needs it, and nothing says that it should not be: then there is nothing
/// to do for who injects a pod as it is made. Whoever asks with other settings calls [`inject`], which puts in anew.
pub fn has_sidecar(pod: &Map) -> bool {
    let nothing = Map::default();
    let metadata = pod.map("metadata").unwrap_or(&nothing);
    let spec = pod.map("spec").unwrap_or(&nothing);
    Status::is_there(pod)
        && is_wanted(metadata.map("labels"), metadata.map("annotations")) == Ok(true)
        && fits(metadata, spec)
}

/// Whether a sidecar is in, and would be put in the same way beside what others have put in since.
fn fits(metadata: &Map, spec: &Map) -> bool {
    let find = |list, name| containers::find(spec, list, name);
    let is_native = find("initContainers", containers::PROXY).is_some();
    let init = find("initContainers", containers::INIT);
    let is_classic = find("containers", containers::PROXY).is_some() && spec.list("initContainers").last() == init;
    let plan = init.and_then(Value::as_map).and_then(containers::redirect);
    let Some(plan) = plan.filter(|_| is_native || is_classic) else { return false };
    let mut rest = spec.clone();
    containers::take_out(&mut rest);
    // Last: it changes what it finds.
    guards::left_alone(metadata, &rest).is_none()
        && guards::clashes(metadata, &rest).is_empty()
        && Probes::of(&mut rest, &plan, is_native).is_ok_and(|probes| probes.rewritten.is_empty())
}

/// Takes out what inject put in; says whether there was anything. What others did to the pod since stays.
pub fn uninject(pod: &mut Map) -> Result<bool, String> {
    let Some(status) = Status::of(pod) else { return Ok(false) };
    let status = status?;
    if let Some(Value::Map(spec)) = pod.get_mut("spec") {
        take_out(spec, &status);
    }
    if let Some(Value::Map(metadata)) = pod.get_mut("metadata") {
        if let Some(Value::Map(labels)) = metadata.get_mut("labels") {
            labels.remove(status::LABEL);
        }
        if let Some(Value::Map(annotations)) = metadata.get_mut("annotations") {
            annotations.remove(status::ANNOTATION);
            local_volumes::unsay(annotations);
            if status.default_container {
                annotations.remove(status::DEFAULT_CONTAINER);
            }
        }
        empty(metadata, "labels", "metadata.labels", &status);
        empty(metadata, "annotations", "metadata.annotations", &status);
    }
    empty(pod, "metadata", "metadata", &status);
    Ok(true)
}

fn take_out(spec: &mut Map, status: &Status) {
    probes::restore(spec, &status.probes);
    if let Some(grace) = status.grace
        && spec.get(GRACE).and_then(Value::as_integer) == Some(grace.now)
    {
        match grace.was {
            Some(was) => spec.insert(GRACE, was),
            None if status.null.iter().any(|path| path == "spec.terminationGracePeriodSeconds") => {
                spec.insert(GRACE, Value::Null);
            }
            None => {
                spec.remove(GRACE);
            }
        }
    }
    containers::take_out(spec);
    for list in ["initContainers", "containers", "volumes"] {
        empty(spec, list, &format!("spec.{list}"), status);
    }
}

/// A list or map that was not there before, and has nothing any more, is as it was.
fn empty(of: &mut Map, key: &str, path: &str, status: &Status) {
    if !of.get(key).is_some_and(Value::is_empty) {
        return;
    }
    if status.absent.iter().any(|absent| absent == path) {
        of.remove(key);
    } else if status.null.iter().any(|null| null == path) {
        of.insert(key, Value::Null);
    }
}

fn put_in(pod: &mut Map, defaults: &Settings) -> Result<Verdict, Vec<String>> {
    let nothing = Map::default();
    let metadata = pod.map("metadata").unwrap_or(&nothing);
    let (labels, annotations) = (metadata.map("labels"), metadata.map("annotations"));
    let spec = pod.map("spec").unwrap_or(&nothing);
    let is_wanted = is_wanted(labels, annotations).map_err(|problem| vec![problem])?;
    if !is_wanted {
        return Ok(Verdict::Skipped(format!("{INJECT} says that it wants none")));
    }
    if let Some(reason) = guards::left_alone(metadata, spec) {
        return Ok(Verdict::Skipped(reason));
    }
    let mut wrong = Vec::new();
    let settings = annotated(defaults, annotations, &mut wrong);
    if !settings.native_sidecar && guards::runs_to_its_end(spec) {
        let reason = "it runs to its end, which a sidecar beside it would keep it from; it needs a native sidecar";
        return Ok(Verdict::Skipped(reason.to_owned()));
    }
    wrong.extend(guards::clashes(metadata, spec));
    // Of one annotation alone only one is named; these do not go together, or not with the flags.
    let together = |problem: String| format!("annotation {}: {problem}", said(annotations).join(", "));
    let plan = settings.plan().map_err(|problem| wrong.push(together(problem))).ok();
    let identity = Identity::of(labels, annotations).map_err(|problems| wrong.extend(problems)).ok();
    let (Some(plan), Some(mut identity), true) = (plan, identity, wrong.is_empty()) else { return Err(wrong) };

    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        containers: vec![containers::INIT.to_owned(), containers::PROXY.to_owned()],
        absent: Vec::new(),
        null: Vec::new(),
        grace: None,
        probes: Vec::new(),
        default_container: false,
    };
    let first_container = spec.list("containers").first().and_then(Value::as_map).and_then(|first| first.text("name"));
    let first_container = first_container.unwrap_or_default().to_owned();
    let has_default = annotations.is_some_and(|annotations| annotations.get(status::DEFAULT_CONTAINER).is_some());

    let mut notes = std::mem::take(&mut identity.notes);
    let spec = at(pod, "spec", "spec", &mut status);
    let mut probes = Probes::of(spec, &plan, settings.native_sidecar).map_err(|problem| vec![problem])?;
    notes.append(&mut probes.notes);
    fill(spec, &settings, &identity, &probes.ports, &mut status);
    lengthen(spec, &settings, &mut status, &mut notes);
    status.probes = probes.rewritten;

    let metadata = at(pod, "metadata", "metadata", &mut status);
    at(metadata, "labels", "metadata.labels", &mut status).insert(status::LABEL, "true");
    status.default_container = !settings.native_sidecar && !has_default && !first_container.is_empty();
    // Before its text is made: it may not be there yet.
    let annotations = at(metadata, "annotations", "metadata.annotations", &mut status);
    if status.default_container {
        annotations.insert(status::DEFAULT_CONTAINER, first_container);
    }
    local_volumes::say(annotations);
    annotations.insert(status::ANNOTATION, status.text());
    Ok(Verdict::Injected(notes))
}

/// Containers and volumes.
fn fill(spec: &mut Map, settings: &Settings, identity: &Identity, probe_ports: &[u16], status: &mut Status) {
    let (init, proxy) = (containers::init(settings), containers::proxy(settings, identity, probe_ports));
    let before = list(spec, "initContainers", status);
    if settings.native_sidecar {
        // First: the application's own init containers are in the mesh too.
        before.splice(0..0, [init, proxy]);
    } else {
        // Last: nobody would take what the init containers before it send.
        before.push(init);
        // First, because the next one starts when its hook has returned.
        list(spec, "containers", status).insert(0, proxy);
    }
    list(spec, "volumes", status).extend(containers::volumes(settings));
}

fn lengthen(spec: &mut Map, settings: &Settings, status: &mut Status, notes: &mut Vec<Note>) {
    let there = spec.get(GRACE).cloned();
    let own = there.as_ref().and_then(Value::as_integer);
    if own == Some(0) {
        let note = format!("{GRACE} is 0: the pod is killed at once, and its sidecar cannot drain");
        notes.push(Note::Oddity(note));
        return;
    }
    let needed = containers::grace(settings, own);
    if own.is_some_and(|own| own >= needed) {
        return;
    }
    if there == Some(Value::Null) {
        status.null.push(format!("spec.{GRACE}"));
    }
    spec.insert(GRACE, needed);
    status.grace = Some(Grace { was: own, now: needed });
}

/// The map that stands there, or a new one, which the status then knows of.
fn at<'a>(of: &'a mut Map, key: &str, path: &str, status: &mut Status) -> &'a mut Map {
    remember(of, key, path, Map::default().into(), status);
    of.get_mut(key).and_then(Value::as_map_mut).expect("the shape was looked at, and what was missing was made")
}

fn list<'a>(spec: &'a mut Map, key: &str, status: &mut Status) -> &'a mut Vec<Value> {
    remember(spec, key, &format!("spec.{key}"), Value::List(Vec::new()), status);
    spec.get_mut(key).and_then(Value::as_list_mut).expect("the shape was looked at, and what was missing was made")
}

fn remember(of: &mut Map, key: &str, path: &str, made: Value, status: &mut Status) {
    match of.get(key) {
        None => status.absent.push(path.to_owned()),
        Some(Value::Null) => status.null.push(path.to_owned()),
        Some(_) => return,
    }
    of.insert(key, made);
}

/// Label and annotation say the same thing; the label wins, because it is what a webhook selects by.
fn is_wanted(labels: Option<&Map>, annotations: Option<&Map>) -> Result<bool, String> {
    let said = |what: &str, of: Option<&Map>| {
        let value = of?.get(INJECT)?;
        Some(match value.as_text() {
            Some("enabled" | "true") => Ok(true),
            Some("disabled" | "false") => Ok(false),
            Some(other) => Err(format!("{what} {INJECT}: `{other}` is neither; allowed: enabled, disabled")),
            None => Err(format!(
                "{what} {INJECT}: {}, not text: put it in quotes; allowed: enabled, disabled",
                value.kind()
            )),
        })
    };
    said("label", labels).or_else(|| said("annotation", annotations)).unwrap_or(Ok(true))
}

/// Which settings a pod says.
fn said(annotations: Option<&Map>) -> Vec<&str> {
    let keys = annotations.into_iter().flat_map(Map::iter).map(|(key, _)| key);
    keys.filter(|key| key.starts_with(PREFIX) && *key != INJECT).collect()
}

/// The settings of this pod. Every annotation with our prefix must be one that we know.
fn annotated(defaults: &Settings, annotations: Option<&Map>, wrong: &mut Vec<String>) -> Settings {
    let mut settings = defaults.clone();
    for (key, value) in annotations.into_iter().flat_map(Map::iter) {
        let Some(name) = key.strip_prefix(PREFIX).filter(|_| key != INJECT) else { continue };
        if wrong.len() >= WRONG_MAX {
            break;
        }
        if matches!(name, "tag" | "service") {
            wrong.push(format!("annotation {key}: is a label"));
            continue;
        }
        let Some(text) = value.as_text() else {
            wrong.push(format!("annotation {key}: {}, not text: put it in quotes", value.kind()));
            continue;
        };
        match settings.annotated(name, text) {
            Some(Ok(())) => {}
            Some(Err(problem)) => wrong.push(format!("annotation {key}: {problem}")),
            None => {
                let known: Vec<&str> = super::settings::annotations().collect();
                wrong.push(format!(
                    "annotation {key}: is not known; allowed behind {PREFIX}: inject, {}",
                    known.join(", ")
                ));
            }
        }
    }
    settings
}
