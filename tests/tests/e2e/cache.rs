//! A sidecar keeps its last good configuration on disk: it serves its lanes again when it starts while the control plane is
//! away, and what is no good on disk costs a warning and nothing else.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use laneway_proto::contract::PROXY_UID;
use laneway_tests::conformance::{SCENARIOS, arrange, names, plan};
use laneway_tests::mesh::Mesh;
use laneway_tests::process::wait_for;

use crate::support::namespaces_or_skip;

/// Longest wait for a file, or for a lane.
const DEADLINE: Duration = Duration::from_secs(30);

/// A folder that the sidecars' user may write to; gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(label: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("laneway-{label}-{}", std::process::id()));
        std::fs::create_dir(&path).expect("the name is new");
        chown(&path, Some(PROXY_UID), Some(PROXY_UID)).expect("root may");
        Folder(path)
    }

    fn file(&self, pod: &str) -> PathBuf {
        self.0.join(pod)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The mesh of scenario 1, in which every sidecar has a cache.
fn mesh(label: &str, caches: &Folder) -> Mesh {
    let mut plan = plan(label, true);
    for pod in &mut plan.pods {
        let file = caches.file(&pod.name).to_string_lossy().into_owned();
        pod.sidecar_environment.push(("LANEWAY_CACHE".to_owned(), file));
        // What is ready here is ready by the cache, not because it waited long enough.
        pod.sidecar_environment.push(("LANEWAY_BOOT_WAIT".to_owned(), "10m".to_owned()));
    }
    let mut mesh = Mesh::up(plan).expect("the mesh comes up");
    arrange(&mut mesh, &SCENARIOS[0]).expect("the scenario is arranged");
    mesh
}

fn index(mesh: &Mesh, pod: &str) -> usize {
    mesh.plan().pods.iter().position(|plan| plan.name == pod).expect("the plan has the pod")
}

/// The chain that a request of lane gray takes.
fn gray(mesh: &Mesh) -> String {
    let url = format!("http://{}/a", mesh.entry_address());
    let answer = mesh.curl(&["-H", "host: www.base.com", "-H", "x-mse-tag: gray", &url]);
    answer.map_or_else(|error| format!("{error:#}"), |chain| names(chain.trim_end()))
}

/// Ends a sidecar without a word, and starts it anew.
fn restart(mesh: &mut Mesh, pod: &str) -> Duration {
    let index = index(mesh, pod);
    let mut old = mesh.pod(pod).expect("it is there").sidecar.take().expect("it runs");
    old.kill();
    drop(old);
    let started = Instant::now();
    let fresh = mesh.start_sidecar(index).expect("it starts");
    mesh.pod(pod).expect("it is there").sidecar = Some(fresh);
    mesh.await_ready(pod).expect("it is ready");
    started.elapsed()
}

fn sidecar_log(mesh: &mut Mesh, pod: &str) -> String {
    mesh.pod(pod).expect("it is there").sidecar.as_ref().expect("it runs").log()
}

#[test]
fn a_sidecar_serves_its_lanes_from_disk_while_the_control_plane_is_away() {
    if !namespaces_or_skip("a_sidecar_serves_its_lanes_from_disk_while_the_control_plane_is_away") {
        return;
    }
    let caches = Folder::new("cache");
    let mut mesh = mesh("cache", &caches);
    assert_eq!(gray(&mesh), "A -> Bgray -> Cgray");
    let pods: Vec<String> = mesh.plan().pods.iter().map(|pod| pod.name.clone()).collect();
    // The write that has what the request asked for on demand is at most one pause behind.
    for pod in &pods {
        let wanted = match pod.split('-').next() {
            Some("a") => "namespaces/default/services/b",
            Some("b") => "namespaces/default/services/c",
            _ => "namespaces/default/laneGroups/shop",
        };
        if pod == "b-base" {
            continue;
        }
        let path = caches.file(pod);
        let written = wait_for(DEADLINE, || {
            let bytes = std::fs::read(&path).ok()?;
            bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()).then_some(())
        });
        assert!(written.is_some(), "{pod} has not written {wanted}");
    }

    mesh.kill_control();
    for pod in &pods {
        let took = restart(&mut mesh, pod);
        eprintln!("{pod}: ready from disk {} ms after it was started", took.as_millis());
    }
    let page = mesh.status_page("a-base", "ready").expect("the page is there");
    assert!(page.starts_with("recalled"), "{page}");
    let metrics = mesh.status_page("a-base", "metrics").expect("the page is there");
    assert!(metrics.contains("laneway_config_recalled 1"), "{metrics}");
    assert_eq!(gray(&mesh), "A -> Bgray -> Cgray");

    // The control plane comes back and has the last word again.
    mesh.start_control().expect("the control plane starts again");
    mesh.lanectl(&["lane", "disable", "gray", "--group", "shop"]).expect("the lane is switched off");
    let off = wait_for(DEADLINE, || (gray(&mesh) == "A -> B -> C").then_some(()));
    assert!(off.is_some(), "{}", gray(&mesh));
    let metrics = mesh.status_page("a-base", "metrics").expect("the page is there");
    assert!(metrics.contains("laneway_config_recalled 0"), "{metrics}");
}

#[test]
fn what_is_no_good_on_disk_costs_one_warning_and_nothing_else() {
    if !namespaces_or_skip("what_is_no_good_on_disk_costs_one_warning_and_nothing_else") {
        return;
    }
    let caches = Folder::new("badcache");
    let mut mesh = mesh("badcache", &caches);
    assert_eq!(gray(&mesh), "A -> Bgray -> Cgray");
    let (a, b) = (caches.file("a-base"), caches.file("b-gray"));
    assert!(wait_for(DEADLINE, || (a.exists() && b.exists()).then_some(())).is_some(), "no file was written");
    let own = std::fs::read(&a).expect("it was written");
    let foreign = std::fs::read(&b).expect("it was written");
    let mut damaged = own.clone();
    *damaged.last_mut().expect("it is not empty") ^= 1;
    let cases = [
        ("damaged", damaged),
        ("cut", own[..own.len() / 2].to_vec()),
        ("of another sidecar", foreign),
        ("empty", Vec::new()),
    ];
    for (what, bytes) in cases {
        std::fs::write(&a, bytes).expect("the file is ours to change");
        let logged = sidecar_log(&mut mesh, "a-base").len();
        restart(&mut mesh, "a-base");
        assert_eq!(gray(&mesh), "A -> Bgray -> Cgray", "{what}");
        let log = sidecar_log(&mut mesh, "a-base").split_off(logged);
        let warnings = log.matches("is of no use").count();
        assert_eq!(warnings, 1, "{what}: {log}");
    }

    // A place that cannot be written to: counted, and one warning however often.
    std::fs::remove_file(&a).expect("it is there");
    std::fs::create_dir(&a).expect("the place is free");
    let logged = sidecar_log(&mut mesh, "a-base").len();
    restart(&mut mesh, "a-base");
    for switch in ["disable", "enable"] {
        mesh.lanectl(&["lane", switch, "gray", "--group", "shop", "--wait"]).expect("the lane is switched");
    }
    assert_eq!(gray(&mesh), "A -> Bgray -> Cgray");
    let failed = wait_for(DEADLINE, || {
        let metrics = mesh.status_page("a-base", "metrics").ok()?;
        let failures = metrics.lines().find_map(|line| line.strip_prefix("laneway_cache_failures_total "))?;
        (failures.parse::<u64>().ok()? >= 2).then_some(())
    });
    assert!(failed.is_some(), "the failures are not counted");
    let log = sidecar_log(&mut mesh, "a-base").split_off(logged);
    assert_eq!(log.matches("is not on disk").count(), 1, "{log}");
    std::fs::remove_dir(&a).expect("the directory is ours");
}
