//! Every form of the rendered text, against files in tests/golden. `UPDATE_GOLDEN=1 cargo test -p laneway-iptables`
//! writes them anew; the diff is then for a person to read.

use std::{fs, path::Path};

use clap::Parser;
use laneway_iptables::{
    Options, Plan, PlanError,
    host::{Family, Found, Host, Ipv6, Nat},
    render_iptables, render_iptables_undo, render_nft, render_nft_undo,
    steps::{self, Backend, StepsError},
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// Everything at once: ranges, both families, more ports than one multiport match holds.
const FULL: [&str; 9] = [
    "--outbound-port=16001",
    "--inbound-port=16006",
    "--status-port=16021",
    "--proxy-uid=3000",
    "--exclude-inbound-ports=22,7000-7001,7003,7005,7007,7009,7011,7013,7015,7017,7019,7021,7023,7025-7030",
    "--exclude-outbound-ports=3306,5432-5433",
    "--exclude-outbound-ports=5434,9092",
    "--exclude-outbound-cidrs=10.0.0.0/8,10.1.0.0/16,169.254.169.254",
    "--exclude-outbound-cidrs=fd00::/8,2001:db8::1",
];

fn plan(args: &[&str]) -> Result<Plan, PlanError> {
    let line = Line::try_parse_from([&["test"], args].concat()).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    Plan::new(&line.options)
}

fn good(args: &[&str]) -> Plan {
    plan(args).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).expect("the folder is in the source tree");
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, golden, "{name}");
}

/// A machine on which nothing of ours is.
fn clean() -> Host {
    Host {
        ipv6: Ipv6::On,
        source_on_lo: false,
        nft: Found::Read(false),
        nat_v4: Found::Read(Nat::default()),
        nat_v6: Found::Read(Nat::default()),
    }
}

fn ours() -> Nat {
    let jumps = ["-A PREROUTING ! -i lo -p tcp -j LANEWAY_IN", "-A OUTPUT -p tcp -j LANEWAY_OUT"];
    Nat { jumps: jumps.map(str::to_owned).to_vec(), has_chain: true }
}

#[test]
fn the_default_redirect() {
    let plan = good(&[]);
    check("default.nft", &render_nft(&plan));
    check("default.v4.rules", &render_iptables(&plan, Family::V4, &[]));
    check("default.v6.rules", &render_iptables(&plan, Family::V6, &[]));
}

#[test]
fn a_redirect_with_every_option() {
    let plan = good(&FULL);
    check("full.nft", &render_nft(&plan));
    check("full.v4.rules", &render_iptables(&plan, Family::V4, &[]));
    check("full.v6.rules", &render_iptables(&plan, Family::V6, &[]));
}

#[test]
fn a_redirect_of_included_ports_only() {
    let ports: Vec<String> = (0..18).map(|number| (8000 + 2 * number).to_string()).collect();
    let plan = good(&[
        "--include-inbound-ports",
        &ports.join(","),
        "--include-inbound-ports=9000-9100",
        "--exclude-outbound-cidrs=",
    ]);
    check("included.nft", &render_nft(&plan));
    check("included.v4.rules", &render_iptables(&plan, Family::V4, &[]));
    check("included.v6.rules", &render_iptables(&plan, Family::V6, &[]));
}

#[test]
fn a_redirect_of_included_calls_only() {
    let ports: Vec<String> = (0..16).map(|number| (8000 + 2 * number).to_string()).collect();
    let plan = good(&[
        "--include-outbound-ports",
        &ports.join(","),
        "--include-outbound-ports=9000-9100",
        "--include-outbound-cidrs=10.0.0.0/8,192.168.0.0/16",
        "--include-outbound-cidrs=fd00::/8",
        "--exclude-outbound-ports=8002",
        "--exclude-outbound-cidrs=10.1.0.0/16",
    ]);
    check("calls.nft", &render_nft(&plan));
    check("calls.v4.rules", &render_iptables(&plan, Family::V4, &[]));
    check("calls.v6.rules", &render_iptables(&plan, Family::V6, &[]));
    // Of one family alone: nothing of the other.
    let plan = good(&["--include-outbound-cidrs=10.0.0.0/8"]);
    let redirects = |family| render_iptables(&plan, family, &[]).matches("-A LANEWAY_OUT").count();
    assert_eq!(redirects(Family::V4), redirects(Family::V6) + 2, "the one redirect, and the default exclusion");
}

#[test]
fn what_is_redirected_is_included_and_not_excluded() {
    let plan = good(&[
        "--include-outbound-ports=80,8000-8100",
        "--include-outbound-cidrs=10.0.0.0/8,fd00::/8",
        "--exclude-outbound-ports=8002",
        "--exclude-outbound-cidrs=10.1.0.0/16",
    ]);
    for (target, is_redirected) in [
        ("10.2.0.1:80", true),
        ("[fd00::1]:8100", true),
        ("10.2.0.1:81", false),
        ("10.2.0.1:8002", false),
        ("10.1.0.1:80", false),
        ("192.0.2.1:80", false),
        ("[2001:db8::1]:80", false),
    ] {
        assert_eq!(plan.redirects_outbound(target.parse().expect("an address")), is_redirected, "{target}");
    }
    let all =
        good(&["--include-outbound-ports=*", "--include-outbound-cidrs=*", "--include-outbound-cidrs=10.0.0.0/8"]);
    assert_eq!(all, good(&[]));
}

#[test]
fn undone() {
    check("undo.nft", &render_nft_undo());
    check("undo.rules", &render_iptables_undo(&ours().jumps));
    check("again.v4.rules", &render_iptables(&good(&[]), Family::V4, &ours().jumps));
}

#[test]
fn the_steps_from_every_state() {
    let plan = good(&[]);
    let mut text = String::new();
    let mut add = |title: &str, steps: Result<steps::Steps, StepsError>| {
        let shown = match steps {
            Ok(steps) => steps.to_string(),
            Err(error) => format!("error: {error}\n"),
        };
        // The rules themselves have files of their own.
        let heads =
            shown.lines().filter(|line| line.starts_with("# ") || line.contains("error:") || line.contains(" -"));
        let heads = heads.filter(|line| !line.starts_with("-A ") && !line.starts_with(':') && !line.starts_with(' '));
        text += &format!("== {title}\n{}\n", heads.collect::<Vec<_>>().join("\n"));
    };
    let installed = Host {
        source_on_lo: true,
        nft: Found::Read(true),
        nat_v4: Found::Read(ours()),
        nat_v6: Found::Read(ours()),
        ..clean()
    };
    let no_tool = Host {
        nft: Found::NoProgram("nft"),
        nat_v4: Found::NoProgram("iptables-save"),
        nat_v6: Found::NoProgram("ip6tables-save"),
        ..clean()
    };
    let no_nft = Host { nft: Found::NoProgram("nft"), ..clean() };
    let no_v6 = Host { ipv6: Ipv6::Absent, nat_v6: Found::Failed("no such table".to_owned()), ..clean() };
    let off_on_lo = Host { ipv6: Ipv6::OffOnLoopback, ..clean() };
    let forbidden = Host {
        nft: Found::Failed("not permitted".to_owned()),
        nat_v4: Found::Failed("not permitted".to_owned()),
        ..clean()
    };
    for (name, backend) in [("nft", Backend::Nft), ("iptables", Backend::Iptables)] {
        for (state, host) in [
            ("clean", &clean()),
            ("installed by both", &installed),
            ("no tool", &no_tool),
            ("no nft", &no_nft),
            ("no IPv6", &no_v6),
            ("IPv6 off on lo", &off_on_lo),
            ("forbidden", &forbidden),
        ] {
            add(&format!("apply, {name}, {state}"), steps::apply(&plan, backend, host));
            add(&format!("undo, {name}, {state}"), steps::undo(backend, host));
        }
    }
    check("steps.txt", &text);
}

#[test]
fn values_that_do_not_go_together_are_named() {
    let refused = |args: &[&str]| plan(args).map_err(|error| error.to_string()).expect_err("these do not go together");
    assert!(
        refused(&["--inbound-port=15401"]).starts_with("`--inbound-port` is 15401, which `--outbound-port` is already")
    );
    assert!(
        refused(&["--status-port=15406"]).starts_with("`--status-port` is 15406, which `--inbound-port` is already")
    );
    assert!(refused(&["--include-inbound-ports=15421,80", "--exclude-inbound-ports=80"]).contains("(80,15421)"));
    assert!(refused(&["--include-outbound-ports=80-82", "--exclude-outbound-ports=1-100"]).contains("(80-82)"));
}
