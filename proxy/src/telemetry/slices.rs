//! What came in one second, as the statistics stream tells it: the difference of two looks at the same counts that the page shows.
//! Looked at on the control thread; the workers know nothing of it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use laneway_core::tag::Tag;
use laneway_core::why::{TagSource, Why};
use laneway_proto::telemetry::lane_stat::{self, SourceCount, WhyCount};
use laneway_proto::telemetry::{LaneStat, RuleStat, Slice};

use super::flow::{Labels, OTHER, Outcome, Spoken, TagLabel, Totals};
use super::lanes::added_up;
use super::rules::{self, RuleMode};
use super::{Direction, Telemetry};

/// Key of calls that may have lost one of several lanes.
const AMBIGUOUS: &str = "ambiguous";

/// Remembers the last look.
pub(crate) struct Slicer {
    telemetry: Telemetry,
    totals: BTreeMap<Labels, Totals>,
    rules: BTreeMap<(String, String, RuleMode), u64>,
}

impl Slicer {
    /// What was counted before is told by nobody.
    pub(crate) fn new(telemetry: Telemetry) -> Slicer {
        let (totals, rules) = (telemetry.totals(), rules_of(&telemetry));
        Slicer { telemetry, totals, rules }
    }

    /// What came since the last look, and how many rows found no room. `None`: nothing.
    pub(crate) fn slice(&mut self, end: SystemTime, rows_max: usize) -> Option<(Slice, u64)> {
        let (totals, rules) = (self.telemetry.totals(), rules_of(&self.telemetry));
        let nothing = Totals::default();
        let rows = totals.iter().filter_map(|(labels, now)| {
            let before = self.totals.get(labels).unwrap_or(&nothing);
            row(labels, before, now)
        });
        let (stats, dropped) = fold(rows.collect(), rows_max);
        let rule_stats: Vec<RuleStat> = rules
            .iter()
            .filter_map(|(key @ (lane, rule, mode), now)| {
                let came = now.saturating_sub(self.rules.get(key).copied().unwrap_or(0));
                let is_dry = *mode == RuleMode::DryRun;
                // Only those inside the share are counted, here and there.
                (came > 0).then(|| RuleStat {
                    resource: lane.clone(),
                    rule: rule.clone(),
                    matches: came,
                    selected: came,
                    dry_run: is_dry,
                })
            })
            .collect();
        (self.totals, self.rules) = (totals, rules);
        let is_something = !stats.is_empty() || !rule_stats.is_empty();
        is_something.then(|| (Slice { end_time: Some(end.into()), stats, rule_stats }, dropped))
    }
}

fn rules_of(telemetry: &Telemetry) -> BTreeMap<(String, String, RuleMode), u64> {
    let total = rules::total(telemetry.workers.iter().map(|worker| &worker.0.rules));
    let owned =
        |((lane, rule, mode), count): ((&str, &str, RuleMode), u64)| ((lane.to_owned(), rule.to_owned(), mode), count);
    total.into_iter().map(owned).collect()
}

/// `None`: nothing came. Counts that went back are those of a flow that was forgotten meanwhile: it began at 0 again.
fn row(labels: &Labels, before: &Totals, now: &Totals) -> Option<LaneStat> {
    let outcomes = grown(&before.outcomes, &now.outcomes);
    let outcomes: Vec<(Outcome, u64)> = outcomes.into_iter().filter(|(o, _)| o.spoken != Spoken::Opaque).collect();
    let escapes = grown(&before.escapes, &now.escapes);
    let ambiguous = came(before.ambiguous, now.ambiguous);
    if outcomes.is_empty() && escapes.is_empty() && ambiguous == 0 {
        return None;
    }
    let (mut by_source, mut by_why) = (BTreeMap::<TagSource, u64>::new(), BTreeMap::<Why, u64>::new());
    for (outcome, count) in &outcomes {
        *by_source.entry(outcome.source).or_default() += count;
        *by_why.entry(outcome.why).or_default() += count;
    }
    let request_bytes = came(before.request_bytes, now.request_bytes);
    let response_bytes = came(before.response_bytes, now.response_bytes);
    let is_outbound = labels.direction == Direction::Outbound;
    let (direction, received_bytes, sent_bytes) = match labels.direction {
        Direction::Inbound => (lane_stat::Direction::Inbound, request_bytes, response_bytes),
        Direction::Outbound => (lane_stat::Direction::Outbound, response_bytes, request_bytes),
    };
    let latency = now.latencies.sparse_since(&before.latencies);
    let (latency_index, latency_count) = latency.into_iter().unzip();
    let by_source = by_source.into_iter().map(|(source, requests)| SourceCount { source: source.into(), requests });
    let by_why = by_why.into_iter().filter(|_| is_outbound);
    let escapes = escapes.into_iter().map(|(lane, count)| {
        let lane = lane.as_ref().map_or(AMBIGUOUS, Tag::as_str);
        (lane.to_owned(), count)
    });
    Some(LaneStat {
        direction: direction.into(),
        peer_service: labels.peer_service.to_string(),
        peer_tag: wire_tag(&labels.peer_tag),
        lane_group: labels.group.to_string(),
        request_tag: wire_tag(&labels.lane),
        requests: outcomes.iter().map(|(_, count)| count).sum(),
        errors: outcomes.iter().filter(|(outcome, _)| outcome.is_error()).map(|(_, count)| count).sum(),
        received_bytes,
        sent_bytes,
        by_source: by_source.collect(),
        by_why: by_why.map(|(why, requests)| WhyCount { why: why.into(), requests }).collect(),
        escapes: escapes.collect(),
        ambiguous,
        latency_index,
        latency_count,
    })
}

/// Baseline, and who is not known, have none.
fn wire_tag(tag: &TagLabel) -> String {
    match tag {
        TagLabel::Unknown | TagLabel::Baseline => String::new(),
        TagLabel::Tag(_) | TagLabel::Other => tag.as_str().to_owned(),
    }
}

fn came(before: u64, now: u64) -> u64 {
    now.checked_sub(before).unwrap_or(now)
}

fn grown<K: Copy + Ord>(before: &[(K, u64)], now: &[(K, u64)]) -> BTreeMap<K, u64> {
    let before = added_up(before);
    let mut grown = added_up(now);
    grown.retain(|key, count| {
        *count = came(before.get(key).copied().unwrap_or(0), *count);
        *count > 0
    });
    grown
}

/// At most so many rows: the busiest stay, the others become one for each direction.
fn fold(mut rows: Vec<LaneStat>, rows_max: usize) -> (Vec<LaneStat>, u64) {
    if rows.len() <= rows_max {
        return (rows, 0);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.requests));
    let rest = rows.split_off(rows_max.saturating_sub(2));
    let dropped = rest.len() as u64;
    let mut others: BTreeMap<i32, LaneStat> = BTreeMap::new();
    for row in rest {
        let other = others.entry(row.direction).or_insert_with(|| LaneStat {
            direction: row.direction,
            peer_service: OTHER.to_owned(),
            peer_tag: OTHER.to_owned(),
            lane_group: row.lane_group.clone(),
            request_tag: OTHER.to_owned(),
            ..LaneStat::default()
        });
        merge(other, row);
    }
    rows.extend(others.into_values());
    (rows, dropped)
}

fn merge(into: &mut LaneStat, row: LaneStat) {
    into.requests += row.requests;
    into.errors += row.errors;
    into.received_bytes += row.received_bytes;
    into.sent_bytes += row.sent_bytes;
    into.ambiguous += row.ambiguous;
    for (lane, count) in row.escapes {
        *into.escapes.entry(lane).or_default() += count;
    }
    for SourceCount { source, requests } in row.by_source {
        match into.by_source.iter_mut().find(|known| known.source == source) {
            Some(known) => known.requests += requests,
            None => into.by_source.push(SourceCount { source, requests }),
        }
    }
    for WhyCount { why, requests } in row.by_why {
        match into.by_why.iter_mut().find(|known| known.why == why) {
            Some(known) => known.requests += requests,
            None => into.by_why.push(WhyCount { why, requests }),
        }
    }
    let known = into.latency_index.drain(..).zip(into.latency_count.drain(..));
    let mut latency: BTreeMap<u32, u64> = known.collect();
    for (bucket, count) in row.latency_index.into_iter().zip(row.latency_count) {
        *latency.entry(bucket).or_default() += count;
    }
    (into.latency_index, into.latency_count) = latency.into_iter().unzip();
}

#[cfg(test)]
mod tests;
