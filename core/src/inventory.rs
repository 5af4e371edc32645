//! What a snapshot holds, told to people: lanes, services and instances in plain words. Reads only, decides nothing; the admin
//! port of a sidecar shows it.

use std::net::{IpAddr, SocketAddr};

use crate::lane::{Lane, LaneState};
use crate::snapshot::{Endpoint, EndpointState, Protocol, Service, Snapshot};
use crate::tag::Tag;

/// One lane of the sidecar's group.
pub struct LaneView<'s> {
    /// Resource name.
    pub name: &'s str,
    pub tag: Tag,
    /// `enabled`, `dry_run` or `disabled`.
    pub state: &'static str,
    pub priority: i32,
    /// Resource names, sorted.
    pub entry_services: Vec<&'s str>,
    pub redirect: bool,
    /// Names of its entry rules, in their order.
    pub rules: Vec<&'s str>,
    /// Tags that are tried in turn; `None` is baseline. Empty: strict.
    pub fallback: &'s [Option<Tag>],
    /// Services (resource names) with a fallback of their own.
    pub service_fallbacks: Vec<(&'s str, &'s [Option<Tag>])>,
}

/// One port of a service.
pub struct PortView<'s> {
    /// 0: any.
    pub number: u16,
    pub name: &'s str,
    /// `detect`, `opaque`, `http1` or `http2`.
    pub protocol: &'static str,
}

/// The instances of one service with one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// `None`: they have none.
    pub tag: Option<Tag>,
    pub endpoints: usize,
    /// Of these, ready or warming.
    pub usable: usize,
}

/// One socket of one instance.
pub struct EndpointView<'s> {
    pub port_name: &'s str,
    /// Port 0: any.
    pub address: SocketAddr,
    pub tag: Option<Tag>,
    pub weight: u32,
    /// `ready`, `warming`, `draining` or `unhealthy`.
    pub state: &'static str,
    pub is_usable: bool,
}

impl Snapshot {
    /// The lanes of the group, larger priority first.
    pub fn lane_views(&self) -> impl ExactSizeIterator<Item = LaneView<'_>> {
        self.lanes.iter().map(|lane| LaneView::of(lane))
    }

    /// Sorted by name.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The tag that this pod stamps on requests without one; `None`: it stamps nothing.
    pub fn stamps(&self) -> Option<Tag> {
        self.own.stamp
    }
}

impl LaneView<'_> {
    fn of(lane: &Lane) -> LaneView<'_> {
        let mut entry_services: Vec<&str> = lane.entry_services.iter().map(String::as_str).collect();
        entry_services.sort_unstable();
        LaneView {
            name: &lane.name,
            tag: lane.tag,
            state: match lane.state {
                LaneState::Enabled => "enabled",
                LaneState::DryRun => "dry_run",
                LaneState::Disabled => "disabled",
            },
            priority: lane.priority,
            entry_services,
            redirect: lane.redirect,
            rules: lane.rules.iter().map(|rule| rule.name.as_str()).collect(),
            fallback: lane.chain(),
            service_fallbacks: lane.service_chains().collect(),
        }
    }
}

impl Service {
    pub fn hosts(&self) -> &[String] {
        &self.table.hosts
    }

    /// Virtual addresses.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.table.addresses
    }

    pub fn has_policy(&self) -> bool {
        self.policy.is_some()
    }

    pub fn port_views(&self) -> impl ExactSizeIterator<Item = PortView<'_>> {
        self.table.ports.iter().map(|port| PortView {
            number: port.number,
            name: &port.name,
            protocol: match port.protocol {
                Protocol::Detect => "detect",
                Protocol::Opaque => "opaque",
                Protocol::Http1 => "http1",
                Protocol::Http2 => "http2",
            },
        })
    }

    /// Baseline first.
    pub fn pool_views(&self) -> impl ExactSizeIterator<Item = PoolView> {
        self.table.pools.iter().map(|pool| {
            let endpoints = || pool.sets.iter().flat_map(|set| &set.endpoints);
            let usable = endpoints().filter(|endpoint| endpoint.state.is_usable()).count();
            PoolView { tag: pool.tag, endpoints: endpoints().count(), usable }
        })
    }

    /// Baseline first, then by tag, port and address.
    pub fn endpoint_views(&self) -> impl Iterator<Item = EndpointView<'_>> {
        self.table.endpoints().map(|(at, endpoint)| EndpointView::of(&self.table.set(at).port_name, endpoint))
    }
}

impl<'s> EndpointView<'s> {
    fn of(port_name: &'s str, endpoint: &Endpoint) -> EndpointView<'s> {
        EndpointView {
            port_name,
            address: endpoint.address.0,
            tag: endpoint.tag,
            weight: endpoint.weight,
            state: match endpoint.state {
                EndpointState::Ready => "ready",
                EndpointState::Warming => "warming",
                EndpointState::Draining => "draining",
                EndpointState::Unhealthy => "unhealthy",
            },
            is_usable: endpoint.state.is_usable(),
        }
    }
}
