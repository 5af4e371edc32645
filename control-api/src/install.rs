//! Every manifest of an installation in a cluster: the files of deploy/kubernetes/install with their blanks filled. Pure; knows no
//! cluster.
//!
//! ```text
//!  install/*.yaml, crds.yaml ──fill──▶ `lanectl install --dry-run`      blanks: what was typed
//!                            └─fill──▶ deploy/helm (a test compares)    blanks: Helm's values
//! ```
//! The files are what an operator reads, so they are files; whatever goes into a blank was checked by its type before.

mod chart;

use clap::{Args, Parser};
use laneway_core::name;
use laneway_proto::contract::{PORT_CONTROL, PORT_DISCOVERY, PORT_WEBHOOK};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::inject::{self, installed, quantity::Memory};

#[cfg(test)]
mod tests;

pub use self::chart::{Chart, chart};
pub use crate::inject::installed::{AUTHORITIES, NAMESPACE};

/// Replicas of the control plane: one may go. Beyond a few, each only costs.
const REPLICAS: i64 = 2;
const REPLICAS_MAX: i64 = 9;
const FAILURE_POLICY: &str = "Fail";
const MEMORY_LIMIT: &str = "1Gi";
const IMAGE: &str = concat!("laneway/control:", env!("CARGO_PKG_VERSION"));
/// What takes a list back that was said before.
const NONE: &str = "none";
/// ConfigMap that keeps [`Settings`], under this key.
pub const SETTINGS: &str = "laneway-install";
pub const SETTINGS_KEY: &str = "settings";
/// Service of the control plane, and its Deployment.
pub const CONTROL: &str = installed::SERVICE;
/// Label of all that is installed.
pub const PART_OF: &str = "app.kubernetes.io/part-of=laneway";
/// MutatingWebhookConfiguration.
pub const WEBHOOK: &str = "laneway-inject";

/// A kind of object, and whether its objects are in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub is_namespaced: bool,
}

/// Of all that any version or setting ever installed, where an upgrade looks for what is left over: nothing is taken out of it. The kinds
/// of our own objects and the namespace are not in it, since with them all that people wrote would go.
pub const KINDS: [Kind; 13] = [
    Kind::namespaced("v1", "ServiceAccount"),
    Kind::of_cluster("rbac.authorization.k8s.io/v1", "ClusterRole"),
    Kind::of_cluster("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    Kind::namespaced("rbac.authorization.k8s.io/v1", "Role"),
    Kind::namespaced("rbac.authorization.k8s.io/v1", "RoleBinding"),
    Kind::namespaced("v1", "Service"),
    Kind::namespaced("apps/v1", "Deployment"),
    Kind::namespaced("policy/v1", "PodDisruptionBudget"),
    Kind::namespaced("networking.k8s.io/v1", "NetworkPolicy"),
    Kind::of_cluster("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    Kind::namespaced("v1", "ConfigMap"),
    // Of --pod-monitor.
    Kind::namespaced("v1", "Secret"),
    Kind::namespaced("monitoring.coreos.com/v1", "PodMonitor"),
];

/// What the names of images begin with that nobody chose.
const OWN_IMAGES: &str = "laneway/";
/// Settings of sidecars that name an image, beside that of the control plane.
const IMAGES: [&str; 2] = ["proxy-image", "init-image"];

/// The kinds of objects come before those who use them.
const CRDS: &str = include_str!("../../deploy/kubernetes/crds.yaml");
const PLACE: &str = include_str!("../../deploy/kubernetes/install/namespace.yaml");
/// What an upgrade goes on with; so early that one goes on with an installation that was interrupted, too.
const KEPT: &str = include_str!("../../deploy/kubernetes/install/settings.yaml");
const PARTS: [&str; 3] = [
    include_str!("../../deploy/kubernetes/install/access.yaml"),
    include_str!("../../deploy/kubernetes/install/control.yaml"),
    include_str!("../../deploy/kubernetes/install/webhook.yaml"),
];
const MONITORS: &str = include_str!("../../deploy/kubernetes/install/monitors.yaml");

/// What differs between installations; what is not said is as it is by default. Kept in the cluster, so that an upgrade goes on with it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Image of the control plane [default: that of this version].
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Replicas of the control plane, 1 to 9 [default: 2].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i64).range(1..=REPLICAS_MAX))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// What becomes of a new pod when the webhook does not answer: Fail (it is refused, and tried again by its controller), or Ignore
    /// (it starts without a sidecar) [default: Fail].
    #[arg(long, value_name = "POLICY", value_parser = ["Fail", "Ignore"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<String>,
    /// PodMonitors too, for clusters with the Prometheus operator [default: false].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<bool>,
    /// A Secret of the control plane's namespace by which its image is pulled. May be given several times; none takes those away that
    /// were said before.
    #[arg(long, value_name = "SECRET", value_parser = secret)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secret: Vec<String>,
    /// Memory that a replica gets at most [default: 1Gi].
    #[arg(long, value_name = "MEMORY", value_parser = memory)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
    /// Port of the control plane's pods at which the API server asks about new pods, 1024 to 65535 [default: 15443]. Where a firewall
    /// stands between the API server and the nodes, one that it lets through.
    #[arg(long, value_name = "PORT", value_parser = webhook_port)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_port: Option<u16>,
    /// A setting of every sidecar, named as its annotation is: drain-seconds=10. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = setting)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<Setting>,
}

/// Of every sidecar, unless its pod says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Setting {
    pub name: String,
    pub value: String,
}

impl Settings {
    /// What is said here, and beneath it what was said `before`.
    pub fn over(self, before: Settings) -> Settings {
        let mut inject = before.inject;
        inject.retain(|old| self.inject.iter().all(|new| new.name != old.name));
        inject.extend(self.inject);
        Settings {
            image: self.image.or(before.image),
            replicas: self.replicas.or(before.replicas),
            failure_policy: self.failure_policy.or(before.failure_policy),
            pod_monitor: self.pod_monitor.or(before.pod_monitor),
            image_pull_secret: match self.image_pull_secret.is_empty() {
                true => before.image_pull_secret,
                false => self.image_pull_secret,
            },
            memory_limit: self.memory_limit.or(before.memory_limit),
            webhook_port: self.webhook_port.or(before.webhook_port),
            inject,
        }
    }

    /// Flags of the images of sidecars that nobody said, though the control plane's comes from a registry of somebody's.
    pub fn unsaid_images(&self) -> Vec<String> {
        let is_own = self.image.as_ref().is_none_or(|image| image.starts_with(OWN_IMAGES));
        let is_said = |name: &str| self.inject.iter().any(|setting| setting.name == name);
        let unsaid = IMAGES.iter().filter(|name| !is_own && !is_said(name));
        unsaid.map(|name| format!("--inject {name}=IMAGE")).collect()
    }

    /// Flags of the images that would stay as they were `before`, for want of a word now, though they are not of this version: what is
    /// applied is, and an older program does not know its flags.
    pub fn outdated(&self, before: &Settings) -> Vec<String> {
        let of_control = before.image.iter().filter(|_| self.image.is_none());
        let of_control = of_control.map(|image| (image, format!("--image {image}")));
        let is_said = |name: &str| self.inject.iter().any(|setting| setting.name == name);
        let of_sidecars = before.inject.iter().filter(|old| IMAGES.contains(&old.name.as_str()) && !is_said(&old.name));
        let of_sidecars = of_sidecars.map(|old| (&old.value, format!("--inject {}={}", old.name, old.value)));
        let all = of_control.chain(of_sidecars);
        all.filter(|(image, _)| tag(image) != Some(env!("CARGO_PKG_VERSION"))).map(|(_, flag)| flag).collect()
    }
}

impl Kind {
    const fn namespaced(api_version: &'static str, kind: &'static str) -> Kind {
        Kind { api_version, kind, is_namespaced: true }
    }

    const fn of_cluster(api_version: &'static str, kind: &'static str) -> Kind {
        Kind { api_version, kind, is_namespaced: false }
    }
}

impl From<Setting> for String {
    fn from(setting: Setting) -> String {
        format!("{}={}", setting.name, setting.value)
    }
}

impl TryFrom<String> for Setting {
    type Error = String;

    fn try_from(text: String) -> Result<Setting, String> {
        setting(&text)
    }
}

/// The documents of an installation, in the order in which they are applied.
pub fn manifests(namespace: &str, settings: &Settings) -> String {
    let monitors = settings.pod_monitor.unwrap_or_default().then_some(&MONITORS);
    let parts = [&PLACE, &KEPT].into_iter().chain(&PARTS).chain(monitors).map(|part| fill(part, namespace, settings));
    std::iter::once(CRDS.to_owned()).chain(parts).collect::<Vec<_>>().join("---\n")
}

/// One part with what was typed. JSON's text is YAML's, whatever it holds.
fn fill(part: &str, namespace: &str, settings: &Settings) -> String {
    let chosen = settings.inject.iter().map(|setting| (setting.name.clone(), setting.value.clone()));
    let flags = fixed(namespace).into_iter().chain(chosen);
    let injection: Vec<String> =
        flags.map(|(name, value)| format!("- {}", json!(format!("--inject={name}={value}")))).collect();
    blanks(part, |name| match name {
        "namespace" => Some(namespace.to_owned()),
        "image" => Some(settings.image.clone().unwrap_or_else(|| IMAGE.to_owned())),
        "replicas" => Some(settings.replicas.unwrap_or(REPLICAS).to_string()),
        "failure_policy" => Some(settings.failure_policy.clone().unwrap_or_else(|| FAILURE_POLICY.to_owned())),
        "pull_secrets" => Some(json!(pull_secrets(settings)).to_string()),
        "memory_limit" => Some(settings.memory_limit.clone().unwrap_or_else(|| MEMORY_LIMIT.to_owned())),
        "webhook_port" => Some(settings.webhook_port.unwrap_or(PORT_WEBHOOK).to_string()),
        "injection" => Some(injection.join("\n        ")),
        "settings" => Some(json!(json!(settings).to_string()).to_string()),
        _ => None,
    })
}

fn pull_secrets(settings: &Settings) -> Vec<serde_json::Value> {
    let names = settings.image_pull_secret.iter().filter(|name| *name != NONE);
    names.map(|name| json!({"name": name})).collect()
}

/// What every sidecar is told of its control plane.
fn fixed(namespace: &str) -> Vec<(String, String)> {
    let token = installed::AUDIENCE.to_owned();
    [("control", installed::url(namespace)), ("control-ca", AUTHORITIES.to_owned()), ("control-token", token)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

/// Fills each `${name}`; one that nobody knows stays, for a test to find.
fn blanks(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let found = after.split_once('}').and_then(|(name, behind)| Some((value(name)?, behind)));
        match found {
            Some((value, behind)) => {
                filled.push_str(&value);
                rest = behind;
            }
            None => {
                filled.push_str("${");
                rest = after;
            }
        }
    }
    filled + rest
}

/// A namespace that the control plane may have to itself.
pub fn namespace(text: &str) -> Result<String, String> {
    if !name::is_id(text) {
        return Err(format!("`{text}` is no namespace; allowed: 1 to 63 of a-z 0-9 and '-' between"));
    }
    if text == "default" || text.starts_with("kube-") {
        return Err(format!("`{text}` is not the control plane's own; allowed: a namespace for it alone"));
    }
    Ok(text.to_owned())
}

fn image(text: &str) -> Result<String, String> {
    let is_image = (1..=512).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte));
    if is_image { Ok(text.to_owned()) } else { Err(format!("`{text}` is no image; allowed: a name such as {IMAGE}")) }
}

/// A name of an object (RFC 1123 subdomain), or [`NONE`].
fn secret(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(name::is_id) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a Secret; allowed: a-z 0-9, and '-' and '.' between, or {NONE}"))
}

/// One that the pod has not got already, and that needs no right.
fn webhook_port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port >= 1024 && ![PORT_DISCOVERY, PORT_CONTROL].contains(port));
    port.ok_or_else(|| {
        format!("`{text}` is no port for it; allowed: 1024 to 65535, but {PORT_DISCOVERY} and {PORT_CONTROL}")
    })
}

fn memory(text: &str) -> Result<String, String> {
    match text.parse::<Memory>()? {
        limit if limit.is_none() => Err(format!("`{text}` is no amount of memory; allowed: such as {MEMORY_LIMIT}")),
        _ => Ok(text.to_owned()),
    }
}

/// `0.1.0` of `registry:5000/laneway/control:0.1.0@sha256:…`
fn tag(image: &str) -> Option<&str> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // The colon of a registry's port stands before the last slash.
    name.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
}

/// Settings of sidecars by default.
#[derive(Parser)]
struct Only {
    #[command(flatten)]
    settings: inject::Settings,
}

fn setting(text: &str) -> Result<Setting, String> {
    let names = || inject::settings::annotations().collect::<Vec<_>>().join(", ");
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!("`{text}` is no NAME=VALUE; allowed names: {}", names()));
    };
    // Read as an annotation would be, into settings that nobody uses.
    let Only { mut settings } = Only::parse_from([""]);
    match settings.annotated(name, value) {
        Some(Ok(())) => Ok(Setting { name: name.to_owned(), value: value.trim().to_owned() }),
        Some(Err(problem)) => Err(format!("{name}: {problem}")),
        None => Err(format!("`{name}` is no setting of a sidecar; allowed: {}", names())),
    }
}
