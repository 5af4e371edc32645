//! Several replicas on one etcd: each killed in turn, and etcd too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{
    ApplyBundleRequest, Bundle, CreateLaneRequest, DisableLaneRequest, GetLaneRequest, Lane, ListAuditEventsRequest,
    ListLanesRequest, ListRevisionsRequest, lane,
};
use laneway_proto::contract::TYPE_LANE;
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use laneway_proto::status::{GetProxyRequest, GetRolloutRequest, GetServerInfoRequest, ListProxiesRequest};
use tonic::transport::{Channel, Endpoint};

use super::etcd::EtcdServer;
use super::program::Control;
use super::sidecar::Sidecar;

const PARENT: &str = "namespaces/default/laneGroups/default";
/// Lanes that are written at a time: all of a bundle, or none.
const BUNDLE: usize = 3;
/// Longest wait for what must become so, on a machine that is busy with other tests.
const WAIT: Duration = Duration::from_secs(60);

fn replica(etcd: &EtcdServer, name: &str) -> Control {
    Control::start_with(&["--store", &format!("etcd://{}", etcd.address()), "--replica", name])
}

fn lane_name(id: &str) -> String {
    format!("{PARENT}/lanes/{id}")
}

fn bundle(writer: usize, number: usize) -> Vec<Lane> {
    let names = (0..BUNDLE).map(|part| lane_name(&format!("w{writer}n{number}p{part}")));
    names.map(|name| Lane { name, ..Lane::default() }).collect()
}

/// A connection that is made when it is used, so that a dead replica is an error and no panic.
fn lazily(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(30)).connect_lazy()
}

async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < WAIT, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All lanes, and the revision they are of.
async fn lanes(api: &str) -> (BTreeSet<String>, i64) {
    let mut admin = LaneAdminClient::new(lazily(api));
    let mut names = BTreeSet::new();
    let mut request = ListLanesRequest { parent: PARENT.to_owned(), page_size: 1000, ..ListLanesRequest::default() };
    loop {
        let page = admin.list_lanes(request.clone()).await.expect("lists").into_inner();
        names.extend(page.lanes.into_iter().map(|lane| lane.name));
        if page.next_page_token.is_empty() {
            return (names, page.revision);
        }
        request.page_token = page.next_page_token;
    }
}

async fn leads(api: &str) -> bool {
    let info = MeshStatusClient::new(lazily(api)).get_server_info(GetServerInfoRequest::default()).await;
    info.is_ok_and(|info| info.into_inner().leader)
}

/// Where replicas are reached; shared with all who must find another when theirs is gone.
type Urls = Arc<Mutex<Vec<String>>>;

fn url(urls: &Urls, at: usize) -> String {
    let urls = urls.lock().expect("no test panics while it holds it");
    urls[at % urls.len()].clone()
}

/// Takes responses until one is of that lane.
async fn until_told(sidecar: &mut Sidecar, id: &str) {
    while sidecar.take().await.resources.iter().all(|found| found.name != lane_name(id)) {}
}

/// A sidecar that follows any replica, the next one when its own is gone. What it has is in the map: name and version.
async fn sidecar(urls: Urls, own: usize, has: Arc<Mutex<BTreeMap<String, String>>>) {
    for at in own.. {
        let url = url(&urls, at);
        if let Ok(mut stream) = Sidecar::try_connect(&url, &format!("sidecar-{own}"), "a", "", &[TYPE_LANE]).await {
            // A new stream tells all there is.
            has.lock().expect("no test panics while it holds it").clear();
            while let Ok(response) = stream.until_next().await {
                {
                    let mut has = has.lock().expect("no test panics while it holds it");
                    has.extend(response.resources.iter().map(|found| (found.name.clone(), found.version.clone())));
                    for name in &response.removed_resources {
                        has.remove(name);
                    }
                }
                if !stream.try_ack(&response).await {
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes bundles until it is told to stop: what was acknowledged.
async fn writer(own: usize, urls: Urls, acknowledged: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut written = BTreeSet::new();
    let mut at = own;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let lanes = bundle(own, number);
        let names = lanes.iter().map(|lane| lane.name.clone()).collect::<Vec<_>>();
        let request =
            ApplyBundleRequest { bundle: Some(Bundle { lanes, ..Bundle::default() }), ..ApplyBundleRequest::default() };
        match LaneAdminClient::new(lazily(&url(&urls, at))).apply_bundle(request).await {
            Ok(_) => {
                written.extend(names);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => at += 1,
        }
        // Not for as much as there is room: each start of a replica checks it all.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_three_replicas_killed_in_turn_loses_nothing_acknowledged() {
    let Some(etcd) = EtcdServer::start("each_of_three_replicas_killed_in_turn") else { return };
    let mut replicas: Vec<Control> = ["one", "two", "three"].iter().map(|name| replica(&etcd, name)).collect();
    let apis: Urls = Arc::new(Mutex::new(replicas.iter().map(|own| own.api.clone()).collect()));
    let discoveries: Urls = Arc::new(Mutex::new(replicas.iter().map(|own| own.discovery.clone()).collect()));
    let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..3)
        .map(|own| tokio::spawn(writer(own, Arc::clone(&apis), Arc::clone(&acknowledged), Arc::clone(&stop))))
        .collect();
    let sidecars: Vec<_> = (0..3)
        .map(|own| {
            let has = Arc::<Mutex<BTreeMap<String, String>>>::default();
            (tokio::spawn(sidecar(Arc::clone(&discoveries), own, Arc::clone(&has))), has)
        })
        .collect();
    for killed in 0..3 {
        let before = acknowledged.load(Ordering::Relaxed);
        until("something is written", || async { acknowledged.load(Ordering::Relaxed) > before + 3 }).await;
        replicas[killed].kill();
        let before = acknowledged.load(Ordering::Relaxed);
        until("the others go on", || async { acknowledged.load(Ordering::Relaxed) > before + 6 }).await;
        let others: Vec<String> = (0..3).filter(|own| *own != killed).map(|own| replicas[own].api.clone()).collect();
        until("one of the others leads", || async { leads(&others[0]).await || leads(&others[1]).await }).await;
        // Elsewhere, as a new pod would be.
        replicas[killed].restart();
        apis.lock().expect("no test panics while it holds it")[killed].clone_from(&replicas[killed].api);
        discoveries.lock().expect("no test panics while it holds it")[killed].clone_from(&replicas[killed].discovery);
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = BTreeSet::new();
    for writer in writers {
        written.extend(writer.await.expect("the writer does not panic"));
    }
    assert!(written.len() > 3 * 9 * BUNDLE, "hardly anything was written: {}", written.len());
    let (found, revision) = lanes(&replicas[0].api).await;
    let lost: Vec<_> = written.difference(&found).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
    assert_eq!(found.len() % BUNDLE, 0, "part of a bundle");
    assert_eq!(
        found.len() / BUNDLE,
        usize::try_from(revision).expect("it counts up"),
        "one revision a bundle, none twice"
    );
    for own in &replicas {
        until("every replica has it all", || async { lanes(&own.api).await == (found.clone(), revision) }).await;
    }
    for (_, has) in &sidecars {
        let has_all =
            || async { has.lock().expect("no test panics").keys().cloned().collect::<BTreeSet<_>>() == found };
        until("every sidecar has it all", has_all).await;
    }
    let versions: Vec<_> = sidecars.iter().map(|(_, has)| has.lock().expect("no test panics").clone()).collect();
    assert!(versions.iter().all(|other| *other == versions[0]), "replicas call equal things by equal versions");
    sidecars.iter().for_each(|(task, _)| task.abort());
    let leading = replicas.iter().map(|own| leads(&own.api));
    let mut count = 0;
    for leads in leading {
        count += usize::from(leads.await);
    }
    assert_eq!(count, 1, "one leads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_replicas_serve_what_they_have_and_refuse_writes_until_it_is_back() {
    let Some(mut etcd) = EtcdServer::start("without_etcd_replicas_serve") else { return };
    let (one, two) = (replica(&etcd, "one"), replica(&etcd, "two"));
    let mut admin = one.admin().await;
    let create = |id: &str| CreateLaneRequest {
        parent: PARENT.to_owned(),
        lane_id: id.to_owned(),
        lane: Some(Lane::default()),
        ..CreateLaneRequest::default()
    };
    admin.create_lane(create("gray")).await.expect("it is new");
    until("replica two has it", || async { lanes(&two.api).await.1 == 1 }).await;
    let mut before = Sidecar::connect(&two.discovery, "before", "a", "", &[TYPE_LANE]).await;
    until_told(&mut before, "gray").await;
    etcd.kill();

    let refused = admin.create_lane(create("blue")).await.expect_err("nothing can be stored");
    let again = two.admin().await.create_lane(create("blue")).await.expect_err("nothing can be stored");
    for status in [&refused, &again] {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
        assert!(status.message().contains(&etcd.address()), "{status}");
    }
    // The first may have met a connection that was being taken down.
    let refused = admin.create_lane(create("blue")).await.expect_err("nothing can be stored");
    assert!(refused.message().contains("nothing was changed"), "{refused}");
    let history = admin.list_revisions(ListRevisionsRequest::default()).await.expect_err("it is in etcd");
    assert_eq!(history.code(), tonic::Code::Unavailable, "{history}");
    // What is in memory is answered and pushed, to newcomers too.
    for own in [&one, &two] {
        assert_eq!(lanes(&own.api).await.1, 1);
        let mut during = Sidecar::connect(&own.discovery, "during", "a", "", &[TYPE_LANE]).await;
        assert_eq!(during.take().await.resources.len(), 1);
    }
    until("nobody leads", || async { !leads(&one.api).await && !leads(&two.api).await }).await;

    etcd.restart();
    until("it can be written again", || async { admin.clone().create_lane(create("green")).await.is_ok() }).await;
    // By the other replica, on the stream of before.
    until_told(&mut before, "green").await;
    until("one leads", || async { leads(&one.api).await || leads(&two.api).await }).await;
    assert_eq!(lanes(&one.api).await, lanes(&two.api).await);
    // Who was refused meanwhile is in the trail.
    until("refused calls are recorded", || async {
        let events = admin.clone().list_audit_events(ListAuditEventsRequest::default()).await;
        let events = events.map(|found| found.into_inner().audit_events).unwrap_or_default();
        events.iter().any(|event| event.status_code == tonic::Code::Unavailable as i32)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_ends_on_time_though_the_leader_was_killed() {
    let Some(etcd) = EtcdServer::start("a_lane_ends_on_time") else { return };
    let (mut one, two) = (replica(&etcd, "one"), replica(&etcd, "two"));
    assert!(leads(&one.api).await && !leads(&two.api).await);
    // Enough to create it and to kill its leader before it ends.
    let end = SystemTime::now() + Duration::from_secs(10);
    let lane = Lane { expiration: Some(lane::Expiration::ExpireTime(end.into())), ..Lane::default() };
    let create = CreateLaneRequest {
        parent: PARENT.to_owned(),
        lane_id: "gray".to_owned(),
        lane: Some(lane),
        ..CreateLaneRequest::default()
    };
    one.admin().await.create_lane(create).await.expect("it is new");
    one.kill();
    let get = GetLaneRequest { name: lane_name("gray") };
    let mut admin = two.admin().await;
    until("it has expired", || {
        let (mut admin, get) = (admin.clone(), get.clone());
        async move { admin.get_lane(get).await.is_ok_and(|found| found.into_inner().state() == lane::State::Expired) }
    })
    .await;
    let history = admin.list_revisions(ListRevisionsRequest::default()).await.expect("it is held").into_inner();
    let who: Vec<&str> = history.revisions.iter().map(|revision| revision.principal.as_str()).collect();
    assert_eq!(who, ["laneway:expiry", "anonymous"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replica_that_is_asked_answers_for_the_whole_mesh() {
    let Some(etcd) = EtcdServer::start("the_replica_that_is_asked") else { return };
    let (one, mut two) = (replica(&etcd, "one"), replica(&etcd, "two"));
    one.apply("{kind: Lane, name: gray}");
    until("replica two has it", || async { lanes(&two.api).await.1 == 1 }).await;
    let near = Sidecar::connect(&one.discovery, "near", "a", "", &[TYPE_LANE]).await;
    let mut far = Sidecar::connect(&two.discovery, "far", "a", "", &[TYPE_LANE]).await;
    until_told(&mut far, "gray").await;
    let near = near.obey();
    let mut status = one.status().await;
    let both = async |status: &mut MeshStatusClient<Channel>| {
        let listed = status.list_proxies(ListProxiesRequest::default()).await.expect("listed").into_inner();
        let names: Vec<_> = listed.proxies.into_iter().map(|found| (found.name, found.control_plane)).collect();
        (names, listed.unreachable)
    };
    until("each knows the other", || {
        let mut status = status.clone();
        async move { both(&mut status).await.0.len() == 2 }
    })
    .await;
    let (names, unreachable) = both(&mut status).await;
    let expected = [("proxies/far", "two"), ("proxies/near", "one")];
    assert_eq!(names, expected.map(|(name, replica)| (name.to_owned(), replica.to_owned())));
    assert_eq!(unreachable, [""; 0]);
    let local = ListProxiesRequest { local_only: true, ..ListProxiesRequest::default() };
    assert_eq!(status.list_proxies(local).await.expect("listed").into_inner().proxies.len(), 1);
    let get = GetProxyRequest { name: "proxies/far".to_owned(), ..GetProxyRequest::default() };
    assert_eq!(status.get_proxy(get).await.expect("it is there").into_inner().control_plane, "two");

    // A switch here is pushed there, and answered when it is acknowledged there.
    let wait_timeout = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let request = DisableLaneRequest { name: lane_name("gray"), wait_timeout, ..DisableLaneRequest::default() };
    let mut admin = one.admin().await;
    let switching = tokio::spawn(async move { admin.disable_lane(request).await });
    let pushed = far.next().await.expect("the stream lives");
    assert_eq!((pushed.resources.len(), pushed.system_version_info.as_str()), (1, "2"));
    let follow = GetRolloutRequest { name: lane_name("gray"), ..GetRolloutRequest::default() };
    until("the near one has it", || {
        let (mut status, follow) = (status.clone(), follow.clone());
        async move { status.get_rollout(follow).await.expect("it is followed").into_inner().acked_count == 1 }
    })
    .await;
    let rollout = status.get_rollout(follow).await.expect("it is followed").into_inner();
    assert_eq!(
        (rollout.target_count, rollout.done, rollout.pending_proxies),
        (2, false, vec!["proxies/far".to_owned()])
    );
    assert!(!switching.is_finished());
    far.ack(&pushed).await;
    let rollout = switching.await.expect("no panic").expect("it is there").into_inner().rollout.expect("a rollout");
    assert_eq!((rollout.acked_count, rollout.target_count, rollout.done), (2, 2, true));
    assert_eq!(rollout.unreachable, [""; 0]);

    // One that is killed is forgotten when its lease is over.
    two.kill();
    until("it is forgotten", || {
        let mut status = status.clone();
        async move {
            let (names, unreachable) = both(&mut status).await;
            names.len() == 1 && unreachable.is_empty()
        }
    })
    .await;
    near.abort();
}
