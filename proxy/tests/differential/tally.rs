//! Counts what was refused and by whom, and prints it as a table.

use std::collections::BTreeMap;
use std::fmt;

use super::check::{Outcome, Verdict};
use super::message::Role;

/// Bytes of an example that are shown.
const EXAMPLE_BYTES_MAX: usize = 160;

#[derive(Default)]
pub(crate) struct Tally {
    rows: BTreeMap<(&'static str, String), Row>,
}

#[derive(Default)]
pub(crate) struct Row {
    pub(crate) count: u64,
    pub(crate) hyper_takes: u64,
    pub(crate) rfc_takes: u64,
    /// The shortest of which hyper is of another mind than we.
    example: Option<Vec<u8>>,
}

impl Tally {
    pub(crate) fn add(&mut self, role: Role, bytes: &[u8], outcome: &Outcome) {
        let side = if role == Role::Request { "request" } else { "answer" };
        let labels: Vec<String> = match &outcome.verdict {
            Verdict::Refused(reason) => vec![reason.label().to_owned()],
            Verdict::Taken(tolerated) if tolerated.is_empty() => vec!["(taken)".to_owned()],
            Verdict::Taken(tolerated) => tolerated.iter().map(|tolerance| format!("(taken) {tolerance:?}")).collect(),
        };
        for label in labels {
            let row = self.rows.entry((side, label)).or_default();
            row.count += 1;
            row.hyper_takes += u64::from(outcome.hyper_takes);
            row.rfc_takes += u64::from(outcome.rfc_takes);
            let differs = outcome.hyper_takes != matches!(outcome.verdict, Verdict::Taken(_));
            if differs && row.example.as_ref().is_none_or(|shown| bytes.len() < shown.len()) {
                row.example = Some(bytes.to_vec());
            }
        }
    }

    #[allow(dead_code, reason = "the fuzz target has one")]
    pub(crate) fn merge(&mut self, other: Tally) {
        for (label, row) in other.rows {
            let into = self.rows.entry(label).or_default();
            into.count += row.count;
            into.hyper_takes += row.hyper_takes;
            into.rfc_takes += row.rfc_takes;
            into.example = into.example.take().or(row.example);
        }
    }

    /// Rows of what was refused: side, reason, counts.
    #[allow(dead_code, reason = "the fuzz target only prints")]
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, &str, &Row)> {
        self.rows
            .iter()
            .map(|((side, label), row)| (*side, label.as_str(), row))
            .filter(|(_, label, _)| !label.starts_with('('))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "| side | we refuse | inputs | hyper takes | the RFC takes | shortest where hyper differs |"
        )?;
        writeln!(formatter, "| --- | --- | ---: | ---: | ---: | --- |")?;
        for ((side, label), row) in &self.rows {
            let Row { count, hyper_takes, rfc_takes, example } = row;
            let bytes = example.as_deref().unwrap_or_default();
            let shown = bytes[..bytes.len().min(EXAMPLE_BYTES_MAX)].escape_ascii();
            writeln!(formatter, "| {side} | {label} | {count} | {hyper_takes} | {rfc_takes} | `{shown}` |")?;
        }
        Ok(())
    }
}
