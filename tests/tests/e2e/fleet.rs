//! One control plane and many sidecars: the short forms of `./x bench control`, by what is counted and not by time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use laneway_proto::discovery;
use laneway_tests::control::{Admin, Control};
use laneway_tests::load::Load;
use laneway_tests::mesh::network::Network;
use laneway_tests::mesh::{Mesh, Plan};
use laneway_tests::process::confine;
use laneway_tests::sidecars::{Herd, Simulated, Watcher, nobody};
use prost::Message as _;

use crate::support::namespaces_or_skip;

const SIDECARS: usize = 100;
/// Generous: the machine may do much else.
const WAIT: Duration = Duration::from_secs(120);
/// The longest that the API takes.
const SWITCH_WAIT: Duration = Duration::from_secs(60);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn every_one_of_a_hundred_sidecars_acknowledges_every_switch_and_comes_back_after_a_kill() {
    runtime().block_on(async {
        let mut control = Control::start("fleet").expect("the control plane starts");
        let mut admin = control.admin().await.expect("the API is there");
        admin.apply(&["a", "b"], &["gray", "blue"]).await.expect("lanes are applied");
        let sidecars = ["a", "b"].iter().cycle().take(SIDECARS).map(|service| Simulated::of(service));
        let herd = Herd::start(&control.discovery_url(), sidecars, &nobody());
        herd.await_connected(SIDECARS, WAIT).await.expect("all connect");
        for number in 0..10 {
            let rollout = admin.switch("gray", number % 2 == 1, SWITCH_WAIT).await.expect("it is switched");
            assert!(rollout.done && rollout.acked_count as usize == SIDECARS, "{rollout:?}\n{}", control.log());
        }
        assert_eq!(herd.take_opened().len(), SIDECARS, "each has opened one stream");
        herd.await_told(WAIT).await.expect("each is told over what time a hundred come back");

        control.kill();
        control.restart().expect("the control plane starts again");
        herd.await_connected(SIDECARS, WAIT).await.expect("all come back");
        assert_eq!(herd.take_opened().len(), SIDECARS, "each has opened one stream more");
        herd.await_told(WAIT).await.expect("each is told again, by one that had counted none");
        let mut admin = control.admin().await.expect("the API is there again");
        let rollout = admin.switch("gray", false, SWITCH_WAIT).await.expect("it is switched");
        assert!(rollout.done && rollout.acked_count as usize == SIDECARS, "{rollout:?}\n{}", control.log());
        assert_eq!(herd.refused(), 0);
    });
}

/// A file that is replaced every ten milliseconds: what a sidecar has has a number.
#[test]
fn instances_that_change_all_the_time_starve_no_sidecar() {
    const CHANGES: u32 = 200;
    runtime().block_on(async {
        let control = Control::start("starve").expect("the control plane starts");
        let service = |number: u32| {
            format!("kind: Service\nname: b\nhosts: [b]\nendpoints: [{{address: '10.0.0.1:80', weight: {number}}}]\n")
        };
        control.write_services("b.yaml", &service(1)).expect("the service is written");
        let has: Arc<Vec<AtomicU32>> = Arc::new((0..20).map(|_| AtomicU32::new(0)).collect());
        let pushes = Arc::new(AtomicU32::new(0));
        let watcher: Watcher = Arc::new({
            let (has, pushes) = (Arc::clone(&has), Arc::clone(&pushes));
            move |sidecar, response| {
                let bodies = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
                let shards = bodies.filter(|body| body.type_url.ends_with(".Endpoints"));
                for shard in shards.filter_map(|body| discovery::Endpoints::decode(body.value.as_slice()).ok()) {
                    has[sidecar].store(shard.endpoints[0].weight, Ordering::Release);
                    pushes.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        let sidecars = (0..has.len()).map(|_| Simulated { service: "a".to_owned(), keys: vec!["host/b".to_owned()] });
        let herd = Herd::start(&control.discovery_url(), sidecars, &watcher);
        herd.await_connected(has.len(), WAIT).await.expect("all connect");
        for number in 2..=CHANGES {
            control.write_services("b.yaml", &service(number)).expect("the service is written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let during = pushes.load(Ordering::Acquire);
        let end = Instant::now() + WAIT;
        while has.iter().any(|number| number.load(Ordering::Acquire) != CHANGES) {
            assert!(Instant::now() < end, "not all have the last change: {has:?}\n{}", control.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The first one, and at least one more while it went on changing.
        assert!(during as usize >= 2 * has.len(), "{during} pushes to {} sidecars in {CHANGES} changes", has.len());
        assert_eq!(herd.refused(), 0);
    });
}

#[test]
fn three_hundred_revisions_under_traffic_lose_no_request_and_the_last_one_arrives() {
    if !namespaces_or_skip("three_hundred_revisions_under_traffic_lose_no_request_and_the_last_one_arrives") {
        return;
    }
    let mesh = Mesh::up(Plan::chain("revisions", true, &[("a", &["", "gray"]), ("b", &["", "gray"])]));
    let mesh = mesh.expect("the mesh comes up");
    let Network::Namespaces(namespaces) = mesh.network() else { unreachable!("the plan asks for namespaces") };
    let load = Load {
        namespace: Some(namespaces.name("entry")),
        to: mesh.socket("a-base").expect("a has an address"),
        path: "/a".to_owned(),
        headers: vec![("x-mse-tag".to_owned(), "gray".to_owned())],
        connections: 4,
        requests_per_second: 100,
    }
    .start();
    load.await_answers(20, WAIT).expect("requests are answered");
    let (namespace, url) = (namespaces.name("control"), mesh.admin_url());
    let writer = std::thread::spawn(move || -> anyhow::Result<()> {
        confine::enter_namespace(&namespace)?;
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let mut admin = Admin::connect(url).await?;
            admin.apply(&["a", "b"], &["gray", "blue"]).await?;
            let mut revision = 0;
            for number in 0..300 {
                revision = admin.set_priority(["gray", "blue"][number % 2], number as i32 + 1).await?;
            }
            admin.await_rollout("blue", revision, WAIT).await
        })
    });
    writer.join().expect("the writer does not panic").expect("every revision is committed, and the last one arrives");
    load.await_answers(20, WAIT).expect("requests are answered to the end");
    let samples = load.stop().expect("the load ran");
    let lost: Vec<_> = samples.iter().filter_map(|sample| sample.answer.as_ref().err()).collect();
    assert!(lost.is_empty(), "{} of {}: {:?}", lost.len(), samples.len(), lost.first());
}
