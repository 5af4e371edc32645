//! `lanectl lane create`: a lane with at most one rule, from flags.

use laneway_core::document;
use laneway_proto::admin::{CreateLaneRequest, Lane, lane};
use laneway_proto::contract::GROUP_DEFAULT;
use laneway_proto::routing::{Condition, Entry, EntryRule, Sticky};

use super::super::arguments::Create;
use super::super::client::Client;
use super::super::look::Look;
use super::super::{Trouble, documents, keep_descriptors, print};
use super::written;
use crate::name;

pub(super) async fn create(client: &mut Client, options: Create, look: Look, out: &mut String) -> Result<(), Trouble> {
    let (parent, id) = match options.name.rsplit_once("/lanes/") {
        Some((parent, id)) => (parent.to_owned(), id.to_owned()),
        None => {
            let group = group(client, &options).await?;
            (laneway_core::name::group(&options.place.namespace, &group), options.name.clone())
        }
    };
    let lane = lane_of(&options, format!("{parent}/lanes/{id}"));
    let (wait, validate_only) = (options.wait, options.dry_run);
    let request = CreateLaneRequest {
        parent,
        lane_id: id,
        lane: Some(lane),
        validate_only,
        reason: options.reason.text,
        ..CreateLaneRequest::default()
    };
    let lane = client.create_lane(request).await?;
    if validate_only {
        for finding in &lane.warnings {
            eprintln!("warning: {}", documents::line("", finding));
        }
        keep_descriptors();
        out.push_str(&print::values(vec![document::write_lane(&lane)], true, super::Format::Yaml));
        return Ok(());
    }
    let done = if lane.enabled == Some(false) { "created, disabled" } else { "created" };
    written(client, &lane, done, wait, look, out).await
}

/// The group that was said, or the one where that is no question.
async fn group(client: &mut Client, options: &Create) -> Result<String, Trouble> {
    if let Some(group) = &options.place.group {
        return Ok(group.clone());
    }
    let groups = client.groups(&format!("namespaces/{}", options.place.namespace)).await?;
    match groups.as_slice() {
        [] => Ok(GROUP_DEFAULT.to_owned()),
        [only] => Ok(name::id(&only.name).to_owned()),
        several => {
            let ids: Vec<&str> = several.iter().map(|group| name::id(&group.name)).collect();
            Err(Trouble::Usage(format!("there are several groups, say --group: {}", ids.join(", "))))
        }
    }
}

fn lane_of(options: &Create, name: String) -> Lane {
    let matches = match options.headers.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(Condition { all: several.to_vec(), ..Condition::default() }),
    };
    let sticky = (!options.sticky.is_empty()).then(|| Sticky { by: options.sticky.clone(), ..Sticky::default() });
    let has_rule = matches.is_some() || options.percent.is_some();
    let rule = EntryRule { r#match: matches, percent: options.percent, sticky, ..EntryRule::default() };
    let entry = Entry {
        services: options.entry.clone(),
        rules: if has_rule { vec![rule] } else { Vec::new() },
        ..Entry::default()
    };
    Lane {
        name,
        tag: options.tag.clone().unwrap_or_default(),
        owner: options.owner.clone(),
        priority: options.priority,
        enabled: options.disabled.then_some(false),
        expiration: options.ttl.map(lane::Expiration::Ttl),
        entry: (!options.entry.is_empty()).then_some(entry),
        ..Lane::default()
    }
}
