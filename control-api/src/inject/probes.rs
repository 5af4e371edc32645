//! Probes that only open a connection. Behind the redirect the sidecar takes it, for a dead application too; so they are
//! pointed at the sidecar's status port, where `/app-health/PORT` asks the application itself. Probes that speak (`httpGet`,
//! `grpc`, `exec`) tell the truth as they are: the sidecar answers for a dead application with an error.

use laneway_iptables::Plan;
use laneway_proto::contract::{APP_HEALTH_PATH, PORT_STATUS, PROBE_PORTS_MAX};

use super::note::Note;
use super::status::Rewritten;
use super::value::{Map, Value};

pub(super) const KINDS: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];

/// What was done to the probes of a pod.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Probes {
    /// Those that the sidecar is asked about, each once, ascending.
    pub(super) ports: Vec<u16>,
    pub(super) rewritten: Vec<Rewritten>,
    pub(super) notes: Vec<Note>,
}

impl Probes {
    /// Rewrites the probes of a pod whose sidecar is a native one, or not.
    pub(super) fn of(spec: &mut Map, plan: &Plan, is_native: bool) -> Result<Probes, String> {
        let mut probes = Probes::default();
        // Init containers have probes where they go on running. A classic sidecar starts after all of them.
        probes.rewrite(spec, "initContainers", plan, !is_native);
        probes.rewrite(spec, "containers", plan, false);
        let count = probes.ports.len();
        if count > PROBE_PORTS_MAX {
            return Err(format!("its probes open connections to {count} ports; at most {PROBE_PORTS_MAX}"));
        }
        Ok(probes)
    }

    /// Those of every container in `list`. `is_before`: they run before the sidecar does.
    fn rewrite(&mut self, spec: &mut Map, list: &'static str, plan: &Plan, is_before: bool) {
        let Some(Value::List(containers)) = spec.get_mut(list) else { return };
        for container in containers.iter_mut().filter_map(Value::as_map_mut) {
            let name = container.text("name").unwrap_or_default().to_owned();
            for kind in KINDS {
                let Some(socket) = container.map(kind).and_then(|probe| probe.map("tcpSocket")).cloned() else {
                    continue;
                };
                if socket.text("host").is_some_and(|host| !host.is_empty()) {
                    let note = format!("{kind} of {name} dials another host, and is left as it is");
                    self.notes.push(Note::Oddity(note));
                    continue;
                }
                let Some(port) = port(&socket, container) else {
                    let note = format!("{kind} of {name} names no port of its container, and is left as it is");
                    self.notes.push(Note::Oddity(note));
                    continue;
                };
                if !plan.redirects_inbound(port) {
                    continue;
                }
                // Readiness holds nobody back; by the others the sidecar would be waited for by those who start before it.
                if is_before && kind != "readinessProbe" {
                    let note = format!(
                        "{kind} of {name} is asked before a classic sidecar runs, and is left as it is: behind the redirect it passes \
                         whatever becomes of {name}"
                    );
                    self.notes.push(Note::Oddity(note));
                    continue;
                }
                if container.map(kind).is_some_and(|probe| probe.get("httpGet").is_some()) {
                    let note = format!("{kind} of {name} has an httpGet beside its tcpSocket, and is left as it is");
                    self.notes.push(Note::Oddity(note));
                    continue;
                }
                let asked: Value =
                    [("path", format!("{APP_HEALTH_PATH}{port}").into()), ("port", i64::from(PORT_STATUS).into())]
                        .into();
                let Some(probe) = container.get_mut(kind).and_then(Value::as_map_mut) else { continue };
                let Some(was) = probe.replace("tcpSocket", "httpGet", asked) else { continue };
                let note = format!("{kind} of {name} asks the sidecar whether port {port} takes connections");
                self.notes.push(Note::Fact(note));
                self.rewritten.push(Rewritten {
                    list: list.to_owned(),
                    container: name.clone(),
                    probe: kind.to_owned(),
                    was,
                });
                if let Err(at) = self.ports.binary_search(&port) {
                    self.ports.insert(at, port);
                }
            }
        }
    }
}

/// Puts back what was rewritten; a probe that somebody has changed since stays as it is.
pub(super) fn restore(spec: &mut Map, rewritten: &[Rewritten]) {
    for rewritten in rewritten {
        let Some(Value::List(containers)) = spec.get_mut(&rewritten.list) else { continue };
        let container = containers
            .iter_mut()
            .filter_map(Value::as_map_mut)
            .find(|container| container.text("name") == Some(rewritten.container.as_str()));
        let probe = container.and_then(|container| container.get_mut(&rewritten.probe)).and_then(Value::as_map_mut);
        let Some(probe) = probe else { continue };
        let path = probe.map("httpGet").and_then(|asked| asked.text("path"));
        if path.is_some_and(|path| path.starts_with(APP_HEALTH_PATH)) {
            probe.replace("httpGet", "tcpSocket", rewritten.was.clone());
        }
    }
}

/// As a kubelet finds it: a number, the name of a port of the container, or a number in quotes.
fn port(socket: &Map, container: &Map) -> Option<u16> {
    let number = |value: &Value| value.as_integer().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    match socket.get("port")? {
        Value::Text(text) => {
            let named = container.list("ports").iter().filter_map(Value::as_map);
            let mut named = named.filter(|port| port.text("name") == Some(text.as_str()));
            let named = named.find_map(|port| number(port.get("containerPort")?));
            named.or_else(|| text.parse().ok().filter(|port| *port > 0))
        }
        other => number(other),
    }
}
