//! What a poor network and a poor host do to a sidecar: packets that are lost, a slow link, no local ports, a name that leads
//! elsewhere. Each test has a network of its own, in which nobody else lives.

use std::process::Command;
use std::thread;
use std::time::Duration;

use laneway_tests::control::Control;
use laneway_tests::process::{Process, Scratch, confine, program, run, run_with_input, wait_for};
use laneway_tests::usage::{cpu, resident_kib};

use crate::alone::free;
use crate::faults::{Origin, get};
use crate::instance::{Asker, Front, Instance, endpoint};
use crate::sidecar::Sidecar;
use crate::support::namespaces_or_skip;

/// Packets are sent again after a fifth of a second, then twice that, and so on.
const DEADLINE: Duration = Duration::from_secs(120);
const CLIENTS: usize = 8;
/// Local ports that are left to the host.
const PORTS: usize = 10;
/// What buffers of a few connections may grow by.
const GROWTH_MAX_KIB: u64 = 2 << 10;

/// Runs `work` in a network and with mounts of its own, which all that it starts shares.
fn in_own_network(test: &str, work: impl FnOnce() + Send + 'static) {
    if !namespaces_or_skip(test) {
        return;
    }
    let thread = thread::spawn(move || {
        confine::leave_the_host().expect("root may");
        host("ip", &["link", "set", "lo", "up", "mtu", "1500"]);
        work();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Changes something of the network that we are in.
fn host(tool: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    command.args(arguments);
    run(command).unwrap_or_else(|error| panic!("{tool} {}: {error:#}", arguments.join(" ")))
}

#[test]
fn with_a_fifth_of_all_packets_lost_every_request_is_answered() {
    in_own_network("with_a_fifth_of_all_packets_lost_every_request_is_answered", || {
        let instances = ["A", "B"].map(Instance::start);
        let endpoints = instances.each_ref().map(|instance| endpoint(instance, ""));
        let patient = "---\nkind: ServicePolicy\nname: b\ntimeouts: {connect: 120s}\n";
        let front = Front::start("lossy", &endpoints, patient);
        let ports = instances.each_ref().map(|instance| instance.address.port().to_string()).join(", ");
        let rules = format!(
            "table inet lossy {{\n counter lost {{ }}\n chain in {{\n type filter hook input priority 0\n\
             tcp dport {{ {ports} }} numgen random mod 5 == 0 counter name lost drop\n\
             tcp sport {{ {ports} }} numgen random mod 5 == 0 counter name lost drop\n }}\n}}\n"
        );
        let mut command = Command::new("nft");
        command.args(["-f", "-"]);
        run_with_input(command, &rules).expect("nft takes them");
        let ask = || {
            let mut asker = Asker::patient(front.address, DEADLINE);
            (0..15).flat_map(|_| [asker.get("/", ""), asker.post("/", "")]).collect::<Vec<_>>()
        };
        let answers: Vec<_> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
            clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
        });
        let bad: Vec<_> = answers.iter().filter(|said| !said.as_ref().is_ok_and(|said| said.status == 200)).collect();
        assert!(bad.is_empty(), "{bad:?}: {}", front.process.log());
        let counted = host("nft", &["list", "counter", "inet", "lossy", "lost"]);
        let lost: u32 =
            counted.split("packets ").nth(1).and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
        assert!(lost as usize > answers.len() / 10, "{lost} packets were lost under {} requests", answers.len());
    });
}

#[test]
fn over_a_slow_link_bodies_come_whole_and_nothing_piles_up() {
    in_own_network("over_a_slow_link_bodies_come_whole_and_nothing_piles_up", || {
        let origin = Origin::start();
        let sidecar = Sidecar::start("slow-link", "http1", origin.address);
        host(
            "tc",
            &["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "40mbit", "burst", "32kbit", "latency", "400ms"],
        );
        let before = resident_kib(sidecar.process.id()).expect("it runs");
        const BYTES: usize = 2 << 20;
        let (address, path) = (sidecar.address, format!("/{BYTES}"));
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                thread::spawn(move || get(address, &path))
            })
            .collect();
        let mut most = 0;
        while !clients.iter().all(thread::JoinHandle::is_finished) {
            most = most.max(resident_kib(sidecar.process.id()).expect("it runs"));
            thread::sleep(Duration::from_millis(20));
        }
        for client in clients {
            assert_eq!(client.join().expect("it does not panic"), (200, BYTES), "{}", sidecar.process.log());
        }
        let growth = most.saturating_sub(before);
        assert!(growth < GROWTH_MAX_KIB, "{growth} KiB more at a time");
    });
}

#[test]
fn without_local_ports_a_call_is_refused_by_name_and_room_is_used_again() {
    in_own_network("without_local_ports_a_call_is_refused_by_name_and_room_is_used_again", || {
        let mut instance = Instance::start("A");
        let front = Front::start("ports", &[endpoint(&instance, "")], "");
        // Of the network that this thread is in.
        const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
        let set = |range: &str| std::fs::write(RANGE, range).expect("root may");
        let usual = std::fs::read_to_string(RANGE).expect("it is there");
        // Below the usual ones, for a port that somebody listens on already is no port for a call.
        const FIRST: usize = 20_000;
        let few = format!("{FIRST} {}", FIRST + PORTS - 1);
        // Whoever looked whether the sidecar listens has been connected to the instance too, which took a port: that is over first.
        let count = |name: &str| front.metric(name, "outbound");
        let is_alone = || count("laneway_connections_opened_total") > 0 && count("laneway_connections") == 0;
        wait_for(DEADLINE, || is_alone().then_some(())).expect("nobody is connected");
        let used = cpu(front.process.id()).expect("it runs");
        let mut refused = 0;
        let mut waiting = Vec::new();
        for _ in 0..PORTS + 5 {
            // They have theirs while there are many, and ask at once: who says nothing is passed through.
            set(usual.trim());
            let mut asker = Asker::new(front.address);
            set(&few);
            let before = instance.heard();
            asker.send("GET /silent HTTP/1.1\r\nhost: sc-b\r\n\r\n").expect("the sidecar reads");
            // It is with the instance, or it is answered.
            let is_heard = || (instance.heard() > before || asker.has_answer()).then_some(());
            wait_for(DEADLINE, is_heard).expect("something comes of it");
            if asker.has_answer() {
                let said = asker.hear().expect("an answer");
                assert_eq!((said.status, said.error.as_str()), (503, "exhausted service=b"), "{}", front.process.log());
                refused += 1;
            } else {
                waiting.push(asker);
            }
        }
        assert_eq!((waiting.len(), refused), (PORTS, 5), "{}", front.process.log());
        assert_eq!(front.metric_when("laneway_failures_total", "exhausted", 5), 5);
        assert_eq!(front.metric("laneway_endpoints_ejected", ""), 0, "no fault of the instance");
        let used = cpu(front.process.id()).expect("it runs") - used;
        assert!(used < Duration::from_secs(2), "{used:?} for {} requests: it spins", PORTS + 5);
        // Whoever waits is let go, and there are ports.
        drop(waiting);
        set(usual.trim());
        let mut asker = Asker::new(front.address);
        assert_eq!(asker.get("/", "").expect("it is answered").body, "A", "{}", front.process.log());
        instance.stop();
    });
}

#[test]
fn a_control_plane_is_looked_up_anew_for_every_try() {
    in_own_network("a_control_plane_is_looked_up_anew_for_every_try", || {
        let scratch = Scratch::new("names").expect("a directory");
        let hosts = scratch.path().join("hosts");
        let say = |lines: &str| std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).expect("it is ours");
        say("");
        host("mount", &["--bind", &hosts.to_string_lossy(), "/etc/hosts"]);
        let control = Control::start("names-control").expect("it starts");
        let status = free();
        let mut command = Command::new(program("laneway-proxy").expect("it is built"));
        let port = control.discovery().port();
        command.args(["--control", &format!("http://control.laneway.test:{port}"), "--service", "a"]);
        command.args(["--status", &status.to_string(), "--admin", &free().to_string()]);
        command.args(["--inbound", &free().to_string(), "--outbound", &free().to_string()]);
        let sidecar = Process::start("sidecar", command, &scratch.path().join("log")).expect("it starts");
        let is_connected = || {
            let mut command = Command::new("curl");
            command.args(["--silent", "--max-time", "5", &format!("http://{status}/metrics")]);
            run(command).is_ok_and(|page| page.contains("laneway_control_connected{source=\"control\"} 1"))
        };
        let tried =
            |times: usize| (sidecar.log().matches("no stream to the control plane").count() >= times).then_some(());
        wait_for(DEADLINE, || tried(1)).expect("nobody knows the name");
        assert!(!is_connected());
        // Nobody is there.
        say("127.0.0.9 control.laneway.test\n");
        wait_for(DEADLINE, || tried(2)).expect("it tries again");
        assert!(!is_connected());
        say("127.0.0.1 control.laneway.test\n");
        wait_for(DEADLINE, || is_connected().then_some(())).unwrap_or_else(|| panic!("{}", sidecar.log()));
    });
}
