//! How a sidecar is put into a pod: what flags say for all pods, and what the annotations of one pod say instead.
//!
//! Each annotation `laneway.io/NAME` has a flag `--NAME` of the same name, grammar and reader, so that what is refused in one is
//! refused in the other. Ports and ranges are read by the code of `laneway-init` itself.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use clap::{ArgAction, Args, Command, FromArgMatches};
use laneway_iptables::cidr::CidrSet;
use laneway_iptables::plan::{Included, Options, Plan};
use laneway_iptables::ports::PortSet;
use laneway_iptables::steps::Backend;
use laneway_proto::contract::{PORT_INBOUND, PORT_OUTBOUND, PORT_STATUS, PROXY_UID};

use super::installed;
use super::quantity::{Cpu, Memory};

/// What annotations and labels of ours begin with.
pub const PREFIX: &str = "laneway.io/";

/// Longer than any service waits for its clients.
const DRAIN_SECONDS_MAX: u32 = 3600;
const IMAGE_DEFAULT: &str = concat!("laneway/proxy:", env!("CARGO_PKG_VERSION"));
const INIT_IMAGE_DEFAULT: &str = concat!("laneway/init:", env!("CARGO_PKG_VERSION"));
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What laneway-init leaves alone unasked: where clouds tell a machine about itself.
const CIDRS_DEFAULT: &str = "169.254.169.254/32";

/// Settings of one sidecar.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// Control plane that the sidecar follows; by default the one of `lanectl install`.
    #[arg(long, value_name = "URL", default_value = installed::URL)]
    pub control: String,
    /// ConfigMap of the pod's namespace that holds the authorities of the control plane's certificate, under ca.pem. Needed with
    /// https:// in --control [default: laneway-ca with the default of --control, else none].
    #[arg(long, value_name = "CONFIG-MAP", default_value_if("control", installed::URL, installed::AUTHORITIES))]
    pub control_ca: Option<String>,
    /// Audience of the ServiceAccount token that the sidecar is known by. Needs https:// in --control [default: laneway.io with the
    /// default of --control, else none].
    #[arg(long, value_name = "AUDIENCE", default_value_if("control", installed::URL, installed::AUDIENCE))]
    pub control_token: Option<String>,
    /// Image of the sidecar.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE_DEFAULT, value_parser = image)]
    pub proxy_image: String,
    /// Image of the redirect.
    #[arg(long, value_name = "IMAGE", default_value = INIT_IMAGE_DEFAULT, value_parser = image)]
    pub init_image: String,
    /// As an init container that goes on running, for clusters from 1.29 on; else as one more container.
    #[arg(long, value_name = "BOOL", default_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub native_sidecar: bool,
    /// The application starts when the sidecar is ready.
    #[arg(long, value_name = "BOOL", default_value = "true", value_parser = boolean, action = ArgAction::Set)]
    pub hold_application: bool,
    /// Tool of the redirect: nft or iptables.
    #[arg(long, value_name = "TOOL", default_value = "nft", value_parser = backend)]
    pub redirect_backend: Backend,
    /// Redirect only these ports of callers; `*` is all.
    #[arg(long, value_name = "PORTS", default_value = "*", value_parser = included)]
    pub include_inbound_ports: Included<PortSet>,
    /// Leave these ports of callers alone; wins over included ones.
    #[arg(long, value_name = "PORTS", default_value = "", value_parser = parsed::<PortSet>)]
    pub exclude_inbound_ports: PortSet,
    /// Redirect only the application's calls to these ports; `*` is all.
    #[arg(long, value_name = "PORTS", default_value = "*", value_parser = included)]
    pub include_outbound_ports: Included<PortSet>,
    /// Redirect only the application's calls to these addresses; `*` is all.
    #[arg(long, value_name = "CIDRS", default_value = "*", value_parser = included_cidrs)]
    pub include_outbound_cidrs: Included<CidrSet>,
    /// Leave the application's calls to these ports alone; wins over included ones.
    #[arg(long, value_name = "PORTS", default_value = "", value_parser = parsed::<PortSet>)]
    pub exclude_outbound_ports: PortSet,
    /// Leave the application's calls to these addresses alone; replaces the default, and may be empty.
    #[arg(long, value_name = "CIDRS", default_value = CIDRS_DEFAULT, value_parser = parsed::<CidrSet>)]
    pub exclude_outbound_cidrs: CidrSet,
    /// Destination ports whose bytes the sidecar never reads, in place of its own list.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    pub opaque_ports: Option<Ports>,
    /// CPU that the sidecar asks for, or none.
    #[arg(long, value_name = "CPU", default_value = "50m", value_parser = parsed::<Cpu>)]
    pub proxy_cpu_request: Cpu,
    /// CPU that it gets at most, or none for no limit.
    #[arg(long, value_name = "CPU", default_value = "none", value_parser = parsed::<Cpu>)]
    pub proxy_cpu_limit: Cpu,
    /// Memory that it asks for, or none.
    #[arg(long, value_name = "MEMORY", default_value = "32Mi", value_parser = parsed::<Memory>)]
    pub proxy_memory_request: Memory,
    /// Memory that it gets at most, or none for no limit. The sidecar keeps to it by refusing work.
    #[arg(long, value_name = "MEMORY", default_value = "256Mi", value_parser = parsed::<Memory>)]
    pub proxy_memory_limit: Memory,
    /// What the sidecar logs: a level, or directives as info,h2=debug.
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = log_level)]
    pub log_level: String,
    /// How long the sidecar goes on taking connections while it drains, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = seconds)]
    pub drain_seconds: u32,
}

/// Ports one by one; the sidecar takes no ranges there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<NonZeroU16>);

/// What annotations may say, and how: `set` reads a value into the settings, or says what is allowed.
struct Known {
    name: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
}

macro_rules! known {
    ($($name:literal => $field:ident: $read:expr),* $(,)?) => {
        [$(Known { name: $name, set: |settings, text| $read(text).map(|value| settings.$field = value) }),*]
    };
}

const KNOWN: [Known; 18] = known! {
    "proxy-image" => proxy_image: image,
    "init-image" => init_image: image,
    "native-sidecar" => native_sidecar: boolean,
    "hold-application" => hold_application: boolean,
    "redirect-backend" => redirect_backend: backend,
    "include-inbound-ports" => include_inbound_ports: included,
    "exclude-inbound-ports" => exclude_inbound_ports: parsed::<PortSet>,
    "include-outbound-ports" => include_outbound_ports: included,
    "include-outbound-cidrs" => include_outbound_cidrs: included_cidrs,
    "exclude-outbound-ports" => exclude_outbound_ports: parsed::<PortSet>,
    "exclude-outbound-cidrs" => exclude_outbound_cidrs: parsed::<CidrSet>,
    "opaque-ports" => opaque_ports: some_ports,
    "proxy-cpu-request" => proxy_cpu_request: parsed::<Cpu>,
    "proxy-cpu-limit" => proxy_cpu_limit: parsed::<Cpu>,
    "proxy-memory-request" => proxy_memory_request: parsed::<Memory>,
    "proxy-memory-limit" => proxy_memory_limit: parsed::<Memory>,
    "log-level" => log_level: log_level,
    "drain-seconds" => drain_seconds: seconds,
};

/// Names of the annotations that change settings, without the prefix.
pub fn annotations() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

impl Settings {
    /// Of `NAME=VALUE` each, the flags of `lanectl inject` by their names; checked together.
    pub fn of(pairs: &[String]) -> Result<Settings, String> {
        let command = Command::new("inject").no_binary_name(true).disable_help_flag(true);
        let mut command = Settings::augment_args(command);
        let names: Vec<String> =
            command.get_arguments().filter_map(|flag| flag.get_long()).map(str::to_owned).collect();
        for pair in pairs {
            let name = pair.split_once('=').map(|(name, _)| name);
            if name.is_none_or(|name| !names.iter().any(|known| known == name)) {
                return Err(format!("`{pair}` is no setting; allowed: NAME=VALUE with one of {}", names.join(", ")));
            }
        }
        let flags = pairs.iter().map(|pair| format!("--{pair}"));
        // The first line: what follows is about the usage of flags.
        let first =
            |error: clap::Error| error.to_string().lines().next().unwrap_or_default().replacen("error: ", "", 1);
        let matches = command.try_get_matches_from_mut(flags).map_err(first)?;
        let settings = Settings::from_arg_matches(&matches).map_err(first)?;
        settings.plan()?;
        Ok(settings)
    }

    /// What one annotation says, in place of what was said before; nothing where there is no such setting.
    pub fn annotated(&mut self, name: &str, value: &str) -> Option<Result<(), String>> {
        let known = KNOWN.iter().find(|known| known.name == name)?;
        Some((known.set)(self, value.trim()))
    }

    /// What of them may not be meant so, for whatever pod.
    pub fn oddity(&self) -> Option<String> {
        let authority = self.control.strip_prefix("http://")?.split('/').next()?;
        let host = match authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        let address = host.parse::<IpAddr>();
        let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        (!is_loopback).then(|| {
            format!(
                "--control {}: without TLS, so nobody is known by it; the control plane of `lanectl install` takes only sidecars that come \
                 by https:// (as without --control), and one that it does not take passes all through",
                self.control
            )
        })
    }

    /// Whether the values go together, and what is redirected by them.
    pub fn plan(&self) -> Result<Plan, String> {
        let is_tls = self.control.starts_with("https://");
        let host = self.control.strip_prefix("http://").or_else(|| self.control.strip_prefix("https://"));
        let has_host = host.is_some_and(|host| !host.is_empty() && !host.starts_with([':', '/']));
        if !has_host || self.control.contains(char::is_whitespace) {
            return Err(format!(
                "--control `{}` is no URL; allowed: http://HOST:PORT or https://HOST:PORT",
                self.control
            ));
        }
        match (is_tls, &self.control_ca, &self.control_token) {
            (true, None, _) => {
                return Err(format!(
                    "--control https:// needs --control-ca, the ConfigMap with its authorities: {} for what `lanectl install` brought",
                    installed::AUTHORITIES
                ));
            }
            (false, Some(_), _) => return Err("--control-ca needs https:// in --control".to_owned()),
            (false, _, Some(_)) => {
                return Err("--control-token would be sent in clear: it needs https:// in --control".to_owned());
            }
            _ => {}
        }
        if self.proxy_cpu_request.is_above(self.proxy_cpu_limit) {
            return Err(above("cpu", self.proxy_cpu_request, self.proxy_cpu_limit));
        }
        if self.proxy_memory_request.is_above(self.proxy_memory_limit) {
            return Err(above("memory", self.proxy_memory_request, self.proxy_memory_limit));
        }
        Plan::new(&self.redirect()).map_err(|error| error.to_string())
    }

    /// What `laneway-init` is told.
    fn redirect(&self) -> Options {
        Options {
            outbound_port: port(PORT_OUTBOUND),
            inbound_port: port(PORT_INBOUND),
            status_port: port(PORT_STATUS),
            proxy_uid: PROXY_UID,
            include_inbound_ports: vec![self.include_inbound_ports.clone()],
            exclude_inbound_ports: vec![self.exclude_inbound_ports.clone()],
            include_outbound_ports: vec![self.include_outbound_ports.clone()],
            include_outbound_cidrs: vec![self.include_outbound_cidrs.clone()],
            exclude_outbound_ports: vec![self.exclude_outbound_ports.clone()],
            exclude_outbound_cidrs: vec![self.exclude_outbound_cidrs.clone()],
        }
    }
}

fn above(what: &str, request: impl ToString, limit: impl ToString) -> String {
    let (request, limit) = (request.to_string(), limit.to_string());
    format!("proxy-{what}-request {request} is more than proxy-{what}-limit {limit}")
}

fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("no port of the contract is zero")
}

/// By the type's own grammar, whose error says what is allowed.
fn parsed<T: FromStr<Err = String>>(text: &str) -> Result<T, String> {
    text.parse()
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("`{text}` is neither; allowed: true, false")),
    }
}

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "nft" => Ok(Backend::Nft),
        "iptables" => Ok(Backend::Iptables),
        _ => Err(format!("`{text}` is no tool of the redirect; allowed: nft, iptables")),
    }
}

fn included(text: &str) -> Result<Included<PortSet>, String> {
    if text == "*" {
        return Ok(Included::All);
    }
    match text.parse::<PortSet>() {
        // Nothing would mean everything.
        Ok(set) if set.is_empty() => Err("is empty; allowed: ports and ranges, or `*` for all".to_owned()),
        Ok(set) => Ok(Included::Only(set)),
        Err(problem) => Err(format!("{problem}; or `*` for all")),
    }
}

fn included_cidrs(text: &str) -> Result<Included<CidrSet>, String> {
    if text == "*" {
        return Ok(Included::All);
    }
    match text.parse::<CidrSet>() {
        Ok(set) if set.is_empty() => Err("is empty; allowed: addresses and ranges, or `*` for all".to_owned()),
        Ok(set) => Ok(Included::Only(set)),
        Err(problem) => Err(format!("{problem}; or `*` for all")),
    }
}

fn ports(text: &str) -> Result<Ports, String> {
    let ports: Result<Vec<NonZeroU16>, _> = text.split(',').map(|port| port.trim().parse()).collect();
    ports.map(Ports).map_err(|_| format!("`{text}` is no list of ports; allowed: ports 1 to 65535, comma between"))
}

fn some_ports(text: &str) -> Result<Option<Ports>, String> {
    ports(text).map(Some)
}

fn image(text: &str) -> Result<String, String> {
    let is_image = !text.is_empty() && text.len() <= 1024 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_image {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no image; allowed: a name such as laneway/proxy:1.0"))
    }
}

fn log_level(text: &str) -> Result<String, String> {
    let is_directive = |directive: &str| match directive.split_once('=') {
        Some((target, level)) => {
            let is_target = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
            !target.is_empty() && target.bytes().all(is_target) && LEVELS.contains(&level)
        }
        None => LEVELS.contains(&directive),
    };
    if text.len() <= 1024 && text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    let allowed = LEVELS.join(", ");
    Err(format!("`{text}` is no filter; allowed: one of {allowed}, or directives as info,h2=debug"))
}

fn seconds(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|seconds| *seconds <= DRAIN_SECONDS_MAX);
    number.ok_or_else(|| format!("`{text}` is no number of seconds; allowed: 0 to {DRAIN_SECONDS_MAX}"))
}
