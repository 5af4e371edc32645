//! Reviews as the API server sends them, and what the API server makes of the answers: patches are applied by another's code.

mod again;

use k8s_openapi::ByteString;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::inject::tests::{pods_of_shapes, settings};

fn value(json: &Json) -> Value {
    serde_json::from_value(json.clone()).expect("JSON is a value")
}

fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).expect("a value is JSON")
}

fn review(pod: &Json) -> Vec<u8> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "name": "",
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"]},
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    });
    review.to_string().into_bytes()
}

/// The answer, and the pod as the API server goes on with it.
fn admitted(pod: &Json, settings: &Settings) -> (Json, Answer, Json) {
    let answer = answer(&review(pod), settings).expect("a good review");
    let said: Json = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!((&said["apiVersion"], &said["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = said["response"].clone();
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    let mut after = pod.clone();
    if let Some(patch) = response.get("patch") {
        assert_eq!(response["patchType"], "JSONPatch");
        let ByteString(patch) = serde_json::from_value(patch.clone()).expect("base64");
        let patch: json_patch::Patch = serde_json::from_slice(&patch).expect("a JSON Patch");
        json_patch::patch(&mut after, &patch).expect("it fits the pod");
    }
    (response, answer, after)
}

#[test]
fn every_golden_shape_becomes_what_lanectl_inject_makes_of_it_and_twice_is_once() {
    let (mut injected, mut skipped) = (0, 0);
    for (shape, settings, pods) in pods_of_shapes() {
        for pod in pods {
            let before = json(&Value::Map(pod.clone()));
            let mut by_lanectl = pod.clone();
            let verdict = inject::inject_pod(&mut by_lanectl, &settings).expect("the shapes are good");
            let (response, answer, after) = admitted(&before, &settings);
            assert_eq!(response["allowed"], true, "{shape}");
            if inject::has_sidecar(&pod) {
                // Its sidecar came by hand: it stays as it is.
                assert_eq!((response.get("patch"), &after), (None, &before), "{shape}");
                skipped += 1;
                continue;
            }
            assert_eq!(after, json(&Value::Map(by_lanectl)), "{shape}");
            match (verdict, answer.deed) {
                (Verdict::Injected(of_lanectl), Deed::Injected(notes)) => {
                    assert_eq!(of_lanectl, notes, "{shape}");
                    injected += 1;
                }
                (Verdict::Skipped(of_lanectl), Deed::Skipped(reason)) => {
                    assert_eq!((of_lanectl, response.get("patch")), (reason, None), "{shape}");
                    skipped += 1;
                }
                (verdict, deed) => panic!("{shape}: {verdict:?}, but {deed:?}"),
            }
            let (response, _, again) = admitted(&after, &settings);
            assert_eq!((response.get("patch"), again), (None, after), "{shape}: twice is not once");
        }
    }
    assert!(injected >= 20 && skipped >= 3, "{injected} injected, {skipped} skipped");
}

#[test]
fn a_pod_that_the_api_server_has_filled_in_since_is_left_as_it_is() {
    let pod = json!({"metadata": {"generateName": "cart-7f9c-"}, "spec": {"containers": [{"name": "cart"}]}});
    let (_, answer, mut after) = admitted(&pod, &settings(&[]));
    assert_eq!(answer.subject, Subject { namespace: "shop".to_owned(), name: "cart-7f9c-*".to_owned() });
    for container in after["spec"]["initContainers"].as_array_mut().expect("they were put in") {
        container["imagePullPolicy"] = json!("IfNotPresent");
        container["volumeMounts"] = json!([{"name": "kube-api-access-x", "mountPath": "/var/run/secrets"}]);
    }
    let (response, answer, again) = admitted(&after, &settings(&["--proxy-image=other:2"]));
    assert_eq!((response.get("patch"), again), (None, after.clone()));
    assert_eq!(answer.deed, Deed::Skipped("the sidecar is in".to_owned()));
    // One that does not want it any more loses it; one whose sidecar somebody took away has it again.
    after["metadata"]["labels"]["laneway.io/inject"] = json!("disabled");
    let (_, _, without) = admitted(&after, &settings(&[]));
    assert!(!without.to_string().contains("laneway-proxy"), "{without}");
    after["metadata"]["labels"]["laneway.io/inject"] = json!("enabled");
    after["spec"]["initContainers"] = json!([]);
    let (_, _, with) = admitted(&after, &settings(&[]));
    assert_eq!(with["spec"]["initContainers"].as_array().map(Vec::len), Some(2), "{with}");
}

#[test]
fn a_pod_that_asks_not_to_be_or_cannot_be_injected_passes_as_it_is() {
    for pod in [
        json!({"metadata": {"labels": {"laneway.io/inject": "disabled"}}, "spec": {"containers": [{"name": "a"}]}}),
        json!({"metadata": {"annotations": {"laneway.io/inject": "false"}}, "spec": {"containers": [{"name": "a"}]}}),
        json!({"metadata": {}, "spec": {"hostNetwork": true, "containers": [{"name": "a"}]}}),
        json!({"metadata": {}, "spec": {"os": {"name": "windows"}, "containers": [{"name": "a"}]}}),
        json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "istio-proxy"}]}}),
    ] {
        let (response, answer, after) = admitted(&pod, &settings(&[]));
        assert_eq!((&response["allowed"], response.get("patch"), &after), (&json!(true), None, &pod));
        assert!(matches!(answer.deed, Deed::Skipped(_)), "{:?}", answer.deed);
    }
    // The label wins.
    let both = json!({
        "metadata": {"labels": {"laneway.io/inject": "enabled"}, "annotations": {"laneway.io/inject": "disabled"}},
        "spec": {"containers": [{"name": "a"}]},
    });
    assert!(matches!(admitted(&both, &settings(&[])).1.deed, Deed::Injected(_)));
}

#[test]
fn a_pod_that_cannot_be_meant_is_refused_with_every_reason() {
    let pod = json!({
        "metadata": {"annotations": {"laneway.io/drain-seconds": "5s", "laneway.io/colour": "red"}},
        "spec": {"securityContext": {"runAsUser": 2337}, "containers": [{"name": "a"}]},
    });
    let (response, answer, after) = admitted(&pod, &settings(&[]));
    assert_eq!((&response["allowed"], response.get("patch"), &after), (&json!(false), None, &pod));
    assert_eq!(response["status"]["code"], 422);
    let message = response["status"]["message"].as_str().expect("it says why");
    for word in ["drain-seconds: `5s`", "laneway.io/colour", "runAsUser"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(matches!(answer.deed, Deed::Refused(reasons) if reasons.len() == 3));
    for spec in [json!({}), json!({"containers": "none"}), json!({"containers": [{"name": 1}]}), json!(7)] {
        let (response, ..) = admitted(&json!({"metadata": {}, "spec": spec}), &settings(&[]));
        assert_eq!(response["allowed"], false);
    }
}

#[test]
fn what_may_not_be_meant_so_is_a_warning_and_none_is_long() {
    let host = "x".repeat(1000);
    let probe = json!({"tcpSocket": {"host": host, "port": 80}});
    let container =
        json!({"name": "å".repeat(600), "livenessProbe": probe, "readinessProbe": probe, "startupProbe": probe});
    let containers = vec![container.clone(), json!({"name": "b", "livenessProbe": {"tcpSocket": {"port": 8080}}})];
    let pod = json!({"metadata": {}, "spec": {"terminationGracePeriodSeconds": 0, "containers": containers}});
    let (response, ..) = admitted(&pod, &settings(&[]));
    let warnings: Vec<&str> = response["warnings"].as_array().expect("some").iter().filter_map(Json::as_str).collect();
    assert!(warnings[0].contains("no service") && warnings.len() == WARNINGS_MAX, "{warnings:?}");
    assert!(warnings.iter().all(|text| text.len() <= 256 && text.starts_with("laneway: ")), "{warnings:?}");
    assert!(!warnings.iter().any(|text| text.contains("asks the sidecar")), "{warnings:?}");
    let quiet = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a"}]}});
    assert_eq!(admitted(&quiet, &settings(&[])).0.get("warnings"), None);
}

#[test]
fn what_is_no_review_of_a_new_pod_is_an_error_that_says_so() {
    let good: Json = serde_json::from_slice(&review(&json!({}))).expect("JSON");
    let with = |path: &str, value: Json| {
        let mut review = good.clone();
        *review.pointer_mut(path).expect("it is there") = value;
        review.to_string()
    };
    for (text, words) in [
        (String::new(), "not an AdmissionReview"),
        ("[1, 2]".to_owned(), "not an AdmissionReview"),
        ("[".repeat(100_000), "not an AdmissionReview"),
        (with("/apiVersion", json!("admission.k8s.io/v1beta1")), "v1beta1"),
        (with("/kind", json!("Pod")), "\"Pod\""),
        (with("/request", json!(null)), "no request"),
        (
            with("/request/resource", json!({"group": "apps", "version": "v1", "resource": "deployments"})),
            "apps/v1 deployments",
        ),
        (with("/request/operation", json!("UPDATE")), "UPDATE of v1 pods"),
        (with("/request/object", json!(null)), "no object"),
        (with("/request/object", json!([1])), "no object"),
        (with("/request/object", json!("pod")), "no object"),
    ] {
        let error = answer(text.as_bytes(), &settings(&[])).expect_err("it is none").to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let sub = {
        let mut review = good.clone();
        review["request"]["subResource"] = json!("ephemeralcontainers");
        review.to_string()
    };
    let error = answer(sub.as_bytes(), &settings(&[])).expect_err("it is no new pod").to_string();
    assert!(error.contains("pods/ephemeralcontainers"), "{error}");
}

#[test]
fn reasons_are_bounded() {
    let annotations: serde_json::Map<String, Json> =
        (0..50_000).map(|n| (format!("laneway.io/{n}"), json!("x".repeat(20)))).collect();
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a"}]}});
    let (_, answer, _) = admitted(&pod, &settings(&[]));
    assert!(answer.body.len() < 64 << 10, "{}", answer.body.len());
}

#[test]
fn base64_is_that_of_the_rfc() {
    let vectors = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];
    for (plain, text) in vectors {
        assert_eq!(base64(plain.as_bytes()), text);
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (-3i64..3).prop_map(|number| json!(number)),
        "[ab/~\"]{0,2}".prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let named = ("[abc]", inner.clone()).prop_map(|(name, value)| json!({"name": name, "value": value}));
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec(named, 0..5).prop_map(Json::Array),
            prop::collection::btree_map("[ab/~]{0,2}", inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}

proptest! {
    #[test]
    fn a_patch_makes_of_one_value_the_other(before in any_json(), after in any_json()) {
        let (before, after) = (json!({"at": before}), json!({"at": after}));
        let (Value::Map(old), Value::Map(new)) = (value(&before), value(&after)) else { unreachable!("both are maps") };
        let operations = patch::between(&old, &new);
        prop_assert_eq!(operations.is_empty(), before == after);
        let patch: json_patch::Patch = serde_json::from_value(json(&Value::List(operations))).expect("a JSON Patch");
        let mut patched = before;
        json_patch::patch(&mut patched, &patch).expect("it fits");
        prop_assert_eq!(patched, after);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), object in any_json()) {
        let _ = answer(&bytes, &settings(&[]));
        let _ = answer(&review(&object), &settings(&[]));
    }
}
