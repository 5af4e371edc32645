//! From what people type to resource names.

use laneway_proto::admin::Lane;

use super::Trouble;
use super::arguments::Place;
use super::client::Client;
use crate::name;

/// What an id stands for.
pub(super) enum Found {
    /// One lane, perhaps not there yet.
    Name(String),
    None,
}

/// What was typed, if it is a resource name already.
pub(super) fn full(typed: &str, name: String) -> String {
    if typed.contains('/') { typed.to_owned() } else { name }
}

/// A lane by its id; the group need not be said where the id is there once.
pub(super) async fn lane(client: &mut Client, id: &str, place: &Place) -> Result<Lane, Trouble> {
    if is_named(id, place) {
        return Ok(client.lane(named(id, place)).await?);
    }
    match one(lanes_of(client, place).await?, id)? {
        Some(lane) => Ok(lane),
        None => Err(missing(id, place)),
    }
}

/// The resource name of a lane's id.
pub(super) async fn lane_name(client: &mut Client, id: &str, place: &Place) -> Result<Found, Trouble> {
    if is_named(id, place) {
        return Ok(Found::Name(named(id, place)));
    }
    Ok(one(lanes_of(client, place).await?, id)?.map_or(Found::None, |lane| Found::Name(lane.name)))
}

pub(super) fn missing(id: &str, place: &Place) -> Trouble {
    let namespace = &place.namespace;
    Trouble::Said(format!("no lane {id:?} in namespace {namespace:?}; lanectl lane list -A shows all there are"))
}

fn is_named(id: &str, place: &Place) -> bool {
    id.contains('/') || place.group.is_some()
}

fn named(id: &str, place: &Place) -> String {
    let group = place.group.as_deref().unwrap_or_default();
    full(id, laneway_core::name::lane(&place.namespace, group, id))
}

async fn lanes_of(client: &mut Client, place: &Place) -> Result<Vec<Lane>, Trouble> {
    Ok(client.lanes(&format!("namespaces/{}/laneGroups/{}", place.namespace, name::ANY)).await?)
}

fn one(lanes: Vec<Lane>, id: &str) -> Result<Option<Lane>, Trouble> {
    let mut same: Vec<Lane> = lanes.into_iter().filter(|lane| name::id(&lane.name) == id).collect();
    if same.len() > 1 {
        let names: Vec<&str> = same.iter().map(|lane| lane.name.as_str()).collect();
        return Err(Trouble::Said(format!("several lanes are called {id:?}; say --group:\n{}", names.join("\n"))));
    }
    Ok(same.pop())
}

/// `lane gray` for a resource name.
pub(super) fn short(resource: &str) -> String {
    let kind = match resource.rsplit('/').nth(1) {
        Some("laneGroups") => "group",
        Some("lanes") => "lane",
        Some("servicePolicies") => "policy",
        Some("services") => "service",
        _ => return resource.to_owned(),
    };
    format!("{kind} {}", name::id(resource))
}
