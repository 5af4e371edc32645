//! `lanectl lane compare`: the lane beside its baseline, service by service.

use std::collections::BTreeMap;
use std::time::Duration;

use laneway_proto::contract::BASELINE;
use laneway_proto::status::{LaneSeries, QueryLaneStatsRequest, StatsSelector};

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
    let selector = StatsSelector {
        lane_group: laneway_core::name::group_of_lane(&lane.name).to_owned(),
        tags: vec![lane.tag.clone(), BASELINE.to_owned()],
        ..StatsSelector::default()
    };
    let request =
        QueryLaneStatsRequest { selector: Some(selector), window: Some(options.window), ..Default::default() };
    let response = client.stats(request).await?;
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
