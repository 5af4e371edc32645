//! Whose the objects are that have one name in the whole cluster: of two installations one would take them from the other, which would
//! then have no rights and no webhook. Looked at by `install` before it applies anything, and by `check`.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::Api;

use crate::install::{CONTROL, WEBHOOK};

#[cfg(test)]
mod tests;

/// What to do about it.
pub(super) const HINT: &str = "a cluster has one installation: lanectl upgrade -n THAT-NAMESPACE (helm upgrade, where Helm made it) changes it. If it is gone, or is to move, take it \
                               away first (docs/install.md#uninstall-with-traffic-flowing)";

/// An installation in another namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Other {
    namespace: String,
    /// Objects that are its, as `clusterrolebinding/laneway-control`.
    objects: Vec<String>,
}

/// The installation that has the cluster's names, unless it is that of `own`.
pub(super) async fn other(client: &Client, own: &str) -> Result<Option<Other>, kube::Error> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let binding = bindings.get_opt(CONTROL).await?;
    let webhook = webhooks.get_opt(WEBHOOK).await?;
    Ok(judge(own, binding.as_ref(), webhook.as_ref()))
}

fn judge(
    own: &str,
    binding: Option<&ClusterRoleBinding>,
    webhook: Option<&MutatingWebhookConfiguration>,
) -> Option<Other> {
    let bound = binding.into_iter().flat_map(|binding| binding.subjects.iter().flatten());
    let bound = bound.filter(|subject| subject.kind == "ServiceAccount" && subject.name == CONTROL);
    let bound = bound.filter_map(|subject| subject.namespace.as_deref()).collect::<Vec<_>>();
    let asked = webhook.into_iter().flat_map(|webhook| webhook.webhooks.iter().flatten());
    let asked = asked.filter_map(|webhook| webhook.client_config.service.as_ref());
    let asked = asked.map(|service| service.namespace.as_str()).collect::<Vec<_>>();
    let held =
        [(format!("clusterrolebinding/{CONTROL}"), bound), (format!("mutatingwebhookconfiguration/{WEBHOOK}"), asked)];
    // One that names us too is ours; somebody added to it.
    let others = held.into_iter().filter(|(_, namespaces)| !namespaces.contains(&own));
    let others = others.filter_map(|(object, namespaces)| Some((object, (*namespaces.first()?).to_owned())));
    let (objects, namespaces): (Vec<String>, Vec<String>) = others.unzip();
    Some(Other { namespace: namespaces.into_iter().next()?, objects })
}

impl Other {
    /// For tests of those who tell of it.
    #[cfg(test)]
    pub(super) fn of(namespace: &str) -> Other {
        Other { namespace: namespace.to_owned(), objects: vec![format!("clusterrolebinding/{CONTROL}")] }
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Other { namespace, objects } = self;
        let verb = if objects.len() == 1 { "is" } else { "are" };
        write!(f, "there is an installation in namespace {namespace}: {} {verb} its", objects.join(" and "))
    }
}
