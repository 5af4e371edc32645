//! What an injected pod says of itself, in the annotation `laneway.io/status`: that we did it, and what stood there before, so
//! that it can be undone to the letter.

use serde::{Deserialize, Serialize};

use super::value::{Map, Value};

pub const ANNOTATION: &str = "laneway.io/status";
/// For selectors; the webhook leaves alone what has it.
pub const LABEL: &str = "laneway.io/injected";
/// Set where the sidecar stands first, so that `kubectl logs` goes on meaning the application.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

const WAY_OUT: &str = "Take the sidecar out by hand, or start from the manifest without it";

/// Written as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Status {
    /// Of the program that injected.
    pub(super) version: String,
    /// For readers: what was put in.
    pub(super) containers: Vec<String>,
    /// Fields that were not there before ("spec.volumes"), and those that were null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) absent: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) null: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grace: Option<Grace>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) probes: Vec<Rewritten>,
    /// The annotation of the default container is ours.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) default_container: bool,
}

/// terminationGracePeriodSeconds, where it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grace {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) was: Option<i64>,
    pub(super) now: i64,
}

/// A probe that opened a connection: what stood under `tcpSocket`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rewritten {
    pub(super) list: String,
    pub(super) container: String,
    pub(super) probe: String,
    pub(super) was: Value,
}

/// What every version says, whatever else.
#[derive(Deserialize)]
struct Author {
    version: String,
}

impl Status {
    /// Whether the pod was injected by us, by whatever version: to let a pod be, nobody has to know what was changed in it. While a control
    /// plane is replaced an older replica is asked about pods of a newer one.
    pub(super) fn is_there(pod: &Map) -> bool {
        Status::annotation(pod).and_then(Value::as_text).and_then(author).is_some()
    }

    /// Nothing where the pod was not injected by us. What is not known is refused: it would be lost where the sidecar is taken out.
    pub(super) fn of(pod: &Map) -> Option<Result<Status, String>> {
        let value = Status::annotation(pod)?;
        let Some(text) = value.as_text() else {
            return Some(Err(format!(
                "annotation {ANNOTATION}: not what inject writes: it is {}. {WAY_OUT}",
                value.kind()
            )));
        };
        Some(serde_json::from_str(text).map_err(|error| match author(text) {
            Some(version) if version != env!("CARGO_PKG_VERSION") => {
                let own = env!("CARGO_PKG_VERSION");
                format!("annotation {ANNOTATION}: injected by version {version}, of which {own} does not know all: {error}. lanectl {version} takes it out")
            }
            Some(_) | None => format!("annotation {ANNOTATION}: not what inject writes: {error}. {WAY_OUT}"),
        }))
    }

    fn annotation(pod: &Map) -> Option<&Value> {
        pod.map("metadata")?.map("annotations")?.get(ANNOTATION)
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a status has keys of text alone")
    }
}

/// The version that wrote a note.
fn author(text: &str) -> Option<String> {
    serde_json::from_str(text).ok().map(|Author { version }| version)
}
