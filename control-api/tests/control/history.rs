//! What was changed, and the way back.

use laneway_proto::admin::{
    GetRevisionRequest, ListRevisionsRequest, ResourceChange, Revision, RevisionView, resource_change,
};
use tonic::Code;

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
