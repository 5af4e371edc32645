//! Whose the objects are that have one name in the whole cluster: of two installations one would take them from the other, which would
//! then have no rights and no webhook. Looked at by `install` before it applies anything, and by `check`.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::Api;
use kube::{Client, ResourceExt};

use crate::install::{CONTROL, WEBHOOK};

#[cfg(test)]
mod tests;

/// Annotations by which Helm knows what it made.
const HELM_RELEASE: &str = "meta.helm.sh/release-name";
const HELM_NAMESPACE: &str = "meta.helm.sh/release-namespace";

/// Another namespace that the cluster's objects name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Other {
    namespace: String,
    /// Objects that name it, as `clusterrolebinding/laneway-control`.
    objects: Vec<String>,
    /// Whether a control plane is there. Otherwise they were left behind, and are nobody's.
    is_there: bool,
}

/// An object of the whole cluster, and the namespaces that it is for.
struct Held {
    object: String,
    namespaces: Vec<String>,
}

/// The installation that has the cluster's names, unless it is that of `own`.
pub(super) async fn other(client: &Client, own: &str) -> Result<Option<Other>, kube::Error> {
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let (binding, webhook) = (binding(client).await?, webhooks.get_opt(WEBHOOK).await?);
    let held = of_others(own, binding.as_ref(), webhook.as_ref());
    let mut alive = Vec::new();
    for namespace in held.iter().flat_map(|held| &held.namespaces) {
        if !alive.contains(namespace) && is_there(client, namespace).await? {
            alive.push(namespace.clone());
        }
    }
    Ok(judge(&held, &alive))
}

/// The release of Helm that the control plane in `own` is of.
pub(super) async fn release(client: &Client, own: &str) -> Result<Option<String>, kube::Error> {
    let release = binding(client).await?.and_then(|binding| release_of(own, &binding));
    Ok(if release.is_some() && is_there(client, own).await? { release } else { None })
}

async fn binding(client: &Client) -> Result<Option<ClusterRoleBinding>, kube::Error> {
    Api::<ClusterRoleBinding>::all(client.clone()).get_opt(CONTROL).await
}

/// Also not where the namespace itself is gone.
async fn is_there(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    Ok(Api::<Deployment>::namespaced(client.clone(), namespace).get_opt(CONTROL).await?.is_some())
}

fn release_of(own: &str, binding: &ClusterRoleBinding) -> Option<String> {
    let annotations = binding.annotations();
    let is_own = annotations.get(HELM_NAMESPACE).is_some_and(|namespace| namespace == own);
    annotations.get(HELM_RELEASE).filter(|_| is_own).cloned()
}

/// Those objects that name somebody, and not us.
fn of_others(
    own: &str,
    binding: Option<&ClusterRoleBinding>,
    webhook: Option<&MutatingWebhookConfiguration>,
) -> Vec<Held> {
    let bound = binding.into_iter().flat_map(|binding| binding.subjects.iter().flatten());
    let bound = bound.filter(|subject| subject.kind == "ServiceAccount" && subject.name == CONTROL);
    let bound = bound.filter_map(|subject| subject.namespace.clone()).collect();
    let asked = webhook.into_iter().flat_map(|webhook| webhook.webhooks.iter().flatten());
    let asked = asked.filter_map(|webhook| webhook.client_config.service.as_ref());
    let asked = asked.map(|service| service.namespace.clone()).collect();
    let all = [
        Held { object: format!("clusterrolebinding/{CONTROL}"), namespaces: bound },
        Held { object: format!("mutatingwebhookconfiguration/{WEBHOOK}"), namespaces: asked },
    ];
    // One that names us too is ours; somebody added to it.
    let is_ours = |held: &Held| held.namespaces.iter().any(|namespace| namespace == own);
    all.into_iter().filter(|held| !held.namespaces.is_empty() && !is_ours(held)).collect()
}

/// `alive`: of the namespaces that are named, those with a control plane. One of them comes before those without.
fn judge(held: &[Held], alive: &[String]) -> Option<Other> {
    let named = || held.iter().flat_map(|held| &held.namespaces);
    let living = named().find(|namespace| alive.contains(namespace));
    let namespace = living.or_else(|| named().next())?;
    let objects = held.iter().filter(|held| held.namespaces.contains(namespace)).map(|held| held.object.clone());
    Some(Other { namespace: namespace.clone(), objects: objects.collect(), is_there: living.is_some() })
}

impl Other {
    /// Whether something would be taken from somebody.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        if self.is_there {
            "a cluster has one installation: lanectl upgrade -n THAT-NAMESPACE (helm upgrade, where Helm made it) changes it. If it is \
             to move, take it away first (docs/install.md#uninstall-with-traffic-flowing); if there are two already, \
             docs/runbooks.md#two-installations-in-one-cluster says how one goes"
        } else {
            "lanectl install takes them over, and lanectl upgrade where there is an installation"
        }
    }

    /// For tests of those who tell of it.
    #[cfg(test)]
    pub(super) fn of(namespace: &str, is_there: bool) -> Other {
        Other { namespace: namespace.to_owned(), objects: vec![format!("clusterrolebinding/{CONTROL}")], is_there }
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Other { namespace, objects, is_there } = self;
        let (objects, is_one) = (objects.join(" and "), objects.len() == 1);
        match (is_there, is_one) {
            (true, true) => write!(f, "there is an installation in namespace {namespace}: {objects} is its"),
            (true, false) => write!(f, "there is an installation in namespace {namespace}: {objects} are its"),
            (false, true) => write!(f, "{objects} names namespace {namespace}, where no control plane is any more"),
            (false, false) => write!(f, "{objects} name namespace {namespace}, where no control plane is any more"),
        }
    }
}
