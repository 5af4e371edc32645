//! Bytes from anybody: an error that says what is wrong, never a panic, and never half a result.

use super::settings;
use crate::inject::{inject, uninject};

fn refused(text: &str, words: &str) {
    let shown = &text[..text.len().min(200)];
    let problems = inject(text, &settings(&[])).expect_err(shown);
    assert!(problems.iter().any(|problem| problem.contains(words)), "{words:?} is not in {problems:?}");
    // What cannot be read can neither be uninjected; a pod of the wrong shape has no sidecar to take out.
    if !text.contains("kind: Pod") {
        assert_eq!(uninject(text), Err(problems), "{shown}");
    }
}

#[test]
fn a_document_that_is_no_map_is_refused_by_its_number() {
    refused("a: 1\n---\nhello\n", "document 2: text, not a map");
    refused("- 1\n- 2\n", "document 1: a list, not a map");
    refused("42", "document 1: a number");
    refused("true", "document 1: a boolean");
    refused("apiVersion: v1\nkind: List\nitems: {a: b}\n", "items: a map, not a list");
    refused("apiVersion: v1\nkind: List\nitems: [3]\n", "items[0]: a number, not a map");
}

#[test]
fn what_is_neither_yaml_nor_json_is_refused_by_its_line() {
    refused("a: 1\n---\nb: [1,\n", "line 3");
    refused("a: 1\n---\n# above\nb: {c: d\ne: }}}\n", "document 2: neither YAML nor JSON");
    refused("a: 1\na: 2\n", "document 1");
    refused("{\"a\": 1, \"a\": 2}", "document 1");
    refused("{\"a\": ", "document 1");
    refused("a: .nan", "document 1");
    refused("a: *nobody", "document 1");
    refused("\u{0}\u{1}\u{2}", "document 1");
    refused("a: 'text\n---\nb: c\n", "document 1");
}

#[test]
fn depth_and_growth_are_bounded() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
        refused(&deep, "document 1");
    }
    let deep: String = (0..5000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused(&deep, "document 1");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let again = format!("*a{}, ", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", again.trim_end_matches(", ")));
    }
    refused(&bomb, "document 1");
}

#[test]
fn a_large_manifest_is_injected() {
    let map: String = (0..50_000).map(|key| format!("  key-{key}: value\n")).collect();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: a}]}\n";
    let text = format!("apiVersion: v1\nkind: ConfigMap\ndata:\n{map}---\n{}", format!("{pod}---\n").repeat(500));
    let done = inject(&text, &settings(&[])).expect("it is large and good");
    assert_eq!(done.told.len(), 500);
    assert!(done.text.starts_with(&format!("apiVersion: v1\nkind: ConfigMap\ndata:\n{map}---\n")));
}

#[test]
fn a_pod_of_the_wrong_shape_is_refused_by_the_path_of_its_field() {
    for (metadata, spec, words) in [
        ("3", "{containers: [{name: a}]}", "metadata: a number, not a map"),
        ("{labels: [a]}", "{containers: [{name: a}]}", "metadata.labels: a list, not a map"),
        ("{annotations: x}", "{containers: [{name: a}]}", "metadata.annotations: text, not a map"),
        ("{}", "~", "spec: is not there"),
        ("{}", "[]", "spec: a list, not a map"),
        ("{}", "{}", "spec.containers: has none"),
        ("{}", "{containers: {}}", "spec.containers: a map, not a list"),
        ("{}", "{containers: [a]}", "spec.containers[0]: text, not a map"),
        ("{}", "{containers: [{image: a}]}", "spec.containers[0].name: is not there"),
        ("{}", "{containers: [{name: 5}]}", "spec.containers[0].name: is not there"),
        ("{}", "{containers: [{name: a}], initContainers: 1}", "spec.initContainers: a number, not a list"),
        ("{}", "{containers: [{name: a}], volumes: x}", "spec.volumes: text, not a list"),
        ("{}", "{containers: [{name: a}], terminationGracePeriodSeconds: long}", "terminationGracePeriodSeconds: text"),
        ("{}", "{containers: [{name: a}], terminationGracePeriodSeconds: 1.5}", "not a whole number"),
    ] {
        refused(&format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {spec}\n"), words);
    }
    refused("apiVersion: apps/v1\nkind: Deployment\n", "deployment/?: spec: is not there");
    refused("apiVersion: apps/v1\nkind: Deployment\nspec: {template: 1}\n", "spec.template: a number, not a map");
    refused(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly}\nspec: {jobTemplate: {}}\n",
        "cronjob/nightly: spec.jobTemplate.spec: is not there",
    );
}

/// Odd values where the sidecar looks, but which are the API server's to judge: taken as they are.
#[test]
fn odd_fields_of_others_never_panic() {
    for odd in ["~", "1", "-1", "1.5", "x", "true", "[]", "[[]]", "{}", "{a: [1]}", "99999999999999999999", "''"] {
        for field in [
            "restartPolicy",
            "hostNetwork",
            "os",
            "nodeSelector",
            "securityContext",
            "ports",
            "livenessProbe",
            "livenessProbe: {tcpSocket",
            "terminationGracePeriodSeconds",
        ] {
            let close = if field.contains('{') { "}" } else { "" };
            let text = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{labels: {{app: {odd}}}}}\nspec:\n  {field}: {odd}{close}\n  containers:\n  - name: a\n    {field}: {odd}{close}\n"
            );
            for arguments in [&[][..], &["--native-sidecar=false"]] {
                if let Ok(done) = inject(&text, &settings(arguments)) {
                    uninject(&done.text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
                }
            }
        }
    }
}
