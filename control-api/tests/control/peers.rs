//! Replicas that ask each other: statistics added, and TLS and tokens between them.

use std::time::{Duration, Instant};

use laneway_proto::contract::TYPE_LANE;
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use laneway_proto::status::{
    GetTopologyRequest, ListProxiesRequest, ListProxiesResponse, QueryLaneStatsRequest, QueryLaneStatsResponse,
    WatchLaneStatsRequest,
};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::certificates::Authority;
use super::etcd::EtcdServer;
use super::program::{Control, until};
use super::sidecar::Sidecar;
use super::stats::{Reports, calls};

/// Of the lease of one that is killed as long as this is left, if it could renew it.
const LEASE_LEFT: Duration = Duration::from_secs(2);

fn replica(etcd: &EtcdServer, name: &str) -> Control {
    Control::start_with(&["--store", &format!("etcd://{}", etcd.address()), "--replica", name])
}

async fn asked(status: &mut MeshStatusClient<Channel>) -> QueryLaneStatsResponse {
    let answer = status.query_lane_stats(QueryLaneStatsRequest::default()).await;
    answer.expect("it is answered").into_inner()
}

/// Requests of the lane, over all series.
fn requests(answer: &QueryLaneStatsResponse) -> u64 {
    answer.series.iter().flat_map(|series| &series.points).map(|point| point.requests).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_of_all_replicas_are_added_whichever_is_asked() {
    let Some(etcd) = EtcdServer::start("statistics_of_all_replicas") else { return };
    let (one, mut two) = (replica(&etcd, "one"), replica(&etcd, "two"));
    let mut sidecars = Vec::new();
    let mut reports = Vec::new();
    for (control, id, count) in [(&one, "near", 30), (&two, "far", 10)] {
        let mut sidecar = Sidecar::connect(&control.discovery, id, "a", "", &[TYPE_LANE]).await;
        sidecar.take().await;
        let report = Reports::open(control, id).await;
        report.report(vec![calls("gray", count)]).await;
        sidecars.push(sidecar);
        reports.push(report);
    }
    for control in [&one, &two] {
        let mut status = control.status().await;
        until("both are in it", async || requests(&asked(&mut status).await) == 40).await;
        let found = asked(&mut status).await;
        assert_eq!(found.unreachable, [""; 0]);
        assert_eq!(found.series.len(), 1, "one kind of traffic: {found:?}");
        let errors: u64 = found.series[0].points.iter().map(|point| point.errors).sum();
        assert_eq!(errors, 4);
        let local = QueryLaneStatsRequest { local_only: true, ..QueryLaneStatsRequest::default() };
        let own = status.query_lane_stats(local).await.expect("it is answered").into_inner();
        assert!(requests(&own) < 40 && !own.series[0].points[0].latency_index.is_empty(), "{own:?}");
        let graph = status.get_topology(GetTopologyRequest::default()).await.expect("it is answered").into_inner();
        assert_eq!(graph.edges[0].total.as_ref().map(|total| total.requests), Some(40));
        assert_eq!(graph.unreachable, [""; 0]);
    }
    // Who watches here is told what is reported there.
    let mut status = one.status().await;
    let mut watch = status.watch_lane_stats(WatchLaneStatsRequest::default()).await.expect("it is served").into_inner();
    let mut blue = async || {
        loop {
            let step = watch.message().await.expect("the watch lives").expect("it does not end");
            if let Some(series) = step.series.into_iter().find(|series| series.request_tag.starts_with("blue")) {
                return series.points[0].requests;
            }
        }
    };
    let mut told = None;
    for number in 0..60 {
        // A second is told once, when it is settled; what comes there too late for its own is told by no watch.
        reports[1].report(vec![calls(&format!("blue-{number}"), 7)]).await;
        told = tokio::time::timeout(Duration::from_secs(1), blue()).await.ok();
        if told.is_some() {
            break;
        }
    }
    assert_eq!(told, Some(7));

    // One that does not answer is named until its lease is over; what it knew is gone with it.
    let killed = Instant::now();
    two.kill();
    let found = asked(&mut status).await;
    assert_eq!(requests(&found), 30);
    assert!(
        found.unreachable == ["two"] || (found.unreachable.is_empty() && killed.elapsed() > LEASE_LEFT),
        "{found:?}"
    );
    until("its lease is over", async || asked(&mut status).await.unreachable.is_empty()).await;
}

/// `printf %s vera-token | sha256sum`, and so on.
const RULES: &str = "
people:
- {name: vera, role: viewer, sha256: e8634684693f147f3d593d3ace2dc53e542d4d8b4e2d61e128199b9e320307e0}
- {name: replicas, role: viewer, sha256: 493a178d1badd6ef2187860f907ec6be297f4154380d4c2a4952936655ea66fb}
sidecars:
- {namespace: default, service: b, sha256: c033d6825ce303906a2a8cfc0f933e8380fefc8e039ef2bd3dabb97b1a27c875}
";

fn secured(etcd: &EtcdServer, authority: &Authority, name: &str, token: &str, ca: &str) -> Control {
    let mut control = Control::prepared();
    authority.sign("127.0.0.1").write(&control, "server");
    control.write("ca.pem", ca);
    control.write("access.yaml", RULES);
    control.write("peer-token", token);
    control.argue(&["--store", &format!("etcd://{}", etcd.address()), "--replica", name]);
    control.argue(&["--tls-cert", "server.pem", "--tls-key", "server.key", "--access-file", "access.yaml"]);
    control.argue(&["--peer-ca", "ca.pem", "--peer-token-file", "peer-token"]);
    control.restart();
    control
}

async fn connected(authority: &Authority, url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL").tls_config(authority.client(None));
    endpoint.expect("good PEM").connect().await.expect("it believes the authority")
}

async fn listed(authority: &Authority, control: &Control) -> ListProxiesResponse {
    let mut request = Request::new(ListProxiesRequest::default());
    request.metadata_mut().insert("authorization", "Bearer vera-token".parse().expect("it is ASCII"));
    let mut status = MeshStatusClient::new(connected(authority, &control.api).await);
    status.list_proxies(request).await.expect("she may read").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_ask_each_other_over_tls_and_are_known_by_their_token() {
    let Some(etcd) = EtcdServer::start("replicas_ask_each_other_over_tls") else { return };
    let authority = Authority::new("mesh");
    let replica = |name: &str, token: &str, ca: &str| secured(&etcd, &authority, name, token, ca);
    let (one, two) = (replica("one", "peer-token\n", &authority.pem), replica("two", "peer-token", &authority.pem));
    let mut sidecars = Vec::new();
    for (control, id) in [(&one, "near"), (&two, "far")] {
        let channel = connected(&authority, &control.discovery).await;
        let mut sidecar =
            Sidecar::connect_as(channel, Some("b-token"), id, "b", "", &[TYPE_LANE]).await.expect("it is b");
        sidecar.take().await;
        sidecars.push(sidecar);
    }
    for control in [&one, &two] {
        until("it knows of both", async || listed(&authority, control).await.proxies.len() == 2).await;
        assert_eq!(listed(&authority, control).await.unreachable, [""; 0]);
    }
    // With a token that the others do not know, or without belief in their authority, it is alone, and says so.
    let stranger = replica("stranger", "other-token", &authority.pem);
    let doubter = replica("doubter", "peer-token", &Authority::new("other").pem);
    for control in [&stranger, &doubter] {
        until("it names those that did not answer", async || {
            let found = listed(&authority, control).await;
            found.proxies.is_empty() && ["one", "two"].iter().all(|name| found.unreachable.iter().any(|n| n == name))
        })
        .await;
        assert!(!control.log().contains("other-token") && !control.log().contains("peer-token\""), "{}", control.log());
    }
    assert!(one.log().lines().any(|line| line.contains("not let in")), "who failed is said");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_writes_to_an_etcd_that_asks_who_it_is() {
    let Some(mut etcd) = EtcdServer::start_secured("a_control_plane_writes_to_an_etcd_that_asks") else { return };
    let place = format!("etcds://{}", etcd.address());
    let file = |name: &str| etcd.folder().join(name).to_string_lossy().into_owned();
    let (ca, cert, key, user) = (file("ca.pem"), file("client.pem"), file("client.key"), file("user"));
    let arguments = ["--store", &place, "--store-ca", &ca, "--store-cert", &cert, "--store-key", &key];
    let control = Control::start_with(&[arguments.as_slice(), &["--store-user-file", &user]].concat());
    control.apply("{kind: Lane, name: gray}");
    // Its tokens are in its memory.
    etcd.kill();
    etcd.restart();
    until("it is written again", async || {
        control.write("blue.yaml", "{kind: Lane, name: blue}");
        control.lanectl(&["apply", "-f", "blue.yaml"]).status.success()
    })
    .await;
    assert!(!control.log().contains("s:ecret"), "{}", control.log());

    // Without the user it does not start, and says what etcd said.
    let mut nobody = Control::prepared();
    nobody.argue(&arguments);
    let status = nobody.command().status().expect("the program was built");
    assert!(!status.success() && nobody.log().contains("read the head"), "{}", nobody.log());
}
