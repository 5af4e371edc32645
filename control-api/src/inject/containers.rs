//! What is put into a pod: the container of the redirect, that of the sidecar, and their volumes. Rendered whole; whatever
//! they say to the two programs, the programs' own readers are asked about in tests.

use laneway_iptables::plan::{Included, Plan};
use laneway_iptables::steps::Backend;
use laneway_proto::contract::{ENV_NAMESPACE, ENV_SERVICE, ENV_TAG, PORT_STATUS, PROXY_UID};

use super::identity::Identity;
use super::settings::Settings;
use super::value::{Map, Value};

pub const INIT: &str = "laneway-init";
pub const PROXY: &str = "laneway-proxy";
/// Where the last good configuration is kept, so that a container that is restarted serves while the control plane is away.
pub const VOLUME_CACHE: &str = "laneway-cache";
/// Whom the control plane is known by, and whom it knows the sidecar by.
pub const VOLUME_CONTROL: &str = "laneway-control";

/// Why it does not start is seen by `kubectl describe`, without its log.
const LAST_WORDS: &str = "FallbackToLogsOnError";
const CACHE_FOLDER: &str = "/var/lib/laneway";
const CONTROL_FOLDER: &str = "/etc/laneway/control";
/// Beyond the time in which connections are still taken: what runs may end.
const DRAIN_REST_S: i64 = 25;
/// How much later than the sidecar gives up its hook does, and the cluster still later.
const HOOK_REST_S: i64 = 10;
const CLUSTER_REST_S: i64 = 5;
/// How long the cluster waits for an application that says nothing.
const GRACE_DEFAULT_S: i64 = 30;
/// Renewed by the kubelet long before.
const TOKEN_S: i64 = 3600;

/// Redirects; ends at once.
pub(super) fn init(settings: &Settings) -> Value {
    let mut env = Vec::new();
    if settings.redirect_backend == Backend::Iptables {
        env.push(variable("LANEWAY_REDIRECT_BACKEND", "iptables"));
    }
    if let Included::Only(ports) = &settings.include_inbound_ports {
        env.push(variable("LANEWAY_INCLUDE_INBOUND_PORTS", ports.to_string()));
    }
    if let Included::Only(ports) = &settings.include_outbound_ports {
        env.push(variable("LANEWAY_INCLUDE_OUTBOUND_PORTS", ports.to_string()));
    }
    if let Included::Only(cidrs) = &settings.include_outbound_cidrs {
        env.push(variable("LANEWAY_INCLUDE_OUTBOUND_CIDRS", cidrs.to_string()));
    }
    for (name, ports) in [
        ("LANEWAY_EXCLUDE_INBOUND_PORTS", &settings.exclude_inbound_ports),
        ("LANEWAY_EXCLUDE_OUTBOUND_PORTS", &settings.exclude_outbound_ports),
    ] {
        if !ports.is_empty() {
            env.push(variable(name, ports.to_string()));
        }
    }
    env.push(variable("LANEWAY_EXCLUDE_OUTBOUND_CIDRS", settings.exclude_outbound_cidrs.to_string()));
    // nft needs no raw socket, and writes no file; iptables needs both.
    let (capabilities, is_read_only): (&[&str], bool) = match settings.redirect_backend {
        Backend::Nft => (&["NET_ADMIN"], true),
        Backend::Iptables => (&["NET_ADMIN", "NET_RAW"], false),
    };
    let mut container = Map::default();
    container.insert("name", INIT);
    container.insert("image", settings.init_image.as_str());
    container.insert("command", words(&[INIT]));
    container.insert("env", env);
    container.insert("resources", resources(settings));
    container.insert("terminationMessagePolicy", LAST_WORDS);
    // A capability reaches a user other than root only by the file that is run.
    container.insert("securityContext", security(0, capabilities, is_read_only));
    container.into()
}

/// What the redirect that is in was told, as [`init`] says it. The pod was injected by whatever version, and by whatever flags.
pub(super) fn redirect(init: &Map) -> Option<Plan> {
    let mut settings = Settings::of(&[]).ok()?;
    for variable in init.list("env").iter().filter_map(Value::as_map) {
        let (Some(name), Some(value)) = (variable.text("name"), variable.text("value")) else { continue };
        if let Some(name) = name.strip_prefix("LANEWAY_") {
            let name = name.to_ascii_lowercase().replace('_', "-");
            // What is no setting is another's; what this version cannot read it knows nothing of.
            let _ = settings.annotated(&name, value);
        }
    }
    settings.plan().ok()
}

/// A container by its name.
pub(super) fn find<'a>(spec: &'a Map, list: &str, name: &str) -> Option<&'a Value> {
    spec.list(list).iter().find(|item| is_named(item, &[name]))
}

/// Everything that is put in, and nothing else.
pub(super) fn take_out(spec: &mut Map) {
    for (list, ours) in
        [("initContainers", [INIT, PROXY]), ("containers", [INIT, PROXY]), ("volumes", [VOLUME_CACHE, VOLUME_CONTROL])]
    {
        if let Some(Value::List(items)) = spec.get_mut(list) {
            items.retain(|item| !is_named(item, &ours));
        }
    }
}

fn is_named(item: &Value, names: &[&str]) -> bool {
    item.as_map().and_then(|item| item.text("name")).is_some_and(|name| names.contains(&name))
}

/// The sidecar. `probe_ports` are those that it is asked about.
pub(super) fn proxy(settings: &Settings, identity: &Identity, probe_ports: &[u16]) -> Value {
    let mut container = Map::default();
    container.insert("name", PROXY);
    container.insert("image", settings.proxy_image.as_str());
    if settings.native_sidecar {
        container.insert("restartPolicy", "Always");
    }
    container.insert("command", words(&[PROXY]));
    container.insert("env", environment(settings, identity, probe_ports));
    let port: Value = [
        ("name", "laneway-status".into()),
        ("containerPort", i64::from(PORT_STATUS).into()),
        ("protocol", "TCP".into()),
    ]
    .into();
    container.insert("ports", vec![port]);
    let ready = || -> Value { [("path", "/ready".into()), ("port", i64::from(PORT_STATUS).into())].into() };
    if settings.native_sidecar && settings.hold_application {
        // The next container starts when it has passed; ten minutes, as a node that is short of everything may need.
        let probe: Value = [("httpGet", ready()), ("periodSeconds", 1.into()), ("failureThreshold", 600.into())].into();
        container.insert("startupProbe", probe);
    }
    let probe: Value = [("httpGet", ready()), ("periodSeconds", 5.into())].into();
    container.insert("readinessProbe", probe);
    container.insert("lifecycle", hooks(settings));
    container.insert("resources", resources(settings));
    container.insert("terminationMessagePolicy", LAST_WORDS);
    container.insert("securityContext", security(i64::from(PROXY_UID), &[], true));
    let mut mounts: Vec<Value> = vec![[("name", VOLUME_CACHE.into()), ("mountPath", CACHE_FOLDER.into())].into()];
    if settings.control_ca.is_some() {
        let folder = [("name", VOLUME_CONTROL.into()), ("mountPath", CONTROL_FOLDER.into()), ("readOnly", true.into())];
        mounts.push(folder.into());
    }
    container.insert("volumeMounts", mounts);
    container.into()
}

/// With their names.
pub(super) fn volumes(settings: &Settings) -> Vec<Value> {
    let empty: Value = Map::default().into();
    let mut volumes: Vec<Value> = vec![[("name", VOLUME_CACHE.into()), ("emptyDir", empty)].into()];
    if let Some(config_map) = &settings.control_ca {
        let item: Value = [("key", "ca.pem".into()), ("path", "ca.pem".into())].into();
        let authorities: Value = [("name", config_map.as_str().into()), ("items", vec![item].into())].into();
        let mut sources: Vec<Value> = vec![[("configMap", authorities)].into()];
        if let Some(audience) = &settings.control_token {
            let token: Value = [
                ("audience", audience.as_str().into()),
                ("expirationSeconds", TOKEN_S.into()),
                ("path", "token".into()),
            ]
            .into();
            sources.push([("serviceAccountToken", token)].into());
        }
        let projected: Value = [("sources", sources.into())].into();
        volumes.push([("name", VOLUME_CONTROL.into()), ("projected", projected)].into());
    }
    volumes
}

/// How long the cluster has to wait for the end of a pod that had `own` seconds.
///
/// A native sidecar begins to drain when the application has ended, so its time comes on top; with a classic one both run at
/// once. Either way it is more than the sidecar's own limit.
pub(super) fn grace(settings: &Settings, own: Option<i64>) -> i64 {
    let own = own.unwrap_or(GRACE_DEFAULT_S);
    let drain_max = drain_max(settings);
    match settings.native_sidecar {
        true => own
            .saturating_add(i64::from(settings.drain_seconds))
            .saturating_add(CLUSTER_REST_S)
            .max(drain_max + CLUSTER_REST_S),
        false => own.max(drain_max + HOOK_REST_S + CLUSTER_REST_S),
    }
}

fn drain_max(settings: &Settings) -> i64 {
    i64::from(settings.drain_seconds) + DRAIN_REST_S
}

fn environment(settings: &Settings, identity: &Identity, probe_ports: &[u16]) -> Vec<Value> {
    let mut env = vec![variable("LANEWAY_CONTROL", settings.control.as_str())];
    if settings.control_ca.is_some() {
        env.push(variable("LANEWAY_CONTROL_CA", format!("{CONTROL_FOLDER}/ca.pem")));
    }
    if settings.control_token.is_some() {
        env.push(variable("LANEWAY_CONTROL_TOKEN_FILE", format!("{CONTROL_FOLDER}/token")));
    }
    env.push(variable("LANEWAY_CACHE", format!("{CACHE_FOLDER}/snapshot")));
    if let Some((place, _)) = &identity.service {
        env.push(from_pod(ENV_SERVICE, &place.field()));
    }
    env.push(from_pod(ENV_NAMESPACE, "metadata.namespace"));
    env.push(from_pod(ENV_TAG, &identity.tag_place().field()));
    env.push(from_pod("POD_NAME", "metadata.name"));
    env.push(from_pod("POD_IP", "status.podIPs"));
    env.push(variable("LANEWAY_DRAIN_MIN", format!("{}s", settings.drain_seconds)));
    env.push(variable("LANEWAY_DRAIN_MAX", format!("{}s", drain_max(settings))));
    env.push(variable("LANEWAY_LOG", settings.log_level.as_str()));
    if let Some(ports) = &settings.opaque_ports {
        env.push(variable("LANEWAY_OPAQUE_PORTS", joined(&ports.0)));
    }
    if !probe_ports.is_empty() {
        env.push(variable("LANEWAY_PROBE_PORTS", joined(probe_ports)));
    }
    env
}

/// The cluster tells a native sidecar of the end only when the application is gone, but runs its hook before: callers learn of it then.
/// Where there are no native sidecars, hooks hold the application back and let calls end.
fn hooks(settings: &Settings) -> Value {
    let exec = |command: &[&str]| -> Value {
        let exec: Value = [("command", words(command))].into();
        [("exec", exec)].into()
    };
    if settings.native_sidecar {
        return [("preStop", exec(&[PROXY, "announce"]))].into();
    }
    let mut hooks = Map::default();
    if settings.hold_application {
        hooks.insert("postStart", exec(&[PROXY, "wait", "--timeout", "30s"]));
    }
    let timeout = format!("{}s", drain_max(settings) + HOOK_REST_S);
    hooks.insert("preStop", exec(&[PROXY, "drain", "--timeout", &timeout]));
    hooks.into()
}

fn resources(settings: &Settings) -> Value {
    let mut resources = Map::default();
    for (name, cpu, memory) in [
        ("requests", settings.proxy_cpu_request, settings.proxy_memory_request),
        ("limits", settings.proxy_cpu_limit, settings.proxy_memory_limit),
    ] {
        let mut amounts = Map::default();
        if !cpu.is_none() {
            amounts.insert("cpu", cpu.to_string());
        }
        if !memory.is_none() {
            amounts.insert("memory", memory.to_string());
        }
        if !amounts.is_empty() {
            resources.insert(name, amounts);
        }
    }
    resources.into()
}

/// No privilege but these.
fn security(user: i64, capabilities: &[&str], is_read_only: bool) -> Value {
    let mut allowed = Map::default();
    if !capabilities.is_empty() {
        allowed.insert("add", words(capabilities));
    }
    allowed.insert("drop", words(&["ALL"]));
    let profile: Value = [("type", "RuntimeDefault".into())].into();
    [
        ("allowPrivilegeEscalation", false.into()),
        ("capabilities", allowed.into()),
        ("privileged", false.into()),
        ("readOnlyRootFilesystem", is_read_only.into()),
        ("runAsGroup", user.into()),
        ("runAsNonRoot", (user != 0).into()),
        ("runAsUser", user.into()),
        ("seccompProfile", profile),
    ]
    .into()
}

fn variable(name: &str, value: impl Into<Value>) -> Value {
    [("name", name.into()), ("value", value.into())].into()
}

/// By the downward API.
fn from_pod(name: &str, field: &str) -> Value {
    let field: Value = [("fieldPath", field.into())].into();
    let from: Value = [("fieldRef", field)].into();
    [("name", name.into()), ("valueFrom", from)].into()
}

fn words(words: &[&str]) -> Value {
    words.iter().map(|word| Value::from(*word)).collect::<Vec<_>>().into()
}

fn joined(ports: &[impl ToString]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
