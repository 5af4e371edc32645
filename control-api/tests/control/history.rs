//! What was changed, and the way back.

use laneway_proto::admin::{
    GetLaneRequest, GetRevisionRequest, Lane, ListRevisionsRequest, ResourceChange, Revision, RevisionView,
    RollbackRequest, lane, resource_change,
};
use tonic::Code;
use tonic_types::StatusExt;

use super::program::{Control, SHOP};

const GROUP: &str = "namespaces/default/laneGroups/shop";
const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";

fn names(revisions: &[Revision]) -> Vec<&str> {
    revisions.iter().map(|revision| revision.name.as_str()).collect()
}

#[tokio::test]
async fn revisions_come_newest_first_in_pages_and_views_and_survive_kill_9() {
    let mut control = Control::start();
    control.apply(SHOP);
    control.write("reason.yaml", &format!("{SHOP}priority: 7\n"));
    control.lanectl_ok(&["apply", "-f", "reason.yaml", "--reason", "gray goes first"]);
    control.lanectl_ok(&["lane", "disable", "gray"]);
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    control.kill();
    control.restart();
    let mut admin = control.admin().await;

    let mut request = ListRevisionsRequest { page_size: 3, ..Default::default() };
    let page = admin.list_revisions(request.clone()).await.expect("listed").into_inner();
    assert_eq!(names(&page.revisions), ["revisions/4", "revisions/3", "revisions/2"]);
    let second = &page.revisions[2];
    assert_eq!((second.principal.as_str(), second.reason.as_str()), ("anonymous", "gray goes first"));
    assert!(second.method.ends_with("/ApplyBundle") && second.create_time.is_some(), "{second:?}");
    let shown: Vec<(&str, resource_change::Kind, &[String])> =
        second.changes.iter().map(|change| (change.name.as_str(), change.kind(), &change.changed_paths[..])).collect();
    assert_eq!(shown, [(GRAY, resource_change::Kind::Updated, &["priority".to_owned()][..])]);
    let is_bare = |change: &ResourceChange| change.before_json.is_empty() && change.after_json.is_empty();
    assert!(page.revisions.iter().flat_map(|revision| &revision.changes).all(is_bare));
    request.page_token = page.next_page_token;
    let page = admin.list_revisions(request.clone()).await.expect("listed").into_inner();
    assert_eq!((names(&page.revisions), page.next_page_token.as_str()), (vec!["revisions/1"], ""));

    let full = ListRevisionsRequest { view: RevisionView::Full.into(), ..Default::default() };
    let full = admin.list_revisions(full).await.expect("listed").into_inner().revisions;
    let second = &full[2].changes[0];
    assert!(!second.before_json.contains("priority") && second.after_json.contains("\"priority\":7"), "{second:?}");
    let got =
        admin.get_revision(GetRevisionRequest { name: "revisions/2".to_owned() }).await.expect("held").into_inner();
    assert_eq!(got, full[2]);

    let filter = |filter: &str| ListRevisionsRequest { filter: filter.to_owned(), page_size: 2, ..Default::default() };
    let by_name = filter(&format!("changes.name = \"{GROUP}\" AND principal = anonymous"));
    let page = admin.list_revisions(by_name).await.expect("listed").into_inner();
    assert_eq!((names(&page.revisions), page.next_page_token.as_str()), (vec!["revisions/1"], ""));
    let under = filter(&format!("changes.name = \"{GROUP}/*\""));
    let page = admin.list_revisions(under.clone()).await.expect("listed").into_inner();
    assert_eq!(names(&page.revisions), ["revisions/4", "revisions/3"]);
    let rest = ListRevisionsRequest { page_token: page.next_page_token.clone(), ..under };
    let rest = admin.list_revisions(rest).await.expect("listed").into_inner();
    assert_eq!((names(&rest.revisions), rest.next_page_token.as_str()), (vec!["revisions/2", "revisions/1"], ""));
    // A token holds for its own list.
    for bad in [
        ListRevisionsRequest { page_token: page.next_page_token, ..Default::default() },
        ListRevisionsRequest { page_size: -1, ..Default::default() },
        filter("colour = red"),
    ] {
        assert_eq!(admin.list_revisions(bad).await.expect_err("it is bad").code(), Code::InvalidArgument);
    }
    for (name, code) in
        [("revisions/5", Code::NotFound), ("revisions/0", Code::InvalidArgument), ("5", Code::InvalidArgument)]
    {
        let refusal =
            admin.get_revision(GetRevisionRequest { name: name.to_owned() }).await.expect_err("it is refused");
        assert_eq!(refusal.code(), code, "{name}");
    }
}

fn back_to(number: i64) -> RollbackRequest {
    RollbackRequest { name: format!("revisions/{number}"), ..RollbackRequest::default() }
}

async fn gray(control: &Control) -> Lane {
    let request = GetLaneRequest { name: GRAY.to_owned() };
    control.admin().await.get_lane(request).await.expect("it is there").into_inner()
}

#[tokio::test]
async fn a_rollback_restores_rules_and_no_switch_unless_it_is_asked_for() {
    let control = Control::start();
    let mut admin = control.admin().await;
    control.apply(SHOP);
    control.apply(&format!("{SHOP}priority: 7\ndescription: later\n"));
    control.lanectl_ok(&["lane", "disable", "gray"]);

    // Only looked at: nothing is changed, and what would be is shown.
    let trial = RollbackRequest { validate_only: true, ..back_to(1) };
    let tried = admin.rollback(trial).await.expect("it would do").into_inner().revision.expect("something to do");
    assert_eq!((tried.name.as_str(), tried.revision, tried.rollback_revision), ("", 4, 1));
    assert_eq!(tried.changes[0].changed_paths, ["description", "priority"]);
    assert_eq!(gray(&control).await.priority, 7);

    let stale = RollbackRequest { expected_revision: 2, ..back_to(1) };
    assert_eq!(admin.rollback(stale).await.expect_err("it is stale").code(), Code::Aborted);
    let current = RollbackRequest { expected_revision: 3, reason: "it was better".to_owned(), ..back_to(1) };
    let done = admin.rollback(current).await.expect("done").into_inner();
    let made = done.revision.expect("something to do");
    assert_eq!((made.name.as_str(), made.rollback_revision, done.diagnostics.len()), ("revisions/4", 1, 0));
    let kept = admin.get_revision(GetRevisionRequest { name: made.name.clone() }).await.expect("held").into_inner();
    assert_eq!((kept.changes, kept.reason, kept.rollback_revision), (made.changes, made.reason, 1));
    let lane = gray(&control).await;
    assert_eq!((lane.priority, lane.description.as_str(), lane.state()), (0, "", lane::State::Disabled));
    assert_eq!((lane.revision, lane.etag.is_empty()), (4, false));
    assert!(admin.rollback(back_to(1)).await.expect("nothing to do").into_inner().revision.is_none());

    // With the state: on again. Forward again is a rollback too.
    admin.rollback(RollbackRequest { with_state: true, ..back_to(1) }).await.expect("done");
    assert_eq!(gray(&control).await.state(), lane::State::Enabled);
    admin.rollback(back_to(2)).await.expect("done");
    assert_eq!((gray(&control).await.priority, gray(&control).await.state()), (7, lane::State::Enabled));

    // What is gone comes back dark, and that is told; what came since goes.
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    control.apply("kind: ServicePolicy\nname: b\n");
    let done = admin.rollback(back_to(6)).await.expect("done").into_inner();
    let told: Vec<&str> = done.diagnostics.iter().map(|finding| finding.code.as_str()).collect();
    assert!(told.contains(&"LANE0808"), "{:?}", done.diagnostics);
    let changes = done.revision.expect("something to do").changes;
    let kinds: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.kind())).collect();
    let policy = "namespaces/default/servicePolicies/b";
    assert_eq!(kinds, [(GRAY, resource_change::Kind::Created), (policy, resource_change::Kind::Deleted)]);
    assert_eq!(gray(&control).await.state(), lane::State::Disabled);
}

#[tokio::test]
async fn a_rollback_keeps_to_its_scope_and_is_checked_as_any_other_change() {
    let mut control = Control::start();
    let mut admin = control.admin().await;
    control.apply(SHOP);
    let other = "---\nkind: Lane\nname: blue\nnamespace: other\n---\nkind: ServicePolicy\nname: b\n";
    control.apply(&format!("{SHOP}priority: 7\n{other}"));
    let scope = |scope: &str| RollbackRequest { scope: scope.to_owned(), validate_only: true, ..back_to(1) };
    let blue = "namespaces/other/laneGroups/default/lanes/blue";
    let policy = "namespaces/default/servicePolicies/b";
    for (within, expected) in [
        ("", vec![GRAY, policy, blue]),
        ("namespaces/default", vec![GRAY, policy]),
        (GROUP, vec![GRAY]),
        (GRAY, vec![GRAY]),
        (policy, vec![policy]),
        ("namespaces/none", vec![]),
    ] {
        let revision = admin.rollback(scope(within)).await.expect("it would do").into_inner().revision;
        let changes = revision.map(|revision| revision.changes).unwrap_or_default();
        assert_eq!(changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), expected, "{within}");
    }
    for (bad, code) in [
        (scope("gray"), Code::InvalidArgument),
        (back_to(3), Code::NotFound),
        (back_to(0), Code::InvalidArgument),
        (RollbackRequest { reason: "x".repeat(257), ..back_to(1) }, Code::InvalidArgument),
    ] {
        assert_eq!(admin.rollback(bad).await.expect_err("it is refused").code(), code);
    }

    // Another lane has its tag by now.
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    control.apply("kind: Lane\nname: twin\ngroup: shop\ntag: gray\n");
    let conflict = RollbackRequest { scope: GRAY.to_owned(), ..back_to(1) };
    let refusal = admin.rollback(conflict.clone()).await.expect_err("two lanes with one tag");
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    let violations = refusal.get_details_bad_request().expect("fields are named").field_violations;
    assert!(violations.iter().any(|violation| violation.field == format!("{GRAY}.tag")), "{violations:?}");
    let trial = RollbackRequest { validate_only: true, ..conflict };
    let tried = admin.rollback(trial).await.expect("a trial answers").into_inner();
    assert!(tried.revision.is_none() && !tried.diagnostics.is_empty(), "{tried:?}");

    // What is let go cannot be gone back to.
    drop(admin);
    control.kill();
    rusqlite::Connection::open(control.path("control.db"))
        .and_then(|database| database.execute_batch("DELETE FROM revisions WHERE revision <= 2"))
        .expect("nobody holds the database");
    control.restart();
    let mut admin = control.admin().await;
    let refusal = admin.rollback(back_to(2)).await.expect_err("it is gone");
    assert!(refusal.code() == Code::OutOfRange && refusal.message().contains("lanectl history"), "{refusal}");
    let gone = GetRevisionRequest { name: "revisions/1".to_owned() };
    assert_eq!(admin.get_revision(gone).await.expect_err("it is gone").code(), Code::OutOfRange);
    admin.rollback(back_to(3)).await.expect("it is held");
}

#[test]
fn the_history_speaks_json_too() {
    let control = Control::start();
    control.apply(SHOP);
    control.apply(&format!("{SHOP}priority: 7\n"));
    let ask = |method: &str, target: &str, body: &str| control.http(method, target, body);
    let listed =
        ask("GET", "/v1/revisions?pageSize=1&filter=changes.name+%3D%20%22*gray%22&view=REVISION_VIEW_FULL", "");
    assert!(listed.starts_with("HTTP/1.1 200") && listed.contains("\"nextPageToken\""), "{listed}");
    assert!(listed.contains("\"name\":\"revisions/2\"") && listed.contains("afterJson"), "{listed}");
    assert!(ask("GET", "/v1/revisions/1", "").contains("\"KIND_CREATED\""));
    assert!(ask("GET", "/v1/revisions/9", "").starts_with("HTTP/1.1 404"));
    let bad = ask("GET", "/v1/revisions?colour=red", "");
    assert!(bad.starts_with("HTTP/1.1 400") && bad.contains("colour"), "{bad}");
    assert!(ask("GET", "/v1/revisions?filter=%f", "").starts_with("HTTP/1.1 400"));
    let back = ask("POST", "/v1/revisions/1:rollback", "{\"reason\": \"by curl\"}");
    assert!(back.starts_with("HTTP/1.1 200") && back.contains("\"rollbackRevision\":\"1\""), "{back}");
    assert!(ask("POST", "/v1/revisions/1:rollforward", "{}").starts_with("HTTP/1.1 404"));
}
