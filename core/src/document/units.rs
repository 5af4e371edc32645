//! The short forms of documents: `48h` and `500ms`, `2%`, and enum values without their prefix.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor};

const NANOS: u128 = 1_000_000_000;
/// Bound of google.protobuf.Duration: about 10,000 years.
const SECONDS_MAX: u128 = 315_576_000_000;

/// Reads `48h`, `1h30m`, `1.5s`, `500ms`: seconds and nanoseconds.
pub fn parse_duration(text: &str) -> Option<(i64, i32)> {
    let mut rest = text;
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (value, tail) = rest.split_at(number);
        let unit = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(unit);
        let unit: u128 = match unit {
            "h" => 3600 * NANOS,
            "m" => 60 * NANOS,
            "s" => NANOS,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(value, unit)?)?;
        rest = tail;
    }
    if nanos > SECONDS_MAX * NANOS {
        return None;
    }
    Some(((nanos / NANOS) as i64, (nanos % NANOS) as i32))
}

/// A decimal number times a unit, exact.
fn scaled(value: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = match value.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (value, ""),
    };
    if whole.is_empty() || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let whole = whole.parse::<u128>().ok()?.checked_mul(unit)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let parts = fraction.parse::<u128>().ok()?.checked_mul(unit)?;
    let divisor = 10u128.pow(fraction.len() as u32);
    (parts % divisor == 0).then_some(whole + parts / divisor)
}

/// ProtoJSON's form of a duration: `1.5s`.
pub(super) fn proto_duration(seconds: i64, nanos: i32) -> String {
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let text = format!("{seconds}.{nanos:09}");
    format!("{}s", text.trim_end_matches('0'))
}

/// The form that people write: the largest unit without a fraction.
pub(super) fn write_duration(seconds: i64, nanos: i32) -> String {
    match (seconds, nanos) {
        (0, 0) => "0s".into(),
        (s, 0) if s % 3600 == 0 => format!("{}h", s / 3600),
        (s, 0) if s % 60 == 0 => format!("{}m", s / 60),
        (s, 0) => format!("{s}s"),
        (s, n) if n % 1_000_000 == 0 && (0..60).contains(&s) => format!("{}ms", s * 1000 + i64::from(n) / 1_000_000),
        (s, n) => proto_duration(s, n),
    }
}

/// Reads `2%`, `0.01%`: basis points. Whether it is at most 100 % is the checker's question.
pub fn parse_percent(text: &str) -> Option<u32> {
    let hundredths = scaled(text.strip_suffix('%')?.trim_end(), 100)?;
    u32::try_from(hundredths).ok()
}

/// `2%`, `0.01%`
pub fn write_percent(basis_points: u32) -> String {
    let (whole, part) = (basis_points / 100, basis_points % 100);
    match part {
        0 => format!("{whole}%"),
        _ => format!("{whole}.{}%", format!("{part:02}").trim_end_matches('0')),
    }
}

/// `NO_BASELINE_ANY` of `NoBaseline` is `any`, `BASELINE_MODE_NOT_IN_ENABLED_LANES` is `notInEnabledLanes`.
pub(super) fn short_enum(value: &EnumValueDescriptor) -> String {
    let mut prefix = String::new();
    for (at, c) in value.parent_enum().name().char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    prefix.push('_');
    let rest = value.name().strip_prefix(&prefix).unwrap_or(value.name());
    let mut short = String::new();
    let mut upper = false;
    for c in rest.chars() {
        if c == '_' {
            upper = true;
        } else {
            short.push(if upper { c } else { c.to_ascii_lowercase() });
            upper = false;
        }
    }
    short
}

/// An enum value in its short or full form.
pub(super) fn parse_enum(desc: &EnumDescriptor, text: &str) -> Option<EnumValueDescriptor> {
    desc.values().find(|v| v.name() == text || (v.number() != 0 && short_enum(v) == text))
}

/// The short values that may be written.
pub fn enum_words(desc: &EnumDescriptor) -> Vec<String> {
    desc.values().filter(|v| v.number() != 0).map(|v| short_enum(&v)).collect()
}

/// The candidate nearest to what was written, if it is near: at most a third of it wrong.
pub(super) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let limit = (written.len() / 3).max(1);
    let written = written.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|c| (distance(&written, &c.to_ascii_lowercase()), c))
        .filter(|(d, _)| *d <= limit)
        .min()
        .map(|(_, c)| c)
}

/// Edit distance, with a swap of neighbours as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(a[i - 1] != b[j - 1]));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
