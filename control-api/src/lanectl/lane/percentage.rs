//! `lanectl lane set-percentage`: the share of one rule. Everything else of the lane stays as it is, and somebody who
//! changed the lane meanwhile is not overwritten (etag).

use laneway_proto::admin::{Lane, UpdateLaneRequest};
use laneway_proto::routing::EntryRule;
use prost_types::FieldMask;

use super::super::Trouble;
use super::super::arguments::SetPercentage;
use super::super::client::Client;
use super::super::find;
use super::super::look::Look;
use super::{difference, percent_of, written};
use crate::name;

pub(super) async fn set(
    client: &mut Client,
    options: SetPercentage,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let before = find::lane(client, &options.name, &options.place).await?;
    let mut lane = before.clone();
    let (title, rule) = rule_of(&mut lane, options.rule.as_deref())?;
    let old = rule.percent.replace(options.percent);
    let done =
        format!("{title}: {} of the requests that match, was {}", percent_of(Some(options.percent)), percent_of(old));
    let difference = if options.dry_run { difference(&before, &lane, look) } else { String::new() };
    let request = UpdateLaneRequest {
        lane: Some(lane),
        update_mask: Some(FieldMask { paths: vec!["*".to_owned()] }),
        validate_only: options.dry_run,
        reason: options.reason.text,
        ..UpdateLaneRequest::default()
    };
    let lane = client.update_lane(request).await?;
    if options.dry_run {
        out.push_str(&format!("{} {done} (dry run)\n{difference}", before.name));
        return Ok(());
    }
    written(client, &lane, &done, options.wait, look, out).await
}

/// The rule that was meant, and what to call it.
fn rule_of<'l>(lane: &'l mut Lane, wanted: Option<&str>) -> Result<(String, &'l mut EntryRule), Trouble> {
    let id = name::id(&lane.name).to_owned();
    let rules = lane.entry.as_mut().map(|entry| entry.rules.as_mut_slice()).unwrap_or_default();
    let names: Vec<String> = rules.iter().enumerate().map(|(at, rule)| name_of(at, rule)).collect();
    let position = match (wanted, names.as_slice()) {
        (_, []) => {
            return Err(Trouble::Said(format!(
                "the lane {id:?} has no rules: it is entered by its tag alone. Give it one: lanectl get lane {id} -o \
                 yaml, add entry.rules, lanectl apply"
            )));
        }
        (None, [_]) => 0,
        (None, _) => {
            return Err(Trouble::Usage(format!("the lane {id:?} has several rules, say --rule: {}", names.join(", "))));
        }
        (Some(wanted), _) => names.iter().position(|name| name == wanted).ok_or_else(|| {
            Trouble::Said(format!("the lane {id:?} has no rule {wanted:?}; it has {}", names.join(", ")))
        })?,
    };
    Ok((format!("rule {}", names[position]), &mut rules[position]))
}

/// As metrics call it: its name, else its position.
fn name_of(position: usize, rule: &EntryRule) -> String {
    if rule.name.is_empty() { position.to_string() } else { rule.name.clone() }
}
