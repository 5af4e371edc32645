//! Applies the manifests of an installation to the cluster that kubectl would ask, by server-side apply: who changed a field by hand is
//! told of it, and nothing that is not ours is touched.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, TypeMeta,
};
use kube::core::Status;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};

use crate::install::{CONTROL, KINDS, PART_OF, SETTINGS, SETTINGS_KEY, Settings};
use crate::kubernetes;
use crate::lanectl::arguments::Installed;
use crate::lanectl::owner::{self, Other};

#[cfg(test)]
mod tests;

/// Of the fields that it applies.
const MANAGER: &str = "lanectl";
/// How long the API server takes to serve a new kind of object.
const ESTABLISHED_MAX: Duration = Duration::from_secs(60);
/// Of HTTP: somebody else has a field.
const CONFLICT: u16 = 409;
/// Of HTTP, what an object is refused for whatever comes before it: a right that is missing, a field of somebody else, a field that cannot
/// be changed or is not known.
const REFUSED: [u16; 3] = [403, CONFLICT, 422];
/// Of HTTP: there is no such thing, or no such kind.
const NOT_FOUND: u16 = 404;
/// Of one kind; an installation has a few.
const LIST_MAX: u32 = 500;
/// The kind of --pod-monitor, which the Prometheus operator brings.
const POD_MONITORS: &str = "podmonitors.monitoring.coreos.com";

/// What the installation was told.
pub(super) async fn settings(namespace: &str) -> anyhow::Result<Settings> {
    let client = kubernetes::connect().await?;
    if let Some(settings) = find(&client, namespace).await? {
        return Ok(settings);
    }
    not_of_helm(&client, namespace).await?;
    bail!("there is no installation in namespace {namespace} (no ConfigMap {SETTINGS}): lanectl install makes one")
}

pub(super) async fn install(text: &str, place: &Installed, out: &mut String) -> anyhow::Result<()> {
    let client = kubernetes::connect().await?;
    if find(&client, &place.namespace).await?.is_some() {
        bail!(
            "there is an installation in namespace {} already, or the half of one: lanectl upgrade changes it, or brings the rest",
            place.namespace
        );
    }
    not_of_helm(&client, &place.namespace).await?;
    let documents = documents(text)?;
    prepare(&client, &documents, place, out).await?;
    apply(&client, &documents, place, out).await?;
    ready(&client, place, out).await
}

pub(super) async fn upgrade(text: &str, place: &Installed, out: &mut String) -> anyhow::Result<()> {
    let client = kubernetes::connect().await?;
    let documents = documents(text)?;
    prepare(&client, &documents, place, out).await?;
    apply(&client, &documents, place, out).await?;
    prune(left_over(&client, &documents, &place.namespace).await?, out).await?;
    ready(&client, place, out).await
}

/// What an upgrade with these manifests would delete.
pub(super) async fn would_delete(text: &str, namespace: &str) -> anyhow::Result<Vec<String>> {
    let client = kubernetes::connect().await?;
    let left_over = left_over(&client, &documents(text)?, namespace).await?;
    Ok(left_over.into_iter().map(|object| object.shown).collect())
}

async fn find(client: &Client, namespace: &str) -> anyhow::Result<Option<Settings>> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let Some(kept) = maps.get_opt(SETTINGS).await.context("ask the API server for the installation")? else {
        return Ok(None);
    };
    let text = kept.data.as_ref().and_then(|data| data.get(SETTINGS_KEY)).map_or("{}", String::as_str);
    let settings = serde_json::from_str(text);
    settings.map(Some).with_context(|| format!("ConfigMap {namespace}/{SETTINGS} is not as lanectl writes it"))
}

/// Two that write the same objects would undo each other's work.
async fn not_of_helm(client: &Client, namespace: &str) -> anyhow::Result<()> {
    match owner::release(client, namespace).await.context("look whether Helm made the installation")? {
        Some(release) => bail!(
            "Helm made the installation in namespace {namespace}: helm upgrade {release} -n {namespace} changes it; nothing was changed"
        ),
        None => Ok(()),
    }
}

/// Whatever could stop it half way stops it here, before anything is changed.
async fn prepare(
    client: &Client,
    documents: &[DynamicObject],
    place: &Installed,
    out: &mut String,
) -> anyhow::Result<()> {
    let left_behind = alone(client, &place.namespace).await?;
    monitored(client, documents).await?;
    rehearse(client, documents, place).await?;
    if let Some(left_behind) = left_behind {
        out.push_str(&format!("{left_behind}: taken over\n"));
    }
    Ok(())
}

/// Stops before anything is taken from an installation in another namespace; what one that is gone left behind may be taken.
async fn alone(client: &Client, namespace: &str) -> anyhow::Result<Option<Other>> {
    let other = owner::other(client, namespace).await.context("look whose the objects of the whole cluster are")?;
    match other {
        Some(other) if other.is_there() => bail!("{other}; nothing was changed: {}", other.hint()),
        left_behind => Ok(left_behind),
    }
}

/// Whether there is a kind for what is to be monitored.
async fn monitored(client: &Client, documents: &[DynamicObject]) -> anyhow::Result<()> {
    if !documents.iter().any(|document| kind_of(document) == "PodMonitor") {
        return Ok(());
    }
    let kinds: Api<CustomResourceDefinition> = Api::all(client.clone());
    match kinds.get_opt(POD_MONITORS).await.context("look for the kind of --pod-monitor")? {
        Some(_) => Ok(()),
        None => bail!(
            "--pod-monitor: this cluster has no {POD_MONITORS}, which the Prometheus operator brings; nothing was changed. Install that \
             first, or give --pod-monitor=false"
        ),
    }
}

/// All that would be refused, told at once, with nothing done.
async fn rehearse(client: &Client, documents: &[DynamicObject], place: &Installed) -> anyhow::Result<()> {
    let how = PatchParams { dry_run: true, ..how(place) };
    let mut refused = Vec::new();
    for document in documents {
        match api(client, document)?.patch(&document.name_any(), &how, &Patch::Apply(document)).await {
            Err(kube::Error::Api(refusal)) if REFUSED.contains(&refusal.code) => {
                refused.push(refused_for(document, &refusal));
            }
            // What it stands on (its namespace, its role) may come with it; and somebody's webhook may take no rehearsal.
            Ok(_) | Err(kube::Error::Api(_)) => {}
            Err(error) => return Err(error).with_context(|| format!("rehearse {}", shown(document))),
        }
    }
    if refused.is_empty() { Ok(()) } else { bail!("nothing was changed:\n{}", refused.join("\n")) }
}

fn documents(text: &str) -> anyhow::Result<Vec<DynamicObject>> {
    serde_saphyr::from_multiple(text).context("read the manifests")
}

/// In their order; a kind of object is there before its objects come.
async fn apply(
    client: &Client,
    documents: &[DynamicObject],
    place: &Installed,
    out: &mut String,
) -> anyhow::Result<()> {
    let how = how(place);
    for document in documents {
        let shown = shown(document);
        let api = api(client, document)?;
        match api.patch(&document.name_any(), &how, &Patch::Apply(document)).await {
            // Since the rehearsal.
            Err(kube::Error::Api(refusal)) if refusal.code == CONFLICT => bail!(refused_for(document, &refusal)),
            done => drop(done.with_context(|| format!("apply {shown}"))?),
        }
        out.push_str(&format!("{shown} applied\n"));
        if kind_of(document) == "CustomResourceDefinition" {
            established(client, &document.name_any()).await?;
        }
    }
    Ok(())
}

fn how(place: &Installed) -> PatchParams {
    PatchParams { force: place.force_conflicts, ..PatchParams::apply(MANAGER) }
}

fn refused_for(document: &DynamicObject, refusal: &Status) -> String {
    let way = if refusal.code == CONFLICT { "; --force-conflicts takes these fields over" } else { "" };
    format!("{}: {}{way}", shown(document), refusal.message)
}

async fn established(client: &Client, name: &str) -> anyhow::Result<()> {
    let waited = await_condition(Api::all(client.clone()), name, is_crd_established());
    match tokio::time::timeout(ESTABLISHED_MAX, waited).await {
        Ok(done) => done.map(drop).with_context(|| format!("wait for {name}")),
        Err(_) => bail!("the API server did not begin to serve {name} within {} s", ESTABLISHED_MAX.as_secs()),
    }
}

/// An object that is there and no longer among the manifests.
struct LeftOver {
    api: Api<DynamicObject>,
    name: String,
    /// `podmonitor/laneway-control`
    shown: String,
}

/// What an earlier version, or other settings, installed and these manifests do not: of every kind that was ever installed, what bears
/// our label and was applied by us.
async fn left_over(client: &Client, documents: &[DynamicObject], namespace: &str) -> anyhow::Result<Vec<LeftOver>> {
    let mut all = Vec::new();
    for kind in &KINDS {
        let types = TypeMeta { api_version: kind.api_version.to_owned(), kind: kind.kind.to_owned() };
        let resource = resource(&types)?;
        let api: Api<DynamicObject> = match kind.is_namespaced {
            true => Api::namespaced_with(client.clone(), namespace, &resource),
            false => Api::all_with(client.clone(), &resource),
        };
        let found = match api.list(&ListParams::default().labels(PART_OF).limit(LIST_MAX)).await {
            // A kind that this cluster does not have has no objects either.
            Err(kube::Error::Api(refusal)) if refusal.code == NOT_FOUND => continue,
            found => found.with_context(|| format!("look for what is left over of {}", resource.plural))?,
        };
        for object in found.items.iter().filter(|object| is_left_over(object, &types, documents)) {
            let name = object.name_any();
            all.push(LeftOver { api: api.clone(), shown: format!("{}/{name}", kind.kind.to_ascii_lowercase()), name });
        }
    }
    Ok(all)
}

/// Whether it was applied by us, and is none of the manifests. In a list objects do not say what they are.
fn is_left_over(object: &DynamicObject, types: &TypeMeta, documents: &[DynamicObject]) -> bool {
    let is_kept =
        documents.iter().any(|own| own.types.as_ref() == Some(types) && own.metadata.name == object.metadata.name);
    // Whatever makes others of them (a Deployment its pods) is not ours to tidy.
    !is_kept
        && object.owner_references().is_empty()
        && object.managed_fields().iter().any(|by| by.manager.as_deref() == Some(MANAGER))
}

async fn prune(left_over: Vec<LeftOver>, out: &mut String) -> anyhow::Result<()> {
    for LeftOver { api, name, shown } in left_over {
        match api.delete(&name, &DeleteParams::default()).await {
            // The cluster takes the token of a ServiceAccount away with it.
            Err(kube::Error::Api(refusal)) if refusal.code == NOT_FOUND => {}
            done => drop(done.with_context(|| format!("delete {shown}"))?),
        }
        out.push_str(&format!("{shown} deleted\n"));
    }
    Ok(())
}

/// Until every replica is of this version and ready.
async fn ready(client: &Client, place: &Installed, out: &mut String) -> anyhow::Result<()> {
    if place.wait.is_zero() {
        return Ok(());
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &place.namespace);
    let waited =
        await_condition(deployments, CONTROL, |deployment: Option<&Deployment>| deployment.is_some_and(is_ready));
    match tokio::time::timeout(place.wait, waited).await {
        Ok(done) => {
            done.with_context(|| format!("wait for deployment {CONTROL}"))?;
            out.push_str("every replica is ready\n");
            Ok(())
        }
        Err(_) => bail!(
            "not every replica was ready within {} s: kubectl -n {} describe pods says why; lanectl check --cluster looks at the rest",
            place.wait.as_secs(),
            place.namespace
        ),
    }
}

fn is_ready(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
            && status.replicas.unwrap_or(0) == wanted
    })
}

fn api(client: &Client, document: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
    let resource = resource(document.types.as_ref().context("a document without apiVersion and kind")?)?;
    Ok(match document.namespace() {
        Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    })
}

fn resource(types: &TypeMeta) -> anyhow::Result<ApiResource> {
    let kind = GroupVersionKind::try_from(types).context("an apiVersion that is none")?;
    Ok(ApiResource::from_gvk(&kind))
}

/// `deployment/laneway-control`
fn shown(document: &DynamicObject) -> String {
    format!("{}/{}", kind_of(document).to_ascii_lowercase(), document.name_any())
}

fn kind_of(document: &DynamicObject) -> &str {
    document.types.as_ref().map_or("", |types| types.kind.as_str())
}
