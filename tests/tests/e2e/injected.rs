//! What `lanectl inject` renders is what works: the demo's manifests are injected, every pod becomes a namespace whose redirect and
//! sidecar run with the environment that was rendered for them, and the chains of scenario 1 go as they must.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use laneway_tests::conformance::names;
use laneway_tests::mesh::{Mesh, Plan};
use laneway_tests::process::{Scratch, program, run};
use serde_json::Value;

use crate::support::{in_pod, namespaces_or_skip};

const BOTH: &[&str] = &["", "gray"];
/// In the demo's order; the n-th listens on 20000 + n, as its probe says.
const SERVICES: [(&str, &[&str]); 3] = [("spring-cloud-a", BOTH), ("spring-cloud-b", BOTH), ("spring-cloud-c", BOTH)];
/// What a kubelet, not the manifest, tells of a pod; and where our control plane is, which has no TLS, and a disk.
const OF_THE_PLACE: [&str; 5] =
    ["POD_IP", "LANEWAY_CONTROL", "LANEWAY_CONTROL_CA", "LANEWAY_CONTROL_TOKEN_FILE", "LANEWAY_CACHE"];

/// A pod of the manifests.
struct Rendered {
    service: String,
    tag: String,
    init: Vec<(String, String)>,
    proxy: Vec<(String, String)>,
    /// Port and path of its liveness probe.
    probe: (u64, String),
}

#[test]
fn a_pod_that_was_injected_runs_the_chains_of_scenario_1() {
    if !namespaces_or_skip("a_pod_that_was_injected_runs_the_chains_of_scenario_1") {
        return;
    }
    let scratch = Scratch::new("injected").expect("a directory");
    std::fs::set_permissions(scratch.path(), PermissionsExt::from_mode(0o1777)).expect("the directory is ours");
    let rendered = rendered();
    let mut plan = Plan::chain("inj", true, &SERVICES);
    plan.init_arguments = flags(&rendered[0].init);
    for pod in &mut plan.pods {
        // Namespaces have short names.
        pod.name = pod.name.trim_start_matches("spring-cloud-").to_owned();
        let of = rendered.iter().find(|of| of.service == pod.service && of.tag == pod.tag).expect("it is in the demo");
        assert_eq!(flags(&of.init), plan.init_arguments);
        pod.sidecar_environment =
            of.proxy.iter().filter(|(name, _)| !OF_THE_PLACE.contains(&name.as_str())).cloned().collect();
        let cache = scratch.path().join(format!("{}.snapshot", pod.name));
        pod.sidecar_environment.push(("LANEWAY_CACHE".to_owned(), cache.to_string_lossy().into_owned()));
    }
    let mut mesh = Mesh::up(plan.clone()).expect("the mesh comes up");
    for pod in &plan.pods {
        mesh.await_application(&pod.name).expect("it listens");
    }
    for (pod, headers, chain) in [
        ("a-base", &[][..], "A -> B -> C"),
        ("a-gray", &[], "Agray -> Bgray -> Cgray"),
        ("a-base", &["-H", "x-mse-tag: gray"], "A -> Bgray -> Cgray"),
    ] {
        let url = format!("http://{}/a", mesh.socket(pod).expect("a pod"));
        let answer = in_pod(&mesh, "entry", "curl", &[&["-sS", "--max-time", "20", &url], headers].concat());
        let visited = names(answer.expect("curl succeeds").trim()).replace("SPRING-CLOUD-", "");
        assert_eq!(visited, chain, "{pod} {headers:?}");
    }
    for pod in &plan.pods {
        let of = rendered.iter().find(|of| of.service == pod.service && of.tag == pod.tag).expect("it is in the demo");
        let address = mesh.socket(&pod.name).expect("a pod").ip();
        let url = format!("http://{address}:{}{}", of.probe.0, of.probe.1);
        let answer = in_pod(&mesh, "entry", "curl", &["-sS", "--fail", "--max-time", "20", &url]);
        assert!(answer.expect("the probe passes").contains("takes connections"), "{url}");
    }
}

/// The pods of the demo, as `lanectl inject` writes them.
fn rendered() -> Vec<Rendered> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/demo/demo.yaml");
    let mut inject = Command::new(program("lanectl").expect("it is built"));
    inject.arg("inject").arg(demo);
    let text = run(inject).expect("the demo is injected");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("it is YAML");
    documents.iter().filter_map(|document| pod(&document["spec"]["template"])).collect()
}

/// Nothing where there is no sidecar.
fn pod(template: &Value) -> Option<Rendered> {
    let find =
        |name: &str| template["spec"]["initContainers"].as_array()?.iter().find(|container| container["name"] == name);
    let environment = |container: &Value| -> Vec<(String, String)> {
        let variables = container["env"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        variables.map(|variable| (text(&variable["name"]), value(template, variable))).collect()
    };
    let (init, proxy) = (environment(find("laneway-init")?), environment(find("laneway-proxy")?));
    let said = |name: &str| proxy.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let probe = &template["spec"]["containers"][0]["livenessProbe"]["httpGet"];
    let probe = (probe["port"].as_u64()?, probe["path"].as_str()?.to_owned());
    Some(Rendered { service: said("LANEWAY_SERVICE")?, tag: said("LANEWAY_TAG")?, init, proxy, probe })
}

/// As a kubelet sees it: the value, or the field of the pod.
fn value(template: &Value, variable: &Value) -> String {
    let Some(field) = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() else {
        return variable["value"].as_str().expect("a value is text").to_owned();
    };
    for list in ["labels", "annotations"] {
        let key = field.strip_prefix(&format!("metadata.{list}['")).and_then(|key| key.strip_suffix("']"));
        if let Some(key) = key {
            return template["metadata"][list][key].as_str().unwrap_or_default().to_owned();
        }
    }
    match field {
        "metadata.namespace" => "default".to_owned(),
        "metadata.name" => template["metadata"]["labels"]["app"].as_str().expect("it has one").to_owned(),
        "status.podIPs" => String::new(),
        other => panic!("{other} is no field of a pod"),
    }
}

/// The mesh tells `laneway-init` by flags, each of the name of its variable.
fn flags(environment: &[(String, String)]) -> Vec<String> {
    let flag = |name: &str| name.trim_start_matches("LANEWAY").to_lowercase().replace('_', "-");
    environment.iter().map(|(name, value)| format!("-{}={value}", flag(name))).collect()
}
