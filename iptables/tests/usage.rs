//! What `laneway-init` says to an operator who asked for the wrong thing, or on a machine without the tools.

use std::process::{Command, Output};

fn init(args: &[&str], variables: &[(&str, &str)]) -> Output {
    // No tool is found, so nothing can be changed by a test.
    let mut command = Command::new(env!("CARGO_BIN_EXE_laneway-init"));
    command.args(args).env_clear().env("PATH", "/nonexistent").envs(variables.iter().copied());
    command.output().expect("the program was built for this test")
}

#[track_caller]
fn check(args: &[&str], variables: &[(&str, &str)], status: i32, parts: &[&str]) {
    let output = init(args, variables);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{args:?}: {part:?} is not in {said}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_flag_and_what_is_allowed() {
    let ports = "ports 1 to 65535 and ranges FROM-TO";
    check(&["--exclude-inbound-ports=80,http"], &[], 2, &["--exclude-inbound-ports", "`http`", ports]);
    check(&["--exclude-outbound-ports", "9-8"], &[], 2, &["--exclude-outbound-ports", "`9-8` runs backwards", ports]);
    check(&["--include-inbound-ports=all"], &[], 2, &["--include-inbound-ports", "`all`", ports, "`*` for all"]);
    check(&["--exclude-outbound-cidrs=10.0.0.1/8"], &[], 2, &["--exclude-outbound-cidrs", "10.0.0.0/8 or 10.0.0.1/32"]);
    check(&["--outbound-port=0"], &[], 2, &["--outbound-port", "'0'", "1 to 65535"]);
    check(&["--proxy-uid=0"], &[], 2, &["--proxy-uid", "'0'", "not root's 0"]);
    check(&["--backend=ebpf"], &[], 2, &["--backend", "ebpf", "nft, iptables"]);
    check(&["--inbound-port=15401"], &[], 2, &["--inbound-port", "15401", "--outbound-port"]);
    check(&["--validate-target=example"], &[], 2, &["--validate-target", "example"]);
    check(&[], &[("LANEWAY_EXCLUDE_INBOUND_PORTS", "x")], 2, &["--exclude-inbound-ports", "`x`"]);
    check(&[], &[("LANEWAY_PROXY_UID", "root")], 2, &["--proxy-uid", "root"]);
}

#[test]
fn wrong_usage_is_status_2() {
    check(&["remove"], &[], 2, &["remove"]);
    check(&["--undo", "--validate"], &[], 2, &["--undo", "--validate"]);
    check(&["apply", "--undo"], &[], 2, &["--undo"]);
    check(&["--no-such-flag"], &[], 2, &["--no-such-flag"]);
}

#[test]
fn a_missing_tool_is_an_error_that_names_the_other_backend() {
    check(&[], &[], 1, &["`nft` is not installed", "`--backend iptables`"]);
    check(&["apply", "--dry-run"], &[], 1, &["`--backend iptables`"]);
    check(&["--backend=iptables"], &[], 1, &["is not installed", "`--backend nft`"]);
    check(&[], &[("LANEWAY_REDIRECT_BACKEND", "iptables")], 1, &["`--backend nft`"]);
    check(&["--undo"], &[], 1, &["neither nft nor iptables is installed"]);
}
