//! Sets of TCP ports as people write them: `80,443,8000-8100`.
//!
//! A [`PortSet`] is always sorted, merged and without port 0: nft refuses overlapping intervals, and one set has one text.

use std::{fmt, ops::RangeInclusive, str::FromStr};

/// What a port list may be, for messages.
const ALLOWED: &str = "ports 1 to 65535 and ranges FROM-TO, separated by commas, such as 80,443,8000-8100";

/// A list of one flag or variable, parsed. Empty text is the empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    /// Sorted, apart by at least one port.
    ranges: Vec<(u16, u16)>,
}

impl PortSet {
    /// The ranges merged into a set.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> PortSet {
        let mut ranges: Vec<(u16, u16)> = ranges.into_iter().map(|range| (*range.start(), *range.end())).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        PortSet { ranges: merged }
    }

    /// This set and all the others in one.
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a PortSet>) -> PortSet {
        PortSet::new(sets.into_iter().flat_map(|set| set.ranges.iter().map(|&(from, to)| from..=to)))
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, port: u16) -> bool {
        self.ranges.iter().any(|&(from, to)| (from..=to).contains(&port))
    }

    /// First and last port of each range, ascending.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.ranges
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(text: &str) -> Result<PortSet, String> {
        if text.trim().is_empty() {
            return Ok(PortSet::default());
        }
        let ranges: Result<Vec<_>, String> = text.split(',').map(|item| range(item.trim())).collect();
        Ok(PortSet::new(ranges?))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if from == to {
                write!(formatter, "{comma}{from}")?;
            } else {
                write!(formatter, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

fn range(item: &str) -> Result<RangeInclusive<u16>, String> {
    let (from, to) = item.split_once('-').unwrap_or((item, item));
    let (from, to) = (port(from, item)?, port(to, item)?);
    if from > to {
        return Err(format!("the range `{item}` runs backwards; allowed: {ALLOWED}"));
    }
    Ok(from..=to)
}

fn port(digits: &str, item: &str) -> Result<u16, String> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u16>() {
        Ok(port) if plain && port > 0 => Ok(port),
        _ => Err(format!("`{item}` is not a port or a range of ports; allowed: {ALLOWED}")),
    }
}

#[cfg(test)]
mod tests;
