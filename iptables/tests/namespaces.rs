//! The redirect in real network namespaces: who is captured and who is not, in both families, by both backends, applied
//! twice; and that undoing leaves what others have put there.
//!
//! Needs root, ip, nft and iptables; without them each test is skipped by name, and fails where CI is set.

#[path = "namespaces/pod.rs"]
mod pod;

use std::{
    fs::File,
    io::Write,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use pod::{APPLICATION_UID, Arrival, PROXY_UID, Place, Pod, dial, listen};

const OUTBOUND: u16 = 15401;
const INBOUND: u16 = 15406;
const STATUS: u16 = 15421;
const PORT: u16 = 8080;
const EXCLUDED_OUT: u16 = 7001;
const EXCLUDED_OUT_IN_RANGE: u16 = 7150;
/// Last of more excluded ports than one multiport match can hold.
const EXCLUDED_IN: u16 = 7040;

const EXCLUSIONS: [&str; 8] = [
    "--exclude-outbound-ports",
    "7001",
    "--exclude-outbound-ports=7100-7200,7300",
    "--exclude-outbound-cidrs=10.77.2.0/24,fd78::/64,169.254.169.254",
    "--exclude-inbound-ports",
    "7002,7004,7006,7008,7010,7012,7014,7016,7018,7020,7022,7024,7026-7027,7029",
    "--exclude-inbound-ports",
    "7031,7033-7034,7040",
];

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

#[test]
fn nft_captures_ipv4_as_it_should() {
    cases("nft_captures_ipv4_as_it_should", "nft", Family::V4);
}

#[test]
fn nft_captures_ipv6_as_it_should() {
    cases("nft_captures_ipv6_as_it_should", "nft", Family::V6);
}

#[test]
fn iptables_captures_ipv4_as_it_should() {
    cases("iptables_captures_ipv4_as_it_should", "iptables", Family::V4);
}

#[test]
fn iptables_captures_ipv6_as_it_should() {
    cases("iptables_captures_ipv6_as_it_should", "iptables", Family::V6);
}

fn cases(test: &str, backend: &str, family: Family) {
    if skipped(test) {
        return;
    }
    let pod = Pod::new();
    let foreign = plant_foreign_rules(&pod);
    let mut args = vec!["--backend", backend];
    args.extend(EXCLUSIONS);
    pod.init_ok(&args);
    pod.init_ok(&args);
    let places = listeners(&pod);
    let scene = Scene { pod: &pod, family, places: &places };
    let [own, peer, excluded, loopback, source] = family.addresses();

    scene.app("application to peer", peer, PORT, "outbound", Some((peer, PORT)));
    scene.proxy("the proxy's uid to peer", None, peer, PORT, "peer", None);
    scene.app("loopback", loopback, PORT, "application", None);
    scene.proxy("loopback by the proxy's uid", None, loopback, PORT, "application", None);
    scene.app("own pod address", own, PORT, "application", None);
    scene.proxy("own virtual address: the proxy dials the pod", None, own, PORT, "inbound", Some((own, PORT)));
    scene.proxy("from the inbound source address", Some(source), own, PORT, "application", None);
    scene.app("excluded port", peer, EXCLUDED_OUT, "peer excluded", None);
    scene.app("port in an excluded range", peer, EXCLUDED_OUT_IN_RANGE, "peer in range", None);
    scene.app("excluded addresses", excluded, PORT, "peer", None);
    scene.peer("peer inbound", own, PORT, "inbound", Some((own, PORT)));
    scene.peer("excluded inbound port", own, EXCLUDED_IN, "excluded", None);
    scene.peer("status port", own, STATUS, "status", None);
    scene.proxy("own virtual address, excluded inbound port", None, own, EXCLUDED_IN, "excluded", None);
    // A peer cannot reach the outbound listener: it comes to inbound with our own port, which the proxy refuses.
    scene.peer("peer to the outbound port", own, OUTBOUND, "inbound", Some((own, OUTBOUND)));
    // Nor has a connection that was not redirected an original destination other than the listener's own.
    scene.app("the outbound port itself over loopback", loopback, OUTBOUND, "outbound", None);

    assert_eq!(jumps(&pod), if backend == "nft" { [0, 0, 1] } else { [2, 2, 0] }, "one jump each");
    pod.init_ok(&["--undo"]);
    scene.app("application to peer, undone", peer, PORT, "peer", None);
    scene.peer("peer inbound, undone", own, PORT, "application", None);
    assert_eq!(rules(&pod), foreign, "only foreign rules are left");
    pod.init_ok(&["--undo"]);
    assert_eq!(rules(&pod), foreign, "undone twice");
}

#[test]
fn only_included_inbound_ports_are_captured() {
    if skipped("only_included_inbound_ports_are_captured") {
        return;
    }
    for backend in ["nft", "iptables"] {
        let pod = Pod::new();
        let args = ["--backend", backend, "--include-inbound-ports", "8080,7040", "--exclude-inbound-ports=7040"];
        pod.init_ok(&args);
        let places = listeners(&pod);
        for family in [Family::V4, Family::V6] {
            let scene = Scene { pod: &pod, family, places: &places };
            let [own, ..] = family.addresses();
            scene.peer("included", own, PORT, "inbound", Some((own, PORT)));
            scene.peer("included and excluded", own, EXCLUDED_IN, "excluded", None);
            scene.peer("not included", own, 9090, "other", None);
            scene.proxy("own virtual address, not included", None, own, 9090, "other", None);
        }
    }
}

#[test]
fn only_included_calls_are_captured() {
    if skipped("only_included_calls_are_captured") {
        return;
    }
    for backend in ["nft", "iptables"] {
        let pod = Pod::new();
        let ports = ["--include-outbound-ports", "8080,7100-7200", "--exclude-outbound-ports=7100-7200"];
        let cidrs = ["--include-outbound-cidrs", "10.77.1.0/24,fd77::/64"];
        for _ in 0..2 {
            pod.init_ok(&[&["--backend", backend][..], &ports, &cidrs].concat());
        }
        let places = listeners(&pod);
        for family in [Family::V4, Family::V6] {
            let scene = Scene { pod: &pod, family, places: &places };
            let [own, peer, other, ..] = family.addresses();
            scene.app("included", peer, PORT, "outbound", Some((peer, PORT)));
            scene.app("included and excluded", peer, EXCLUDED_OUT_IN_RANGE, "peer in range", None);
            scene.app("not an included port", peer, EXCLUDED_OUT, "peer excluded", None);
            scene.app("not an included address", other, PORT, "peer", None);
            scene.peer("callers are captured as ever", own, PORT, "inbound", Some((own, PORT)));
        }
        pod.init_ok(&["--undo"]);

        // Of one family alone: the other is not captured.
        pod.init_ok(&["--backend", backend, "--include-outbound-cidrs=10.77.0.0/16"]);
        let [_, peer, ..] = Family::V4.addresses();
        Scene { pod: &pod, family: Family::V4, places: &places }.app(
            "IPv4",
            peer,
            PORT,
            "outbound",
            Some((peer, PORT)),
        );
        let [_, peer, ..] = Family::V6.addresses();
        Scene { pod: &pod, family: Family::V6, places: &places }.app("IPv6", peer, PORT, "peer", None);
    }
}

#[test]
fn a_half_applied_redirect_is_made_whole_and_can_be_undone() {
    if skipped("a_half_applied_redirect_is_made_whole_and_can_be_undone") {
        return;
    }
    for backend in ["nft", "iptables"] {
        let pod = Pod::new();
        let foreign = plant_foreign_rules(&pod);
        let halves = || {
            pod.ok("nft", &["add table inet laneway; add chain inet laneway leftover"]);
            pod.ok("iptables", &["-t", "nat", "-N", "LANEWAY_OUT"]);
            for _ in 0..2 {
                pod.ok("iptables", &["-t", "nat", "-A", "OUTPUT", "-p", "udp", "-j", "LANEWAY_OUT"]);
            }
            pod.ok("ip6tables", &["-t", "nat", "-N", "LANEWAY_FROM_PROXY"]);
        };
        halves();
        pod.init_ok(&["--backend", backend]);
        assert_eq!(jumps(&pod), if backend == "nft" { [0, 0, 1] } else { [2, 2, 0] }, "{backend}: one jump each");
        pod.init_ok(&["--undo"]);
        assert_eq!(rules(&pod), foreign, "{backend}");
        halves();
        pod.init_ok(&["--undo"]);
        assert_eq!(rules(&pod), foreign, "{backend}: the half alone");
    }
}

#[test]
fn the_backend_can_be_changed() {
    if skipped("the_backend_can_be_changed") {
        return;
    }
    let pod = Pod::new();
    for (backend, expected) in [("nft", [0, 0, 1]), ("iptables", [2, 2, 0]), ("nft", [0, 0, 1])] {
        pod.init_ok(&["--backend", backend]);
        assert_eq!(jumps(&pod), expected, "{backend}");
    }
}

#[test]
fn validate_tells_a_redirect_from_none() {
    if skipped("validate_tells_a_redirect_from_none") {
        return;
    }
    for backend in ["nft", "iptables"] {
        let pod = Pod::new();
        pod.init_ok(&["--backend", backend]);
        let said = pod.init_ok(&["--validate"]);
        for part in [
            "ok: outbound 192.0.2.1:20001 arrives at port 15401 with its original address",
            "ok: outbound [2001:db8::1]:20001 arrives at port 15401 with its original address",
            "ok: IPv4 connections of uid 2337 are left alone",
            "ok: IPv6 connections of uid 2337 are left alone",
            "ok: inbound 10.77.1.2:20001 arrives at port 15406 with its original address",
            "ok: inbound [fd77::2]:20001 arrives at port 15406 with its original address",
            "the redirect works",
        ] {
            assert!(said.contains(part), "{backend}: {part:?} is not in {said}");
        }
        // Where the sidecar listens already, that it answers for an address that nobody has is the proof.
        let sidecar = [listen(&pod.pod, "outbound", OUTBOUND), listen(&pod.pod, "inbound", INBOUND)];
        let said = pod.init_ok(&["--validate"]);
        assert!(said.contains("was answered by what listens on port 15401"), "{backend}: {said}");
        drop(sidecar);
        // Redirected by other rules than those asked about.
        assert_eq!(pod.init(&["--validate", "--outbound-port", "15499"]).status.code(), Some(1), "{backend}");
        pod.init_ok(&["--undo"]);
        let output = pod.init(&["--validate", "--validate-target", "10.77.1.1:9"]);
        assert_eq!(output.status.code(), Some(1), "{backend}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("FAILED: outbound 10.77.1.1:9 does not arrive at port 15401"), "{backend}: {said}");
    }
}

#[test]
fn what_dry_run_prints_is_what_is_applied() {
    if skipped("what_dry_run_prints_is_what_is_applied") {
        return;
    }
    for backend in ["nft", "iptables"] {
        let pod = Pod::new();
        let before = rules(&pod);
        let script = pod.init_ok(&["--dry-run", "--backend", backend]);
        assert_eq!(rules(&pod), before, "a dry run changes nothing");
        pod.ok("sh", &["-ec", &script]);
        let printed = rules(&pod);
        let other = Pod::new();
        other.init_ok(&["--backend", backend]);
        assert_eq!(rules(&other), printed, "{backend}");
    }
}

#[test]
fn ipv6_that_is_off_on_lo_is_said_and_not_in_the_way() {
    if skipped("ipv6_that_is_off_on_lo_is_said_and_not_in_the_way") {
        return;
    }
    let pod = Pod::new();
    pod.ok("sh", &["-c", "echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6"]);
    for backend in ["nft", "iptables"] {
        let output = pod.init(&["--backend", backend]);
        assert!(output.status.success(), "{backend}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("IPv6 is off on lo"), "{backend}");
    }
}

/// One pod, one family, and where its connections can come out.
struct Scene<'a> {
    pod: &'a Pod,
    family: Family,
    places: &'a [Place],
}

impl Scene<'_> {
    #[track_caller]
    fn app(&self, case: &str, to: IpAddr, port: u16, place: &str, original: Option<(IpAddr, u16)>) {
        let arrival = dial(&self.pod.pod, APPLICATION_UID, None, SocketAddr::new(to, port), self.places);
        self.check(case, &arrival, place, original);
    }

    #[track_caller]
    fn proxy(
        &self,
        case: &str,
        from: Option<IpAddr>,
        to: IpAddr,
        port: u16,
        place: &str,
        original: Option<(IpAddr, u16)>,
    ) {
        let arrival = dial(&self.pod.pod, PROXY_UID, from, SocketAddr::new(to, port), self.places);
        self.check(case, &arrival, place, original);
        if let Some(from) = from {
            assert_eq!(arrival.peer.ip(), from, "{case}: the application sees the source");
        }
    }

    #[track_caller]
    fn peer(&self, case: &str, to: IpAddr, port: u16, place: &str, original: Option<(IpAddr, u16)>) {
        let arrival = dial(&self.pod.peer, APPLICATION_UID, None, SocketAddr::new(to, port), self.places);
        self.check(case, &arrival, place, original);
        let [_, peer, ..] = self.family.addresses();
        assert_eq!(arrival.peer.ip(), peer, "{case}: the peer's address is kept");
    }

    #[track_caller]
    fn check(&self, case: &str, arrival: &Arrival, place: &str, original: Option<(IpAddr, u16)>) {
        assert_eq!((arrival.place, arrival.original), (place, original.map(SocketAddr::from)), "{case}");
    }
}

impl Family {
    /// Own, peer's, excluded, loopback, inbound source.
    fn addresses(self) -> [IpAddr; 5] {
        let texts = match self {
            Family::V4 => [pod::POD_V4, pod::PEER_V4, pod::EXCLUDED_V4, "127.0.0.1", "127.0.0.6"],
            Family::V6 => [pod::POD_V6, pod::PEER_V6, pod::EXCLUDED_V6, "::1", "::6"],
        };
        texts.map(|text| text.parse().expect("an address"))
    }
}

fn listeners(pod: &Pod) -> Vec<Place> {
    let mut places = Vec::new();
    for (name, port) in [
        ("outbound", OUTBOUND),
        ("inbound", INBOUND),
        ("status", STATUS),
        ("application", PORT),
        ("excluded", EXCLUDED_IN),
        ("other", 9090),
    ] {
        places.push(listen(&pod.pod, name, port));
    }
    for (name, port) in [("peer", PORT), ("peer excluded", EXCLUDED_OUT), ("peer in range", EXCLUDED_OUT_IN_RANGE)] {
        places.push(listen(&pod.peer, name, port));
    }
    places
}

/// Rules and tables of somebody else, with names and comments that look like ours; what is there then.
fn plant_foreign_rules(pod: &Pod) -> String {
    pod.ok("nft", &["add table ip laneway; add chain ip laneway mine; add rule ip laneway mine tcp dport 9 accept"]);
    for tables in ["iptables", "ip6tables"] {
        let rule = |rule: &str| {
            let mut args = vec!["-t", "nat"];
            args.extend(rule.split(' '));
            pod.ok(tables, &args)
        };
        rule("-N LANEWAY_INNER");
        rule("-A PREROUTING -p tcp --dport 9 -j LANEWAY_INNER");
        rule("-A OUTPUT -p tcp --dport 9 -j RETURN");
        let comment = [
            "-t",
            "nat",
            "-A",
            "OUTPUT",
            "-m",
            "comment",
            "--comment",
            "see -j LANEWAY_IN",
            "-p",
            "udp",
            "-j",
            "ACCEPT",
        ];
        pod.ok(tables, &comment);
    }
    rules(pod)
}

/// Every rule and own address of the pod, without counters.
fn rules(pod: &Pod) -> String {
    let mut text = pod.ok("nft", &["-s", "list", "ruleset"]);
    // The base chains that iptables makes for itself stay, empty: whoever uses iptables next expects them.
    for save in ["iptables-save", "ip6tables-save"] {
        text += &pod
            .ok(save, &["-t", "nat"])
            .lines()
            .filter(|line| line.starts_with("-A"))
            .map(|line| format!("{line}\n"))
            .collect::<String>();
    }
    text + &pod.ok("ip", &["-o", "addr", "show", "dev", "lo"])
}

/// Of both families together: iptables jumps from PREROUTING and from OUTPUT to our chains; and nft tables of ours.
fn jumps(pod: &Pod) -> [usize; 3] {
    let count = |text: &str, part: &str| text.lines().filter(|line| line.contains(part)).count();
    let mut found = [0; 3];
    for save in ["iptables-save", "ip6tables-save"] {
        let text = pod.ok(save, &["-t", "nat"]);
        found[0] += count(&text, "-A PREROUTING ! -i lo -p tcp -j LANEWAY_IN");
        found[1] +=
            text.lines().filter(|line| line.starts_with("-A OUTPUT") && line.ends_with("-j LANEWAY_OUT")).count();
    }
    found[2] = count(&pod.ok("nft", &["list", "ruleset"]), "table inet laneway");
    found
}

/// Says by name that a test cannot run here; in CI that is a failure.
fn skipped(test: &str) -> bool {
    let Err(why) = can_run() else { return false };
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}; in CI nothing is skipped");
    let line = format!("SKIPPED {test}: {why}\n");
    // Past the capture of the test harness, so that it is seen.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("LANEWAY_SKIPPED") {
        let _ =
            File::options().create(true).append(true).open(list).and_then(|mut list| list.write_all(line.as_bytes()));
    }
    true
}

fn can_run() -> Result<(), String> {
    for program in ["ip", "nft", "iptables-save", "ip6tables-save"] {
        if Command::new(program).arg("--version").output().is_err() && Command::new(program).arg("-V").output().is_err()
        {
            return Err(format!("needs `{program}`"));
        }
    }
    let name =
        format!("lw-redirect-{}-probe-{:?}", std::process::id(), std::thread::current().id()).replace(['(', ')'], "");
    let made = Command::new("ip").args(["netns", "add", &name]).output().map_err(|error| error.to_string())?;
    let _ = Command::new("ip").args(["netns", "del", &name]).output();
    if made.status.success() {
        return Ok(());
    }
    Err(format!("needs root, to make network namespaces: {}", String::from_utf8_lossy(&made.stderr).trim()))
}
