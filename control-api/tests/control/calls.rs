//! What all calls have in common: masks, ids of requests, lists, errors; and the bundle of everything.

use laneway_proto::admin::{
    ApplyBundleRequest, Bundle, CreateLaneGroupRequest, CreateLaneRequest, CreateServicePolicyRequest,
    DeleteLaneGroupRequest, DeleteLaneRequest, ExportBundleRequest, Lane, LaneGroup, ListLaneGroupsRequest,
    ListLanesRequest, ListServicePoliciesRequest, ServicePolicy, UpdateLaneGroupRequest, UpdateLaneRequest,
    UpdateServicePolicyRequest,
};
use laneway_proto::contract::TYPE_LANE;
use laneway_proto::status::{GetServerInfoRequest, ListProxiesRequest};
use prost_types::FieldMask;
use tonic::Code;
use tonic_types::StatusExt;

use super::program::{Control, SHOP};
use super::sidecar::Sidecar;

const GROUP: &str = "namespaces/default/laneGroups/shop";
const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";
const ID: &str = "9f1c0a52-6d0e-4b5e-8f3a-2d1e7c9b0a64";

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn gray(change: impl FnOnce(&mut Lane)) -> UpdateLaneRequest {
    let mut lane = Lane { name: GRAY.to_owned(), ..Lane::default() };
    change(&mut lane);
    UpdateLaneRequest { lane: Some(lane), ..UpdateLaneRequest::default() }
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let given = |lane: &mut Lane| (lane.priority, lane.owner) = (7, "alice".to_owned());
    let update = UpdateLaneRequest { update_mask: mask(&["priority"]), ..gray(given) };
    let lane = admin.update_lane(update).await.expect("updated").into_inner();
    assert_eq!((lane.priority, lane.owner.as_str(), lane.entry.is_some()), (7, "", true));
    let lane = admin.update_lane(gray(|lane| lane.owner = "bob".to_owned())).await.expect("updated").into_inner();
    assert_eq!((lane.priority, lane.owner.as_str(), lane.entry.is_some()), (7, "bob", true));
    let etag = lane.etag;

    // With a mask, too, the object must be the one that was read; a trial fails as the update would.
    let stale = UpdateLaneRequest {
        update_mask: mask(&["owner"]),
        validate_only: true,
        ..gray(|lane| lane.etag = "0".to_owned())
    };
    assert_eq!(admin.update_lane(stale).await.expect_err("it is stale").code(), Code::Aborted);
    let fresh = UpdateLaneRequest { update_mask: mask(&["owner"]), ..gray(|lane| lane.etag = etag) };
    assert_eq!(admin.update_lane(fresh).await.expect("updated").into_inner().owner, "");
    let immutable = UpdateLaneRequest { update_mask: mask(&["tag"]), ..gray(|lane| lane.tag = "blue".to_owned()) };
    let refusal = admin.update_lane(immutable).await.expect_err("it cannot be changed");
    let found = refusal.get_details_bad_request().expect("fields are named").field_violations;
    assert_eq!((found[0].field.as_str(), found[0].reason.as_str()), ("lane.tag", "LANE0803"), "{found:?}");
    let nowhere = UpdateLaneRequest { update_mask: mask(&["colour", "entry.colour"]), ..gray(|_| {}) };
    let refusal = admin.update_lane(nowhere).await.expect_err("there is no such field");
    assert_eq!(refusal.get_details_bad_request().expect("fields are named").field_violations.len(), 2);
    let everything = UpdateLaneRequest { update_mask: mask(&["*"]), ..gray(given) };
    assert!(admin.update_lane(everything).await.expect("replaced").into_inner().entry.is_none());

    let missing = UpdateLaneRequest {
        lane: Some(Lane { name: format!("{GROUP}/lanes/blue"), priority: 3, ..Lane::default() }),
        update_mask: mask(&["owner"]),
        ..UpdateLaneRequest::default()
    };
    assert_eq!(admin.update_lane(missing.clone()).await.expect_err("it is not there").code(), Code::NotFound);
    let made = admin.update_lane(UpdateLaneRequest { allow_missing: true, ..missing }).await.expect("created");
    assert_eq!((made.get_ref().priority, made.get_ref().tag.as_str()), (3, "blue"));

    let group = LaneGroup { name: GROUP.to_owned(), owner: "carol".to_owned(), ..LaneGroup::default() };
    let update = UpdateLaneGroupRequest { lane_group: Some(group), ..UpdateLaneGroupRequest::default() };
    assert_eq!(admin.update_lane_group(update).await.expect("updated").into_inner().owner, "carol");
    let create = CreateServicePolicyRequest {
        parent: "namespaces/default".to_owned(),
        service_policy_id: "b".to_owned(),
        service_policy: Some(ServicePolicy { owner: "dave".to_owned(), ..ServicePolicy::default() }),
        ..CreateServicePolicyRequest::default()
    };
    let policy = admin.create_service_policy(create).await.expect("created").into_inner();
    let update = UpdateServicePolicyRequest {
        service_policy: Some(ServicePolicy { description: "new".to_owned(), ..policy }),
        update_mask: mask(&["description"]),
        ..UpdateServicePolicyRequest::default()
    };
    let policy = admin.update_service_policy(update).await.expect("updated").into_inner();
    assert_eq!((policy.owner.as_str(), policy.description.as_str()), ("dave", "new"));
}

#[tokio::test]
async fn a_call_with_an_id_is_done_once() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let delete =
        DeleteLaneRequest { name: GRAY.to_owned(), force: true, request_id: ID.to_owned(), ..Default::default() };
    let trial = DeleteLaneRequest { validate_only: true, ..delete.clone() };
    admin.delete_lane(trial).await.expect("it would do");
    admin.delete_lane(delete.clone()).await.expect("deleted");
    admin.delete_lane(delete.clone()).await.expect("the same answer, not NOT_FOUND");
    let other = DeleteLaneRequest { allow_missing: true, ..delete };
    let refusal = admin.delete_lane(other).await.expect_err("another request");
    assert!(refusal.code() == Code::InvalidArgument && refusal.message().contains("request_id"), "{refusal}");

    // Many at once: one of them does it, and all hear what came of it.
    let create = CreateLaneRequest {
        parent: GROUP.to_owned(),
        lane_id: "blue".to_owned(),
        lane: Some(Lane::default()),
        request_id: ID.replace('9', "8"),
        ..CreateLaneRequest::default()
    };
    let calls = (0..20).map(|_| {
        let (mut admin, create) = (admin.clone(), create.clone());
        tokio::spawn(async move { admin.create_lane(create).await })
    });
    let mut uids = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        uids.push(call.await.expect("no panic").expect("created, or heard of").into_inner().uid);
    }
    uids.dedup();
    assert_eq!(uids.len(), 1);
    let info = control.status().await.get_server_info(GetServerInfoRequest {}).await.expect("told").into_inner();
    assert_eq!(info.revision, 3);

    for bad in ["x", "00000000-0000-0000-0000-000000000000", &format!("{ID} ")] {
        let refusal = admin.create_lane(CreateLaneRequest { request_id: bad.to_owned(), ..create.clone() }).await;
        let refusal = refusal.expect_err("it is no UUID");
        let found = refusal.get_details_bad_request().expect("fields are named").field_violations;
        assert_eq!(found[0].field, "request_id", "{bad}");
    }
    let long = CreateLaneRequest { reason: "x".repeat(257), ..create };
    assert!(admin.create_lane(long).await.expect_err("too long").message().contains("reason"));
}

#[tokio::test]
async fn lists_are_filtered_and_ordered() {
    let control = Control::start();
    control.apply(SHOP);
    let lane = |id: &str, priority: i32, team: &str| Lane {
        name: format!("{GROUP}/lanes/{id}"),
        labels: [("team".to_owned(), team.to_owned())].into(),
        priority,
        enabled: Some(priority < 3),
        ..Lane::default()
    };
    let lanes = vec![lane("a", 1, "trade"), lane("b", 2, "stock"), lane("c", 3, "trade")];
    let bundle = Bundle { lanes, ..Bundle::default() };
    let mut admin = control.admin().await;
    admin
        .apply_bundle(ApplyBundleRequest { bundle: Some(bundle), ..ApplyBundleRequest::default() })
        .await
        .expect("applied");
    for (filter, order_by, expected) in [
        (r#"enabled = true AND labels.team = "trade""#, "", &["a"][..]),
        ("labels:team", "priority desc", &["c", "b", "a"]),
        ("state = STATE_DISABLED", "", &["c"]),
        ("coverage.ready_endpoints:1", "", &["gray"]),
        ("NOT labels:team", "", &["gray"]),
        ("name = \"*/lanes/b\" OR priority = 1", "labels.team, name desc", &["b", "a"]),
    ] {
        let request = ListLanesRequest {
            parent: GROUP.to_owned(),
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            ..ListLanesRequest::default()
        };
        let listed = admin.list_lanes(request).await.expect("listed").into_inner();
        let ids: Vec<_> = listed.lanes.iter().map(|lane| lane.name.rsplit('/').next().unwrap_or_default()).collect();
        assert_eq!(
            (ids.as_slice(), listed.total_size),
            (expected, i32::try_from(expected.len()).expect("few")),
            "{filter}"
        );
    }
    let parent = "namespaces/-".to_owned();
    let groups = ListLaneGroupsRequest { parent: parent.clone(), filter: "owner:*".to_owned(), ..Default::default() };
    assert!(admin.list_lane_groups(groups).await.expect("listed").into_inner().lane_groups.is_empty());
    let policies = ListServicePoliciesRequest { parent, order_by: "colour".to_owned(), ..Default::default() };
    let refusal = admin.list_service_policies(policies).await.expect_err("there is no such field");
    assert_eq!(refusal.get_details_bad_request().expect("fields are named").field_violations[0].field, "order_by");

    let _sidecars = [
        Sidecar::connect(&control.discovery, "a-1", "a", "", &[TYPE_LANE]).await.obey(),
        Sidecar::connect(&control.discovery, "a-2", "a", "gray", &[TYPE_LANE]).await.obey(),
    ];
    let mut status = control.status().await;
    let request = ListProxiesRequest {
        filter: "node.namespace = default AND node.tag = gray AND state = CONFIG_STATE_SYNCED".to_owned(),
        ..ListProxiesRequest::default()
    };
    super::program::until("the gray sidecar is listed alone", async || {
        let listed = status.list_proxies(request.clone()).await.expect("listed").into_inner().proxies;
        listed.iter().map(|proxy| proxy.name.as_str()).eq(["proxies/a-2"])
    })
    .await;
}

#[tokio::test]
async fn what_is_exported_can_be_applied_again() {
    let control = Control::start();
    control.apply(SHOP);
    let more = "---\nkind: ServicePolicy\nname: b\n---\nkind: Lane\nname: blue\nnamespace: other\nttl: 48h\n";
    control.apply(&format!("{SHOP}priority: 7\n{more}"));
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    let mut admin = control.admin().await;
    let mut export = async |parent: &str, revision: i64| {
        let request = ExportBundleRequest { parent: parent.to_owned(), revision };
        admin.export_bundle(request).await.map(tonic::Response::into_inner)
    };
    let count = |bundle: &Bundle| (bundle.lane_groups.len(), bundle.lanes.len(), bundle.service_policies.len());
    assert_eq!(count(&export("", 0).await.expect("everything")), (1, 1, 1));
    assert_eq!(count(&export("namespaces/default", 3).await.expect("now")), (1, 0, 1));
    let was = export("", 2).await.expect("it is held");
    assert_eq!((count(&was), was.lanes[0].priority), ((1, 2, 1), 7));
    let first = export(GROUP, 1).await.expect("it is held");
    assert_eq!((count(&first), first.lanes[0].priority), ((1, 1, 0), 0));
    assert!(first.lanes[0].etag.is_empty() && first.lanes[0].uid.is_empty() && first.lanes[0].revision == 0);
    for (parent, revision, code) in
        [("shop", 0, Code::InvalidArgument), ("", -1, Code::InvalidArgument), ("", 9, Code::NotFound)]
    {
        assert_eq!(export(parent, revision).await.expect_err("it is refused").code(), code, "{parent} {revision}");
    }

    let apply = |bundle| ApplyBundleRequest { bundle: Some(bundle), ..ApplyBundleRequest::default() };
    let now = admin.export_bundle(ExportBundleRequest::default()).await.expect("everything").into_inner();
    let again = admin.apply_bundle(apply(now)).await.expect("applied").into_inner();
    assert!(again.changes.is_empty(), "{:?}", again.changes);
    let back = admin.apply_bundle(apply(was)).await.expect("applied").into_inner();
    assert_eq!(back.changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), [GRAY]);
}

#[tokio::test]
async fn errors_say_what_is_wrong_and_what_can_be_done() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let group = DeleteLaneGroupRequest { name: GROUP.to_owned(), ..Default::default() };
    let refusal = admin.delete_lane_group(group).await.expect_err("it has lanes");
    let violations = refusal.get_details_precondition_failure().expect("what must be otherwise").violations;
    assert_eq!((violations[0].r#type.as_str(), violations[0].subject.as_str()), ("HAS_LANES", GROUP));
    let info = refusal.get_details_error_info().expect("a reason");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("HAS_LANES", "laneway.io"));
    for (parent, id, field) in [
        ("namespaces/default", "Shop", "lane_group_id"),
        ("default", "shop", "parent"),
        ("namespaces/X", "x", "parent"),
    ] {
        let create = CreateLaneGroupRequest {
            parent: parent.to_owned(),
            lane_group_id: id.to_owned(),
            lane_group: Some(LaneGroup::default()),
            ..CreateLaneGroupRequest::default()
        };
        let refusal = admin.create_lane_group(create).await.expect_err("it is refused");
        let found = refusal.get_details_bad_request().expect("fields are named").field_violations;
        assert_eq!(found[0].field, field, "{refusal}");
    }
}
