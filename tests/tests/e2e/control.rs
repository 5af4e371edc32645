//! The control plane is killed while it writes and while traffic runs: nothing acknowledged is lost, no request is.

use std::time::Duration;

use laneway_core::back_off::Spread;
use laneway_tests::conformance::{SCENARIOS, arrange, names, plan};
use laneway_tests::load::Load;
use laneway_tests::mesh::Mesh;
use laneway_tests::mesh::network::Network;
use laneway_tests::outages::{Outages, play};
use laneway_tests::releases::Scale;

use crate::support::namespaces_or_skip;

/// Times that the control plane is killed.
const KILLS: usize = 5;

/// The long form, with figures: `./x outage`.
#[test]
fn a_control_plane_that_is_killed_stopped_and_away_loses_no_request() {
    let load = Scale { releases: 0, requests: 2_000, http1: 4, http2: 2 };
    let outages = Outages { kills: 2, stopped: Duration::from_secs(2), load };
    let report = play("outage", outages).expect("the scene is played");
    assert!(report.seen.is_lossless(), "{report:?}");
    // Two are few: once told so, each draws from the shortest time. It is said of the first try after each loss.
    let longest = report.pauses.iter().max().expect("sidecars lost the control plane");
    assert!(*longest <= Spread::SHORTEST.time(), "{report:?}");
}

#[test]
fn kill_9_of_the_control_plane_loses_no_request_and_no_acknowledged_write() {
    if !namespaces_or_skip("kill_9_of_the_control_plane_loses_no_request_and_no_acknowledged_write") {
        return;
    }
    let mut mesh = Mesh::up(plan("kill", true)).expect("the mesh comes up");
    arrange(&mut mesh, &SCENARIOS[0]).expect("the scenario is arranged");
    let Network::Namespaces(namespaces) = mesh.network() else { unreachable!("the plan asks for namespaces") };
    let load = Load {
        namespace: Some(namespaces.name("entry")),
        to: mesh.entry_address(),
        path: "/a".to_owned(),
        headers: vec![("host".to_owned(), "www.base.com".to_owned()), ("x-mse-tag".to_owned(), "gray".to_owned())],
        connections: 4,
        requests_per_second: 100,
    }
    .start();
    load.await_answers(30, Duration::from_secs(30)).expect("requests are answered");

    for kill in 0..KILLS {
        // Writes of other lanes, one after the other, until the kill cuts one off.
        let acknowledged = std::thread::scope(|scope| {
            let mesh = &mesh;
            let (written, first_written) = std::sync::mpsc::channel();
            let writer = scope.spawn(move || {
                let mut acknowledged = Vec::new();
                for number in 0..1000 {
                    let name = format!("w{kill}x{number}");
                    let file = mesh.directory().join("write.yaml");
                    std::fs::write(&file, format!("kind: Lane\nname: {name}\ngroup: shop\n"))
                        .expect("the directory is ours");
                    if mesh.lanectl(&["apply", "-f", &file.to_string_lossy()]).is_err() {
                        break;
                    }
                    acknowledged.push(name);
                    let _ = written.send(());
                }
                acknowledged
            });
            first_written.recv_timeout(Duration::from_secs(20)).expect("a write is acknowledged");
            // At another moment of a write each time.
            std::thread::sleep(Duration::from_millis(23 * kill as u64));
            let id = mesh.control_id().expect("the control plane runs");
            laneway_tests::process::kill_now(id);
            writer.join().expect("the writer does not panic")
        });
        mesh.kill_control();
        load.await_answers(20, Duration::from_secs(30)).expect("requests are answered while the control plane is away");
        mesh.start_control().expect("the control plane starts again");
        let lanes = mesh.lanectl(&["get", "lanes", "--group", "shop", "-o", "json"]).expect("lanes are listed");
        for name in &acknowledged {
            assert!(lanes.contains(&format!("\"{name}\"")), "lane {name} was acknowledged and is gone");
        }
    }

    // The lane's state holds, and can be changed again.
    mesh.lanectl(&["lane", "disable", "gray", "--group", "shop", "--wait"]).expect("the lane is switched off");
    let samples = load.stop().expect("the load ran");
    let wrong: Vec<_> = samples
        .iter()
        .filter(|sample| {
            !sample
                .answer
                .as_ref()
                .is_ok_and(|chain| ["A -> Bgray -> Cgray", "A -> B -> C"].contains(&names(chain).as_str()))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), samples.len(), wrong.first());
    let in_lane =
        samples.iter().filter(|sample| sample.answer.as_ref().is_ok_and(|chain| chain.contains("gray"))).count();
    assert!(in_lane * 10 > samples.len() * 9, "only {in_lane} of {} stayed in the lane", samples.len());
}
