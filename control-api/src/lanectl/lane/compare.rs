//! `lanectl lane compare`: the lane beside its baseline, service by service; each as those saw it who saw more of the lane: the
//! callers, or, where callers have no sidecar, the service itself.

use std::collections::BTreeMap;
use std::time::Duration;

use laneway_proto::contract::BASELINE;
use laneway_proto::status::{LaneSeries, QueryLaneStatsRequest, StatsSelector, StatsView};

use super::super::arguments::{Compare, Format};
use super::super::client::Client;
use super::super::look::Look;
use super::super::print::{self, Table};
use super::super::stats::{self, Sums};
use super::super::{Trouble, find};
use crate::name;

pub(super) async fn compare(
    client: &mut Client,
    options: Compare,
    look: Look,
    out: &mut String,
) -> Result<(), Trouble> {
    let lane = find::lane(client, &options.name, &options.place).await?;
    let request = |view: StatsView| {
        let selector = StatsSelector {
            lane_group: laneway_core::name::group_of_lane(&lane.name).to_owned(),
            tags: vec![lane.tag.clone(), BASELINE.to_owned()],
            view: view.into(),
            ..StatsSelector::default()
        };
        QueryLaneStatsRequest { selector: Some(selector), window: Some(options.window), ..Default::default() }
    };
    let mut response = client.stats(request(StatsView::Callers)).await?;
    let servers = client.stats(request(StatsView::Servers)).await?;
    response.series = fuller(response.series, servers.series, &lane.tag);
    // Who did not answer one of the two is missing in what is shown.
    response.unreachable.extend(servers.unreachable);
    response.unreachable.sort();
    response.unreachable.dedup();
    let services = by_service(&response.series, &lane.tag);
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(&response, "laneway.status.v1.QueryLaneStatsResponse");
            out.push_str(&print::values(vec![value], true, look.format));
        }
        Format::Name => services.keys().for_each(|service| out.push_str(&format!("{service}\n"))),
        Format::Table | Format::Wide => {
            let window = Duration::try_from(options.window).unwrap_or_default();
            out.push_str(&table(&services, &lane.tag, window).render(look));
            if services.is_empty() {
                out.push_str(&format!("no requests of {} or its baseline in this time\n", name::id(&lane.name)));
            }
        }
    }
    for replica in &response.unreachable {
        eprintln!("warning: replica {replica} did not answer, what its sidecars saw is not counted");
    }
    Ok(())
}

/// Of each service the view that has more requests of the lane; in doubt its callers'.
fn fuller(callers: Vec<LaneSeries>, servers: Vec<LaneSeries>, tag: &str) -> Vec<LaneSeries> {
    let [from_callers, from_servers] = [&callers, &servers].map(|series| by_service(series, tag));
    let requests =
        |services: &BTreeMap<String, [Sums; 2]>, service: &str| services.get(service).map(|[_, lane]| lane.requests);
    let is_servers = |one: &LaneSeries| {
        let service = &one.destination_service;
        match requests(&from_callers, service) {
            // A service that nobody with a sidecar called.
            None => true,
            seen => requests(&from_servers, service) > seen,
        }
    };
    let mut all: Vec<LaneSeries> = callers.into_iter().filter(|one| !is_servers(one)).collect();
    all.extend(servers.into_iter().filter(is_servers));
    all
}

/// Baseline and lane of each service that was called.
fn by_service(series: &[LaneSeries], tag: &str) -> BTreeMap<String, [Sums; 2]> {
    let mut services: BTreeMap<String, [Sums; 2]> = BTreeMap::new();
    for one in series {
        let side = match stats::tag(&one.request_tag) {
            BASELINE => 0,
            own if own == tag => 1,
            _ => continue,
        };
        services.entry(one.destination_service.clone()).or_default()[side].add(one);
    }
    services
}

fn table(services: &BTreeMap<String, [Sums; 2]>, tag: &str, window: Duration) -> Table {
    let head: Vec<&str> = ["SERVICE", "TAG"].into_iter().chain(stats::HEAD).collect();
    let mut table = Table::new(&head);
    for (service, [baseline, lane]) in services {
        let mut row = vec![name::id(service).to_owned(), BASELINE.to_owned()];
        row.extend(baseline.cells(window));
        table.row(row);
        let mut row = vec![String::new(), tag.to_owned()];
        row.extend(lane.cells(window));
        table.row(row);
    }
    table
}

#[cfg(test)]
mod tests;
