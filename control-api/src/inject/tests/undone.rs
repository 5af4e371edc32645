//! What was put in is taken out without a trace: every value as it was, in its order.

use super::{injected, settings, shapes, values};
use crate::inject::{Settings, uninject};

fn check(text: &str, settings: &Settings, name: &str) {
    let once = injected(text, settings).text;
    let undone = uninject(&once).unwrap_or_else(|problems| panic!("{name}: {}", problems.join("\n"))).text;
    assert_eq!(values(&undone), values(text), "{name}:\n{undone}");
    let again = uninject(&undone).expect("there is nothing to take out").text;
    assert_eq!(again, undone, "{name}");
}

/// Every way in which a sidecar is put in.
const FORMS: [&[&str]; 5] = [
    &[],
    &["--native-sidecar=false"],
    &["--native-sidecar=false", "--hold-application=false", "--drain-seconds=3600"],
    &["--redirect-backend=iptables", "--hold-application=false", "--drain-seconds=0"],
    &["--control=https://c:1", "--control-ca=ca", "--control-token=t", "--exclude-inbound-ports=1-65535"],
];

#[test]
fn every_shape_comes_back_value_for_value_from_every_form() {
    for shape in shapes() {
        // It has a sidecar already: what comes back is what it was made of.
        let text = uninject(&shape.text).expect("what is in can be taken out").text;
        check(&text, &shape.settings, &shape.name);
        for form in FORMS {
            check(&text, &settings(form), &format!("{} {form:?}", shape.name));
        }
    }
}

/// Each field that is touched: absent, null, empty, filled.
#[test]
fn every_pod_comes_back_value_for_value_whatever_of_it_was_there() {
    let metadata: [&[&str]; 4] = [
        &["", "labels:", "labels: {}", "labels: {app: x, 'on': 'off'}"],
        &["", "annotations: ~", "annotations: {}", "annotations: {note: '1e3'}"],
        &["", "name: x", "", ""],
        &["", "", "", ""],
    ];
    let spec: [&[&str]; 4] = [
        &[
            "",
            "initContainers: null",
            "initContainers: []",
            "initContainers: [{name: i, restartPolicy: Always, livenessProbe: {tcpSocket: {port: 7}}}]",
        ],
        &["", "volumes: null", "volumes: []", "volumes: [{name: v, emptyDir: {}}]"],
        &[
            "",
            "terminationGracePeriodSeconds: null",
            "terminationGracePeriodSeconds: 0",
            "terminationGracePeriodSeconds: 31",
        ],
        &[
            "containers: [{name: a}]",
            "containers: [{name: a, livenessProbe: {periodSeconds: 1, tcpSocket: {port: 80}, timeoutSeconds: 2}}, {name: b}]",
            "containers: [{name: a, startupProbe: {tcpSocket: {port: web}}, ports: [{name: web, containerPort: 8080}]}]",
            "containers: [{name: a, readinessProbe: {tcpSocket: {port: 80, host: ''}, httpGet: null}}]",
        ],
    ];
    let all = |fields: &[&[&str]; 4], of: usize| -> String {
        let chosen = fields.iter().enumerate().map(|(at, forms)| forms[(of >> (2 * at)) & 3]);
        chosen.filter(|line| !line.is_empty()).map(|line| format!("  {line}\n")).collect()
    };
    for form in FORMS {
        let settings = settings(form);
        for of in 0..256 {
            let spec = all(&spec, of);
            // Not every pair: each form of one with each of the other, over the run.
            let metadata = all(&metadata, (of * 7 + of / 64) & 63);
            let metadata = if metadata.is_empty() { String::new() } else { format!("metadata:\n{metadata}") };
            let text = format!("apiVersion: v1\nkind: Pod\n{metadata}spec:\n{spec}");
            check(&text, &settings, &format!("{form:?}\n{text}"));
        }
    }
}

#[test]
fn what_others_did_since_stays() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - name: a\n    livenessProbe: {tcpSocket: {port: 80}}\n";
    let once = injected(pod, &settings(&[])).text;
    let edited = once
        .replace("terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 99")
        .replace("/app-health/80", "/own")
        .replace("laneway.io/injected: \"true\"", "laneway.io/injected: \"true\"\n    team: blue");
    assert_ne!(once, edited);
    let undone = uninject(&edited).expect("it can be taken out").text;
    let expected = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {team: blue}}\nspec:\n  containers:\n  - name: a\n    livenessProbe: \
                    {httpGet: {path: /own, port: 15421}}\n  terminationGracePeriodSeconds: 99\n";
    assert_eq!(values(&undone), values(expected), "{undone}");
}

#[test]
fn a_note_that_was_tampered_with_takes_out_nothing_of_the_application() {
    for (note, told) in [
        ("{", Some("not what inject writes")),
        ("{\"containers\":[],\"more\":1}", Some("not what inject writes")),
        ("{\"version\":\"1\",\"containers\":[],\"more\":1}", Some("injected by version 1, of which")),
        // Only what has our names is taken out, whatever the note says.
        ("{\"version\":\"1\",\"containers\":[\"app\"],\"absent\":[\"spec.containers\"]}", None),
    ] {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{annotations: {{laneway.io/status: '{note}'}}}}\nspec: {{containers: [{{name: app}}]}}\n"
        );
        match (uninject(&pod), told) {
            (Err(problems), Some(told)) => assert!(problems[0].contains(told), "{problems:?}"),
            (Ok(done), None) => assert!(done.text.contains("name: app"), "{}", done.text),
            (other, _) => panic!("{note}: {other:?}"),
        }
    }
}

#[test]
fn the_autoscaler_is_told_of_our_volume_beside_those_of_the_pod() {
    let key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
    let pod = |own: Option<&str>| {
        let own = own.map(|own| format!(", annotations: {{{key}: {own:?}}}")).unwrap_or_default();
        format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: x{own}}}\nspec: {{containers: [{{name: a}}]}}\n")
    };
    let said = |text: &str| {
        let pod = values(text).remove(0);
        let annotations =
            pod.as_map().and_then(|pod| pod.map("metadata")).and_then(|metadata| metadata.map("annotations"));
        annotations.and_then(|annotations| annotations.text(key)).map(str::to_owned)
    };
    for (own, with_ours) in [
        (None, "laneway-cache"),
        (Some(""), ",laneway-cache"),
        (Some("tmp, logs"), "tmp, logs,laneway-cache"),
        (Some("laneway-cache"), "laneway-cache,laneway-cache"),
    ] {
        let text = pod(own);
        let once = injected(&text, &settings(&[])).text;
        assert_eq!(said(&once).as_deref(), Some(with_ours), "{own:?}");
        assert_eq!(injected(&once, &settings(&[])).text, once, "{own:?}");
        check(&text, &settings(&[]), with_ours);
    }
    let once = injected(&pod(None), &settings(&[])).text;
    let edited = once.replace("volumes: laneway-cache", "volumes: laneway-cache,theirs");
    assert_eq!(said(&edited).as_deref(), Some("laneway-cache,theirs"));
    let undone = uninject(&edited).expect("it can be taken out").text;
    assert_eq!(said(&undone).as_deref(), Some("theirs"));
}

#[test]
fn a_pod_that_no_longer_wants_its_sidecar_loses_it() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {app: x}}\nspec: {containers: [{name: a}]}\n";
    let once = injected(pod, &settings(&[])).text;
    let unwanted = once.replace("app: x", "app: x\n    laneway.io/inject: disabled");
    let done = injected(&unwanted, &settings(&[]));
    assert!(!done.text.contains("laneway-proxy"), "{}", done.text);
}
