//! What would become of a new pod: the API server is asked to make one without effect (a dry run) in each namespace with injection, so that
//! it asks the webhook and whatever else stands in a pod's way.
//!
//! ```text
//!   namespace ──may I? ──▶ a pod that any level of Pod Security takes ──dry run──▶ Fate ──judge, pure──▶ items
//! ```

use std::collections::BTreeMap;

use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::rights::is_allowed;
use super::{INSTALLATION, Item, not_well, odd, some_of, well};
use crate::inject;

#[cfg(test)]
mod tests;

const ANCHOR: &str = "check-new-pods";
/// Namespaces that are tried.
const NAMESPACES_MAX: usize = 20;
/// Where it is tried while no namespace has injection: the pod asks for a sidecar by itself.
const ANYWHERE: &str = "default";
/// Of HTTP: somebody's webhook takes no dry run.
const BAD_REQUEST: u16 = 400;

/// What the API server would make of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Injected,
    /// It would run without a sidecar.
    Bare,
    /// It would not be made: why.
    Refused(String),
    /// It could not be tried: why.
    Untold(String),
}

/// In the first namespaces of those with injection.
pub(super) async fn ask(client: &Client, injecting: &[String]) -> Result<Vec<(String, Fate)>, kube::Error> {
    let anywhere = [ANYWHERE.to_owned()];
    let namespaces = if injecting.is_empty() { &anywhere } else { injecting };
    let mut fates = Vec::new();
    for namespace in namespaces.iter().take(NAMESPACES_MAX) {
        fates.push((namespace.clone(), fate(client, namespace).await?));
    }
    Ok(fates)
}

async fn fate(client: &Client, namespace: &str) -> Result<Fate, kube::Error> {
    let asked = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        resource: Some("pods".to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    if !is_allowed(client, asked).await? {
        return Ok(Fate::Untold("you may not create pods".to_owned()));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    match pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod()?).await {
        Ok(made) if made.annotations().contains_key(inject::status::ANNOTATION) => Ok(Fate::Injected),
        Ok(_) => Ok(Fate::Bare),
        Err(kube::Error::Api(refusal)) if refusal.code == BAD_REQUEST && refusal.message.contains("dry run") => {
            Ok(Fate::Untold(refusal.message.clone()))
        }
        Err(kube::Error::Api(refusal)) => Ok(Fate::Refused(refusal.message.clone())),
        Err(error) => Err(error),
    }
}

/// It asks for nothing that anybody could refuse.
fn pod() -> Result<Pod, kube::Error> {
    let resources = json!({"cpu": "10m", "memory": "16Mi"});
    let pod = json!({
        "metadata": {"generateName": "laneway-check-", "labels": {"laneway.io/inject": "enabled"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app",
                "image": "laneway/check:none",
                "resources": {"requests": resources, "limits": resources},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    serde_json::from_value(pod).map_err(kube::Error::SerdeError)
}

pub(super) fn judge(fates: &[(String, Fate)]) -> Vec<Item> {
    let mut items = Vec::new();
    // One refusal of many namespaces is told once.
    let mut refused: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut untold: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut bare = Vec::new();
    for (namespace, fate) in fates {
        match fate {
            Fate::Injected => {}
            Fate::Bare => bare.push(namespace.clone()),
            Fate::Refused(why) => refused.entry(why).or_default().push(namespace.clone()),
            Fate::Untold(why) => untold.entry(why).or_default().push(namespace.clone()),
        }
    }
    for (why, namespaces) in &refused {
        let says = format!("a new pod would be refused in {}: {why}", some_of(namespaces));
        items.push(not_well(INSTALLATION, ANCHOR, says, hint(why)));
    }
    if !bare.is_empty() {
        items.push(not_well(
            INSTALLATION,
            ANCHOR,
            format!("a new pod would have no sidecar in {}", some_of(&bare)),
            "the webhook was not asked, or did not answer and the failure policy is Ignore: see its log, and docs/runbooks.md",
        ));
    }
    for (why, namespaces) in &untold {
        items.push(odd(
            INSTALLATION,
            ANCHOR,
            format!("what becomes of a new pod is not known in {}: {why}", some_of(namespaces)),
            "whoever may create pods there sees it by the same check",
        ));
    }
    if items.is_empty() {
        let says = "a new pod gets a sidecar: the API server asks the webhook, and nothing refuses what it answers";
        items.push(well(INSTALLATION, ANCHOR, says.to_owned()));
    }
    items
}

fn hint(why: &str) -> &'static str {
    if why.contains("failed calling webhook") {
        "the API server has to reach the pods of laneway-control at the webhook's port (15443, or --webhook-port): are they ready, does a \
         firewall or a NetworkPolicy stand between?"
    } else if why.contains("PodSecurity") {
        "the init container sets up the redirect, which takes NET_ADMIN: pod-security.kubernetes.io/enforce=privileged for this namespace"
    } else {
        "what is said there refuses the sidecar, or every pod"
    }
}
