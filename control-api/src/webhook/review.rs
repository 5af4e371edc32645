//! One AdmissionReview (`admission.k8s.io/v1`): what the API server asks, and the answer to it. Pure.
//!
//! ```text
//!  bytes ──▶ request ──▶ one pod ──inject──▶ put in: allowed, with a patch · left alone: allowed · refused: with every reason
//!    └── no review, or of something else: an error, which is the fault of a configuration
//! ```

use serde::{Deserialize, Serialize};

use super::patch;
use crate::inject::value::{Map, Value};
use crate::inject::{self, Note, Settings, Verdict};

#[cfg(test)]
mod tests;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// Warnings are shown by kubectl, at best a line each: the API server cuts what is longer than 256 bytes, and drops those beyond 4 KiB.
const WARNINGS_MAX: usize = 5;
const WARNING_BYTES_MAX: usize = 240;
/// Longest name that is shown; the API server looks at it after it has asked us.
const NAME_BYTES_MAX: usize = 256;
/// Of the reasons against a pod: what a reader takes in.
const REASONS_MAX: usize = 20;
const REASON_BYTES_MAX: usize = 1024;

/// What is asked; more is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    resource: Resource,
    #[serde(default)]
    sub_resource: Option<String>,
    operation: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    object: Option<Value>,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    version: String,
    resource: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// Base64 of a JSON Patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// An answer to a review, and what was decided.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) subject: Subject,
    pub(super) deed: Deed,
}

/// Whose pod it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) namespace: String,
    /// `cart-7f9c-*` where the API server makes the name after it has asked us.
    pub(super) name: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Injected(Vec<Note>),
    Skipped(String),
    Refused(Vec<String>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("not an AdmissionReview: {0}")]
    Unreadable(serde_json::Error),
    #[error("not an AdmissionReview of {API_VERSION}: apiVersion {api_version:?}, kind {kind:?}")]
    Other { api_version: String, kind: String },
    #[error("the AdmissionReview holds no request")]
    NoRequest,
    #[error(
        "asked about {asked:?}: only CREATE of pods (v1) is answered; look at the rules of the webhook's configuration"
    )]
    NotAPod { asked: String },
    #[error("the request holds no object that is a pod")]
    NoPod,
}

/// The answer to one review.
pub(super) fn answer(body: &[u8], settings: &Settings) -> Result<Answer, ReviewError> {
    let review: Review = serde_json::from_slice(body).map_err(ReviewError::Unreadable)?;
    if review.api_version != API_VERSION || review.kind != KIND {
        return Err(ReviewError::Other { api_version: review.api_version, kind: review.kind });
    }
    let request = review.request.ok_or(ReviewError::NoRequest)?;
    is_new_pod(&request)?;
    let Some(Value::Map(pod)) = request.object else { return Err(ReviewError::NoPod) };
    let subject = Subject::of(request.namespace, &pod);
    let (deed, operations) = decide(pod, settings);
    let mut response = Response {
        uid: request.uid,
        allowed: true,
        status: None,
        patch: None,
        patch_type: None,
        warnings: warnings(&deed),
    };
    if !operations.is_empty() {
        let text = serde_json::to_vec(&Value::List(operations)).expect("values have keys of text alone");
        response.patch = Some(base64(&text));
        response.patch_type = Some("JSONPatch");
    }
    if let Deed::Refused(reasons) = &deed {
        response.allowed = false;
        response.status = Some(Status { code: 422, reason: "Invalid", message: message(reasons) });
    }
    let reply = Reply { api_version: API_VERSION, kind: KIND, response };
    let body = serde_json::to_vec(&reply).expect("an answer has keys of text alone");
    Ok(Answer { body, subject, deed })
}

fn is_new_pod(request: &Request) -> Result<(), ReviewError> {
    let Resource { group, version, resource } = &request.resource;
    let sub = request.sub_resource.as_deref().unwrap_or_default();
    let is_pod = (group.as_str(), version.as_str(), resource.as_str(), sub) == ("", "v1", "pods", "");
    if is_pod && request.operation == "CREATE" {
        return Ok(());
    }
    let slash = |text: &str| if text.is_empty() { String::new() } else { format!("/{text}") };
    let group = if group.is_empty() { String::new() } else { format!("{group}/") };
    Err(ReviewError::NotAPod { asked: format!("{} of {group}{version} {resource}{}", request.operation, slash(sub)) })
}

/// What to do with a pod, and how that is done.
fn decide(mut pod: Map, settings: &Settings) -> (Deed, Vec<Value>) {
    if inject::has_sidecar(&pod) {
        // The API server asks again when another webhook has changed the pod. By now it has filled in what we left open.
        return (Deed::Skipped("the sidecar is in".to_owned()), Vec::new());
    }
    let before = pod.clone();
    match inject::inject_pod(&mut pod, settings) {
        Ok(Verdict::Injected(notes)) => (Deed::Injected(notes), patch::between(&before, &pod)),
        // A sidecar that is not wanted any more is taken out.
        Ok(Verdict::Skipped(reason)) => (Deed::Skipped(reason), patch::between(&before, &pod)),
        Err(reasons) => (Deed::Refused(reasons), Vec::new()),
    }
}

impl Subject {
    fn of(namespace: Option<String>, pod: &Map) -> Subject {
        let said = |key| pod.map("metadata").and_then(|metadata| metadata.text(key)).filter(|name| !name.is_empty());
        let name = said("name").map(str::to_owned);
        let name = name.or_else(|| said("generateName").map(|prefix| format!("{prefix}*")));
        let short = |text: String| cut(&text, NAME_BYTES_MAX);
        Subject { namespace: short(namespace.unwrap_or_default()), name: short(name.unwrap_or_else(|| "?".to_owned())) }
    }
}

/// Only what may not be meant so.
fn warnings(deed: &Deed) -> Vec<String> {
    let told = |text: &str| cut(&format!("laneway: {text}"), WARNING_BYTES_MAX);
    match deed {
        Deed::Injected(notes) => {
            let odd = notes.iter().filter(|note| note.is_oddity());
            odd.take(WARNINGS_MAX).map(|note| told(&note.to_string())).collect()
        }
        Deed::Skipped(_) | Deed::Refused(_) => Vec::new(),
    }
}

pub(super) fn message(reasons: &[String]) -> String {
    let mut shown: Vec<String> = reasons.iter().take(REASONS_MAX).map(|reason| cut(reason, REASON_BYTES_MAX)).collect();
    let more = reasons.len().saturating_sub(REASONS_MAX);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    format!("laneway: no sidecar can be put in: {}", shown.join("; "))
}

/// At a letter's end, and with a mark where something is missing.
fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    const MARK: &str = "…";
    let end = (0..=bytes_max - MARK.len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{MARK}", &text[..end])
}

/// RFC 4648, with padding, as Go reads bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
