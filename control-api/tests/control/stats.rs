//! Statistics from the wire to the API: whose reports count, how often they are wanted, and what is told of them.

use std::time::{Duration, Instant, SystemTime};

use laneway_proto::contract::TYPE_LANE;
use laneway_proto::routing::{TagSource, Why};
use laneway_proto::status::{
    GetTopologyRequest, LaneSeries, QueryLaneStatsRequest, StatsSelector, WatchLaneStatsRequest,
};
use laneway_proto::telemetry::lane_stat::{Direction, SourceCount, WhyCount};
use laneway_proto::telemetry::lane_stats_client::LaneStatsClient;
use laneway_proto::telemetry::{LaneStat, ReportLaneStatsRequest, ReportLaneStatsResponse, Slice};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::program::{Control, channel};
use super::sidecar::Sidecar;

const WAIT: Duration = Duration::from_secs(20);

/// A sidecar's stream of reports.
pub(super) struct Reports {
    requests: mpsc::Sender<ReportLaneStatsRequest>,
    paces: Streaming<ReportLaneStatsResponse>,
}

impl Reports {
    pub(super) async fn open(control: &Control, node_id: &str) -> Reports {
        let mut client = LaneStatsClient::new(channel(&control.discovery).await);
        let (requests, stream) = mpsc::channel(16);
        let first = ReportLaneStatsRequest { node_id: node_id.to_owned(), ..ReportLaneStatsRequest::default() };
        requests.send(first).await.expect("there is room");
        let paces = client.report_lane_stats(ReceiverStream::new(stream)).await.expect("it is served").into_inner();
        Reports { requests, paces }
    }

    async fn pace(&mut self) -> Result<i64, Status> {
        let told = tokio::time::timeout(WAIT, self.paces.message()).await.expect("told in time")?;
        let told = told.ok_or_else(|| Status::unavailable("the stream ended"))?;
        assert!(told.max_series > 0);
        Ok(told.reporting_interval.expect("a pace").seconds)
    }

    /// One slice that ends now.
    pub(super) async fn report(&self, stats: Vec<LaneStat>) {
        let slices = vec![Slice { end_time: Some(SystemTime::now().into()), stats, ..Slice::default() }];
        let report = ReportLaneStatsRequest { slices, ..ReportLaneStatsRequest::default() };
        self.requests.send(report).await.expect("the stream lives");
    }
}

fn service(id: &str) -> String {
    format!("namespaces/default/services/{id}")
}

/// Calls to b: of the lane `tag`, one in ten failed, half of them took 1 ms and half of them 16.
pub(super) fn calls(tag: &str, requests: u64) -> LaneStat {
    LaneStat {
        direction: Direction::Outbound.into(),
        peer_service: service("b"),
        peer_tag: tag.to_owned(),
        lane_group: "namespaces/default/laneGroups/default".to_owned(),
        request_tag: tag.to_owned(),
        requests,
        errors: requests / 10,
        by_source: vec![SourceCount { source: TagSource::Carried.into(), requests }],
        by_why: vec![WhyCount { why: Why::FallbackAbsent.into(), requests: 1 }],
        escapes: [("gray".to_owned(), 2)].into(),
        latency_index: vec![79, 111],
        latency_count: vec![requests / 2, requests / 2],
        ..LaneStat::default()
    }
}

/// Asks until the series are what is wanted.
async fn series(control: &Control, selector: StatsSelector, wanted: impl Fn(&[LaneSeries]) -> bool) -> Vec<LaneSeries> {
    let mut status = control.status().await;
    let begun = Instant::now();
    loop {
        let request = QueryLaneStatsRequest { selector: Some(selector.clone()), ..QueryLaneStatsRequest::default() };
        let series = status.query_lane_stats(request).await.expect("it is answered").into_inner().series;
        if wanted(&series) {
            return series;
        }
        assert!(begun.elapsed() < WAIT, "{series:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_a_sidecar_reports_is_told_by_lane_and_as_a_graph() {
    let control = Control::start();
    let mut sidecar = Sidecar::connect(&control.discovery, "one", "a", "", &[TYPE_LANE]).await;
    sidecar.take().await;
    let mut reports = Reports::open(&control, "one").await;
    assert_eq!(reports.pace().await.expect("a pace"), 10, "nobody looks");
    reports.report(vec![calls("gray", 20), calls("", 100)]).await;
    let both = StatsSelector { tags: vec!["gray".into(), "baseline".into()], ..StatsSelector::default() };
    let found = series(&control, both, |series| series.len() == 2).await;
    assert_eq!(reports.pace().await.expect("a pace"), 1, "somebody has asked");
    let gray = found.iter().find(|series| series.request_tag == "gray").expect("the lane");
    assert_eq!((&gray.source_service, &gray.destination_service), (&service("a"), &service("b")));
    assert_eq!((gray.source_tag.as_str(), gray.endpoint_tag.as_str()), ("", "gray"));
    let [point] = gray.points.as_slice() else { panic!("{gray:#?}") };
    assert_eq!((point.requests, point.errors, point.fallbacks, point.escapes), (20, 2, 1, 2));
    assert!(point.p50_ms > 0.9 && point.p50_ms < 1.1 && point.p99_ms > 14.0 && point.p99_ms < 17.0, "{point:?}");
    let one = StatsSelector { tags: vec!["gray".into()], ..StatsSelector::default() };
    assert_eq!(series(&control, one, |series| !series.is_empty()).await.len(), 1);

    let request = GetTopologyRequest::default();
    let graph = control.status().await.get_topology(request).await.expect("it is answered").into_inner();
    let vertex = |at: u32| &graph.vertices[at as usize];
    let edge = graph.edges.iter().find(|edge| edge.request_tag == "gray").expect("the lane's calls");
    assert_eq!((&vertex(edge.source).service, &vertex(edge.target).service), (&service("a"), &service("b")));
    assert_eq!((vertex(edge.target).tag.as_str(), vertex(edge.target).ready_endpoints), ("gray", 1));
    assert_eq!(edge.total.as_ref().expect("its traffic").requests, 20);
}

#[tokio::test]
async fn a_watcher_is_told_of_every_second_and_sidecars_of_the_watcher() {
    let control = Control::start();
    let mut sidecar = Sidecar::connect(&control.discovery, "one", "a", "", &[TYPE_LANE]).await;
    sidecar.take().await;
    let mut reports = Reports::open(&control, "one").await;
    assert_eq!(reports.pace().await.expect("a pace"), 10);
    let mut client = control.status().await;
    let mut watch = client.watch_lane_stats(WatchLaneStatsRequest::default()).await.expect("it is served").into_inner();
    assert_eq!(reports.pace().await.expect("a pace"), 1);
    reports.report(vec![calls("gray", 20)]).await;
    let seen = tokio::time::timeout(WAIT, async {
        loop {
            let step = watch.message().await.expect("the watch lives").expect("it does not end");
            if let Some(series) = step.series.into_iter().next() {
                return series;
            }
        }
    });
    let seen = seen.await.expect("told in time");
    assert_eq!((seen.request_tag.as_str(), seen.points[0].requests), ("gray", 20));
    drop(watch);
    drop(client);
    assert_eq!(reports.pace().await.expect("a pace"), 10, "nobody looks any more");
}

#[tokio::test]
async fn reports_count_only_for_a_sidecar_that_is_here_and_only_once() {
    let control = Control::start();
    let mut stranger = Reports::open(&control, "nobody").await;
    assert_eq!(stranger.pace().await.expect_err("who is that").code(), Code::FailedPrecondition);
    let mut sidecar = Sidecar::connect(&control.discovery, "one", "a", "", &[TYPE_LANE]).await;
    sidecar.take().await;
    let mut older = Reports::open(&control, "one").await;
    older.pace().await.expect("a pace");
    let mut newer = Reports::open(&control, "one").await;
    newer.pace().await.expect("a pace");
    assert_eq!(older.pace().await.expect_err("it was replaced").code(), Code::Aborted);
    newer.report(vec![LaneStat { request_tag: "NO TAG".into(), ..calls("gray", 20) }]).await;
    let refused = newer.pace().await.expect_err("it keeps to no contract");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("request_tag"), "{}", refused.message());
    let found = control.status().await.query_lane_stats(QueryLaneStatsRequest::default()).await;
    assert!(found.expect("it is answered").into_inner().series.is_empty());
}
