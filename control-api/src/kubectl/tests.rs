//! Two replicas on a real API server, and somebody with kubectl beside them.

use std::time::Instant;

use kube::api::DeleteParams;
use laneway_proto::admin::{Lane, LaneGroup};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Kubectl;
use crate::clock::Clock;
use crate::edit::Edit;
use crate::leader::Leader;
use crate::reconcile::{Outcome, Reconciler, Request, WriteError};
use crate::store::Kind;
use crate::store::kubernetes::object::places;
use crate::store::kubernetes::tests::{Namespaced, WAIT};
use crate::store::kubernetes::{BOUND, Kubernetes};

/// One that was started by now.
async fn replica(store: Kubernetes) -> Reconciler {
    Reconciler::start(Box::new(store), Vec::new(), Clock::system()).await.expect("what is there is read")
}

async fn write(own: &Reconciler, is_urgent: bool, edit: Edit) -> Result<Outcome, WriteError> {
    own.write(Request { is_urgent, ..Request::default() }, Box::new(move |_| Ok(edit.clone()))).await
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < WAIT, "still not so: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an API server: ./x test-k8s"]
async fn a_group_that_was_deleted_with_its_lanes_there_goes_on_each_replica_of_kubernetes_and_stops_no_write() {
    let place = Namespaced::new("group");
    let (stores, name) = ([place.store(BOUND).await, place.store(BOUND).await], |id: &str| {
        laneway_core::name::lane(&place.namespace, "shop", id)
    });
    let group = LaneGroup { name: laneway_core::name::group(&place.namespace, "shop"), ..LaneGroup::default() };
    let lanes = ["gray", "blue"].map(|id| Lane { name: name(id), ..Lane::default() });
    let old = replica(stores[0].clone()).await;
    let edit = Edit { groups: vec![group.clone()], lanes: lanes.to_vec(), ..Edit::default() };
    write(&old, false, edit).await.expect("a good edit");
    // Nobody leads at the moment; whoever leads next comes up without it.
    let api = stores[0].api(Kind::LaneGroup, &place.namespace);
    api.delete(&places(Kind::LaneGroup, &group.name)[0].name, &DeleteParams::default()).await.expect("it is there");
    let new = replica(stores[1].clone()).await;
    assert_eq!((new.state().objects.groups.len(), new.state().objects.lanes.len()), (0, 2));

    let (_follows, is_led) = watch::channel(false);
    let mut running = JoinSet::new();
    for (own, store, leader) in [(&new, &stores[1], Leader::sole()), (&old, &stores[0], Leader::follow(is_led))] {
        let kubectl = Kubectl::new(own.clone(), store.clone(), leader, Box::new(|_| Box::pin(async { None })));
        running.spawn(kubectl.run());
        running.spawn(own.clone().follow());
    }
    until("it is gone", || old.state().objects.groups.is_empty()).await;
    // A kill switch of each of them, and what else there is to do.
    for (own, lane) in [(&old, &lanes[0]), (&new, &lanes[1])] {
        let off = Edit { lanes: vec![Lane { enabled: Some(false), ..lane.clone() }], ..Edit::default() };
        write(own, true, off).await.expect("what must always work");
    }
    let goes = Edit { deletes: vec![lanes[0].name.clone()], ..Edit::default() };
    write(&new, false, goes).await.expect("the other one is left, as it was");
    let back = Edit { groups: vec![group], ..Edit::default() };
    write(&old, false, back).await.expect("it may come again");
    until("both have the same", || {
        let (old, new) = (old.state(), new.state());
        old.revision == new.revision && old.objects == new.objects && new.objects.groups.len() == 1
    })
    .await;
    assert_eq!(new.state().objects.lanes.keys().collect::<Vec<_>>(), [&lanes[1].name]);
}
