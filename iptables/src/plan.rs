//! What to redirect, and what to leave alone: the options of `laneway-init`, and the [`Plan`] they make.
//!
//! Pure. A `Plan` cannot be wrong: everything that renders or applies it believes it.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use clap::Args;
use laneway_proto::contract;

use crate::{cidr::CidrSet, ports::PortSet};

/// Flags of `laneway-init` that say what is redirected, each with its variable.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Port of the sidecar that takes what the application dials
    #[arg(long, value_name = "PORT", env = "LANEWAY_OUTBOUND_PORT", default_value_t = non_zero(contract::PORT_OUTBOUND), value_parser = parse_port)]
    pub outbound_port: NonZeroU16,
    /// Port of the sidecar that takes what peers dial
    #[arg(long, value_name = "PORT", env = "LANEWAY_INBOUND_PORT", default_value_t = non_zero(contract::PORT_INBOUND), value_parser = parse_port)]
    pub inbound_port: NonZeroU16,
    /// Port of the sidecar for /ready, /live and /metrics; never redirected
    #[arg(long, value_name = "PORT", env = "LANEWAY_STATUS_PORT", default_value_t = non_zero(contract::PORT_STATUS), value_parser = parse_port)]
    pub status_port: NonZeroU16,
    /// Uid the sidecar runs as; its own connections are not redirected
    #[arg(long, value_name = "UID", env = "LANEWAY_PROXY_UID", default_value_t = contract::PROXY_UID, value_parser = parse_uid)]
    pub proxy_uid: u32,
    /// Redirect only these ports of peers' connections; `*` is all
    #[arg(long, value_name = "PORTS", env = "LANEWAY_INCLUDE_INBOUND_PORTS", default_value = "*", value_parser = parse_included)]
    pub include_inbound_ports: Vec<Included<PortSet>>,
    /// Leave these ports of peers' connections alone; wins over included ports
    #[arg(long, value_name = "PORTS", env = "LANEWAY_EXCLUDE_INBOUND_PORTS")]
    pub exclude_inbound_ports: Vec<PortSet>,
    /// Redirect only the application's connections to these ports; `*` is all
    #[arg(long, value_name = "PORTS", env = "LANEWAY_INCLUDE_OUTBOUND_PORTS", default_value = "*", value_parser = parse_included)]
    pub include_outbound_ports: Vec<Included<PortSet>>,
    /// Redirect only the application's connections to these addresses; `*` is all
    #[arg(long, value_name = "CIDRS", env = "LANEWAY_INCLUDE_OUTBOUND_CIDRS", default_value = "*", value_parser = parse_included_cidrs)]
    pub include_outbound_cidrs: Vec<Included<CidrSet>>,
    /// Leave the application's connections to these ports alone; wins over included ports
    #[arg(long, value_name = "PORTS", env = "LANEWAY_EXCLUDE_OUTBOUND_PORTS")]
    pub exclude_outbound_ports: Vec<PortSet>,
    /// Leave the application's connections to these addresses alone; wins over included ones, replaces the default, and may be empty
    #[arg(long, value_name = "CIDRS", env = "LANEWAY_EXCLUDE_OUTBOUND_CIDRS", default_value = "169.254.169.254/32")]
    pub exclude_outbound_cidrs: Vec<CidrSet>,
}

/// What is redirected. Every port differs from the others, and no exclusion overlaps another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(crate) outbound: NonZeroU16,
    pub(crate) inbound: NonZeroU16,
    pub(crate) proxy_uid: u32,
    /// `None`: all ports but the skipped ones.
    pub(crate) inbound_only: Option<PortSet>,
    /// With the status port, always.
    pub(crate) inbound_skip: PortSet,
    /// `None`: all but the skipped ones, of ports and of addresses. A connection is redirected whose port and address both are.
    pub(crate) outbound_only: Option<PortSet>,
    pub(crate) cidr_only: Option<CidrSet>,
    pub(crate) outbound_skip: PortSet,
    pub(crate) cidr_skip: CidrSet,
}

/// Values that are each right and do not go together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    #[error("`{flag}` is {port}, which `{other}` is already: each of the sidecar's ports must differ")]
    SamePort { flag: &'static str, other: &'static str, port: NonZeroU16 },
    #[error(
        "`--include-inbound-ports` leaves nothing to redirect: each of its ports ({included}) is excluded or the status port"
    )]
    NothingInbound { included: PortSet },
    #[error("`--include-outbound-ports` leaves nothing to redirect: each of its ports ({included}) is excluded")]
    NothingOutbound { included: PortSet },
}

/// One value of a flag that says what is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Included<T> {
    All,
    Only(T),
}

impl Plan {
    pub fn new(options: &Options) -> Result<Plan, PlanError> {
        let named = [
            ("--outbound-port", options.outbound_port),
            ("--inbound-port", options.inbound_port),
            ("--status-port", options.status_port),
        ];
        for (index, (flag, port)) in named.iter().enumerate() {
            if let Some((other, _)) = named[..index].iter().find(|(_, earlier)| earlier == port) {
                return Err(PlanError::SamePort { flag, other, port: *port });
            }
        }
        let status = PortSet::new([options.status_port.get()..=options.status_port.get()]);
        let inbound_skip = PortSet::union(options.exclude_inbound_ports.iter().chain([&status]));
        let outbound_skip = PortSet::union(&options.exclude_outbound_ports);
        let inbound_only = only(&options.include_inbound_ports, PortSet::union).filter(|set| !set.is_empty());
        let outbound_only = only(&options.include_outbound_ports, PortSet::union).filter(|set| !set.is_empty());
        let cidr_only = only(&options.include_outbound_cidrs, CidrSet::union).filter(|set| !set.is_empty());
        if let Some(included) = inbound_only.as_ref().filter(|only| are_all_in(only, &inbound_skip)) {
            return Err(PlanError::NothingInbound { included: included.clone() });
        }
        if let Some(included) = outbound_only.as_ref().filter(|only| are_all_in(only, &outbound_skip)) {
            return Err(PlanError::NothingOutbound { included: included.clone() });
        }
        Ok(Plan {
            outbound: options.outbound_port,
            inbound: options.inbound_port,
            proxy_uid: options.proxy_uid,
            inbound_only,
            inbound_skip,
            outbound_only,
            cidr_only,
            outbound_skip,
            cidr_skip: CidrSet::union(&options.exclude_outbound_cidrs),
        })
    }

    /// Whether a peer's connection to `port` comes to the sidecar.
    pub fn redirects_inbound(&self, port: u16) -> bool {
        self.inbound_only.as_ref().is_none_or(|only| only.contains(port)) && !self.inbound_skip.contains(port)
    }

    /// Whether the application's connection to `target` comes to the sidecar.
    pub fn redirects_outbound(&self, target: SocketAddr) -> bool {
        let (address, port) = (target.ip(), target.port());
        self.outbound_only.as_ref().is_none_or(|only| only.contains(port))
            && self.cidr_only.as_ref().is_none_or(|only| only.contains(address))
            && !self.outbound_skip.contains(port)
            && !self.cidr_skip.contains(address)
    }

    /// One line for the operator.
    pub fn summary(&self) -> String {
        format!("outbound to port {}, inbound to port {}, all but uid {}", self.outbound, self.inbound, self.proxy_uid)
    }
}

/// Several values are one list; a `*` among them is everything, and so is a list of nothing.
fn only<'v, T>(values: &'v [Included<T>], union: impl FnOnce(Vec<&'v T>) -> T) -> Option<T> {
    let mut sets = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Included::All => return None,
            Included::Only(set) => sets.push(set),
        }
    }
    Some(union(sets))
}

fn are_all_in(ports: &PortSet, skipped: &PortSet) -> bool {
    ports.ranges().iter().flat_map(|&(from, to)| from..=to).all(|port| skipped.contains(port))
}

fn parse_included(text: &str) -> Result<Included<PortSet>, String> {
    included(text)
}

fn parse_included_cidrs(text: &str) -> Result<Included<CidrSet>, String> {
    included(text)
}

fn included<T: FromStr<Err = String>>(text: &str) -> Result<Included<T>, String> {
    if text.trim() == "*" {
        return Ok(Included::All);
    }
    text.parse().map(Included::Only).map_err(|message: String| format!("{message}; or `*` for all"))
}

fn parse_port(text: &str) -> Result<NonZeroU16, String> {
    text.parse().map_err(|_| "not a port; allowed: 1 to 65535".to_owned())
}

/// Root is refused: whatever ran as root in the pod would pass by the sidecar. 2^32-1 is "no uid" to the kernel.
fn parse_uid(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(uid) if uid != 0 && uid != u32::MAX => Ok(uid),
        _ => Err(format!("not a uid for the sidecar; allowed: 1 to {}, not root's 0", u32::MAX - 1)),
    }
}

fn non_zero(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).expect("no port of the contract is zero")
}
