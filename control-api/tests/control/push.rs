//! Discovery over a real stream.

use std::time::Duration;

use laneway_proto::admin::{DisableLaneRequest, EnableLaneRequest};
use laneway_proto::contract::{TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE};
use laneway_proto::discovery::{self, lane};
use laneway_proto::rpc;
use laneway_proto::status::{ConfigState, ListProxiesRequest};
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use prost::Message;

use super::program::{Control, SERVICES, SHOP};
use super::sidecar::Sidecar;

const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const OWN: [&str; 2] = [TYPE_LANE_GROUP, TYPE_LANE];

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response.resources.iter().map(|resource| resource.name.as_str()).collect()
}

fn state_of(response: &DeltaDiscoveryResponse) -> lane::State {
    let body = response.resources[0].resource.as_ref().expect("a body");
    discovery::Lane::decode(body.value.as_slice()).expect("a lane").state()
}

#[tokio::test]
async fn a_sidecar_gets_its_group_and_lanes_and_what_it_asks_for() {
    let control = Control::start();
    control.apply(SHOP);
    let mut sidecar = Sidecar::connect(&control.discovery, "a-1", "a", "", &OWN).await;
    let first = sidecar.take_each(2).await;
    assert_eq!(names(&first[TYPE_LANE_GROUP]), ["namespaces/default/laneGroups/shop"]);
    assert_eq!(names(&first[TYPE_LANE]), [GRAY]);
    assert_eq!(first[TYPE_LANE].system_version_info, "1");

    for key in ["namespaces/default/services/b", "host/sc-b", "ip/10.96.0.2", "ip/10.1.1.2"] {
        for type_url in [TYPE_SERVICE, TYPE_ENDPOINTS] {
            sidecar.ask(type_url, &[key]).await;
            let response = sidecar.take().await;
            assert!(!response.resources.is_empty(), "nothing for {key}");
            assert!(
                response
                    .resources
                    .iter()
                    .all(|resource| resource.name == key || resource.aliases.iter().any(|a| a == key)),
                "{key} is no alias of {:?}",
                names(&response)
            );
        }
    }
    sidecar.ask(TYPE_SERVICE, &["ip/192.0.2.1"]).await;
    assert_eq!(sidecar.take().await.removed_resources, ["ip/192.0.2.1"]);
    sidecar.ask(TYPE_PEER, &["ip/10.1.1.2"]).await;
    sidecar.take().await;
    sidecar.ask("type.googleapis.com/unknown.Type", &["x"]).await;
    assert_eq!(sidecar.take().await.removed_resources, ["x"]);
}

#[tokio::test]
async fn a_switch_is_pushed_at_once_and_says_who_acknowledged() {
    let control = Control::start();
    control.apply(SHOP);
    let mut first = Sidecar::connect(&control.discovery, "a-1", "a", "", &OWN).await;
    let mut second = Sidecar::connect(&control.discovery, "b-1", "b", "", &OWN).await;
    first.take_each(2).await;
    second.take_each(2).await;
    let obedient = first.obey();

    let mut admin = control.admin().await;
    let wait = |milliseconds: u64| prost_types::Duration::try_from(Duration::from_millis(milliseconds)).ok();
    let request = |wait_timeout| DisableLaneRequest { name: GRAY.to_owned(), wait_timeout, ..Default::default() };
    // The second one says nothing: it is named.
    let response = admin.disable_lane(request(wait(200))).await.expect("it is disabled").into_inner();
    let rollout = response.rollout.expect("a rollout");
    assert!(!rollout.done);
    assert_eq!((rollout.target_count, rollout.acked_count, rollout.pending_count), (2, 1, 1));
    assert_eq!(rollout.pending_proxies, ["proxies/b-1"]);
    let push = second.next().await.expect("it was pushed");
    assert_eq!(state_of(&push), lane::State::Disabled);
    // It refuses: that is an answer too, with its reason kept.
    let status = rpc::Status { code: 3, message: "not today".to_owned(), details: Vec::new() };
    let nack = DeltaDiscoveryRequest {
        type_url: push.type_url.clone(),
        response_nonce: push.nonce.clone(),
        error_detail: Some(status),
        ..Default::default()
    };
    second.send(nack).await;
    let response = admin.disable_lane(request(wait(5000))).await.expect("it is disabled").into_inner();
    let rollout = response.rollout.expect("a rollout");
    assert!(rollout.done);
    assert_eq!((rollout.acked_count, rollout.nacked_count), (1, 1));
    let proxies =
        control.status().await.list_proxies(ListProxiesRequest::default()).await.expect("listed").into_inner();
    let refusing = proxies.proxies.iter().find(|proxy| proxy.name == "proxies/b-1").expect("it is listed");
    assert_eq!(refusing.state(), ConfigState::Error);
    let errors: Vec<_> = refusing.types.iter().flat_map(|status| &status.errors).collect();
    assert_eq!((errors[0].name.as_str(), errors[0].message.as_str()), (GRAY, "not today"));

    let request = EnableLaneRequest { name: GRAY.to_owned(), wait_timeout: wait(5000), ..Default::default() };
    let enabling = tokio::spawn(async move { admin.enable_lane(request).await });
    assert_eq!(state_of(&second.take().await), lane::State::Enabled);
    let rollout = enabling.await.expect("no panic").expect("it is enabled").into_inner().rollout.expect("a rollout");
    assert!(rollout.done);
    assert_eq!((rollout.acked_count, rollout.nacked_count), (2, 0));
    obedient.abort();
}

#[tokio::test]
async fn instances_that_come_and_go_are_pushed() {
    let control = Control::start();
    let mut sidecar = Sidecar::connect(&control.discovery, "a-1", "a", "", &[TYPE_LANE]).await;
    sidecar.take().await;
    sidecar.ask(TYPE_ENDPOINTS, &["namespaces/default/services/b"]).await;
    assert_eq!(sidecar.take().await.resources.len(), 2);
    control.write("services.yaml", &SERVICES.replace("10.1.1.2:8080", "10.1.1.9:8080"));
    let response = sidecar.take().await;
    assert_eq!(response.resources.len(), 1, "only the shard that changed");
    control.write("services.yaml", SERVICES.rsplit_once("---").expect("two documents").0);
    let response = sidecar.take().await;
    assert!(response.removed_resources.len() >= 2, "{response:?}");
}

#[tokio::test]
async fn of_two_streams_of_one_node_the_newest_wins_and_the_drain_ends_all() {
    let mut control = Control::start();
    let mut old = Sidecar::connect(&control.discovery, "a-1", "a", "", &OWN).await;
    old.take_each(2).await;
    let mut new = Sidecar::connect(&control.discovery, "a-1", "a", "", &OWN).await;
    new.take_each(2).await;
    let ended = old.next().await.expect_err("it was replaced");
    assert_eq!(ended.code(), tonic::Code::Aborted);
    let mut status = control.status().await;
    loop {
        let proxies = status.list_proxies(ListProxiesRequest::default()).await.expect("listed").into_inner();
        assert_eq!(proxies.total_size, 1);
        // Its last answer may still be on the way.
        if proxies.proxies[0].state() == ConfigState::Synced {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let (code, took) = control.terminate().await;
    assert_eq!(code, Some(0), "{}", control.log());
    assert!(took < Duration::from_secs(4), "the drain took {took:?}");
    let ended = new.next().await.expect_err("the control plane went away");
    assert_eq!(ended.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn a_node_that_breaks_the_rules_is_told() {
    let control = Control::start();
    let mut nameless = Sidecar::connect(&control.discovery, "", "a", "", &OWN).await;
    let status = nameless.next().await.expect_err("it has no id");
    assert!(status.message().contains("node.id"), "{status}");
    let mut tagged = Sidecar::connect(&control.discovery, "a-1", "a", "with_underscore", &OWN).await;
    let status = tagged.next().await.expect_err("its tag is bad");
    assert!(status.message().contains("with_underscore"), "{status}");
}
