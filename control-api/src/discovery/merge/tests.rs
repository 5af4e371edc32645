//! Which of two sources is believed.

use laneway_core::document::ServiceDocument;
use tokio::sync::watch;

use super::Merge;
use crate::tests::until;

fn service(name: &str, host: &str) -> ServiceDocument {
    let (namespace, name, hosts) = ("shop".to_owned(), name.to_owned(), vec![host.to_owned()]);
    ServiceDocument { namespace, name, hosts, ..ServiceDocument::default() }
}

#[tokio::test]
async fn a_service_of_both_is_the_files_and_either_change_is_followed() {
    let (files, of_files) = watch::channel(vec![service("a", "file")]);
    let (cluster, of_cluster) = watch::channel(vec![service("a", "cluster"), service("b", "cluster")]);
    let mut merge = Merge::new(of_files, of_cluster);
    let first = merge.whole();
    assert_eq!(first, [service("a", "file"), service("b", "cluster")]);
    assert_eq!(merge.doubles.len(), 1);

    let (out, mut found) = watch::channel(first);
    let following = tokio::spawn(merge.follow(out));
    files.send_replace(Vec::new());
    until("the file's service is gone", || {
        *found.borrow_and_update() == [service("a", "cluster"), service("b", "cluster")]
    })
    .await;
    cluster.send_replace(vec![service("c", "cluster")]);
    until("the cluster's change is seen", || *found.borrow_and_update() == [service("c", "cluster")]).await;
    drop(found);
    following.await.expect("it ends when nobody listens");
}
