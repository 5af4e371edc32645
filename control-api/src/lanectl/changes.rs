//! What a change did, for people: a line, or the lines of the document that differ. Pure.

use laneway_core::document;
use laneway_proto::admin::{Lane, LaneGroup, ResourceChange, ServicePolicy, resource_change};
use serde_json::Value;

use super::look::{Colour, Look};
use super::print;
use crate::{json, name};

#[cfg(test)]
mod tests;

/// Lines that stay the same, shown around those that do not.
const CONTEXT: usize = 3;
/// Pairs of lines that are compared; what is larger is shown as all gone, all new.
const PAIRS_MAX: usize = 4_000_000;

/// "namespaces/default/laneGroups/shop/lanes/gray updated: priority"
pub(super) fn line(change: &ResourceChange) -> String {
    let paths = change.changed_paths.join(", ");
    let paths = if paths.is_empty() { paths } else { format!(": {paths}") };
    format!("{} {}{paths}", change.name, done(change.kind()))
}

/// What several did, in a cell: "lane gray updated: priority", "3 created, 1 deleted".
pub(super) fn summary(changes: &[ResourceChange]) -> String {
    if let [only] = changes {
        return line(&ResourceChange { name: short(&only.name), ..only.clone() });
    }
    use resource_change::Kind;
    let parts = [Kind::Created, Kind::Updated, Kind::Deleted, Kind::Unspecified].map(|kind| {
        let count = changes.iter().filter(|change| change.kind() == kind).count();
        (count > 0).then(|| format!("{count} {}", done(kind)))
    });
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The line, and below it the document with what went and what came.
pub(super) fn shown(change: &ResourceChange, look: Look) -> String {
    let (before, after) = (document(&change.name, &change.before_json), document(&change.name, &change.after_json));
    format!("{}\n{}", line(change), difference(&before, &after, look))
}

fn done(kind: resource_change::Kind) -> &'static str {
    match kind {
        resource_change::Kind::Created => "created",
        resource_change::Kind::Updated => "updated",
        resource_change::Kind::Deleted => "deleted",
        resource_change::Kind::Unspecified => "changed",
    }
}

fn short(resource: &str) -> String {
    let kind = match resource {
        _ if name::parse_lane(resource).is_some() => "lane",
        _ if name::parse_policy(resource).is_some() => "policy",
        _ if name::parse_group(resource).is_some() => "lanegroup",
        _ => return resource.to_owned(),
    };
    format!("{kind} {}", name::id(resource))
}

/// An object as people write it. Of a control plane that knows more than we do: as it came.
fn document(resource: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    super::keep_descriptors();
    let read = if name::parse_lane(resource).is_some() {
        json::read_input::<Lane>(text, "Lane").map(|lane| document::write_lane(&lane))
    } else if name::parse_policy(resource).is_some() {
        json::read_input::<ServicePolicy>(text, "ServicePolicy").map(|policy| document::write_policy(&policy))
    } else {
        json::read_input::<LaneGroup>(text, "LaneGroup").map(|group| document::write_group(&group))
    };
    let value = read.or_else(|_| serde_json::from_str(text)).unwrap_or_else(|_| Value::String(text.to_owned()));
    print::yaml(&value)
}

/// Both texts as one: `-` before what went, `+` before what came, `...` for what stays and is far from either.
pub(super) fn difference(before: &str, after: &str, look: Look) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let all = marked(&before, &after);
    let is_near = |at: usize| {
        let around = &all[at.saturating_sub(CONTEXT)..all.len().min(at + CONTEXT + 1)];
        around.iter().any(|(mark, _)| *mark != ' ')
    };
    let (mut text, mut skips) = (String::new(), false);
    for (at, (mark, line)) in all.iter().enumerate() {
        if is_near(at) {
            let shown = format!("{mark} {line}");
            let shown = shown.trim_end();
            match mark {
                '+' => text.push_str(&look.paint(Colour::Good, shown)),
                '-' => text.push_str(&look.paint(Colour::Bad, shown)),
                _ => text.push_str(shown),
            }
            text.push('\n');
            skips = false;
        } else if !skips {
            text.push_str(&look.paint(Colour::Faint, "  ..."));
            text.push('\n');
            skips = true;
        }
    }
    text
}

/// Every line of both, in order, those of the longest common part once.
fn marked<'a>(before: &[&'a str], after: &[&'a str]) -> Vec<(char, &'a str)> {
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = before.iter().zip(after).take_while(same).count();
    let (old, new) = (&before[head..], &after[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);

    let mut all: Vec<(char, &str)> = before[..head].iter().map(|line| (' ', *line)).collect();
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        all.extend(old.iter().map(|line| ('-', *line)));
        all.extend(new.iter().map(|line| ('+', *line)));
    } else {
        all.extend(aligned(old, new));
    }
    all.extend(before[before.len() - tail..].iter().map(|line| (' ', *line)));
    all
}

fn aligned<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(char, &'a str)> {
    // Longest common part of what is left from line `i` of the old and `j` of the new.
    let width = new.len() + 1;
    let mut longest = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut all) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        let (old_line, new_line) = (old.get(i), new.get(j));
        match (old_line, new_line) {
            (Some(old_line), Some(new_line)) if old_line == new_line => {
                all.push((' ', *old_line));
                (i, j) = (i + 1, j + 1);
            }
            (Some(old_line), _) if new_line.is_none() || longest[(i + 1) * width + j] >= longest[i * width + j + 1] => {
                all.push(('-', *old_line));
                i += 1;
            }
            _ => {
                all.extend(new_line.map(|new_line| ('+', *new_line)));
                j += 1;
            }
        }
    }
    all
}
