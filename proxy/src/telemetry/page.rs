//! One page of metrics: Prometheus text format 0.0.4.

use std::fmt::{Display, Write as _};

use super::names::Metric;

#[derive(Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// The samples of `metric` come next.
    pub(crate) fn family(&mut self, metric: &Metric) {
        let Metric { name, kind, help, .. } = metric;
        self.head(name, kind.label(), help);
    }

    /// The same of a family that is named elsewhere.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    /// One value; `values` are those of the metric's labels, in their order.
    pub(crate) fn sample(&mut self, metric: &Metric, values: &[&str], value: impl Display) {
        debug_assert_eq!(metric.labels.len(), values.len(), "labels of {}", metric.name);
        self.line(metric.name, metric.labels.iter().copied().zip(values.iter().copied()), value);
    }

    /// A whole family of one value.
    pub(crate) fn single(&mut self, metric: &Metric, value: impl Display) {
        self.family(metric);
        self.sample(metric, &[], value);
    }

    /// One histogram. `bounds` in the unit of the metric, `cumulative` up to and with each.
    pub(crate) fn histogram<'l>(
        &mut self,
        name: &str,
        labels: &[(&'l str, &'l str)],
        bounds: &[(String, u64)],
        count: u64,
        sum: impl Display,
    ) {
        let bucket = format!("{name}_bucket");
        for (bound, below) in bounds {
            self.line(&bucket, labels.iter().copied().chain([("le", bound.as_str())]), below);
        }
        self.line(&bucket, labels.iter().copied().chain([("le", "+Inf")]), count);
        self.line(&format!("{name}_sum"), labels.iter().copied(), sum);
        self.line(&format!("{name}_count"), labels.iter().copied(), count);
    }

    pub(crate) fn line<'l>(
        &mut self,
        name: &str,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
        value: impl Display,
    ) {
        self.text.push_str(name);
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{before}{label}=\"");
            escape(value, &mut self.text);
            self.text.push('"');
            before = ',';
        }
        let end = if before == ',' { "}" } else { "" };
        let _ = writeln!(self.text, "{end} {value}");
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// The checker lets no such byte in a name, and a control plane may be another's.
fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
