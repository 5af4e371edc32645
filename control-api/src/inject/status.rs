//! What an injected pod says of itself, in the annotation `laneway.io/status`: that we did it, and what stood there before, so
//! that it can be undone to the letter.

use serde::{Deserialize, Serialize};

use super::value::{Map, Value};

pub const ANNOTATION: &str = "laneway.io/status";
/// For selectors; the webhook leaves alone what has it.
pub const LABEL: &str = "laneway.io/injected";
/// Set where the sidecar stands first, so that `kubectl logs` goes on meaning the application.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

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

impl Status {
    /// Nothing where the pod was not injected by us.
    pub(super) fn of(pod: &Map) -> Option<Result<Status, String>> {
        let text = pod.map("metadata")?.map("annotations")?.get(ANNOTATION)?;
        let status = text.as_text().ok_or_else(|| format!("it is {}", text.kind()));
        let status = status.and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()));
        Some(status.map_err(|problem| {
            format!(
                "annotation {ANNOTATION}: not what inject writes: {problem}. Take the sidecar out by hand, or start from the \
                 manifest without it"
            )
        }))
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a status has keys of text alone")
    }
}
