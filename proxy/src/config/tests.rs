//! What is refused, and by which name.

use std::time::Duration;

use clap::Parser;

use super::{ConfigError, ConfigSource, Flags};
use crate::datapath::Direction;
use crate::hooks::Hook;
use crate::journal::Share;

fn parse(arguments: &[&str]) -> Result<Flags, String> {
    let all = ["laneway-proxy", "--pod-ip", "10.0.0.1"].iter().chain(arguments);
    Flags::try_parse_from(all).map_err(|error| error.to_string())
}

fn checked(arguments: &[&str], environment: &[(&str, &str)]) -> Result<super::Config, ConfigError> {
    let flags = parse(arguments).expect("the flags parse");
    flags.check(|name| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()), None)
}

#[test]
fn a_bad_value_is_refused_by_the_name_of_its_field() {
    for (arguments, named) in [
        (&["--workers", "0"][..], "--workers"),
        (&["--connect-timeout", "1"], "--connect-timeout"),
        (&["--idle-timeout", "2d"], "--idle-timeout"),
        (&["--listen", "127.0.0.1:80"], "--listen"),
        (&["--listen", "outbound=nowhere"], "--listen"),
        (&["--listen", "outbound=127.0.0.1:1,forward=127.0.0.1:2"], "--listen"),
        (&["--opaque-ports", "99999"], "--opaque-ports"),
        (&["--status", "somewhere"], "--status"),
        (&["--probe-ports", "0"], "--probe-ports"),
        (&["--memory-max", "12"], "--memory-max"),
        (&["--memory-max", "1MiB"], "--memory-max"),
        (&["--colour", "gray"], "--colour"),
        (&["--control-cert", "c.pem"], "--control-key"),
        (&["--access-log", "xml"], "--access-log"),
        (&["--access-log-sample", "1"], "--access-log-sample"),
        (&["--access-log-sample", "100.01%"], "--access-log-sample"),
        (&["--trace-sample", "one%"], "--trace-sample"),
        (&["--trace-sample", "1.001%"], "--trace-sample"),
    ] {
        let message = parse(arguments).expect_err("a bad flag");
        assert!(message.contains(named), "{message}");
    }
    for (arguments, environment, field) in [
        (&[][..], &[("LANEWAY_TAG", "a_b")][..], "LANEWAY_TAG"),
        (&[], &[("ALICLOUD_SERVICE_TAG", "Gray")], "ALICLOUD_SERVICE_TAG"),
        (&["--tag", "baseline"], &[], "--tag"),
        (&["--service", "a/b"], &[], "LANEWAY_SERVICE"),
        (&["--control", "laneway:15410"], &[], "--control / LANEWAY_CONTROL"),
        (&["--control", "ftp://laneway:1"], &[], "--control / LANEWAY_CONTROL"),
        (&["--control", "https://laneway:1"], &[], "--control-ca / LANEWAY_CONTROL_CA"),
        (&["--control-ca", "ca.pem"], &[], "--control-ca / LANEWAY_CONTROL_CA"),
        (&["--control-cert", "c", "--control-key", "k"], &[], "--control-cert / LANEWAY_CONTROL_CERT"),
        (
            &["--control", "http://10.0.0.1:1", "--control-token-file", "t"],
            &[],
            "--control-token-file / LANEWAY_CONTROL_TOKEN_FILE",
        ),
        (&["--admin", "0.0.0.0:1"], &[], "--admin / LANEWAY_ADMIN"),
        (&["--drain-max", "1s"], &[], "--drain-max / LANEWAY_DRAIN_MAX"),
        (&["--access-log-file", "/x"], &[], "--access-log-file / LANEWAY_ACCESS_LOG_FILE"),
        (&["--trace-sample", "1%"], &[], "--trace-sample / LANEWAY_TRACE_SAMPLE"),
        (&["--otlp-endpoint", "collector:4317"], &[], "--otlp-endpoint / LANEWAY_OTLP_ENDPOINT"),
        (&["--listen", "inbound=127.0.0.1:1"], &[], "listener 127.0.0.1:1"),
    ] {
        assert_eq!(checked(arguments, environment).expect_err("a bad value").field, field);
    }
}

#[test]
fn no_more_ports_are_probed_than_a_pod_has_probes() {
    let ports = |count: u16| (1..=count).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    let config = checked(&["--probe-ports", &ports(64)], &[]).expect("good");
    assert_eq!((config.app_health.ports.len(), config.app_health.address), (64, Some([10, 0, 0, 1].into())));
    let refused = checked(&["--probe-ports", &ports(65)], &[]).expect_err("too many");
    assert_eq!(refused.to_string(), "--probe-ports / LANEWAY_PROBE_PORTS: has 65 ports; at most 64");
}

#[test]
fn a_token_goes_over_tls_or_to_loopback() {
    let token = ["--control-token-file", "t"];
    for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        let source = checked(&[&["--control", url], &token[..]].concat(), &[]).expect("good").source;
        assert!(matches!(source, ConfigSource::Control { credentials, .. } if credentials.token.is_some()), "{url}");
    }
    let tls = ["--control", "https://control.laneway:15410", "--control-ca", "ca.pem", "--control-name", "control"];
    let source = checked(&[&tls, &token[..]].concat(), &[]).expect("good").source;
    assert!(matches!(source, ConfigSource::Control { credentials, .. } if credentials.ca.is_some()));
}

#[test]
fn the_tag_is_the_first_variable_that_is_set() {
    let tag = |environment: &[(&str, &str)]| {
        checked(&[], environment).expect("good").identity.tag.map(|tag| tag.as_str().to_owned())
    };
    assert_eq!(tag(&[]), None);
    assert_eq!(tag(&[("LANEWAY_TAG", "")]), None);
    assert_eq!(tag(&[("ALICLOUD_SERVICE_TAG", "blue"), ("MSE_ALICLOUD_SERVICE_TAG", "gray")]), Some("gray".into()));
    assert_eq!(tag(&[("LANEWAY_TAG", ""), ("MSE_ALICLOUD_SERVICE_TAG", "gray")]), None, "an empty tag says baseline");
}

#[test]
fn listeners_are_the_redirected_ones_unless_others_are_given() {
    let config = checked(&[], &[]).expect("good");
    assert!(config.datapath.listeners.iter().all(|listener| listener.redirected));
    assert!(matches!(config.source, ConfigSource::Control { .. }));

    let config = checked(
        &["--listen", "outbound=127.0.0.1:8000,service=b", "--listen", "inbound=127.0.0.1:8001,forward=127.0.0.1:9001"],
        &[],
    )
    .expect("good");
    let [outbound, inbound] = &config.datapath.listeners[..] else { panic!("two listeners") };
    assert_eq!(outbound.direction, Direction::Outbound);
    assert_eq!(outbound.default_service.as_deref(), Some("namespaces/default/services/b"));
    assert_eq!(inbound.forward_to, Some("127.0.0.1:9001".parse().expect("address")));
}

#[test]
fn without_a_configuration_it_is_ready_in_time_or_never() {
    assert_eq!(checked(&[], &[]).expect("good").boot_wait, Some(Duration::from_secs(5)));
    assert_eq!(checked(&["--boot-wait", "1s"], &[]).expect("good").boot_wait, Some(Duration::from_secs(1)));
    assert_eq!(checked(&["--fail-closed"], &[]).expect("good").boot_wait, None);
}

#[test]
fn a_hook_is_told_apart_from_a_sidecar() {
    assert_eq!(parse(&[]).expect("good").hook(), None);
    let seconds = Duration::from_secs;
    let status = "[::]:15421".parse().expect("an address");
    assert_eq!(parse(&["wait"]).expect("good").hook(), Some(Hook::Wait { status, timeout: seconds(30) }));
    let admin = "127.0.0.1:9".parse().expect("an address");
    let flags = parse(&["drain", "--admin", "127.0.0.1:9", "--timeout", "1m"]).expect("good");
    assert_eq!(flags.hook(), Some(Hook::Drain { admin, timeout: seconds(60) }));
    assert!(parse(&["wait", "--timeout", "soon"]).expect_err("no time").contains("--timeout"));
}

#[test]
fn a_share_is_a_percentage_with_at_most_two_decimals() {
    for (text, basis_points) in
        [("0%", 0), ("0.01%", 1), ("1%", 100), ("2.5%", 250), ("99.99%", 9999), ("100%", 10_000)]
    {
        let config = checked(&["--access-log", "json", "--access-log-sample", text], &[]).expect(text);
        assert_eq!(config.journal.log.expect("it is on").sample, Share(basis_points), "{text}");
    }
    let config = checked(&[], &[]).expect("good");
    assert!(config.journal.log.is_none() && config.journal.traces.is_none(), "neither is on by itself");
}

#[test]
fn traces_need_a_program_that_was_built_with_them() {
    let asked = checked(&["--otlp-endpoint", "http://127.0.0.1:4317", "--trace-sample", "1%"], &[]);
    match (asked, cfg!(feature = "otlp")) {
        (Ok(config), true) => assert_eq!(config.journal.traces.expect("it is on").sample, Share(100)),
        (Err(error), false) => assert!(error.problem.contains("feature otlp"), "{error}"),
        (asked, built) => panic!("{asked:?} where built is {built}"),
    }
}

#[test]
fn every_flag_and_variable_stands_in_the_documentation() {
    let documented = include_str!("../../../docs/configuration.md");
    let command = <Flags as clap::CommandFactory>::command();
    let own = command.get_arguments().map(|argument| ("", argument));
    let hooks =
        command.get_subcommands().flat_map(|hook| hook.get_arguments().map(|argument| (hook.get_name(), argument)));
    for (hook, argument) in own.chain(hooks) {
        let Some(long) = argument.get_long().filter(|long| !matches!(*long, "help" | "version")) else { continue };
        let space = if hook.is_empty() { "" } else { " " };
        let mut row = format!("| `{hook}{space}--{long}` | ");
        if let Some(variable) = argument.get_env() {
            row = format!("{row}`{}`", variable.to_string_lossy());
        }
        assert!(documented.contains(&row), "docs/configuration.md has no row that begins {row}");
        if let [default] = argument.get_default_values() {
            let default = default.to_string_lossy();
            assert!(
                documented.contains(&*default),
                "docs/configuration.md does not say the default of --{long}: {default}"
            );
        }
    }
}
