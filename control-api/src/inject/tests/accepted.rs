//! What is written into pods is what `laneway-proxy` and `laneway-init` take: each rendered command and environment is given to
//! the programs' own readers, with the fields of the pod filled in as a kubelet does.

use clap::{CommandFactory, Parser, ValueEnum};
use laneway_iptables::steps::Backend;
use laneway_iptables::{Options, Plan};
use laneway_proto::contract::{ENV_TAG, PORT_STATUS, PROXY_UID};
use laneway_proxy::config::{Config, Flags};

use super::{injected, settings, shapes};
use crate::inject::containers::{INIT, PROXY};
use crate::inject::value::{Map, Value};
use crate::inject::{Settings, stream, workload};

/// A pod of the text, and its containers of ours.
struct Pod {
    pod: Map,
    init: Map,
    proxy: Map,
}

fn pods(text: &str) -> Vec<Pod> {
    let mut pods = Vec::new();
    for part in stream::read(text).expect("what we wrote can be read") {
        let Some(Value::Map(mut object)) = part.value else { continue };
        workload::pods(&mut object, &mut |_, pod| {
            let pod = pod.expect("the shape is good").clone();
            let spec = pod.map("spec").expect("a pod has a spec");
            let all = || spec.list("initContainers").iter().chain(spec.list("containers")).filter_map(Value::as_map);
            let find = |name: &str| all().find(|container| container.text("name") == Some(name)).cloned();
            if let (Some(init), Some(proxy)) = (find(INIT), find(PROXY)) {
                pods.push(Pod { init, proxy, pod });
            }
        });
    }
    pods
}

impl Pod {
    /// Name and value, as the container sees them.
    fn environment(&self, container: &Map) -> Vec<(String, String)> {
        let variables = container.list("env").iter().filter_map(Value::as_map);
        variables
            .map(|variable| {
                let name = variable.text("name").expect("a variable has a name").to_owned();
                let from = variable
                    .map("valueFrom")
                    .and_then(|from| from.map("fieldRef"))
                    .and_then(|field| field.text("fieldPath"));
                let value =
                    from.map_or_else(|| variable.text("value").expect("a value").to_owned(), |path| self.field(path));
                (name, value)
            })
            .collect()
    }

    /// The downward API.
    fn field(&self, path: &str) -> String {
        let metadata = self.pod.map("metadata").expect("it was injected");
        for list in ["labels", "annotations"] {
            let key = path.strip_prefix(&format!("metadata.{list}['")).and_then(|key| key.strip_suffix("']"));
            if let Some(key) = key {
                return metadata.map(list).and_then(|of| of.text(key)).unwrap_or_default().to_owned();
            }
        }
        match path {
            "metadata.name" => "pod-1".to_owned(),
            "metadata.namespace" => "shop".to_owned(),
            "status.podIPs" => "10.0.0.1,fd00::1".to_owned(),
            other => panic!("{other} is no field that the downward API has"),
        }
    }

    fn config(&self) -> Config {
        let environment = self.environment(&self.proxy);
        let command = Flags::command();
        let mut arguments = vec![PROXY.to_owned()];
        for (name, value) in environment.iter().filter(|(name, _)| name != ENV_TAG) {
            let flag = command.get_arguments().find(|flag| flag.get_env().is_some_and(|env| env == name.as_str()));
            let flag =
                flag.and_then(clap::Arg::get_long).unwrap_or_else(|| panic!("laneway-proxy has no variable {name}"));
            arguments.extend([format!("--{flag}"), value.clone()]);
        }
        let flags = Flags::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        laneway_proxy::logging::Logging::layer(flags.log().0).expect("the filter of the log is good");
        let find = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        flags.check(find, None).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    fn plan(&self) -> (Plan, Backend) {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let (mut arguments, mut backend) = (vec![INIT.to_owned()], Backend::Nft);
        for (name, value) in self.environment(&self.init) {
            if name == "LANEWAY_REDIRECT_BACKEND" {
                backend = Backend::from_str(&value, false).expect("a tool that laneway-init knows");
                continue;
            }
            let command = Line::command();
            let flag = command.get_arguments().find(|flag| flag.get_env().is_some_and(|env| env == name.as_str()));
            let flag =
                flag.and_then(clap::Arg::get_long).unwrap_or_else(|| panic!("laneway-init has no variable {name}"));
            arguments.push(format!("--{flag}={value}"));
        }
        let line = Line::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        (Plan::new(&line.options).unwrap_or_else(|error| panic!("{arguments:?}: {error}")), backend)
    }
}

fn words(value: &Map, key: &str) -> Vec<String> {
    value.list(key).iter().map(|word| word.as_text().expect("a word").to_owned()).collect()
}

const FORMS: [&[&str]; 4] = [
    &[],
    &["--native-sidecar=false", "--drain-seconds=3600"],
    &["--redirect-backend=iptables", "--drain-seconds=0", "--opaque-ports=1,65535", "--log-level=off"],
    &[
        "--control=https://c:1",
        "--control-ca=ca",
        "--control-token=t",
        "--exclude-outbound-cidrs=",
        "--include-inbound-ports=80-90",
    ],
];

/// Every shape with its own settings, and with those of every form.
fn each(mut check: impl FnMut(&Pod, &Settings)) {
    for shape in shapes() {
        for settings in FORMS.into_iter().map(settings).chain([shape.settings.clone()]) {
            pods(&injected(&shape.text, &settings).text).iter().for_each(|pod| check(pod, &settings));
        }
    }
}

#[test]
fn the_sidecar_takes_every_environment_and_the_redirect_every_other() {
    let mut count = 0;
    each(|pod, _| {
        let (config, (plan, _)) = (pod.config(), pod.plan());
        assert_eq!(words(&pod.proxy, "command"), [PROXY]);
        assert_eq!(words(&pod.init, "command"), [INIT]);
        assert_eq!(config.identity.namespace, "shop");
        assert_eq!(config.pod_name, "pod-1");
        assert_eq!(config.app_health.address, Some([10, 0, 0, 1].into()));
        assert!(!plan.redirects_inbound(PORT_STATUS));
        count += 1;
    });
    assert!(count > 100, "{count} pods");
}

#[test]
fn the_cluster_waits_longer_than_the_sidecar_drains_and_so_do_the_hooks() {
    each(|pod, settings| {
        let config = pod.config();
        let spec = pod.pod.map("spec").expect("a spec");
        let grace = spec.get("terminationGracePeriodSeconds").and_then(Value::as_integer).expect("it is said");
        if grace == 0 {
            return;
        }
        let grace = std::time::Duration::from_secs(u64::try_from(grace).expect("not negative"));
        assert!(grace > config.drain_max && config.drain_max > config.drain_min, "{grace:?}");
        let is_native = pod.proxy.text("restartPolicy") == Some("Always");
        assert!(is_native || !settings.native_sidecar);
        let hooks = pod.proxy.map("lifecycle").expect("it has hooks");
        for (_, hook) in hooks.iter() {
            let command = words(hook.as_map().and_then(|hook| hook.map("exec")).expect("a command"), "command");
            let flags = Flags::try_parse_from(&command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
            match flags.hook().expect("it is a hook") {
                laneway_proxy::hooks::Hook::Wait { status, .. } => assert_eq!(status.port(), PORT_STATUS),
                laneway_proxy::hooks::Hook::Announce { admin } => {
                    assert!(is_native && admin == config.admin, "{admin}");
                }
                // Not of a native one: it would end before its application.
                laneway_proxy::hooks::Hook::Drain { timeout, .. } => {
                    assert!(!is_native);
                    assert!(grace > timeout && timeout > config.drain_max, "{timeout:?}");
                }
            }
        }
    });
}

#[test]
fn every_probe_that_is_rewritten_is_one_that_the_sidecar_answers() {
    let mut count = 0;
    each(|pod, _| {
        let config = pod.config();
        let (plan, _) = pod.plan();
        let spec = pod.pod.map("spec").expect("a spec");
        let is_native = pod.proxy.text("restartPolicy") == Some("Always");
        let with = |list: &'static str| spec.list(list).iter().filter_map(Value::as_map).map(move |of| (list, of));
        let all = with("initContainers").chain(with("containers"));
        let all = all.flat_map(|(list, of)| super::super::probes::KINDS.map(|kind| (list, of, kind)));
        for (list, container, kind) in all {
            // They run, and are asked, before there is a sidecar to ask.
            let is_before = !is_native && list == "initContainers" && kind != "readinessProbe";
            let probe = container.map(kind);
            if let Some(port) =
                probe.and_then(|probe| probe.map("tcpSocket")).and_then(|socket| socket.get("port")?.as_integer())
            {
                let is_redirected = plan.redirects_inbound(u16::try_from(port).expect("a port"));
                let socket = probe.and_then(|probe| probe.map("tcpSocket")).expect("just seen");
                assert!(
                    !is_redirected || socket.text("host").is_some() || is_before,
                    "{kind} opens a connection that the sidecar takes"
                );
            }
            let Some(asked) = probe.and_then(|probe| probe.map("httpGet")) else { continue };
            let Some(port) = asked.text("path").and_then(|path| path.strip_prefix("/app-health/")) else { continue };
            assert!(!is_before, "{kind} would hold up the sidecar that it asks");
            let port: u16 = port.parse().expect("a port");
            assert!(config.app_health.ports.contains(&port) && plan.redirects_inbound(port));
            assert_eq!(asked.get("port").and_then(Value::as_integer), Some(i64::from(config.status.port())));
            count += 1;
        }
    });
    assert!(count > 20, "{count} probes");
}

#[test]
fn the_sidecar_has_no_privileges_and_the_redirect_only_those_that_it_needs() {
    each(|pod, _| {
        let (_, backend) = pod.plan();
        let security = |container: &Map| container.map("securityContext").expect("it is said").clone();
        let (init, proxy) = (security(&pod.init), security(&pod.proxy));
        let allowed = |security: &Map| words(security.map("capabilities").expect("it is said"), "add");
        assert_eq!(allowed(&proxy), [""; 0]);
        match backend {
            Backend::Nft => assert_eq!(allowed(&init), ["NET_ADMIN"]),
            Backend::Iptables => assert_eq!(allowed(&init), ["NET_ADMIN", "NET_RAW"]),
        }
        for security in [&init, &proxy] {
            assert_eq!(words(security.map("capabilities").expect("it is said"), "drop"), ["ALL"]);
            assert_eq!(security.get("privileged"), Some(&Value::Bool(false)));
            assert_eq!(security.get("allowPrivilegeEscalation"), Some(&Value::Bool(false)));
            assert_eq!(security.map("seccompProfile").and_then(|profile| profile.text("type")), Some("RuntimeDefault"));
        }
        assert_eq!(proxy.get("runAsUser").and_then(Value::as_integer), Some(i64::from(PROXY_UID)));
        assert_eq!(proxy.get("runAsNonRoot"), Some(&Value::Bool(true)));
        assert_eq!(proxy.get("readOnlyRootFilesystem"), Some(&Value::Bool(true)));
    });
}

/// The demo means what it meant: who is which service, and who is gray.
#[test]
fn the_demo_keeps_its_services_and_its_gray_versions() {
    let demo = shapes().into_iter().find(|shape| shape.name == "demo").expect("the demo is a shape");
    let pods = pods(&injected(&demo.text, &demo.settings).text);
    let who: Vec<(String, String)> = pods
        .iter()
        .map(|pod| {
            let identity = pod.config().identity;
            (identity.service, identity.tag.map(|tag| tag.to_string()).unwrap_or_default())
        })
        .collect();
    let expected = ["a", "b", "c"]
        .into_iter()
        .flat_map(|name| ["", "gray"].map(|tag| (format!("spring-cloud-{name}"), tag.to_owned())));
    assert_eq!(who, expected.collect::<Vec<_>>());
}
