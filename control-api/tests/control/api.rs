//! The admin API over the wire.

use laneway_proto::admin::enable_lane_request::Expiration;
use laneway_proto::admin::{
    ApplyBundleRequest, Bundle, CreateLaneRequest, DeleteLaneGroupRequest, DeleteLaneRequest, Diagnostic,
    DisableLaneRequest, EnableLaneRequest, Fallback, GetLaneRequest, Lane, LaneGroup, ListLanesRequest,
    UpdateLaneRequest, diagnostic, lane,
};
use laneway_proto::status::GetServerInfoRequest;
use tonic::Code;
use tonic_types::StatusExt;

use super::program::{Control, SHOP};

const GROUP: &str = "namespaces/default/laneGroups/shop";
const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";

fn bundle(lanes: &[Lane]) -> ApplyBundleRequest {
    let groups = vec![LaneGroup { name: GROUP.to_owned(), ..LaneGroup::default() }];
    let bundle = Bundle { lane_groups: groups, lanes: lanes.to_vec(), ..Bundle::default() };
    ApplyBundleRequest { bundle: Some(bundle), ..ApplyBundleRequest::default() }
}

fn lane_of(id: &str) -> Lane {
    Lane { name: format!("{GROUP}/lanes/{id}"), ..Lane::default() }
}

#[tokio::test]
async fn a_bundle_is_one_revision_or_none() {
    let control = Control::start();
    let mut admin = control.admin().await;
    let trial = ApplyBundleRequest { validate_only: true, ..bundle(&[lane_of("gray")]) };
    let response = admin.apply_bundle(trial).await.expect("it would do").into_inner();
    assert_eq!((response.revision, response.changes.len()), (0, 2));

    let response = admin.apply_bundle(bundle(&[lane_of("gray")])).await.expect("it is applied").into_inner();
    assert_eq!((response.revision, response.changes.len()), (1, 2));
    let response = admin.apply_bundle(bundle(&[lane_of("gray")])).await.expect("nothing to do").into_inner();
    assert_eq!((response.revision, response.changes.len()), (1, 0));

    // Two lanes with one tag: the good one beside them is not taken either.
    let twin = Lane { tag: "gray".to_owned(), ..lane_of("twin") };
    let refusal = admin.apply_bundle(bundle(&[lane_of("good"), twin])).await.expect_err("it is refused");
    assert_eq!(refusal.code(), Code::InvalidArgument);
    let violations = refusal.get_details_bad_request().expect("fields are named").field_violations;
    assert!(violations.iter().any(|violation| violation.field.ends_with("tag")), "{violations:?}");
    assert_eq!(refusal.get_details_error_info().expect("a reason").domain, "laneway.io");
    let listed = admin
        .list_lanes(ListLanesRequest { parent: "namespaces/-/laneGroups/-".to_owned(), ..Default::default() })
        .await
        .expect("listed")
        .into_inner();
    assert_eq!((listed.total_size, listed.revision), (1, 1));

    let stale = ApplyBundleRequest { expected_revision: 7, ..bundle(&[lane_of("more")]) };
    assert_eq!(admin.apply_bundle(stale).await.expect_err("it is stale").code(), Code::Aborted);
    let repeated = ApplyBundleRequest { request_id: "x".to_owned(), ..bundle(&[]) };
    assert!(admin.apply_bundle(repeated).await.expect_err("not yet").message().contains("request_id"));
}

#[tokio::test]
async fn a_refusal_names_everything_that_is_wrong() {
    let control = Control::start();
    let mut admin = control.admin().await;
    let chain = Fallback { chain: vec!["x".to_owned(), "x".to_owned()], ..Fallback::default() };
    let short = lane::Expiration::Ttl(prost_types::Duration { seconds: 1, nanos: 0 });
    let lanes = [
        Lane { name: "gray".to_owned(), ..Lane::default() },
        Lane { expiration: Some(short), fallback: Some(chain.clone()), ..lane_of("short") },
        Lane { fallback: Some(chain), ..lane_of("chain") },
    ];
    let refusal = admin.apply_bundle(bundle(&lanes)).await.expect_err("it is refused");
    let violations = refusal.get_details_bad_request().expect("fields are named").field_violations;
    let mut fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    fields.sort_unstable();
    let all = ["lanes[0].name", "lanes[1].fallback.chain[1]", "lanes[1].ttl", "lanes[2].fallback.chain[1]"];
    assert_eq!(fields, all.map(|field| format!("bundle.{field}")));

    // A trial says the same, and shows nothing as done.
    let trial = ApplyBundleRequest { validate_only: true, ..bundle(&lanes) };
    let response = admin.apply_bundle(trial).await.expect("a trial answers").into_inner();
    let is_error = |finding: &&Diagnostic| finding.severity() == diagnostic::Severity::Error;
    assert_eq!((response.diagnostics.iter().filter(is_error).count(), response.changes.len()), (4, 0));
}

#[tokio::test]
async fn lists_come_in_pages() {
    let control = Control::start();
    let mut admin = control.admin().await;
    let lanes: Vec<Lane> = (0..5).map(|number| lane_of(&format!("l{number}"))).collect();
    admin.apply_bundle(bundle(&lanes)).await.expect("it is applied");
    let mut request = ListLanesRequest { parent: GROUP.to_owned(), page_size: 2, ..Default::default() };
    let mut names = Vec::new();
    for expected in [2, 2, 1] {
        let page = admin.list_lanes(request.clone()).await.expect("listed").into_inner();
        assert_eq!((page.lanes.len(), page.total_size), (expected, 5));
        names.extend(page.lanes.into_iter().map(|lane| lane.name));
        request.page_token = page.next_page_token;
    }
    assert!(request.page_token.is_empty());
    assert_eq!(names, lanes.into_iter().map(|lane| lane.name).collect::<Vec<_>>());
    for bad in [
        ListLanesRequest { page_token: "x".to_owned(), parent: GROUP.to_owned(), ..Default::default() },
        ListLanesRequest { page_size: -1, parent: GROUP.to_owned(), ..Default::default() },
        ListLanesRequest { filter: "x".to_owned(), parent: GROUP.to_owned(), ..Default::default() },
        ListLanesRequest { parent: "shop".to_owned(), ..Default::default() },
    ] {
        assert_eq!(admin.list_lanes(bad).await.expect_err("it is bad").code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn the_switch_knows_lanes_that_are_not_there() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let missing = EnableLaneRequest { name: format!("{GROUP}/lanes/none"), ..Default::default() };
    assert_eq!(admin.enable_lane(missing).await.expect_err("it is not there").code(), Code::NotFound);
    let bare = DisableLaneRequest { name: format!("{GROUP}/lanes/blue"), ..Default::default() };
    assert_eq!(admin.disable_lane(bare.clone()).await.expect_err("it is not there").code(), Code::NotFound);
    let created = admin.disable_lane(DisableLaneRequest { allow_missing: true, ..bare }).await.expect("created dark");
    let created = created.into_inner().lane.expect("the lane");
    assert_eq!((created.tag.as_str(), created.state()), ("blue", lane::State::Disabled));
    let request =
        EnableLaneRequest { name: created.name.clone(), require_coverage: true, ..EnableLaneRequest::default() };
    let refusal = admin.enable_lane(request).await.expect_err("nothing runs");
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    let stale = DisableLaneRequest { name: GRAY.to_owned(), etag: "0".to_owned(), ..Default::default() };
    assert_eq!(admin.disable_lane(stale).await.expect_err("it is stale").code(), Code::Aborted);
    // Applied again without a word on it, it stays off.
    let off = admin.disable_lane(DisableLaneRequest { name: GRAY.to_owned(), ..Default::default() }).await;
    assert_eq!(off.expect("off").into_inner().lane.expect("the lane").enabled, Some(false));
    control.apply(&SHOP.replace("group: shop", "group: shop\ndescription: again"));
    let lane = admin.get_lane(GetLaneRequest { name: GRAY.to_owned() }).await.expect("it is there").into_inner();
    assert_eq!((lane.enabled, lane.description.as_str()), (Some(false), "again"));
    let covered = lane.coverage.iter().filter(|service| service.ready_endpoints > 0).count();
    assert_eq!((lane.coverage.len(), covered), (2, 2));
}

#[tokio::test]
async fn enabling_says_when_a_lane_ends() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let with = |expiration| EnableLaneRequest {
        name: GRAY.to_owned(),
        expiration: Some(expiration),
        ..EnableLaneRequest::default()
    };
    let ttl = |seconds| Expiration::Ttl(prost_types::Duration { seconds, nanos: 0 });
    let begun = prost_types::Timestamp::from(std::time::SystemTime::now()).seconds;
    let lane = admin.enable_lane(with(ttl(3600))).await.expect("enabled").into_inner().lane.expect("the lane");
    let Some(lane::Expiration::ExpireTime(end)) = lane.expiration else { panic!("{:?}", lane.expiration) };
    assert!((begun + 3600..begun + 3660).contains(&end.seconds) && end.nanos == 0, "{end}");
    assert_eq!((lane.state(), lane.given_ttl.map(|ttl| ttl.seconds)), (lane::State::Enabled, Some(3600)));

    let trial = EnableLaneRequest { validate_only: true, ..with(ttl(7200)) };
    let tried = admin.enable_lane(trial).await.expect("it would do").into_inner().lane.expect("the lane");
    assert_eq!(tried.given_ttl.map(|ttl| ttl.seconds), Some(7200));
    let read = admin.get_lane(GetLaneRequest { name: GRAY.to_owned() }).await.expect("it is there").into_inner();
    assert_eq!(read.expiration, lane.expiration);

    let past = Expiration::ExpireTime(prost_types::Timestamp { seconds: begun - 1, nanos: 0 });
    for (bad, field) in [(ttl(59), "ttl"), (ttl(365 * 86_400 + 1), "ttl"), (past, "expireTime")] {
        let refusal = admin.enable_lane(with(bad)).await.expect_err("it is refused");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        let violations = refusal.get_details_bad_request().expect("fields are named").field_violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert_eq!(violations[0].field, field);
    }

    // What only the server writes is not believed.
    let forged = Lane { given_ttl: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..lane_of("gray") };
    admin.apply_bundle(bundle(&[Lane { state: lane::State::Expired.into(), ..forged }])).await.expect("it is applied");
    let read = admin.get_lane(GetLaneRequest { name: GRAY.to_owned() }).await.expect("it is there").into_inner();
    assert_eq!((read.expiration, read.given_ttl, read.state()), (None, None, lane::State::Enabled));
}

#[tokio::test]
async fn what_runs_is_not_deleted_without_force() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let group = DeleteLaneGroupRequest { name: GROUP.to_owned(), ..Default::default() };
    assert_eq!(
        admin.delete_lane_group(group.clone()).await.expect_err("it has lanes").code(),
        Code::FailedPrecondition
    );
    let delete = DeleteLaneRequest { name: GRAY.to_owned(), ..Default::default() };
    let refusal = admin.delete_lane(delete.clone()).await.expect_err("its tag runs");
    assert!(refusal.code() == Code::FailedPrecondition && refusal.message().contains("Disable"), "{refusal}");
    admin.delete_lane(DeleteLaneRequest { force: true, ..delete.clone() }).await.expect("forced");
    assert_eq!(admin.delete_lane(delete.clone()).await.expect_err("gone").code(), Code::NotFound);
    admin.delete_lane(DeleteLaneRequest { allow_missing: true, ..delete }).await.expect("gone is fine");
    admin.delete_lane_group(group).await.expect("it is empty");
}

#[tokio::test]
async fn create_and_update() {
    let control = Control::start();
    control.apply(SHOP);
    let mut admin = control.admin().await;
    let create = CreateLaneRequest {
        parent: GROUP.to_owned(),
        lane_id: "blue".to_owned(),
        lane: Some(Lane::default()),
        ..Default::default()
    };
    let made = admin.create_lane(create.clone()).await.expect("created").into_inner();
    assert_eq!(made.tag, "blue");
    assert_eq!(admin.create_lane(create).await.expect_err("twice").code(), Code::AlreadyExists);
    let mask = Some(prost_types::FieldMask { paths: vec!["*".to_owned()] });
    let update = UpdateLaneRequest {
        lane: Some(Lane { description: "new".to_owned(), ..made }),
        update_mask: mask,
        ..Default::default()
    };
    assert_eq!(admin.update_lane(update.clone()).await.expect("updated").into_inner().description, "new");
    assert_eq!(admin.update_lane(update).await.expect_err("its etag is old").code(), Code::Aborted);
    let info = control.status().await.get_server_info(GetServerInfoRequest {}).await.expect("told").into_inner();
    assert_eq!((info.replica.as_str(), info.revision), ("test", 3));
}
