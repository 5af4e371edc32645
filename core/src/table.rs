//! The instances of one service, grouped by tag and port so that a choice looks only at those it may take. Choosing: two
//! drawn by weight, the one with fewer requests outstanding.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use laneway_proto::contract::PORT_NAME_ASIDE;

use crate::decide::{Load, WHOLE_SHARE};
use crate::share::Dice;
use crate::snapshot::{Endpoint, EndpointAddr, EndpointState, Protocol};
use crate::tag::Tag;

/// A service and everything that runs of it.
pub(crate) struct Table {
    pub(crate) name: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) hosts: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ports: Vec<Port>,
    /// Sorted by tag, baseline first.
    pub(crate) pools: Vec<Pool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Port {
    /// 0: any.
    pub(crate) number: u16,
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
}

/// The instances of one tag.
pub(crate) struct Pool {
    pub(crate) tag: Option<Tag>,
    /// Sorted by port name.
    pub(crate) sets: Vec<Set>,
}

/// The endpoints of one tag with one port name.
pub(crate) struct Set {
    pub(crate) port_name: Arc<str>,
    /// Sorted by address.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Sum of the weights of usable endpoints up to and with each.
    weights: Vec<u64>,
    /// Those that are not draining: the denominator of a threshold.
    counted: u32,
    usable: u32,
}

/// Which endpoints a choice is among.
#[derive(Clone, Copy)]
pub(crate) struct Among<'s, 'p> {
    pub(crate) table: &'s Table,
    /// Positions in the table.
    pub(crate) pools: &'p [u32],
    /// `""`, where no port has that name, is every port.
    pub(crate) port_name: &'p str,
    /// The port that was dialled: where an endpoint with port 0 is called.
    pub(crate) port: u16,
    /// For baseline: ejection never takes the last instance.
    pub(crate) is_last_resort: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) counted: u32,
    pub(crate) usable: u32,
}

impl Table {
    /// Position of the pool of a tag.
    pub(crate) fn pool_of(&self, tag: Option<Tag>) -> Option<u32> {
        self.pools.binary_search_by(|pool| pool.tag.cmp(&tag)).ok().map(|at| at as u32)
    }

    /// The port with that number, else the one that stands for any.
    pub(crate) fn port_index(&self, number: u16) -> Option<u32> {
        let position = |number: u16| self.ports.iter().position(|port| port.number == number);
        position(number).or_else(|| position(0)).map(|index| index as u32)
    }

    pub(crate) fn port_named(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| &*port.name == name)
    }

    /// Name of the port that instances listen on under that number.
    pub(crate) fn port_name_of_instances(&self, number: u16) -> Option<&str> {
        let sets = || self.pools.iter().flat_map(|pool| &pool.sets);
        let exact = sets().find(|set| set.endpoints.iter().any(|e| e.address.0.port() == number));
        let found = exact.or_else(|| sets().find(|set| set.endpoints.iter().any(|e| e.address.0.port() == 0)));
        found.map(|set| &*set.port_name)
    }

    pub(crate) fn endpoint(&self, at: At) -> &Endpoint {
        &self.set(at).endpoints[at.endpoint as usize]
    }

    pub(crate) fn set(&self, at: At) -> &Set {
        &self.pools[at.pool as usize].sets[at.set as usize]
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (At, &Endpoint)> {
        self.pools.iter().enumerate().flat_map(|(pool, in_pool)| {
            in_pool.sets.iter().enumerate().flat_map(move |(set, in_set)| {
                in_set.endpoints.iter().enumerate().map(move |(endpoint, found)| {
                    (At { pool: pool as u32, set: set as u32, endpoint: endpoint as u32 }, found)
                })
            })
        })
    }

    /// Groups endpoints into pools.
    pub(crate) fn pools(mut endpoints: Vec<(Endpoint, Arc<str>)>) -> Vec<Pool> {
        endpoints.sort_by(|(a, a_port), (b, b_port)| (a.tag, a_port, a.address).cmp(&(b.tag, b_port, b.address)));
        let mut pools: Vec<Pool> = Vec::new();
        for (endpoint, port_name) in endpoints {
            if pools.last().is_none_or(|pool| pool.tag != endpoint.tag) {
                pools.push(Pool { tag: endpoint.tag, sets: Vec::new() });
            }
            let Some(pool) = pools.last_mut() else { continue };
            if pool.sets.last().is_none_or(|set| set.port_name != port_name) {
                pool.sets.push(Set { port_name, endpoints: Vec::new(), weights: Vec::new(), counted: 0, usable: 0 });
            }
            if let Some(set) = pool.sets.last_mut() {
                set.push(endpoint);
            }
        }
        pools
    }
}

impl Pool {
    /// Is any of its instances with that port usable?
    pub(crate) fn has_usable(&self, port_name: &str) -> bool {
        self.sets.iter().any(|set| *set.port_name == *port_name && set.usable > 0)
    }
}

/// Position of an endpoint in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) pool: u32,
    pub(crate) set: u32,
    pub(crate) endpoint: u32,
}

impl Set {
    fn push(&mut self, endpoint: Endpoint) {
        let weight = if endpoint.state.is_usable() { u64::from(endpoint.weight) } else { 0 };
        self.weights.push(self.total() + weight);
        self.counted += u32::from(endpoint.state != EndpointState::Draining);
        self.usable += u32::from(endpoint.state.is_usable());
        self.endpoints.push(endpoint);
    }

    fn total(&self) -> u64 {
        self.weights.last().copied().unwrap_or(0)
    }
}

/// Two that differ, or the only one.
type Drawn<'s> = (&'s Endpoint, Option<&'s Endpoint>);

/// Instances may all be at the beginning of their warm-up: somebody is to be called.
const WARM_DRAWS_MAX: u32 = 16;

impl<'s, 'p> Among<'s, 'p> {
    fn sets(self) -> impl Iterator<Item = &'s Set> + Clone + use<'s, 'p> {
        let is_named = |name: &str| {
            let sets = || self.pools.iter().flat_map(move |at| &self.table.pools[*at as usize].sets);
            sets().any(|set| &*set.port_name == name)
        };
        let every = self.port_name.is_empty() && !is_named("");
        self.pools.iter().flat_map(move |at| &self.table.pools[*at as usize].sets).filter(move |set| {
            &*set.port_name == self.port_name || (every && !set.port_name.starts_with(PORT_NAME_ASIDE))
        })
    }

    fn endpoints(self) -> impl Iterator<Item = &'s Endpoint> + use<'s, 'p> {
        self.sets().flat_map(|set| &set.endpoints)
    }

    pub(crate) fn health(self, load: &dyn Load) -> Health {
        let mut health = Health { counted: 0, usable: 0 };
        for set in self.sets() {
            health.counted += set.counted;
            health.usable += set.usable;
        }
        if load.has_ejected() && health.usable > 0 {
            let usable = self.endpoints().filter(|e| self.is_usable(e, load)).count() as u32;
            health.usable = if usable == 0 && self.is_last_resort { health.usable } else { usable };
        }
        health
    }

    fn is_usable(self, endpoint: &Endpoint, load: &dyn Load) -> bool {
        endpoint.state.is_usable() && !load.is_ejected(self.called_at(endpoint))
    }

    /// Where an endpoint is called.
    fn called_at(self, endpoint: &Endpoint) -> EndpointAddr {
        endpoint.address.with_port(self.port)
    }

    /// Every endpoint that [`Among::pick`] may draw: for `explain` alone.
    pub(crate) fn candidates(self, load: &dyn Load) -> Vec<EndpointAddr> {
        let (mut usable, mut ejected) = (Vec::new(), Vec::new());
        for set in self.sets() {
            for endpoint in set.endpoints.iter().filter(|e| e.state.is_usable() && e.weight > 0) {
                let address = self.called_at(endpoint);
                if load.is_ejected(address) { ejected.push(address) } else { usable.push(address) }
            }
        }
        if usable.is_empty() && self.is_last_resort { ejected } else { usable }
    }

    /// The instance to call: `dialled`, if it is one of these and usable, else two drawn by weight and the one with fewer
    /// requests outstanding.
    pub(crate) fn pick(self, dialled: Option<&'s Endpoint>, load: &dyn Load, dice: &mut Dice) -> Option<&'s Endpoint> {
        let ejection_counts = load.has_ejected() && {
            let without = Health { counted: 0, usable: self.sets().map(|set| set.usable).sum() };
            let usable = self.endpoints().filter(|e| self.is_usable(e, load)).count() as u32;
            !(self.is_last_resort && usable == 0) && usable != without.usable
        };
        let usable = |endpoint: &Endpoint| {
            endpoint.state.is_usable() && !(ejection_counts && load.is_ejected(self.called_at(endpoint)))
        };
        if let Some(dialled) = dialled
            && usable(dialled)
            && self.pools.iter().any(|at| self.table.pools[*at as usize].tag == dialled.tag)
        {
            return Some(dialled);
        }
        let (first, second) = self.draw_warm(load, dice, |dice| match ejection_counts {
            true => self.draw_of_usable(&usable, dice),
            false => self.draw(dice),
        })?;
        let outstanding = |endpoint: &Endpoint| load.outstanding(self.called_at(endpoint));
        match second {
            Some(second) if outstanding(second) < outstanding(first) => Some(second),
            _ => Some(first),
        }
    }

    /// Draws, and draws again where an instance that is given less than its share has more than that: so often it is passed over.
    /// Instances that all warm up are passed over alike, and share as their weights say.
    fn draw_warm(
        self,
        load: &dyn Load,
        dice: &mut Dice,
        mut draw: impl FnMut(&mut Dice) -> Option<Drawn<'s>>,
    ) -> Option<Drawn<'s>> {
        let mut drawn = draw(dice)?;
        if !load.has_warming() {
            return Some(drawn);
        }
        for _ in 0..WARM_DRAWS_MAX {
            let is_taken = |endpoint: &Endpoint, dice: &mut Dice| {
                dice.below(u64::from(WHOLE_SHARE)) < u64::from(load.share(self.called_at(endpoint)))
            };
            let (first, second) = drawn;
            if is_taken(first, dice) {
                return Some((first, second.filter(|second| is_taken(second, dice))));
            }
            drawn = draw(dice)?;
        }
        Some(drawn)
    }

    /// Two different ones (one, where there is no other) by weight.
    fn draw(self, dice: &mut Dice) -> Option<Drawn<'s>> {
        let total: u64 = self.sets().map(Set::total).sum();
        if total == 0 {
            return None;
        }
        let (first, before, weight) = self.at_weight(dice.below(total))?;
        if total == weight {
            return Some((first, None));
        }
        // The second falls on what is left when the first is taken out.
        let mut at = dice.below(total - weight);
        if at >= before {
            at += weight;
        }
        Some((first, self.at_weight(at).map(|(second, ..)| second)))
    }

    /// The endpoint that a position in the sum of all weights falls on, the sum before it, and its own weight.
    fn at_weight(self, mut at: u64) -> Option<(&'s Endpoint, u64, u64)> {
        let mut before = 0;
        for set in self.sets() {
            if at < set.total() {
                let index = set.weights.partition_point(|sum| *sum <= at);
                let below = if index == 0 { 0 } else { set.weights[index - 1] };
                return Some((&set.endpoints[index], before + below, set.weights[index] - below));
            }
            at -= set.total();
            before += set.total();
        }
        None
    }

    /// The same by walking, while some are ejected.
    fn draw_of_usable(self, usable: &dyn Fn(&Endpoint) -> bool, dice: &mut Dice) -> Option<Drawn<'s>> {
        let mut pick = |without: Option<&Endpoint>| {
            let left =
                || self.endpoints().filter(|e| usable(e) && without.is_none_or(|taken| !std::ptr::eq(taken, *e)));
            let total: u64 = left().map(|e| u64::from(e.weight)).sum();
            if total == 0 {
                return None;
            }
            let mut at = dice.below(total);
            left().find(|e| {
                let weight = u64::from(e.weight);
                let falls = at < weight;
                at = at.saturating_sub(weight);
                falls
            })
        };
        let first = pick(None)?;
        Some((first, pick(Some(first))))
    }
}

impl EndpointState {
    /// Ready, warming up or not.
    pub(crate) fn is_usable(self) -> bool {
        match self {
            EndpointState::Ready | EndpointState::Warming => true,
            EndpointState::Draining | EndpointState::Unhealthy => false,
        }
    }
}

impl EndpointAddr {
    /// The address that is called: port 0 stands for the port that was dialled.
    pub fn with_port(self, dialled: u16) -> EndpointAddr {
        if self.0.port() == 0 { EndpointAddr(SocketAddr::new(self.0.ip(), dialled)) } else { self }
    }
}

#[cfg(test)]
mod tests;
