//! The statistics service, beside the discovery stream: takes what sidecars report and tells them the pace. A thin shell around
//! `stats`; one task a stream, which ends with the stream, with a newer stream of the same node, when it is older than any discovery stream
//! gets (or, as those, stays while nobody can say who it is), or when the process drains.

use std::pin::Pin;
use std::time::Instant;

use laneway_core::snapshot::Identity;
use laneway_proto::telemetry::lane_stats_server::LaneStats;
use laneway_proto::telemetry::{ReportLaneStatsRequest, ReportLaneStatsResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::age::Age;
use super::door::{self, Visitor};
use super::opening;
use crate::access::Said;
use crate::drain::Draining;
use crate::fleet::Fleet;
use crate::stats::{Reporter, SERIES_MAX, Stats};

#[cfg(test)]
mod tests;

/// Largest report: a slice for each of ten seconds, of many rows.
pub(super) const REPORT_BYTES_MAX: usize = 4 << 20;
/// Paces between a stream's task and its connection. A sidecar that takes none is told the next one.
const PACES_QUEUED_MAX: usize = 4;

/// What serves the reports.
pub(super) struct Reports {
    pub(super) stats: Stats,
    pub(super) fleet: Fleet,
    pub(super) draining: Draining,
}

type Paces = Pin<Box<dyn Stream<Item = Result<ReportLaneStatsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LaneStats for Reports {
    type ReportLaneStatsStream = Paces;

    async fn report_lane_stats(
        &self,
        request: Request<Streaming<ReportLaneStatsRequest>>,
    ) -> Result<Response<Self::ReportLaneStatsStream>, Status> {
        // Put there at the door; without it nobody knows who calls.
        let visitor = request.extensions().get::<Visitor>().cloned();
        let visitor =
            visitor.ok_or_else(|| Status::unauthenticated("the call did not come through the port's door"))?;
        let (paces, stream) = mpsc::channel(PACES_QUEUED_MAX);
        let conversation = self.conversation(request.into_inner(), paces, visitor, Instant::now());
        // Ends when the connection does: then reading fails.
        tokio::spawn(conversation.run());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Reports {
    fn conversation(
        &self,
        reports: Streaming<ReportLaneStatsRequest>,
        paces: mpsc::Sender<Result<ReportLaneStatsResponse, Status>>,
        visitor: Visitor,
        now: Instant,
    ) -> Conversation {
        Conversation {
            reports,
            paces,
            stats: self.stats.clone(),
            fleet: self.fleet.clone(),
            draining: self.draining.clone(),
            visitor,
            // Sidecars open one after each discovery stream, which ends before this.
            age: Age::begin_beside(now),
        }
    }
}

/// One stream, before it is known who speaks.
struct Conversation {
    reports: Streaming<ReportLaneStatsRequest>,
    paces: mpsc::Sender<Result<ReportLaneStatsResponse, Status>>,
    stats: Stats,
    fleet: Fleet,
    draining: Draining,
    visitor: Visitor,
    age: Age,
}

impl Conversation {
    async fn run(mut self) {
        let (node, ended) = match opening::first(&mut self.reports).await {
            Ok(Some(first)) => (first.node_id.clone(), self.talk(&first).await),
            Ok(None) => return,
            Err(status) => (String::new(), Err(status)),
        };
        if let Err(status) = ended {
            debug!(%node, reason = status.message(), "reports ended");
            let _ = self.paces.send(Err(status)).await;
        }
    }

    /// Takes reports until the stream ends; an error is what it is told then.
    async fn talk(&mut self, first: &ReportLaneStatsRequest) -> Result<(), Status> {
        if first.node_id.is_empty() || !first.slices.is_empty() {
            return Err(Status::invalid_argument("the first message says node_id, and nothing else"));
        }
        let identity = self.identity(&first.node_id)?;
        let said = said(&first.node_id, &identity);
        self.visitor.may_be(&said)?;
        let mut reporter = self.stats.reporter(&first.node_id);
        let replaced = reporter.replaced();
        self.tell_pace(&mut reporter)?;
        let mut asking = None;
        loop {
            let old_enough = tokio::time::sleep_until(self.age.ends(true).into());
            tokio::select! {
                report = self.reports.next() => match report {
                    Some(Ok(report)) => {
                        // It may have come back as another since.
                        if self.identity(&first.node_id)? != identity {
                            return Err(Status::aborted("the discovery stream of this node is another one now"));
                        }
                        if let Err(unread) = reporter.report(&report.slices, &identity) {
                            warn!(node = %first.node_id, reason = %unread, "a report was refused");
                            return Err(Status::invalid_argument(unread.to_string()));
                        }
                    }
                    Some(Err(_)) | None => return Ok(()),
                },
                () = reporter.pace_changed() => self.tell_pace(&mut reporter)?,
                () = self.visitor.rules_changed() => self.visitor.look_again(&said)?,
                () = old_enough, if asking.is_none() => asking = Some(self.visitor.ask()),
                answer = door::answer(&mut asking) => {
                    asking = None;
                    match answer {
                        // Whoever comes again is looked at again at the door.
                        Ok(()) => return Ok(()),
                        Err(_) if self.age.stay(tokio::time::Instant::now().into_std()) => {}
                        Err(status) => return Err(status),
                    }
                }
                () = replaced.notified() => {
                    return Err(Status::aborted("a newer stream of the same node took over"));
                }
                () = self.draining.started() => {
                    return Err(Status::unavailable("the control plane is going away"));
                }
            }
        }
    }

    /// Whose sidecar it is, by its discovery stream: a report counts for no other.
    fn identity(&self, node: &str) -> Result<Identity, Status> {
        let member = self.fleet.member(node);
        let none = || Status::failed_precondition("there is no discovery stream of this node here");
        member.map(|member| member.identity()).ok_or_else(none)
    }

    /// A full queue is that of a sidecar that does not listen: it goes on at the pace it knows.
    fn tell_pace(&self, reporter: &mut Reporter) -> Result<(), Status> {
        let response = ReportLaneStatsResponse {
            reporting_interval: prost_types::Duration::try_from(reporter.pace()).ok(),
            max_series: SERIES_MAX as u32,
        };
        match self.paces.try_send(Ok(response)) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Status::cancelled("the sidecar went away")),
        }
    }
}

/// What its discovery stream said; the pod is in the node's id.
fn said<'a>(node_id: &'a str, identity: &'a Identity) -> Said<'a> {
    Said { node_id, namespace: &identity.namespace, service: &identity.service, pod_name: "", pod_uid: "" }
}
