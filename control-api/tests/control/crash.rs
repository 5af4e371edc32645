//! kill -9 at any moment: what was acknowledged is there, what is there was asked for, and it starts again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::admin::{ApplyBundleRequest, Bundle, Lane, ListLanesRequest};
use tonic::transport::Channel;

use super::program::{Control, channel};

const ROUNDS: u64 = 12;
/// Lanes that are written at a time: all of a bundle, or none.
const BUNDLE: u64 = 3;

fn lane(writer: u64, round: u64, number: u64, part: u64) -> Lane {
    let id = format!("w{writer}r{round}n{number}p{part}");
    Lane { name: format!("namespaces/default/laneGroups/default/lanes/{id}"), ..Lane::default() }
}

async fn lanes(admin: &mut LaneAdminClient<Channel>) -> (BTreeSet<String>, i64) {
    let mut names = BTreeSet::new();
    let mut request = ListLanesRequest {
        parent: "namespaces/default/laneGroups/-".to_owned(),
        page_size: 100,
        ..ListLanesRequest::default()
    };
    loop {
        let page = admin.list_lanes(request.clone()).await.expect("lists").into_inner();
        names.extend(page.lanes.into_iter().map(|lane| lane.name));
        if page.next_page_token.is_empty() {
            return (names, page.revision);
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_kill_9() {
    let mut control = Control::start();
    let mut acknowledged = BTreeSet::new();
    let mut revision = 0;
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (api, stop) = (control.api.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut admin = LaneAdminClient::new(channel(&api).await);
                    let (mut written, mut last) = (Vec::new(), 0);
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let bundle: Vec<Lane> = (0..BUNDLE).map(|part| lane(writer, round, number, part)).collect();
                        let request = ApplyBundleRequest {
                            bundle: Some(Bundle { lanes: bundle.clone(), ..Bundle::default() }),
                            ..ApplyBundleRequest::default()
                        };
                        let Ok(response) = admin.apply_bundle(request).await else { break };
                        last = response.into_inner().revision;
                        written.extend(bundle.into_iter().map(|lane| lane.name));
                    }
                    (written, last)
                })
            })
            .collect();
        // Another moment each time.
        tokio::time::sleep(Duration::from_millis(15 + 13 * round)).await;
        control.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            let (written, last) = writer.await.expect("the writer does not panic");
            acknowledged.extend(written);
            revision = revision.max(last);
        }
        control.restart();
        let (found, now) = lanes(&mut control.admin().await).await;
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        assert!(now >= revision, "round {round}: revision {now} after {revision}");
        assert_eq!(found.len() as u64 % BUNDLE, 0, "round {round}: part of a bundle");
        // One bundle of each writer may have been committed without its answer.
        assert!(found.len() as u64 <= acknowledged.len() as u64 + 2 * BUNDLE, "round {round}: more than was asked for");
        acknowledged = found;
    }
    assert!(acknowledged.len() as u64 >= ROUNDS * BUNDLE, "hardly anything was written: {}", acknowledged.len());
}
