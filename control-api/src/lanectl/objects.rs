//! `lanectl get` and `lanectl delete`.

use std::time::SystemTime;

use laneway_core::document;
use laneway_proto::admin::{
    DeleteLaneGroupRequest, DeleteLaneRequest, DeleteServicePolicyRequest, Lane, LaneGroup, ServicePolicy, lane,
};
use laneway_proto::contract::TAG_HEADER;
use serde_json::Value;

use super::Trouble;
use super::arguments::{Delete, Format, Get, Kind, Kinds};
use super::client::Client;
use super::find::{self, full};
use super::look::Look;
use super::print::{self, Table, dash};
use crate::name;

pub(super) async fn get(client: &mut Client, options: Get, look: Look, out: &mut String) -> Result<(), Trouble> {
    let namespace = if options.all_namespaces { name::ANY } else { &options.place.namespace };
    let parent = format!("namespaces/{namespace}");
    let single = options.name.is_some();
    let wants = |kind: Kinds| options.kind == kind || options.kind == Kinds::All;
    if options.kind == Kinds::All && single {
        return Err(Trouble::Said("a NAME needs a kind: lanegroups, lanes or policies".to_owned()));
    }
    let (mut groups, mut lanes, mut policies) = (Vec::new(), Vec::new(), Vec::new());
    if wants(Kinds::Lanegroups) {
        groups = match &options.name {
            Some(id) => vec![client.group(full(id, laneway_core::name::group(namespace, id))).await?],
            None => client.groups(&parent).await?,
        };
    }
    if wants(Kinds::Lanes) {
        lanes = match &options.name {
            Some(id) => vec![find::lane(client, id, &options.place).await?],
            None => {
                let group = options.place.group.as_deref().unwrap_or(name::ANY);
                client.lanes(&format!("{parent}/laneGroups/{group}")).await?
            }
        };
    }
    if wants(Kinds::Policies) {
        policies = match &options.name {
            Some(id) => vec![client.policy(full(id, laneway_core::name::policy(namespace, id))).await?],
            None => client.policies(&parent).await?,
        };
    }
    match look.format {
        Format::Name => {
            let names = groups.iter().map(|group| &group.name).chain(lanes.iter().map(|lane| &lane.name));
            for name in names.chain(policies.iter().map(|policy| &policy.name)) {
                out.push_str(&format!("{name}\n"));
            }
        }
        Format::Json | Format::Yaml => {
            super::keep_descriptors();
            let mut all: Vec<Value> = groups.iter().map(document::write_group).collect();
            all.extend(lanes.iter().map(document::write_lane));
            all.extend(policies.iter().map(document::write_policy));
            out.push_str(&print::values(all, single, look.format));
        }
        Format::Table | Format::Wide => {
            // Of `all` only what there is; of one kind its head at least.
            let shows = |kind: Kinds, count: usize| options.kind == kind || (wants(kind) && count > 0);
            let tables = [
                shows(Kinds::Lanegroups, groups.len()).then(|| groups_table(&groups, look)),
                shows(Kinds::Lanes, lanes.len()).then(|| lanes_table(&lanes, SystemTime::now(), look)),
                shows(Kinds::Policies, policies.len()).then(|| policies_table(&policies, look)),
            ];
            let tables: Vec<String> = tables.into_iter().flatten().map(|table| table.render(look)).collect();
            out.push_str(&tables.join("\n"));
        }
    }
    Ok(())
}

fn groups_table(groups: &[LaneGroup], look: Look) -> Table {
    let mut table = Table::new(&wide(look, &["GROUP", "NAMESPACE", "SERVICES", "TAG HEADER", "OWNER"], &["REVISION"]));
    for group in groups {
        let services = if group.services.is_empty() { "*".to_owned() } else { group.services.join(",") };
        let header = group.tag.as_ref().map(|tag| tag.header.as_str()).filter(|header| !header.is_empty());
        let mut row = vec![
            name::id(&group.name).to_owned(),
            laneway_core::name::namespace_of(&group.name).to_owned(),
            services,
            header.unwrap_or(TAG_HEADER).to_owned(),
            dash(&group.owner),
        ];
        row.extend(look.is_wide().then(|| group.revision.to_string()));
        table.row(row);
    }
    table
}

pub(super) fn lanes_table(lanes: &[Lane], now: SystemTime, look: Look) -> Table {
    let plain = ["LANE", "GROUP", "TAG", "STATE", "ENDS", "PRIORITY", "ENTRY", "RULES", "COVERED"];
    let mut table = Table::new(&wide(look, &plain, &["NAMESPACE", "OWNER", "REVISION", "CHANGED", "WARNINGS"]));
    for lane in lanes {
        let entry = lane.entry.as_ref();
        let covered = lane.coverage.iter().filter(|service| service.ready_endpoints > 0).count();
        let mut row = vec![
            name::id(&lane.name).to_owned(),
            name::id(laneway_core::name::group_of_lane(&lane.name)).to_owned(),
            lane.tag.clone(),
            state(lane).to_owned(),
            ends(lane, now),
            lane.priority.to_string(),
            dash(&entry.map(|entry| entry.services.join(",")).unwrap_or_default()),
            entry.map_or(0, |entry| entry.rules.len()).to_string(),
            format!("{covered}/{} services", lane.coverage.len()),
        ];
        if look.is_wide() {
            row.extend([
                laneway_core::name::namespace_of(&lane.name).to_owned(),
                dash(&lane.owner),
                lane.revision.to_string(),
                print::ago(lane.update_time, now),
                lane.warnings.len().to_string(),
            ]);
        }
        table.row(row);
    }
    table
}

pub(super) fn state(lane: &Lane) -> &'static str {
    match lane.state() {
        lane::State::Enabled => "enabled",
        lane::State::DryRun => "dry run",
        lane::State::Disabled => "disabled",
        lane::State::Expired => "expired",
        lane::State::Tripped => "tripped",
        lane::State::Unspecified => "-",
    }
}

/// The head of a table that may be wide.
fn wide<'h>(look: Look, plain: &[&'h str], more: &[&'h str]) -> Vec<&'h str> {
    let more = if look.is_wide() { more } else { &[] };
    plain.iter().chain(more).copied().collect()
}

/// When a lane that runs will end, or an expired one has ended.
pub(super) fn ends(lane: &Lane, now: SystemTime) -> String {
    let Some(lane::Expiration::ExpireTime(end)) = lane.expiration else { return "-".to_owned() };
    let Ok(end) = SystemTime::try_from(end) else { return "-".to_owned() };
    match lane.state() {
        lane::State::Disabled | lane::State::Tripped | lane::State::Unspecified => "-".to_owned(),
        // It was given another time since, which holds when it is enabled.
        lane::State::Expired if end > now => "-".to_owned(),
        lane::State::Enabled | lane::State::DryRun | lane::State::Expired => match end.duration_since(now) {
            Ok(left) => format!("in {}", print::about(left)),
            Err(over) => format!("{} ago", print::about(over.duration())),
        },
    }
}

fn policies_table(policies: &[ServicePolicy], look: Look) -> Table {
    let plain = ["POLICY", "NAMESPACE", "SERVICE", "RULES", "ENABLED"];
    let mut table = Table::new(&wide(look, &plain, &["OWNER", "REVISION"]));
    for policy in policies {
        let mut row = vec![
            name::id(&policy.name).to_owned(),
            laneway_core::name::namespace_of(&policy.name).to_owned(),
            policy.service.clone(),
            policy.rules.len().to_string(),
            policy.enabled.unwrap_or(true).to_string(),
        ];
        if look.is_wide() {
            row.extend([dash(&policy.owner), policy.revision.to_string()]);
        }
        table.row(row);
    }
    table
}

pub(super) async fn delete(client: &mut Client, options: Delete, out: &mut String) -> Result<(), Trouble> {
    let Delete { kind, name: id, place, force, reason } = options;
    let name = match kind {
        Kind::Lanegroup => {
            let name = full(&id, laneway_core::name::group(&place.namespace, &id));
            let request =
                DeleteLaneGroupRequest { name: name.clone(), force, reason: reason.text, ..Default::default() };
            client.delete_group(request).await?;
            name
        }
        Kind::Lane => {
            let name = find::lane(client, &id, &place).await?.name;
            let request = DeleteLaneRequest { name: name.clone(), force, reason: reason.text, ..Default::default() };
            client.delete_lane(request).await?;
            name
        }
        Kind::Policy => {
            let name = full(&id, laneway_core::name::policy(&place.namespace, &id));
            let request = DeleteServicePolicyRequest { name: name.clone(), reason: reason.text, ..Default::default() };
            client.delete_policy(request).await?;
            name
        }
    };
    out.push_str(&format!("{name} deleted\n"));
    Ok(())
}
