//! What cannot be meant is refused, with its name, what was said, and what is allowed.

use super::settings;
use crate::inject::inject;
use crate::inject::settings::annotations as settings_annotations;

/// A pod with these lines in its metadata, and these in its spec.
fn pod(metadata: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n{metadata}\nspec:\n{spec}\n")
}

fn refusal(text: &str, arguments: &[&str]) -> String {
    match inject(text, &settings(arguments)) {
        Err(problems) => problems.join("\n"),
        Ok(done) => panic!("it was not refused:\n{}", done.text),
    }
}

fn annotated(name: &str, value: &str) -> String {
    refusal(&pod(&format!("  annotations: {{{name}: {value}}}"), "  containers: [{name: a}]"), &[])
}

#[test]
fn a_bad_annotation_is_named_with_its_value_and_what_is_allowed() {
    for (name, value, words) in [
        ("laneway.io/inject", "'on'", &["`on`", "enabled, disabled"][..]),
        ("laneway.io/inject", "true", &["a boolean, not text", "quotes"]),
        ("laneway.io/native-sidecar", "'yes'", &["`yes`", "true, false"]),
        ("laneway.io/native-sidecar", "true", &["a boolean, not text", "quotes"]),
        ("laneway.io/hold-application", "''", &["``", "true, false"]),
        ("laneway.io/redirect-backend", "ebpf", &["`ebpf`", "nft, iptables"]),
        ("laneway.io/include-inbound-ports", "''", &["is empty", "`*` for all"]),
        ("laneway.io/include-inbound-ports", "'80,x'", &["`x`", "1 to 65535", "`*` for all"]),
        ("laneway.io/include-inbound-ports", "'15421'", &["leaves nothing to redirect"]),
        ("laneway.io/exclude-inbound-ports", "'0'", &["`0`", "1 to 65535"]),
        ("laneway.io/exclude-inbound-ports", "'90-80'", &["`90-80` runs backwards"]),
        ("laneway.io/exclude-outbound-ports", "'99999'", &["`99999`", "1 to 65535"]),
        ("laneway.io/include-outbound-ports", "''", &["is empty"]),
        ("laneway.io/include-outbound-cidrs", "''", &["is empty"]),
        ("laneway.io/include-outbound-cidrs", "10.0.0.1/8", &["did you mean 10.0.0.0/8", "`*` for all"]),
        ("laneway.io/exclude-outbound-cidrs", "10.0.0.1/8", &["`10.0.0.1/8`", "did you mean 10.0.0.0/8"]),
        ("laneway.io/exclude-outbound-cidrs", "example.com", &["`example.com`", "ADDRESS/BITS"]),
        ("laneway.io/opaque-ports", "'3306-3310'", &["`3306-3310`", "comma between"]),
        ("laneway.io/opaque-ports", "'0'", &["`0`", "1 to 65535"]),
        ("laneway.io/proxy-cpu-request", "'2 cores'", &["`2 cores`", "250m"]),
        ("laneway.io/proxy-cpu-limit", "'0'", &["`0`", "250m"]),
        ("laneway.io/proxy-cpu-limit", "10m", &["proxy-cpu-request 50m is more than proxy-cpu-limit 10m"]),
        ("laneway.io/proxy-memory-request", "64MB", &["`64MB`", "64Mi"]),
        ("laneway.io/proxy-memory-request", "1Gi", &["proxy-memory-request 1Gi is more than proxy-memory-limit 256Mi"]),
        ("laneway.io/proxy-memory-limit", "'-1'", &["`-1`", "64Mi"]),
        ("laneway.io/proxy-image", "'two words'", &["`two words`", "laneway/proxy"]),
        ("laneway.io/log-level", "loud", &["`loud`", "debug", "directives"]),
        ("laneway.io/log-level", "'info,=debug'", &["`info,=debug`"]),
        ("laneway.io/drain-seconds", "5s", &["`5s`", "0 to 3600"]),
        ("laneway.io/drain-seconds", "'3601'", &["`3601`", "0 to 3600"]),
        ("laneway.io/drain-seconds", "5", &["a number, not text", "quotes"]),
        ("laneway.io/exclude-inbound-port", "'80'", &["is not known", "exclude-inbound-ports", "drain-seconds"]),
        ("laneway.io/tag", "gray", &["is a label"]),
        ("laneway.io/service", "a", &["is a label"]),
        ("msePilotCreateAppName", "'a b'", &["`a b`", "A-Z a-z 0-9", "laneway.io/service"]),
        ("alicloud.service.tag", "Gray", &["`Gray`", "a-z"]),
    ] {
        let told = annotated(name, value);
        assert!(told.starts_with("pod/x: ") && told.contains(name), "{name}: {value}: {told}");
        for word in words {
            assert!(told.contains(word), "{name}: {value}: {told}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let told = refusal(
        &pod(
            "  labels: {laneway.io/tag: a_b}\n  annotations: {laneway.io/drain-seconds: x, laneway.io/log-level: y}",
            "  containers: [{name: a, securityContext: {runAsUser: 2337}}, {name: laneway-proxy}]",
        ),
        &[],
    );
    for word in ["laneway.io/tag", "a_b", "drain-seconds", "log-level", "runAsUser", "laneway-proxy"] {
        assert!(told.contains(word), "{told}");
    }
    assert_eq!(told.lines().count(), 5, "{told}");
}

#[test]
fn a_tag_that_the_sidecar_would_not_start_with_is_refused() {
    for tag in ["Gray", "a_b", "-a", "baseline", "a.b"] {
        let told = refusal(&pod(&format!("  labels: {{laneway.io/tag: {tag}}}"), "  containers: [{name: a}]"), &[]);
        assert!(told.contains("label laneway.io/tag") && told.contains(&format!("`{tag}`")), "{told}");
    }
}

#[test]
fn the_sidecars_user_names_and_ports_are_its_own() {
    for (spec, words) in [
        (
            "  containers: [{name: a, securityContext: {runAsUser: 2337}}]",
            "spec.containers[0].securityContext.runAsUser",
        ),
        ("  securityContext: {runAsUser: 2337}\n  containers: [{name: a}]", "spec.securityContext.runAsUser"),
        (
            "  initContainers: [{name: i, securityContext: {runAsUser: 2337}}]\n  containers: [{name: a}]",
            "container i would run as 2337",
        ),
        ("  containers: [{name: laneway-init}]", "laneway-init"),
        ("  initContainers: [{name: laneway-proxy}]\n  containers: [{name: a}]", "spec.initContainers[0].name"),
        ("  containers: [{name: a}]\n  volumes: [{name: laneway-cache}]", "spec.volumes[0].name"),
        ("  containers: [{name: a, ports: [{containerPort: 15406}]}]", "listens on 15406"),
    ] {
        let told = refusal(&pod("", spec), &[]);
        assert!(told.contains(words), "{spec}: {told}");
    }
    let told = refusal(&pod("  labels: {laneway.io/injected: 'true'}", "  containers: [{name: a}]"), &[]);
    assert!(told.contains("laneway.io/status is not there"), "{told}");
    // A user of its own is fine where the pod's is ours; so is another protocol.
    let spec = "  securityContext: {runAsUser: 2337}\n  containers: [{name: a, securityContext: {runAsUser: 1000}, ports: [{containerPort: 15421, protocol: UDP}]}]";
    inject(&pod("", spec), &settings(&[])).expect("nothing clashes");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (arguments, words) in [
        (&["--control=control:15410"][..], "http://HOST:PORT"),
        (&["--control=https://:1", "--control-ca=ca"], "http://HOST:PORT"),
        (&["--control=https://control:1"], "--control-ca"),
        (&["--control=http://c:1", "--control-ca=ca"], "https://"),
        (&["--control=http://c:1", "--control-token=laneway"], "in clear"),
        (&["--proxy-memory-request=1Gi"], "proxy-memory-limit"),
        (&["--include-inbound-ports=80", "--exclude-inbound-ports=1-100"], "leaves nothing to redirect"),
    ] {
        let told = settings(arguments).plan().expect_err("they do not go together");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn no_more_ports_are_probed_than_a_sidecar_takes() {
    let containers: Vec<String> =
        (1..=65).map(|port| format!("{{name: c{port}, livenessProbe: {{tcpSocket: {{port: {port}}}}}}}")).collect();
    let told = refusal(&pod("", &format!("  containers: [{}]", containers.join(", "))), &[]);
    assert!(told.contains("65 ports; at most 64"), "{told}");
}

/// Every setting has its row in the documentation, with its default; and every annotation is one of the flags.
#[test]
fn every_annotation_and_flag_stands_in_the_documentation() {
    let documented = include_str!("../../../../docs/kubernetes.md");
    let command = <super::Line as clap::CommandFactory>::command();
    let mut rows = 0;
    for flag in command.get_arguments().filter(|flag| flag.get_long().is_some_and(|long| long != "help")) {
        let long = flag.get_long().expect("it has a name");
        let annotation = settings_annotations().any(|name| name == long);
        let mut row =
            if annotation { format!("| `laneway.io/{long}` | `--{long}` | ") } else { format!("| `--{long}` | ") };
        match flag.get_default_values() {
            [default] if !default.is_empty() => row.push_str(&format!("`{}` | ", default.to_string_lossy())),
            _ => row.push_str("| "),
        }
        let row = row.replace("|  |", "| |");
        assert!(documented.contains(&row), "docs/kubernetes.md has no row that begins {row}");
        rows += usize::from(annotation);
    }
    assert_eq!(rows, settings_annotations().count(), "an annotation is no flag");
    assert_eq!(documented.matches("\n| `laneway.io/").count(), rows + 1, "the table has a row that is no annotation");
}

#[test]
fn a_control_plane_of_ones_own_brings_no_defaults_of_another_and_one_without_tls_is_odd() {
    let own = settings(&["--control=http://control.mesh:15410"]);
    assert_eq!((&own.control_ca, &own.control_token), (&None, &None));
    own.plan().expect("it is allowed");
    let told = own.oddity().expect("a sidecar of `lanectl install` needs TLS");
    assert!(told.contains("http://control.mesh:15410") && told.contains("without --control"), "{told}");
    for loopback in
        ["http://127.0.0.1:15410", "http://localhost:15410", "http://[::1]:15410/", "http://[::1]", "http://localhost"]
    {
        assert_eq!(settings(&[&format!("--control={loopback}")]).oddity(), None, "{loopback}");
    }
    for other in ["http://localhost.mesh:1", "http://10.0.0.1", "http://[fd00::1]:1"] {
        assert!(settings(&[&format!("--control={other}")]).oddity().is_some(), "{other}");
    }
    // One of the three alone changes it alone.
    let own = settings(&["--control-ca=ours"]);
    assert_eq!((own.control_ca.as_deref(), own.control_token.as_deref()), (Some("ours"), Some("laneway.io")));
    own.plan().expect("it is allowed");
}
