//! What a cluster has for an installation, and what of one is there: `lanectl check --pre` and `--cluster`. Read-only.
//!
//! ```text
//!   API server ──ask──▶ Facts (what was found) ──judge, pure──▶ items
//! ```

use std::collections::BTreeMap;
use std::time::SystemTime;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::new_pod::{self, Fate};
use super::rights::is_allowed;
use super::validity::validity;
use super::{INSTALLATION, Item, not_well, odd, some_of, well};
use crate::install::{AUTHORITIES, CONTROL, SETTINGS, WEBHOOK};
use crate::kubernetes;
use crate::lanectl::owner::{self, Other};
use crate::lanectl::print;

#[cfg(test)]
mod tests;

const SECTION: &str = "cluster";
/// The first version that the store takes, and whose sidecars are native ones without a feature gate.
const MINOR_MIN: u32 = 29;
/// A lease that nobody renewed for so long has no holder.
const LEASE_SECONDS_MAX: i64 = 60;
/// Pods that are read at a time, and pods that are looked at in all.
const PAGE: u32 = 500;
const PODS_MAX: usize = 50_000;
/// What `lanectl install` writes: group and resource.
const WRITES: [(&str, &str); 13] = [
    ("", "namespaces"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("", "serviceaccounts"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("", "services"),
    ("", "configmaps"),
    ("apps", "deployments"),
    ("policy", "poddisruptionbudgets"),
    ("networking.k8s.io", "networkpolicies"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];
/// Server-side apply asks for both.
const VERBS: [&str; 2] = ["create", "patch"];
const CRDS: [&str; 4] =
    ["lanegroups.laneway.io", "lanes.laneway.io", "servicepolicies.laneway.io", "revisions.laneway.io"];

/// What a cluster is like before anything is installed.
#[derive(Debug, Default)]
struct Before {
    /// `v1.31`
    version: (u32, u32),
    /// `create customresourcedefinitions.apiextensions.k8s.io`
    denied: Vec<String>,
    /// Namespaces that have our label and that of another mesh.
    shared: Vec<String>,
    is_installed: bool,
    /// The release of Helm that made one there.
    release: Option<String>,
    /// Whose the objects of the whole cluster are, where they are not ours to take.
    other: Option<Other>,
}

/// What of an installation is there.
#[derive(Debug, Default)]
struct There {
    /// Of [`CRDS`], those that are not served.
    missing_kinds: Vec<String>,
    /// Wanted and available replicas. `None`: no Deployment.
    replicas: Option<(i32, i32)>,
    image: String,
    /// Who leads, and how long ago that was said, seconds.
    leader: Option<(String, i64)>,
    /// The webhook's authorities, one text for each webhook. `None`: no configuration.
    bundles: Option<Vec<String>>,
    authorities: Option<String>,
    /// Namespaces with injection that have no authorities.
    without_authorities: Vec<String>,
    /// Pods of those namespaces that run without a sidecar, `namespace/name`.
    without_sidecar: Vec<String>,
    /// What would become of a new pod, by namespace.
    new_pods: Vec<(String, Fate)>,
    /// Whose the objects of the whole cluster are, where they are not this installation's.
    other: Option<Other>,
}

/// Before an installation.
pub(super) async fn before(namespace: &str) -> Vec<Item> {
    match reach().await {
        Ok((client, version)) => match ask_before(&client, namespace, version).await {
            Ok(found) => judge_before(&found, namespace),
            Err(error) => vec![unanswered(&error)],
        },
        Err(item) => vec![item],
    }
}

/// Of an installation.
pub(super) async fn there(namespace: &str, now: SystemTime) -> Vec<Item> {
    let found = match reach().await {
        Ok((client, version)) => ask_there(&client, namespace, now).await.map(|found| (version, found)),
        Err(item) => return vec![item],
    };
    match found {
        Ok((version, found)) => {
            let mut items = vec![of_version(version)];
            items.extend(judge_there(&found, namespace, now));
            items
        }
        Err(error) => vec![unanswered(&error)],
    }
}

async fn reach() -> Result<(Client, (u32, u32)), Item> {
    let hint = "kubectl version asks the same; KUBECONFIG says which cluster";
    let failed = |says: String| not_well(SECTION, "check-api-server", says, hint);
    let client = kubernetes::connect().await.map_err(|error| failed(format!("{error:#}")))?;
    let info =
        client.apiserver_version().await.map_err(|error| failed(format!("the API server does not answer: {error}")))?;
    // Some vendors write `29+`.
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0);
    Ok((client, (number(&info.major), number(&info.minor))))
}

fn unanswered(error: &kube::Error) -> Item {
    let hint = "whoever checks may read all that is installed; kubectl auth can-i --list says what you may";
    not_well(SECTION, "check-api-server", format!("the API server refused a question: {error}"), hint)
}

async fn ask_before(client: &Client, namespace: &str, version: (u32, u32)) -> Result<Before, kube::Error> {
    let mut found = Before { version, ..Before::default() };
    for (group, resource) in WRITES {
        for verb in VERBS {
            let asked = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            };
            if !is_allowed(client, asked).await? {
                let dotted = if group.is_empty() { String::new() } else { format!(".{group}") };
                found.denied.push(format!("{verb} {resource}{dotted}"));
            }
        }
    }
    // Who may not install may perhaps not read either; that is said above.
    if found.denied.is_empty() {
        found.shared = shared(client).await?;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        found.is_installed = maps.get_opt(SETTINGS).await?.is_some();
        if !found.is_installed {
            found.release = owner::release(client, namespace).await?;
        }
        found.other = owner::other(client, namespace).await?;
    }
    Ok(found)
}

async fn shared(client: &Client) -> Result<Vec<String>, kube::Error> {
    let namespaces = injecting(client).await?;
    let has_other = |namespace: &&Namespace| {
        let labels = namespace.labels();
        let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        let linkerd = namespace.annotations().get("linkerd.io/inject").is_some_and(|found| found == "enabled");
        is("istio-injection", "enabled") || labels.contains_key("istio.io/rev") || linkerd
    };
    Ok(namespaces.iter().filter(has_other).map(ResourceExt::name_any).collect())
}

async fn injecting(client: &Client) -> Result<Vec<Namespace>, kube::Error> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    Ok(namespaces.list(&ListParams::default().labels("laneway.io/inject in (enabled,true)")).await?.items)
}

fn of_version((major, minor): (u32, u32)) -> Item {
    let says = format!("the API server answers, version {major}.{minor}");
    if major == 1 && minor < MINOR_MIN {
        let hint = "1.29 or later is needed by the store and by native sidecars; on an older cluster run laneway-control outside of it (docs/stores.md), \
                    and lanectl inject --native-sidecar=false --control URL";
        return not_well(SECTION, "check-api-server", says, hint);
    }
    well(SECTION, "check-api-server", says)
}

fn judge_before(found: &Before, namespace: &str) -> Vec<Item> {
    let mut items = vec![of_version(found.version)];
    items.push(match found.denied.as_slice() {
        [] => well(SECTION, "check-rights", "you may write all that an installation has".to_owned()),
        some => not_well(
            SECTION,
            "check-rights",
            format!("you may not: {}", some.join(", ")),
            "whoever installs needs the rights of cluster-admin, once; or let somebody apply lanectl install --dry-run",
        ),
    });
    if !found.denied.is_empty() {
        return items;
    }
    items.push(match found.shared.as_slice() {
        [] => well(SECTION, "check-meshes", "no namespace has two kinds of sidecar".to_owned()),
        some => odd(
            SECTION,
            "check-meshes",
            format!("another mesh puts sidecars into the same namespaces: {}", some_of(some)),
            "pods that have another sidecar get none of ours: choose one for each namespace",
        ),
    });
    items.push(match &found.release {
        Some(release) => odd(
            SECTION,
            "check-installed",
            format!("Helm's release {release} is an installation in {namespace} already"),
            "helm upgrade brings it to this version; lanectl check --cluster looks at it",
        ),
        None if found.is_installed => odd(
            SECTION,
            "check-installed",
            format!("there is an installation in {namespace} already"),
            "lanectl upgrade brings it to this version; lanectl check --cluster looks at it",
        ),
        None => well(SECTION, "check-installed", format!("{namespace} has no installation yet")),
    });
    items.push(match &found.other {
        // In nobody's way.
        Some(left) if !left.is_there() => odd(SECTION, "check-owner", left.to_string(), left.hint()),
        other => of_owner(SECTION, other.as_ref()),
    });
    items
}

async fn ask_there(client: &Client, own: &str, now: SystemTime) -> Result<There, kube::Error> {
    let mut found = There { other: owner::other(client, own).await?, ..There::default() };
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for name in CRDS {
        let kind = kinds.get_opt(name).await?;
        let conditions = kind.and_then(|kind| kind.status).and_then(|status| status.conditions).unwrap_or_default();
        if !conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True") {
            found.missing_kinds.push(name.to_owned());
        }
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), own);
    if let Some(deployment) = deployments.get_opt(CONTROL).await? {
        let spec = deployment.spec.unwrap_or_default();
        let available = deployment.status.and_then(|status| status.available_replicas).unwrap_or(0);
        found.replicas = Some((spec.replicas.unwrap_or(1), available));
        let container = spec.template.spec.and_then(|spec| spec.containers.into_iter().next());
        found.image = container.and_then(|container| container.image).unwrap_or_default();
    }
    let leases: Api<Lease> = Api::namespaced(client.clone(), own);
    found.leader = leases.get_opt(CONTROL).await?.and_then(|lease| lease.spec).and_then(|spec| {
        let renewed = SystemTime::from(spec.renew_time?.0);
        let age = now.duration_since(renewed).unwrap_or_default().as_secs();
        Some((spec.holder_identity.filter(|holder| !holder.is_empty())?, i64::try_from(age).unwrap_or(i64::MAX)))
    });
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    found.bundles = webhooks.get_opt(WEBHOOK).await?.map(|configuration| {
        let bundle = |bytes: k8s_openapi::ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
        let webhooks = configuration.webhooks.unwrap_or_default().into_iter();
        webhooks.map(|webhook| webhook.client_config.ca_bundle.map(bundle).unwrap_or_default()).collect()
    });
    let authorities = |namespace: &str| Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let own = authorities(own).get_opt(AUTHORITIES).await?;
    found.authorities = own.and_then(|map| map.data).and_then(|data| data.get("ca.pem").cloned());
    let injecting: Vec<String> = injecting(client).await?.iter().map(ResourceExt::name_any).collect();
    found.new_pods = new_pod::ask(client, &injecting).await?;
    for name in injecting {
        if authorities(&name).get_opt(AUTHORITIES).await?.is_none() {
            found.without_authorities.push(name.clone());
        }
        bare(client, &name, &mut found.without_sidecar).await?;
    }
    Ok(found)
}

/// Pods of a namespace with injection that are without a sidecar and did not ask to be.
async fn bare(client: &Client, namespace: &str, found: &mut Vec<String>) -> Result<(), kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    // Whose status says why they are left alone is not told from here; those that run on the node's network always are.
    let mut list = ListParams::default().labels("laneway.io/injected!=true").limit(PAGE);
    loop {
        let page = pods.list(&list).await?;
        for pod in &page.items {
            let says = |map: &BTreeMap<String, String>| map.get("laneway.io/inject").cloned();
            let said = says(pod.labels()).or_else(|| says(pod.annotations()));
            let is_out = said.is_some_and(|said| said == "disabled" || said == "false");
            let is_of_node = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
            let has_ended = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                .is_some_and(|phase| phase == "Succeeded" || phase == "Failed");
            if !is_out && !is_of_node && !has_ended {
                found.push(format!("{namespace}/{}", pod.name_any()));
            }
        }
        match page.metadata.continue_.filter(|next| !next.is_empty() && found.len() < PODS_MAX) {
            Some(next) => list = list.continue_token(&next),
            None => return Ok(()),
        }
    }
}

fn judge_there(found: &There, namespace: &str, now: SystemTime) -> Vec<Item> {
    let mut items = Vec::new();
    items.push(match found.missing_kinds.as_slice() {
        [] => well(INSTALLATION, "check-kinds", format!("{} kinds of objects are served", CRDS.len())),
        some => not_well(
            INSTALLATION,
            "check-kinds",
            format!("not served: {}", some.join(", ")),
            "lanectl install brings them",
        ),
    });
    items.push(match found.replicas {
        None => not_well(
            INSTALLATION,
            "check-replicas",
            format!("no Deployment {CONTROL} in {namespace}"),
            "lanectl install makes one",
        ),
        Some((wanted, available)) if available >= wanted => well(
            INSTALLATION,
            "check-replicas",
            format!(
                "{} of {} available",
                print::count(usize::try_from(available).unwrap_or(0), "replica"),
                found.image
            ),
        ),
        Some((wanted, available)) => not_well(
            INSTALLATION,
            "check-replicas",
            format!("{available} of {wanted} replicas are available"),
            "kubectl describe pods of that namespace with -l app.kubernetes.io/name=laneway-control says why",
        ),
    });
    items.push(match &found.leader {
        Some((leader, age)) if *age <= LEASE_SECONDS_MAX => {
            well(INSTALLATION, "check-lease", format!("{leader} leads"))
        }
        Some((leader, age)) => not_well(
            INSTALLATION,
            "check-lease",
            format!("nobody leads: {leader} was the last, {age} s ago"),
            "see the log of the control plane; while nobody leads, lanes do not end and the authority is not renewed",
        ),
        None => not_well(
            INSTALLATION,
            "check-lease",
            "nobody leads".to_owned(),
            "see the log of the control plane; while nobody leads, lanes do not end and the authority is not renewed",
        ),
    });
    items.push(of_owner(INSTALLATION, found.other.as_ref()));
    items.push(of_webhook(found, namespace, now));
    items.push(match found.without_authorities.as_slice() {
        [] => well(
            INSTALLATION,
            "check-authorities",
            "every namespace with injection knows the control plane's authority".to_owned(),
        ),
        some => not_well(
            INSTALLATION,
            "check-authorities",
            format!("no ConfigMap {AUTHORITIES} in: {}; their pods cannot start", some_of(some)),
            "the leader puts it there within seconds; see its log",
        ),
    });
    items.extend(new_pod::judge(&found.new_pods));
    items.push(match found.without_sidecar.as_slice() {
        [] => well(INSTALLATION, "check-sidecars", "every pod that wants a sidecar has one".to_owned()),
        some => odd(
            INSTALLATION,
            "check-sidecars",
            format!("{} without a sidecar: {}", print::count(some.len(), "pod"), some_of(some)),
            "those that are older than the label of their namespace get one by kubectl rollout restart; others say why in the log of the webhook",
        ),
    });
    items
}

/// What one of two installations loses to the other.
fn of_owner(section: &'static str, other: Option<&Other>) -> Item {
    match other {
        None => well(section, "check-owner", "no other namespace has an installation".to_owned()),
        Some(other) => not_well(section, "check-owner", other.to_string(), other.hint()),
    }
}

fn of_webhook(found: &There, namespace: &str, now: SystemTime) -> Item {
    let bad = |says: String, hint: &str| not_well(INSTALLATION, "check-webhook", says, hint);
    let Some(bundles) = &found.bundles else {
        return bad(
            format!("no MutatingWebhookConfiguration {WEBHOOK}: pods get no sidecar"),
            "lanectl upgrade brings it back",
        );
    };
    let Some(authorities) = &found.authorities else {
        return bad(format!("no ConfigMap {AUTHORITIES} in {namespace}"), "the leader makes it; see its log");
    };
    if bundles.iter().any(|bundle| bundle.trim() != authorities.trim()) {
        return bad(
            format!(
                "{WEBHOOK} does not hold the control plane's authority: the API server does not believe the webhook"
            ),
            "the leader puts it there; see its log",
        );
    }
    let ends = CertificateDer::pem_slice_iter(authorities.as_bytes()).flatten().filter_map(|one| validity(&one));
    match ends.map(|validity| validity.until).max() {
        Some(until) if until > now => {
            well(INSTALLATION, "check-webhook", format!("{WEBHOOK} holds the control plane's authority"))
        }
        Some(_) => bad("the control plane's authority is over".to_owned(), "the leader renews it; see its log"),
        None => bad(
            "the control plane's authority is no certificate".to_owned(),
            "delete Secret laneway-ca: the leader makes another",
        ),
    }
}
