//! `lanectl top`: who calls whom at the moment, by lane. On a terminal one table that is written over, else one after the
//! other.

use std::time::Duration;

use laneway_proto::status::{
    LaneSeries, QueryLaneStatsRequest, QueryLaneStatsResponse, StatsSelector, StatsView, WatchLaneStatsRequest,
};

use super::arguments::{Format, Top};
use super::client::Client;
use super::look::Look;
use super::print::{self, Table};
use super::stats::{self, Sums};
use super::{Trouble, apply};
use crate::name;

/// Rows of a table that is written over: what a screen holds.
const ROWS_MAX: usize = 40;
/// Sidecars that nobody watches report this often: a look that covers less could see nothing.
const ONCE: prost_types::Duration = prost_types::Duration { seconds: 10, nanos: 0 };
/// Cursor to the upper left, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn top(client: &mut Client, options: Top, look: Look, out: &mut String) -> Result<(), Trouble> {
    let namespace = &options.place.namespace;
    let selector = StatsSelector {
        namespace: namespace.clone(),
        lane_group: match &options.place.group {
            Some(group) => apply::parent("--group", &laneway_core::name::group(namespace, group))?,
            None => String::new(),
        },
        tags: options.tags.clone(),
        service: options
            .service
            .as_ref()
            .map(|id| laneway_core::name::service_reference(namespace, id))
            .unwrap_or_default(),
        view: StatsView::Callers.into(),
    };
    if options.once {
        let window = options.step.filter(|step| step.seconds >= ONCE.seconds).unwrap_or(ONCE);
        let request = QueryLaneStatsRequest { selector: Some(selector), window: Some(window), ..Default::default() };
        let response = client.stats(request).await?;
        show(&response, span(window), None, look, out);
        return Ok(());
    }
    let step = options.step.unwrap_or(prost_types::Duration { seconds: 1, nanos: 0 });
    let request = WatchLaneStatsRequest { selector: Some(selector), step: Some(step) };
    let mut events = client.watch_stats(request).await?;
    let mut is_first = true;
    while let Some(response) = events.next().await? {
        if look.is_screen && look.is_table() {
            out.push_str(CLEAR);
        } else if look.is_table() && !is_first {
            out.push('\n');
        }
        is_first = false;
        show(&response, span(step), look.is_screen.then_some(ROWS_MAX), look, out);
        print::flush(out);
    }
    Err(Trouble::Said("lanectl: the control plane ended the stream; lanectl top begins again".to_owned()))
}

fn show(response: &QueryLaneStatsResponse, over: Duration, rows_max: Option<usize>, look: Look, out: &mut String) {
    match look.format {
        Format::Json | Format::Yaml => {
            let value = print::message(response, "laneway.status.v1.QueryLaneStatsResponse");
            out.push_str(&print::streamed(&value, look.format));
        }
        Format::Name => response.series.iter().for_each(|one| out.push_str(&format!("{}\n", one.destination_service))),
        Format::Table | Format::Wide => {
            out.push_str(&table(&response.series, over, rows_max).render(look));
            let left = response.series.len().saturating_sub(rows_max.unwrap_or(usize::MAX));
            if left > 0 {
                out.push_str(&format!("and {left} more; -o wide | less, or lanectl top SERVICE\n"));
            }
        }
    }
    for replica in &response.unreachable {
        eprintln!("warning: replica {replica} did not answer, what its sidecars saw is not counted");
    }
}

/// Busiest first.
fn table(series: &[LaneSeries], over: Duration, rows_max: Option<usize>) -> Table {
    let head: Vec<&str> = ["FROM", "TO", "TAG", "SERVED BY"].into_iter().chain(stats::HEAD).collect();
    let mut table = Table::new(&head);
    let mut all: Vec<(&LaneSeries, Sums)> = series
        .iter()
        .map(|one| {
            let mut sums = Sums::default();
            sums.add(one);
            (one, sums)
        })
        .collect();
    all.sort_by(|(left, left_sums), (right, right_sums)| {
        let name =
            |one: &LaneSeries| (one.source_service.clone(), one.destination_service.clone(), one.request_tag.clone());
        right_sums.requests.cmp(&left_sums.requests).then_with(|| name(left).cmp(&name(right)))
    });
    for (one, sums) in all.into_iter().take(rows_max.unwrap_or(usize::MAX)) {
        let mut row = vec![
            instance(&one.source_service, &one.source_tag),
            name::id(&one.destination_service).to_owned(),
            stats::tag(&one.request_tag).to_owned(),
            stats::tag(&one.endpoint_tag).to_owned(),
        ];
        row.extend(sums.cells(over));
        table.row(row);
    }
    table
}

/// `a`, `a (gray)`; `-` from outside.
fn instance(service: &str, tag: &str) -> String {
    match (name::id(service), tag) {
        ("", _) => "-".to_owned(),
        (id, "" | laneway_proto::contract::BASELINE) => id.to_owned(),
        (id, tag) => format!("{id} ({tag})"),
    }
}

fn span(given: prost_types::Duration) -> Duration {
    Duration::try_from(given).unwrap_or_default()
}
