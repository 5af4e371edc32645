//! Reads flags and environment, once: the only place that does. Every value is checked here and goes to its part in that part's
//! own type; a bad one refuses to start and names the field and what is allowed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use laneway_core::name;
use laneway_core::snapshot::Identity;
use laneway_core::tag::Tag;
use laneway_proto::contract::{
    ENV_TAG, ENV_TAG_COMPAT, NAMESPACE_DEFAULT, PORT_ADMIN, PORT_INBOUND, PORT_OUTBOUND, PORT_STATUS, PROBE_PORTS_MAX,
};

use crate::app_health;
use crate::control::credentials::Files;
use crate::datapath::{Direction, Limits, Listener, Timeouts};
use crate::hooks::Hook;
use crate::logging::LogFormat;

use self::hooks::HookFlags;
use self::journal::JournalFlags;

mod hooks;
mod journal;
#[cfg(test)]
mod tests;

/// Laneway's sidecar: takes the traffic of one pod and keeps every request in its lane.
#[derive(Parser, Debug)]
#[command(name = "laneway-proxy", version, disable_help_subcommand = true)]
pub struct Flags {
    #[command(subcommand)]
    hook: Option<HookFlags>,
    /// Control plane to follow.
    #[arg(long, value_name = "URL", env = "LANEWAY_CONTROL", default_value = "http://127.0.0.1:15410")]
    control: String,
    /// File in which the last good configuration is kept, for a start while the control plane is away. Unset: none is kept.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CACHE")]
    cache: Option<PathBuf>,
    /// Static mode: documents from this YAML file, reloaded when it changes; no control plane.
    #[arg(long, value_name = "FILE", env = "LANEWAY_RESOURCES")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    credentials: CredentialFlags,
    #[command(flatten)]
    identity: IdentityFlags,
    #[command(flatten)]
    listeners: ListenerFlags,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    timing: TimingFlags,
    #[command(flatten)]
    handover: HandoverFlags,
    /// Threads that carry traffic, each with connections of its own. 1 to 64.
    #[arg(long, value_name = "N", env = "LANEWAY_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Client connections at a time; more wait to be taken. 1 to 1000000.
    #[arg(long, value_name = "N", env = "LANEWAY_CONNECTIONS_MAX", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,
    /// Memory that is not to be passed: `auto` is what the container may have, `off` no bound, else as 256MiB. At 90 % new requests are
    /// refused, at 95 % connections that rest are ended.
    #[arg(long, value_name = "BYTES", env = "LANEWAY_MEMORY_MAX", default_value = "auto")]
    memory_max: MemoryMax,
    /// Destination ports whose bytes are never read, comma between.
    #[arg(
        long,
        value_name = "PORTS",
        env = "LANEWAY_OPAQUE_PORTS",
        value_delimiter = ',',
        default_value = "21,22,25,110,143,587,3306,4222"
    )]
    opaque_ports: Vec<u16>,
    #[command(flatten)]
    metrics: MetricsFlags,
    #[command(flatten)]
    journal: JournalFlags,
    /// What is logged: `error`, `warn`, `info`, `debug`, or directives as `info,laneway_proxy::control=debug`.
    #[arg(long, value_name = "FILTER", env = "LANEWAY_LOG", default_value = "info")]
    log: String,
    #[arg(long, env = "LANEWAY_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Args, Debug)]
struct CredentialFlags {
    /// Authorities of the control plane's certificate, PEM; needed with https://. Like the three below read anew for each stream.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_CA")]
    control_ca: Option<PathBuf>,
    /// Own certificate chain, PEM, to be known by.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_CERT", requires = "control_key")]
    control_cert: Option<PathBuf>,
    /// Private key of --control-cert, PEM.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_KEY", requires = "control_cert")]
    control_key: Option<PathBuf>,
    /// File with the bearer token to be known by.
    #[arg(long, value_name = "FILE", env = "LANEWAY_CONTROL_TOKEN_FILE")]
    control_token_file: Option<PathBuf>,
    /// Name in the control plane's certificate, where it is not the host of --control.
    #[arg(long, value_name = "NAME", env = "LANEWAY_CONTROL_NAME")]
    control_name: Option<String>,
}

#[derive(Args, Debug)]
struct IdentityFlags {
    /// Service of this pod. Empty: no entry, no stamping, otherwise a full sidecar.
    #[arg(long, value_name = "ID", env = "LANEWAY_SERVICE", default_value = "")]
    service: String,
    #[arg(long, value_name = "ID", env = "LANEWAY_NAMESPACE", default_value = NAMESPACE_DEFAULT)]
    namespace: String,
    /// Tag of this pod; empty: baseline. Else LANEWAY_TAG, MSE_ALICLOUD_SERVICE_TAG, ALICLOUD_SERVICE_TAG.
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Name of this pod, for people.
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "")]
    pod_name: String,
    /// Addresses of this pod, comma between. Default: those of its interfaces.
    #[arg(long, value_name = "ADDRESSES", env = "POD_IP", value_delimiter = ',')]
    pod_ip: Vec<IpAddr>,
}

#[derive(Args, Debug)]
struct ListenerFlags {
    /// A listener for connections that are not redirected, instead of the two redirected ones; may be repeated, and in the
    /// environment `;` stands between. `outbound=ADDRESS[,service=ID]` or `inbound=ADDRESS,forward=ADDRESS`.
    #[arg(long, value_name = "LISTENER", env = "LANEWAY_LISTEN", value_delimiter = ';')]
    listen: Vec<ListenSpec>,
    /// Where what the application sends is redirected to.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_OUTBOUND", default_value_t = any(PORT_OUTBOUND))]
    outbound: SocketAddr,
    /// Where what others send is redirected to.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_INBOUND", default_value_t = any(PORT_INBOUND))]
    inbound: SocketAddr,
    /// /ready, /live, /metrics, /app-health/PORT.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_STATUS", default_value_t = any(PORT_STATUS))]
    status: SocketAddr,
    /// What docs/admin.md tells of. Loopback only.
    #[arg(long, value_name = "ADDRESS", env = "LANEWAY_ADMIN", default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT_ADMIN)))]
    admin: SocketAddr,
}

#[derive(Args, Debug)]
struct HealthFlags {
    /// Ports of the application that /app-health/PORT on the status port dials, comma between; at most 64.
    #[arg(long, value_name = "PORTS", env = "LANEWAY_PROBE_PORTS", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    probe_ports: Vec<u16>,
}

#[derive(Args, Debug)]
struct TimingFlags {
    /// Until a connection to an instance stands.
    #[arg(long, value_name = "TIME", env = "LANEWAY_CONNECT_TIMEOUT", default_value = "1s")]
    connect_timeout: Time,
    /// From the first byte of a request head to its last.
    #[arg(long, value_name = "TIME", env = "LANEWAY_HEADER_TIMEOUT", default_value = "10s")]
    header_timeout: Time,
    /// A body of HTTP/1.1 that waits for its client, to send or to read, without a byte; not while an answer is awaited.
    #[arg(long, value_name = "TIME", env = "LANEWAY_BODY_TIMEOUT", default_value = "30s")]
    body_timeout: Time,
    /// A client connection without a request.
    #[arg(long, value_name = "TIME", env = "LANEWAY_IDLE_TIMEOUT", default_value = "1h")]
    idle_timeout: Time,
    /// Until a silent client is taken for one that waits for its server.
    #[arg(long, value_name = "TIME", env = "LANEWAY_DETECT_TIMEOUT", default_value = "100ms")]
    detect_timeout: Time,
    /// A pooled connection to an instance without a request.
    #[arg(long, value_name = "TIME", env = "LANEWAY_POOL_IDLE_TIMEOUT", default_value = "60s")]
    pool_idle_timeout: Time,
    /// Longest wait for what the control plane knows of a destination.
    #[arg(long, value_name = "TIME", env = "LANEWAY_ON_DEMAND_TIMEOUT", default_value = "1s")]
    on_demand_timeout: Time,
    /// Ready without a configuration, as `degraded`, after this; see --fail-closed.
    #[arg(long, value_name = "TIME", env = "LANEWAY_BOOT_WAIT", default_value = "5s")]
    boot_wait: Time,
    /// Without a configuration never ready.
    #[arg(long, env = "LANEWAY_FAIL_CLOSED")]
    fail_closed: bool,
    /// On SIGTERM or POST /drain: go on accepting for this long.
    #[arg(long, value_name = "TIME", env = "LANEWAY_DRAIN_MIN", default_value = "5s")]
    drain_min: Time,
    /// And cut what still runs after this, from the same moment on.
    #[arg(long, value_name = "TIME", env = "LANEWAY_DRAIN_MAX", default_value = "30s")]
    drain_max: Time,
}

#[derive(Args, Debug)]
struct HandoverFlags {
    /// Unix socket by which a process takes over from the one that runs: it is given its listening sockets. Unset: never.
    #[arg(long, value_name = "FILE", env = "LANEWAY_HANDOVER")]
    handover: Option<PathBuf>,
    /// How long a process that takes over may take to get ready; then the one that runs goes on.
    #[arg(long, value_name = "TIME", env = "LANEWAY_HANDOVER_TIMEOUT", default_value = "60s")]
    handover_timeout: Time,
}

#[derive(Args, Debug)]
struct MetricsFlags {
    /// What is counted of requests: by lane, or nothing.
    #[arg(long, env = "LANEWAY_METRICS", default_value = "lanes")]
    metrics: Metrics,
    /// Series that are kept; what is beyond is counted as `other`. 100 to 100000.
    #[arg(long, value_name = "N", env = "LANEWAY_METRICS_SERIES_MAX", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    metrics_series_max: u32,
    /// Other names under which requests and connections are shown too, a lane's tag as version.
    #[arg(long, env = "LANEWAY_METRICS_COMPAT", default_value = "none")]
    metrics_compat: MetricsCompat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Metrics {
    Lanes,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MetricsCompat {
    None,
    Istio,
}

/// Everything that was asked for, checked. `app` takes it apart.
#[derive(Debug)]
pub struct Config {
    pub source: ConfigSource,
    pub identity: Identity,
    pub pod_name: String,
    pub datapath: crate::datapath::Config,
    pub telemetry: crate::telemetry::Config,
    pub journal: crate::journal::Config,
    pub status: SocketAddr,
    pub app_health: app_health::Config,
    pub admin: SocketAddr,
    /// When to be ready without a configuration; `None`: never.
    pub boot_wait: Option<Duration>,
    /// What the process may hold; `None`: there is no bound.
    pub memory_max_bytes: Option<u64>,
    pub drain_min: Duration,
    pub drain_max: Duration,
    pub handover: Option<crate::handover::Config>,
}

/// Where the configuration of lanes and services comes from.
#[derive(Debug, Clone)]
pub enum ConfigSource {
    Control {
        url: String,
        credentials: Files,
        /// Where the last good configuration is kept.
        cache: Option<PathBuf>,
    },
    File {
        path: PathBuf,
    },
}

/// Why the proxy does not start: the field, what is wrong with it, and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    pub field: String,
    pub problem: String,
}

fn refuse<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError { field: field.into(), problem: problem.into() })
}

impl Flags {
    /// What is to be done instead of running a sidecar.
    pub fn hook(&self) -> Option<Hook> {
        self.hook.map(Hook::from)
    }

    pub fn log(&self) -> (&str, LogFormat) {
        (&self.log, self.log_format)
    }

    /// Checks and completes. `environment` answers for variables that are no flags; `proxy` is the Proxy document of a
    /// resources file. A flag or variable wins over the document.
    pub fn check(
        self,
        environment: impl Fn(&str) -> Option<String>,
        proxy: Option<&laneway_core::document::ProxyDocument>,
    ) -> Result<Config, ConfigError> {
        let identity = self.identity.check(&environment, proxy)?;
        let own_addresses = if self.identity.pod_ip.is_empty() { interfaces()? } else { self.identity.pod_ip.clone() };
        let listeners = self.listeners.check(&identity, proxy)?;
        if !self.listeners.admin.ip().is_loopback() {
            return refuse("--admin / LANEWAY_ADMIN", format!("{} is not a loopback address", self.listeners.admin));
        }
        let source = match self.resources {
            Some(_) if self.cache.is_some() => {
                return refuse(
                    "--cache / LANEWAY_CACHE",
                    "is for a control plane; with --resources the file is read anyway",
                );
            }
            Some(path) => ConfigSource::File { path },
            None => {
                let credentials = self.credentials.check(&self.control)?;
                ConfigSource::Control { url: self.control, credentials, cache: self.cache }
            }
        };
        let journal = self.journal.check()?;
        let timing = self.timing;
        if timing.drain_max.0 < timing.drain_min.0 {
            return refuse("--drain-max / LANEWAY_DRAIN_MAX", "is shorter than --drain-min");
        }
        let app_health = self.health.check(&own_addresses)?;
        Ok(Config {
            source,
            identity,
            pod_name: self.identity.pod_name,
            datapath: crate::datapath::Config {
                listeners,
                workers: usize::from(self.workers),
                own_addresses,
                own_ports: vec![self.listeners.status.port(), self.listeners.admin.port()],
                timeouts: Timeouts {
                    connect: timing.connect_timeout.0,
                    header_read: timing.header_timeout.0,
                    body: timing.body_timeout.0,
                    idle: timing.idle_timeout.0,
                    detect: timing.detect_timeout.0,
                    pool_idle: timing.pool_idle_timeout.0,
                },
                limits: Limits { connections: self.connections_max as usize },
                opaque_ports: self.opaque_ports,
                on_demand_timeout: timing.on_demand_timeout.0,
            },
            telemetry: crate::telemetry::Config {
                by_lane: self.metrics.metrics == Metrics::Lanes,
                series_max: self.metrics.metrics_series_max,
                istio: self.metrics.metrics_compat == MetricsCompat::Istio,
            },
            journal,
            status: self.listeners.status,
            app_health,
            admin: self.listeners.admin,
            memory_max_bytes: self.memory_max.bytes(),
            boot_wait: (!timing.fail_closed).then_some(timing.boot_wait.0),
            drain_min: timing.drain_min.0,
            drain_max: timing.drain_max.0,
            handover: self.handover.check(),
        })
    }

    /// The resources file, to be read before [`Flags::check`].
    pub fn resources(&self) -> Option<&PathBuf> {
        self.resources.as_ref()
    }
}

impl HealthFlags {
    fn check(self, own_addresses: &[IpAddr]) -> Result<app_health::Config, ConfigError> {
        if self.probe_ports.len() > PROBE_PORTS_MAX {
            let problem = format!("has {} ports; at most {}", self.probe_ports.len(), PROBE_PORTS_MAX);
            return refuse("--probe-ports / LANEWAY_PROBE_PORTS", problem);
        }
        // The first is the pod's for a kubelet; interfaces tell loopback too.
        let own = own_addresses.iter().find(|address| !address.is_loopback()).or(own_addresses.first());
        Ok(app_health::Config { ports: self.probe_ports, address: own.copied() })
    }
}

impl HandoverFlags {
    fn check(self) -> Option<crate::handover::Config> {
        let timeout = self.handover_timeout.0;
        self.handover.map(|path| crate::handover::Config { path, timeout })
    }
}

impl CredentialFlags {
    /// What goes with the URL of the control plane, if the two fit.
    fn check(self, url: &str) -> Result<Files, ConfigError> {
        const FIELD: &str = "--control / LANEWAY_CONTROL";
        let uri = url.parse::<http::Uri>().ok();
        let (scheme, host) = uri.as_ref().map(|uri| (uri.scheme_str(), uri.host())).unwrap_or_default();
        let is_tls = match (scheme, host) {
            (Some("http"), Some(_)) => false,
            (Some("https"), Some(_)) => true,
            _ => {
                return refuse(
                    FIELD,
                    format!("`{url}` is not a URL of the form http://HOST:PORT or https://HOST:PORT"),
                );
            }
        };
        if is_tls && cfg!(not(feature = "tls")) {
            return refuse(FIELD, "https:// is not in this build (cargo feature `tls`)");
        }
        let is_local = host.is_some_and(|host| {
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        });
        match (is_tls, &self.control_ca) {
            (true, None) => return refuse("--control-ca / LANEWAY_CONTROL_CA", "is needed with https://"),
            (false, Some(_)) => return refuse("--control-ca / LANEWAY_CONTROL_CA", "needs https:// in --control"),
            _ => {}
        }
        if !is_tls && self.control_cert.is_some() {
            return refuse("--control-cert / LANEWAY_CONTROL_CERT", "needs https:// in --control");
        }
        if !is_tls && self.control_token_file.is_some() && !is_local {
            let problem = "would be sent in clear: use https:// in --control, or a loopback address";
            return refuse("--control-token-file / LANEWAY_CONTROL_TOKEN_FILE", problem);
        }
        Ok(Files {
            ca: self.control_ca,
            identity: self.control_cert.zip(self.control_key),
            server_name: self.control_name,
            token: self.control_token_file,
        })
    }
}

impl IdentityFlags {
    fn check(
        &self,
        environment: &impl Fn(&str) -> Option<String>,
        proxy: Option<&laneway_core::document::ProxyDocument>,
    ) -> Result<Identity, ConfigError> {
        let set = |name: &'static str| environment(name).map(|value| (name, value));
        let said = self.tag.clone().map(|value| ("--tag", value));
        let said = said.or_else(|| std::iter::once(ENV_TAG).chain(ENV_TAG_COMPAT).find_map(set));
        let tag = match said {
            Some((_, value)) if value.is_empty() => None,
            Some((field, value)) => match Tag::parse(value.as_bytes()) {
                Ok(tag) => Some(tag),
                Err(error) => return refuse(field, format!("`{value}` is no tag: {error}")),
            },
            None => proxy.and_then(|proxy| proxy.tag),
        };
        let service = match proxy {
            Some(proxy) if self.service.is_empty() => proxy.service.clone(),
            _ => self.service.clone(),
        };
        let namespace = match proxy {
            Some(proxy) if self.namespace == NAMESPACE_DEFAULT => proxy.namespace.clone(),
            _ => self.namespace.clone(),
        };
        for (field, value) in [("LANEWAY_SERVICE", &service), ("LANEWAY_NAMESPACE", &namespace)] {
            let is_plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@%-".contains(&b));
            if !is_plain || value.len() > 253 {
                return refuse(field, format!("`{value}` is no id: at most 253 bytes of A-Z a-z 0-9 . _ : @ % -"));
            }
        }
        Ok(Identity { namespace, service, tag })
    }
}

impl ListenerFlags {
    fn check(
        &self,
        identity: &Identity,
        proxy: Option<&laneway_core::document::ProxyDocument>,
    ) -> Result<Vec<Listener>, ConfigError> {
        let mut listeners: Vec<Listener> = Vec::new();
        for spec in &self.listen {
            listeners.push(spec.listener(identity));
        }
        if listeners.is_empty()
            && let Some(proxy) = proxy
        {
            listeners.extend(proxy.listeners.iter().map(|document| Listener {
                address: document.address,
                direction: match document.direction {
                    laneway_core::document::Direction::Inbound => Direction::Inbound,
                    laneway_core::document::Direction::Outbound => Direction::Outbound,
                },
                redirected: document.redirected,
                default_service: document.default_service.clone(),
                forward_to: document.forward_to,
            }));
        }
        if listeners.is_empty() {
            let redirected = |address, direction| Listener {
                address,
                direction,
                redirected: true,
                default_service: None,
                forward_to: None,
            };
            listeners.push(redirected(self.outbound, Direction::Outbound));
            listeners.push(redirected(self.inbound, Direction::Inbound));
        }
        for listener in &listeners {
            let needs_target = listener.direction == Direction::Inbound && !listener.redirected;
            if needs_target && listener.forward_to.is_none() {
                return refuse(
                    format!("listener {}", listener.address),
                    "is inbound and not redirected, so it needs to be told where the application listens: forward",
                );
            }
        }
        Ok(listeners)
    }
}

/// `outbound=127.0.0.1:8000,service=b`
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListenSpec {
    direction: Direction,
    address: SocketAddr,
    service: Option<String>,
    forward: Option<SocketAddr>,
}

impl ListenSpec {
    fn listener(&self, identity: &Identity) -> Listener {
        let resource_name = |service: &String| match service.contains('/') {
            true => service.clone(),
            false => name::service(&identity.namespace, service),
        };
        Listener {
            address: self.address,
            direction: self.direction,
            redirected: false,
            default_service: self.service.as_ref().map(resource_name),
            forward_to: self.forward,
        }
    }
}

impl FromStr for ListenSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenSpec, String> {
        let (mut place, mut service, mut forward) = (None, None, None);
        let address = |value: &str| value.parse().map_err(|_| format!("`{value}` is not ADDRESS:PORT"));
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("outbound", value)) => place = Some((Direction::Outbound, address(value)?)),
                Some(("inbound", value)) => place = Some((Direction::Inbound, address(value)?)),
                Some(("service", value)) if !value.is_empty() => service = Some(value.to_owned()),
                Some(("forward", value)) => forward = Some(address(value)?),
                _ => return Err(format!("`{part}` is none of outbound=, inbound=, service=, forward=")),
            }
        }
        let Some((direction, address)) = place else { return Err("neither outbound= nor inbound=".to_owned()) };
        match (direction, &service, &forward) {
            (Direction::Outbound, _, Some(_)) => Err("forward= is for inbound listeners".to_owned()),
            (Direction::Inbound, Some(_), _) => Err("service= is for outbound listeners".to_owned()),
            _ => Ok(ListenSpec { direction, address, service, forward }),
        }
    }
}

/// `1h`, `5m`, `10s`, `100ms`. At most 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let allowed = || format!("`{text}` is no time: a number and ms, s, m or h, at most 24h");
        let number: u64 = text[..digits].parse().map_err(|_| allowed())?;
        let factor_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(allowed()),
        };
        let ms = number.checked_mul(factor_ms).filter(|ms| *ms <= 86_400_000).ok_or_else(allowed)?;
        Ok(Time(Duration::from_millis(ms)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

/// A bound of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MemoryMax {
    Auto,
    Off,
    Bytes(u64),
}

impl MemoryMax {
    fn bytes(self) -> Option<u64> {
        match self {
            MemoryMax::Auto => crate::pressure::container_limit_bytes(),
            MemoryMax::Off => None,
            MemoryMax::Bytes(bytes) => Some(bytes),
        }
    }
}

impl FromStr for MemoryMax {
    type Err = String;

    fn from_str(text: &str) -> Result<MemoryMax, String> {
        let allowed = || format!("`{text}` is neither auto, off, nor a number and MiB or GiB, from 8MiB to 1024GiB");
        match text {
            "auto" => return Ok(MemoryMax::Auto),
            "off" => return Ok(MemoryMax::Off),
            _ => {}
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| allowed())?;
        let shift = match &text[digits..] {
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(allowed()),
        };
        let bytes = number.checked_mul(1 << shift).filter(|bytes| (8 << 20..=1 << 40).contains(bytes));
        bytes.map(MemoryMax::Bytes).ok_or_else(allowed)
    }
}

/// The unspecified address of both families.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0_u16; 8], port))
}

/// Addresses of this pod's interfaces.
fn interfaces() -> Result<Vec<IpAddr>, ConfigError> {
    // The kernel's table; a name server is never asked.
    let problem = |error: std::io::Error| ConfigError {
        field: "--pod-ip / POD_IP".to_owned(),
        problem: format!("is not given, and the interfaces could not be read: {error}"),
    };
    let table = std::fs::read_to_string("/proc/net/fib_trie").map_err(problem)?;
    let mut found: Vec<IpAddr> = Vec::new();
    let mut last = None;
    for line in table.lines() {
        if let Some((_, address)) = line.split_once("|-- ") {
            last = address.trim().parse().ok();
        } else if line.contains("/32 host LOCAL")
            && let Some(address) = last
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    // No such file where the kernel has no IPv6.
    let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for line in table.lines() {
        if let Some(Ok(bits)) = line.split_whitespace().next().map(|hex| u128::from_str_radix(hex, 16)) {
            found.push(IpAddr::V6(bits.into()));
        }
    }
    Ok(found)
}
