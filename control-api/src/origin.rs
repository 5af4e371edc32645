//! Whom an address stands for, where each may have so much and no more. Pure; ports and reviews of tokens count by it.

use std::net::{IpAddr, Ipv6Addr};

#[cfg(test)]
mod tests;

/// Bits of an IPv6 address that a network gives to whoever it gives one: the rest anybody there makes up, as many as they like.
const GIVEN: u32 = 64;

/// An address of IPv4 is one, in whatever form; one of IPv6 is its /64.
pub fn origin(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> GIVEN << GIVEN).into(),
    }
}
