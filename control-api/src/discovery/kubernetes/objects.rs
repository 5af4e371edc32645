//! What is read of the objects of the API server, and what is kept of them.
//!
//! Two steps: the types that JSON is read into have the few fields that matter, so the rest (specs, managed fields, conditions) is
//! never in memory; [`PodFact`], [`FrontFact`] and [`SliceFact`] are what stays. A pod that takes no traffic is no fact at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use laneway_core::name;
use laneway_core::snapshot::EndpointState;
use laneway_core::tag::Tag;
use laneway_proto::discovery::AppProtocol;
use serde::Deserialize;

use crate::inject::identity::{Place, SERVICE_PLACES, TAG_PLACES, first_said};
use crate::inject::status;

/// Of a label of a slice: the Kubernetes Service it belongs to.
const SLICE_OF: &str = "kubernetes.io/service-name";

/// A pod, as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) host_network: Option<bool>,
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerPort {
    pub(super) name: Option<String>,
    pub(super) container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pub(super) pod_ips: Vec<PodIp>,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodIp {
    pub(super) ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
}

/// A Kubernetes Service, as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Service {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: ServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServiceSpec {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub(super) cluster_ips: Vec<String>,
    pub(super) selector: BTreeMap<String, String>,
    pub(super) ports: Vec<ServicePort>,
    pub(super) publish_not_ready_addresses: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ServicePort {
    pub(super) name: Option<String>,
    pub(super) port: u16,
    pub(super) target_port: Option<IntOrString>,
    pub(super) protocol: Option<String>,
    pub(super) app_protocol: Option<String>,
}

/// An EndpointSlice, as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slice {
    pub(super) metadata: ObjectMeta,
    // Null where there are none.
    pub(super) endpoints: Option<Vec<SliceEndpoint>>,
    pub(super) ports: Option<Vec<SlicePort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SliceEndpoint {
    pub(super) addresses: Vec<String>,
    pub(super) conditions: SliceConditions,
    pub(super) target_ref: Option<TargetRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SliceConditions {
    pub(super) ready: Option<bool>,
    pub(super) terminating: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TargetRef {
    pub(super) kind: Option<String>,
    pub(super) name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SlicePort {
    pub(super) name: Option<String>,
    /// The API server takes any number here.
    pub(super) port: Option<i32>,
    pub(super) protocol: Option<String>,
}

/// Asked for as the type it stands for.
macro_rules! read_in_place_of {
    ($ours:ty, $whole:ty) => {
        impl kube::Resource for $ours {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind(dt: &()) -> Cow<'_, str> {
                <$whole as kube::Resource>::kind(dt)
            }

            fn group(dt: &()) -> Cow<'_, str> {
                <$whole as kube::Resource>::group(dt)
            }

            fn version(dt: &()) -> Cow<'_, str> {
                <$whole as kube::Resource>::version(dt)
            }

            fn plural(dt: &()) -> Cow<'_, str> {
                <$whole as kube::Resource>::plural(dt)
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

read_in_place_of!(Pod, v1::Pod);
read_in_place_of!(Service, v1::Service);
read_in_place_of!(Slice, EndpointSlice);

/// What pods of one template have in common, and share in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Template {
    pub(super) labels: BTreeMap<String, String>,
    /// Those of its ports that have a name.
    pub(super) named_ports: Vec<(String, u16)>,
}

/// What is kept of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodFact {
    /// One of the same name that comes after it is another.
    pub(super) uid: Box<str>,
    pub(super) template: Arc<Template>,
    /// What it says itself.
    pub(super) service: Option<Arc<str>>,
    /// By a label or annotation that is for this alone: it is of that service whatever Services there are.
    pub(super) is_said: bool,
    pub(super) tag: Option<Tag>,
    /// The one by which it is called, and that of the other family.
    pub(super) address: IpAddr,
    pub(super) second_address: Option<IpAddr>,
    /// Its address is that of its node, and other pods have it too.
    pub(super) is_on_node: bool,
    pub(super) is_meshed: bool,
    pub(super) state: EndpointState,
    /// Nobody can tell who it is, so it is nobody's instance: why.
    pub(super) problem: Option<Box<str>>,
}

/// What is kept of a Kubernetes Service: a front of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FrontFact {
    pub(super) addresses: Vec<IpAddr>,
    /// Empty: slices say which pods it has.
    pub(super) selector: BTreeMap<String, String>,
    pub(super) ports: Vec<FrontPort>,
    /// Its pods are dialled before they are ready, as members of a quorum do with each other.
    pub(super) has_unready: bool,
}

/// A TCP port of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrontPort {
    pub(super) number: u16,
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) protocol: AppProtocol,
}

/// Where that leads at a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Number(u16),
    /// Of a port that the pod declares.
    Named(String),
}

/// What is kept of a slice that somebody else than the cluster itself wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SliceFact {
    pub(super) front: Arc<str>,
    /// By name of the front's port.
    pub(super) ports: BTreeMap<String, u16>,
    pub(super) pods: Vec<Box<str>>,
    /// Addresses that are no pod's.
    pub(super) bare: Vec<(IpAddr, EndpointState)>,
}

/// A pod that takes traffic, or may soon.
pub(super) fn pod_fact(pod: Pod) -> Option<PodFact> {
    let is_over = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let mut addresses: Vec<IpAddr> = pod
        .status
        .pod_ips
        .iter()
        .filter_map(|ip| ip.ip.parse().ok())
        .chain(pod.status.pod_ip.iter().flat_map(|ip| ip.parse()))
        .collect();
    addresses.dedup();
    let address = addresses.first()?.to_canonical();
    if is_over {
        return None;
    }
    let second_address =
        addresses.iter().map(IpAddr::to_canonical).find(|second| second.is_ipv4() != address.is_ipv4());
    let mut problem = None;
    let service = said(&pod.metadata, &SERVICE_PLACES);
    if let Some((place, value)) = service.as_ref().filter(|(_, value)| !name::is_service_id(value)) {
        problem = Some(format!("{}: `{value}` is no name of a service", place.words()));
    }
    let tag = said(&pod.metadata, &TAG_PLACES).map(|(place, value)| {
        Tag::parse(value.as_bytes()).map_err(|error| format!("{}: `{value}` is no tag: {error}", place.words()))
    });
    let tag = tag.transpose().unwrap_or_else(|wrong| {
        problem = Some(wrong);
        None
    });
    let is_ready =
        pod.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
    let state = match (pod.metadata.deletion_timestamp.is_some(), is_ready) {
        (true, _) => EndpointState::Draining,
        (false, true) => EndpointState::Ready,
        (false, false) => EndpointState::Unhealthy,
    };
    let ports = pod.spec.containers.into_iter().chain(pod.spec.init_containers).flat_map(|container| container.ports);
    let named_ports = ports.filter_map(|port| Some((port.name?, port.container_port))).collect();
    let is_on_node = pod.spec.host_network.unwrap_or_default();
    let labels = pod.metadata.labels.unwrap_or_default();
    Some(PodFact {
        uid: pod.metadata.uid.unwrap_or_default().into(),
        is_said: service.as_ref().is_some_and(|(place, _)| !is_shared(*place)),
        service: service.map(|(_, value)| value.into()),
        tag,
        address,
        second_address,
        is_on_node,
        // Whatever a label says: its address is that of others too, who would count as inside the mesh.
        is_meshed: !is_on_node && labels.get(status::LABEL).is_some_and(|value| value == "true"),
        state,
        problem: problem.map(String::into_boxed_str),
        template: Arc::new(Template { labels, named_ports }),
    })
}

/// The service that a pod says it is of, where it is one.
pub(super) fn service_said(pod: &Pod) -> Option<String> {
    let (_, value) = said(&pod.metadata, &SERVICE_PLACES)?;
    name::is_service_id(&value).then_some(value)
}

/// All that one chart makes may say the same there.
fn is_shared(place: Place) -> bool {
    matches!(place, Place::Label("app.kubernetes.io/name" | "app"))
}

fn said(metadata: &ObjectMeta, places: &[Place]) -> Option<(Place, String)> {
    let (place, value) = first_said(places, |place| {
        let (of, key) = match place {
            Place::Label(key) => (&metadata.labels, key),
            Place::Annotation(key) => (&metadata.annotations, key),
        };
        of.as_ref()?.get(key).map(String::as_str)
    })?;
    Some((place, value.to_owned()))
}

/// A Kubernetes Service that stands for pods; `ExternalName` is a name for something else.
pub(super) fn front_fact(service: Service) -> Option<FrontFact> {
    let spec = service.spec;
    if spec.kind.as_deref() == Some("ExternalName") {
        return None;
    }
    // "None" is headless, and no address.
    let mut addresses: Vec<IpAddr> = spec
        .cluster_ips
        .iter()
        .chain(&spec.cluster_ip)
        .filter_map(|ip| ip.parse::<IpAddr>().ok())
        .map(|ip| ip.to_canonical())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let is_tcp = |port: &ServicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = spec.ports.into_iter().filter(is_tcp).map(|port| FrontPort {
        number: port.port,
        name: port.name.unwrap_or_default(),
        target: match port.target_port {
            Some(IntOrString::String(name)) => Target::Named(name),
            Some(IntOrString::Int(number)) => Target::Number(u16::try_from(number).unwrap_or(port.port)),
            None => Target::Number(port.port),
        },
        protocol: app_protocol(port.app_protocol.as_deref()),
    });
    let has_unready = spec.publish_not_ready_addresses == Some(true);
    Some(FrontFact { addresses, selector: spec.selector, ports: ports.collect(), has_unready })
}

/// What is not to be read. The rest shows by its first bytes what it is.
fn app_protocol(said: Option<&str>) -> AppProtocol {
    match said {
        Some("tcp") => AppProtocol::Tcp,
        Some("https" | "tls" | "kubernetes.io/wss") => AppProtocol::Tls,
        _ => AppProtocol::Detect,
    }
}

/// A slice that belongs to a Service.
pub(super) fn slice_fact(slice: Slice) -> Option<SliceFact> {
    let front = slice.metadata.labels.unwrap_or_default().remove(SLICE_OF)?;
    let mut fact = SliceFact { front: front.into(), ..SliceFact::default() };
    for port in slice.ports.unwrap_or_default() {
        let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let number = port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| is_tcp && *number != 0);
        if let Some(number) = number {
            fact.ports.insert(port.name.unwrap_or_default(), number);
        }
    }
    for endpoint in slice.endpoints.unwrap_or_default() {
        let pod =
            endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")).and_then(|target| target.name);
        if let Some(pod) = pod {
            fact.pods.push(pod.into());
            continue;
        }
        // Unknown counts as ready.
        let state = match (endpoint.conditions.terminating, endpoint.conditions.ready) {
            (Some(true), _) => EndpointState::Draining,
            (_, None | Some(true)) => EndpointState::Ready,
            (_, Some(false)) => EndpointState::Unhealthy,
        };
        fact.bare
            .extend(endpoint.addresses.iter().flat_map(|ip| ip.parse::<IpAddr>()).map(|ip| (ip.to_canonical(), state)));
    }
    Some(fact)
}
