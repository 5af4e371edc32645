//! What guards and whoever looks at a lane judge it by: what was counted of it and of its baseline, on all replicas.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use laneway_core::name;
use laneway_proto::admin::Lane;
use laneway_proto::contract::BASELINE;
use laneway_proto::status::{StatsSelector, StatsView};

use super::verdict::Limits;
use super::{Cell, Key};

/// What was counted, on all replicas, in some seconds.
pub type Counted = Pin<Box<dyn Future<Output = Vec<(Key, Cell)>> + Send>>;
/// Asks for it; other replicas are asked by whoever can.
pub type Observe = Box<dyn Fn(StatsSelector, Range<u64>) -> Counted + Send + Sync>;

/// Of a lane and its baseline, in the seconds that its guard looks at. Both views are asked for at once, when this is awaited.
pub fn counted(
    observe: &Observe,
    lane: &Lane,
    limits: &Limits,
    now: u64,
) -> impl Future<Output = Vec<(Key, Cell)>> + Send + use<> {
    let changed = lane.update_time.and_then(|time| u64::try_from(time.seconds).ok()).unwrap_or(0);
    let when = limits.period(changed, now);
    let asked = (!when.is_empty()).then(|| {
        [StatsView::Callers, StatsView::Servers].map(|view| {
            let selector = StatsSelector {
                lane_group: name::parent_group(&lane.name).unwrap_or_default().to_owned(),
                tags: vec![lane.tag.clone(), BASELINE.to_owned()],
                view: view.into(),
                ..StatsSelector::default()
            };
            observe(selector, when.clone())
        })
    });
    async move {
        let Some([callers, servers]) = asked else { return Vec::new() };
        let (mut all, servers) = tokio::join!(callers, servers);
        all.extend(servers);
        all
    }
}
