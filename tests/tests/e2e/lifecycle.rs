//! A sidecar's own releases: its clients lose nothing, and hooks see what becomes of it. The long form, with figures: `./x lifecycle`.

use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, spawn, wait_for};
use laneway_tests::releases::{Scale, drains, failed_upgrades, kills, starts, upgrades};

use crate::alone::free;

const DEADLINE: Duration = Duration::from_secs(30);

/// Enough that every connection is closed by every release.
const SHORT: Scale = Scale { releases: 3, requests: 3_000, http1: 4, http2: 2 };

#[test]
fn a_sidecar_that_is_drained_and_started_anew_loses_nothing() {
    let report = drains("own-drain", "10s", Scale { releases: 2, ..SHORT }).expect("the scene is played");
    assert!(report.seen.is_lossless(), "{report:?}");
    assert!(report.seen.announced >= 12, "every connection was told, twice: {report:?}");
}

#[test]
fn a_sidecar_that_is_upgraded_in_place_loses_nothing() {
    let report = upgrades("own-upgrade", Duration::from_millis(500), SHORT).expect("the scene is played");
    assert!(report.seen.is_lossless(), "{report:?}");
    assert!(report.seen.announced >= 18, "every connection was told, three times: {report:?}");
}

#[test]
fn a_successor_that_fails_leaves_the_old_one_serving() {
    let (report, ended) = failed_upgrades("failed-upgrade", SHORT).expect("the scene is played");
    assert!(report.seen.is_lossless(), "{report:?}");
    let codes: Vec<Option<i32>> = ended.iter().map(ExitStatus::code).collect();
    assert_eq!(codes, [Some(78), Some(1), None], "refused to start, was not ready, was killed");
}

#[test]
fn a_sidecar_that_was_killed_refuses_and_its_next_process_serves_from_the_disk() {
    let kills = kills("own-kill", 2).expect("the scene is played");
    eprintln!("{kills:?}");
}

/// What a start costs is for `./x lifecycle`; here, that who was called is remembered and called again.
#[test]
fn a_process_opens_connections_to_whom_the_one_before_has_called() {
    let starts = starts("own-start", 50).expect("the scene is played");
    let [cold, warm, upgraded] = starts.opened;
    assert_eq!(cold, 0, "nobody was remembered");
    assert!(warm > 0 && upgraded > 0, "before the first request: {warm} from the disk, {upgraded} of a predecessor");
}

/// Runs a hook to its end.
fn hook(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).expect("it starts").wait_with_output().expect("it ends")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A sidecar that nobody tells anything, its status and admin ports, and how it is told.
fn untold(scratch: &Scratch, flags: &[&str]) -> (Process, String, String) {
    let (status, admin) = (free().to_string(), free().to_string());
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.args(["--status", &status, "--admin", &admin, "--control", &format!("http://{}", free())]);
    command.args(["--inbound", &free().to_string(), "--outbound", &free().to_string()]).args(flags);
    let sidecar = Process::start("sidecar", command, &scratch.path().join("proxy.log")).expect("it starts");
    (sidecar, status, admin)
}

#[test]
fn without_a_configuration_it_is_ready_as_degraded_and_hooks_wait_for_it_and_drain_it() {
    let scratch = Scratch::new("hooks").expect("a directory");
    let (mut sidecar, status, admin) = untold(&scratch, &["--boot-wait", "300ms", "--drain-min", "100ms"]);
    let waited = hook(&["wait", "--status", &status, "--timeout", "30s"]);
    assert!(waited.status.success() && said(&waited).contains("degraded"), "{}", said(&waited));
    let drained = hook(&["drain", "--admin", &admin, "--timeout", "30s"]);
    assert!(drained.status.success() && said(&drained).contains("has drained"), "{}", said(&drained));
    assert!(sidecar.wait(DEADLINE).expect("it has ended").success(), "{}", sidecar.log());
    let nobody = hook(&["drain", "--admin", &admin, "--timeout", "1s"]);
    assert!(nobody.status.code() == Some(1) && said(&nobody).contains("no sidecar to tell"), "{}", said(&nobody));
}

#[test]
fn without_a_configuration_it_is_never_ready_where_that_is_asked_for() {
    let scratch = Scratch::new("closed").expect("a directory");
    let (mut sidecar, status, _) = untold(&scratch, &["--boot-wait", "0s", "--fail-closed"]);
    let told = wait_for(DEADLINE, || sidecar.log().contains("no stream to the control plane").then_some(()));
    assert!(told.is_some(), "{}", sidecar.log());
    let waited = hook(&["wait", "--status", &status, "--timeout", "5s"]);
    assert!(waited.status.code() == Some(1) && said(&waited).contains("answers 503, starting"), "{}", said(&waited));
    assert!(sidecar.ended().is_none(), "and it lives: {}", sidecar.log());
}
