//! Address ranges as people write them: `10.0.0.0/8,fd00::/8`, of both families in one list.
//!
//! A [`Cidr`] has no bits set past its prefix; a [`CidrSet`] is sorted and holds no range inside another, since nft
//! refuses overlapping intervals.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

const ALLOWED: &str =
    "IPv4 and IPv6 addresses and ranges ADDRESS/BITS, separated by commas, such as 10.0.0.0/8,fd00::/8";

/// One range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// No bit past `bits` is set.
    address: IpAddr,
    bits: u8,
}

/// A list of one flag or variable, parsed. Empty text is the empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    /// Sorted; none contains another.
    ranges: Vec<Cidr>,
}

impl Cidr {
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_ipv4() == address.is_ipv4() && network(address, self.bits) == self.address
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(item: &str) -> Result<Cidr, String> {
        let refuse = |why: &str| Err(format!("`{item}` {why}; allowed: {ALLOWED}"));
        let (address, bits) = match item.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (item, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return refuse("is not an address or a range of addresses");
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits.map(str::parse::<u8>) {
            None => bits_max,
            Some(Ok(bits)) if bits <= bits_max => bits,
            Some(_) => return refuse(&format!("needs a prefix of 0 to {bits_max} bits")),
        };
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return refuse(&format!("is never seen on the wire: write the IPv4 form {v4}"));
        }
        let cidr = Cidr { address: network(address, bits), bits };
        if cidr.address != address {
            return refuse(&format!("has bits set past its prefix: did you mean {cidr} or {address}/{bits_max}?"));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

impl CidrSet {
    pub fn new(ranges: impl IntoIterator<Item = Cidr>) -> CidrSet {
        let mut ranges: Vec<Cidr> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut kept: Vec<Cidr> = Vec::with_capacity(ranges.len());
        for range in ranges {
            // Sorted by address and then by bits, whatever contains a range stands before it, and the last one kept is the only candidate.
            if !kept.last().is_some_and(|last| last.bits <= range.bits && last.contains(range.address)) {
                kept.push(range);
            }
        }
        CidrSet { ranges: kept }
    }

    pub fn union<'a>(sets: impl IntoIterator<Item = &'a CidrSet>) -> CidrSet {
        CidrSet::new(sets.into_iter().flat_map(|set| set.ranges.iter().copied()))
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    pub fn v4(&self) -> impl Iterator<Item = &Cidr> {
        self.ranges.iter().filter(|range| range.is_ipv4())
    }

    pub fn v6(&self) -> impl Iterator<Item = &Cidr> {
        self.ranges.iter().filter(|range| !range.is_ipv4())
    }
}

impl FromStr for CidrSet {
    type Err = String;

    fn from_str(text: &str) -> Result<CidrSet, String> {
        if text.trim().is_empty() {
            return Ok(CidrSet::default());
        }
        let ranges: Result<Vec<Cidr>, String> = text.split(',').map(|item| item.trim().parse()).collect();
        Ok(CidrSet::new(ranges?))
    }
}

impl fmt::Display for CidrSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma}{range}")?;
        }
        Ok(())
    }
}

fn network(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & u32::MAX.checked_shl(32 - bits).unwrap_or(0))),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & u128::MAX.checked_shl(128 - bits).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests;
