//! Reports to the control plane how the lanes do: a slice for each second, sent at the pace that the control plane sets. It waits for
//! nobody: a control plane that takes nothing misses reports, and traffic knows nothing of either.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use laneway_core::duration;
use laneway_proto::telemetry::{ReportLaneStatsRequest, ReportLaneStatsResponse, Slice};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

use super::client::StatsClient;
use crate::telemetry::{Slicer, Telemetry};

/// Slices that wait to be sent; then the oldest are forgotten.
const SLICES_MAX: usize = 60;
/// A slice is this long.
const SLICE: Duration = Duration::from_secs(1);
/// Pause before the stream is opened again: an older control plane has no such service.
const AGAIN: Duration = Duration::from_secs(15);
/// Longest pace that is followed.
const PACE_MAX: Duration = Duration::from_secs(60);

/// Reports for ever, over the connection that the client has.
pub(super) async fn report(mut client: StatsClient, telemetry: Option<Telemetry>) -> Infallible {
    let Some(telemetry) = telemetry else { return std::future::pending().await };
    loop {
        let ended = stream(&mut client, &telemetry).await;
        debug!(reason = %ended, "statistics are not reported for a while");
        tokio::time::sleep(AGAIN).await;
    }
}

/// One stream, to its end; says why it ended.
async fn stream(client: &mut StatsClient, telemetry: &Telemetry) -> String {
    let mut stream = match client.open().await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let mut slicer = Slicer::new(telemetry.clone());
    let mut outbox = Outbox::default();
    let mut ticks = tokio::time::interval_at(Instant::now() + SLICE, SLICE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            response = stream.response() => match response {
                Ok(response) => outbox.told(&response),
                Err(reason) => return reason,
            },
            now = ticks.tick() => {
                if let Some((slice, dropped)) = slicer.slice(SystemTime::now(), outbox.rows_max) {
                    outbox.push(slice, dropped);
                }
                if let Some(report) = outbox.due(now)
                    && !stream.try_send(report)
                {
                    // It takes none: what it missed is gone.
                    debug!("the control plane does not take statistics");
                }
            }
        }
    }
}

/// What waits to be sent, and how often that is to happen.
#[derive(Default)]
struct Outbox {
    slices: VecDeque<Slice>,
    dropped: u64,
    /// `None`: not until told otherwise.
    pace: Option<Duration>,
    rows_max: usize,
    sent: Option<Instant>,
}

impl Outbox {
    fn told(&mut self, response: &ReportLaneStatsResponse) {
        let pace = response.reporting_interval.and_then(duration::read);
        self.pace = pace.filter(|pace| !pace.is_zero()).map(|pace| pace.clamp(SLICE, PACE_MAX));
        self.rows_max = usize::try_from(response.max_series).unwrap_or(usize::MAX);
        if self.pace.is_none() {
            self.slices.clear();
        }
    }

    fn push(&mut self, slice: Slice, dropped: u64) {
        if self.pace.is_none() {
            return;
        }
        if self.slices.len() >= SLICES_MAX {
            self.slices.pop_front();
        }
        self.slices.push_back(slice);
        self.dropped += dropped;
    }

    /// A report, if it is time for one and there is something to tell.
    fn due(&mut self, now: Instant) -> Option<ReportLaneStatsRequest> {
        let pace = self.pace?;
        // Half a slice of grace: ticks are not exact.
        let is_time = self.sent.is_none_or(|sent| now + SLICE / 2 >= sent + pace);
        if !is_time || self.slices.is_empty() {
            return None;
        }
        self.sent = Some(now);
        let slices = self.slices.drain(..).collect();
        let dropped_series = std::mem::take(&mut self.dropped);
        Some(ReportLaneStatsRequest { node_id: String::new(), slices, dropped_series })
    }
}

#[cfg(test)]
mod tests;
