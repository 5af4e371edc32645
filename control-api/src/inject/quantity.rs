//! Amounts of CPU and memory as Kubernetes writes them: `250m`, `64Mi`. Kept as they were written; `none` is no amount.

use std::fmt;
use std::str::FromStr;

/// Units of memory and how many bytes they are.
const MEMORY_UNITS: [(&str, u128); 9] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];
/// Digits of a number; with the largest unit it fits with room to spare.
const DIGITS_MAX: usize = 12;

/// An amount of CPU: `2`, `0.5`, `250m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(
    /// Thousandths.
    Option<u64>,
);

/// An amount of memory: `64Mi`, `128M`, `1073741824`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(Option<(u64, &'static str)>);

impl Cpu {
    /// Nothing is no bound.
    pub fn is_above(self, limit: Cpu) -> bool {
        matches!((self.0, limit.0), (Some(request), Some(limit)) if request > limit)
    }

    pub fn is_none(self) -> bool {
        self.0.is_none()
    }
}

impl Memory {
    /// Nothing is no bound.
    pub fn is_above(self, limit: Memory) -> bool {
        matches!((self.bytes(), limit.bytes()), (Some(request), Some(limit)) if request > limit)
    }

    pub fn is_none(self) -> bool {
        self.0.is_none()
    }

    fn bytes(self) -> Option<u128> {
        let (number, unit) = self.0?;
        let (_, factor) = MEMORY_UNITS.iter().find(|(name, _)| *name == unit)?;
        Some(u128::from(number) * factor)
    }
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Cpu, String> {
        if text == "none" {
            return Ok(Cpu(None));
        }
        let milli = match (text.strip_suffix('m'), text.split_once('.')) {
            (Some(milli), _) => number(milli),
            // Down to a thousandth: `0.25` is `250m`.
            (None, Some((whole, part))) if part.len() <= 3 && number(part).is_some() => {
                number(whole).zip(number(&format!("{part:0<3}"))).map(|(whole, milli)| whole * 1000 + milli)
            }
            (None, Some(_)) => None,
            (None, None) => number(text).map(|whole| whole * 1000),
        };
        let refused = || format!("`{text}` is no amount of CPU; allowed: such as 2, 0.5 or 250m, or none");
        milli.filter(|milli| *milli > 0).map(|milli| Cpu(Some(milli))).ok_or_else(refused)
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Memory, String> {
        if text == "none" {
            return Ok(Memory(None));
        }
        let amount = MEMORY_UNITS.iter().find_map(|(unit, _)| {
            let number = number(text.strip_suffix(unit)?)?;
            Some((number, *unit))
        });
        let refused = || format!("`{text}` is no amount of memory; allowed: such as 64Mi, 1Gi or 128M, or none");
        amount.filter(|(number, _)| *number > 0).map(|amount| Memory(Some(amount))).ok_or_else(refused)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(milli) if milli % 1000 == 0 => write!(f, "{}", milli / 1000),
            Some(milli) => write!(f, "{milli}m"),
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some((number, unit)) => write!(f, "{number}{unit}"),
        }
    }
}

/// Digits alone, not too many.
fn number(digits: &str) -> Option<u64> {
    let is_number = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}
