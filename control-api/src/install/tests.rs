use serde_json::Value;

use super::*;

fn said(text: &[&str]) -> Settings {
    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }
    Line::parse_from([&["lanectl"], text].concat()).settings
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).expect("it is YAML")
}

fn find<'d>(documents: &'d [Value], kind: &str, name: &str) -> &'d Value {
    let is_it = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(is_it).unwrap_or_else(|| panic!("there is a {kind} {name}"))
}

#[test]
fn every_blank_is_filled_and_every_document_is_an_object_with_a_name() {
    let text = manifests("lanes", &said(&["--pod-monitor", "--inject=log-level=debug"]));
    assert!(!text.contains("${"), "a blank is left");
    for document in documents(&text) {
        for field in ["/apiVersion", "/kind", "/metadata/name"] {
            assert!(document.pointer(field).is_some_and(Value::is_string), "{field} of {document}");
        }
    }
}

/// Or an upgrade would leave it behind.
#[test]
fn every_kind_that_can_be_installed_is_looked_through_for_what_is_left_over() {
    for document in documents(&manifests("lanes", &said(&["--pod-monitor"]))) {
        let (api_version, kind) = (document["apiVersion"].as_str(), document["kind"].as_str());
        if ["CustomResourceDefinition", "Namespace"].map(Some).contains(&kind) {
            continue;
        }
        let found = KINDS.iter().find(|own| (Some(own.api_version), Some(own.kind)) == (api_version, kind));
        let found = found.unwrap_or_else(|| panic!("{document} is of a kind that is not in KINDS"));
        assert_eq!(document["metadata"]["namespace"].is_string(), found.is_namespaced, "{document}");
        assert_eq!(document["metadata"]["labels"]["app.kubernetes.io/part-of"], "laneway", "{document}");
    }
}

#[test]
fn what_was_typed_stands_where_it_belongs() {
    let typed = ["--image=example/control:7", "--replicas=3", "--failure-policy=Ignore", "--inject=drain-seconds=10"];
    let found = documents(&manifests("lanes", &said(&typed)));
    let deployment = find(&found, "Deployment", CONTROL);
    assert_eq!(deployment["metadata"]["namespace"], "lanes");
    assert_eq!(deployment["spec"]["replicas"], 3);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example/control:7");
    let arguments: Vec<&str> = container["args"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for flag in [
        "--own-ca=laneway-control.lanes.svc",
        "--inject=control=https://laneway-control.lanes.svc:15410",
        "--inject=control-ca=laneway-ca",
        "--inject=control-token=laneway.io",
        "--inject=drain-seconds=10",
    ] {
        assert!(arguments.contains(&flag), "{flag} in {arguments:?}");
    }
    for webhook in
        find(&found, "MutatingWebhookConfiguration", "laneway-inject")["webhooks"].as_array().expect("a list")
    {
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["clientConfig"]["service"]["namespace"], "lanes");
    }
    assert!(found.iter().all(|document| document["kind"] != "PodMonitor"));
}

#[test]
fn an_upgrade_goes_on_with_what_was_said_and_changes_what_is_said_now() {
    let first = said(&["--replicas=3", "--inject=drain-seconds=10", "--inject=log-level=debug"]);
    let found = documents(&manifests(NAMESPACE, &first));
    let kept = find(&found, "ConfigMap", SETTINGS)["data"][SETTINGS_KEY].as_str().expect("text").to_owned();
    let kept: Settings = serde_json::from_str(&kept).expect("it is read again");
    assert_eq!(kept, first);
    let now = said(&["--failure-policy=Ignore", "--inject=log-level=warn"]).over(kept);
    assert_eq!(
        now,
        said(&["--replicas=3", "--failure-policy=Ignore", "--inject=drain-seconds=10", "--inject=log-level=warn"])
    );
}

#[test]
fn an_image_of_another_version_is_kept_only_when_that_is_said() {
    let own = concat!("--image=registry.example:5000/control:", env!("CARGO_PKG_VERSION"));
    for (before, now, told) in [
        (vec![], vec![], vec![]),
        (vec![own], vec![], vec![]),
        (vec![concat!("--image=c:", env!("CARGO_PKG_VERSION"), "@sha256:00")], vec![], vec![]),
        (
            vec!["--image=registry.example:5000/control:0.0.9"],
            vec![],
            vec!["--image registry.example:5000/control:0.0.9"],
        ),
        // By a port, a digest or nothing at all no version is known.
        (vec!["--image=registry.example:5000/control"], vec![], vec!["--image registry.example:5000/control"]),
        (vec!["--image=control@sha256:00"], vec![], vec!["--image control@sha256:00"]),
        (vec!["--image=control:0.0.9"], vec!["--image=control:0.0.9"], vec![]),
        (
            vec!["--inject=proxy-image=p:1", "--inject=init-image=i:1", "--inject=log-level=warn"],
            vec!["--inject=init-image=i:2"],
            vec!["--inject proxy-image=p:1"],
        ),
    ] {
        assert_eq!(said(&now).outdated(&said(&before)), told, "{before:?} {now:?}");
    }
}

#[test]
fn who_names_one_image_is_told_of_the_others() {
    for (typed, told) in [
        (vec![], vec![]),
        (vec!["--image=laneway/control:7"], vec![]),
        (vec!["--image=r/control:7"], vec!["--inject proxy-image=IMAGE", "--inject init-image=IMAGE"]),
        (vec!["--image=r/control:7", "--inject=proxy-image=r/p:7"], vec!["--inject init-image=IMAGE"]),
        (vec!["--image=r/control:7", "--inject=proxy-image=r/p:7", "--inject=init-image=r/i:7"], vec![]),
    ] {
        assert_eq!(said(&typed).unsaid_images(), told, "{typed:?}");
    }
}

/// Or an installation that was interrupted could neither be brought to its end nor be taken away.
#[test]
fn what_was_said_is_kept_before_anything_is_made_of_it() {
    let found = documents(&manifests(NAMESPACE, &said(&["--pod-monitor"])));
    let at = |kind: &str, name: &str| {
        let is_it = |document: &Value| document["kind"] == kind && document["metadata"]["name"] == name;
        found.iter().position(is_it).unwrap_or_else(|| panic!("there is a {kind} {name}"))
    };
    assert_eq!(at("ConfigMap", SETTINGS), at("Namespace", NAMESPACE) + 1);
    // And no right is taken from the whole cluster before it is given in the own namespace.
    assert!(at("RoleBinding", CONTROL) < at("ClusterRole", CONTROL));
}

#[test]
fn what_cannot_be_meant_is_refused_and_what_is_allowed_said() {
    for (text, says) in [
        ("drain-seconds=soon", "drain-seconds: `soon` is no number of seconds; allowed: 0 to 3600"),
        ("drain=5", "`drain` is no setting of a sidecar; allowed: proxy-image, init-image"),
        ("drain-seconds", "is no NAME=VALUE; allowed names: proxy-image"),
    ] {
        let problem = setting(text).expect_err(text);
        assert!(problem.contains(says), "{problem}");
    }
    for wrong in ["", "Lanes", "kube-system", "kube-flannel", "default", "a_b"] {
        assert!(namespace(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "-x", "a b", "a{b}", "\"a\""] {
        assert!(image(wrong).is_err(), "{wrong}");
    }
}

/// The chart is made of the same files; `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_chart_is_that_of_these_manifests() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/laneway");
    let Chart { crds, template } = chart();
    for (file, text) in [("crds/laneway.yaml", crds), ("templates/laneway.yaml", template)] {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).expect("it is written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{file} differs: UPDATE_GOLDEN=1 cargo test -p laneway-control-api install");
    }
    let schema = std::fs::read_to_string(folder.join("values.schema.json")).expect("it is there");
    let schema: Value = serde_json::from_str(&schema).expect("it is JSON");
    let names = schema.pointer("/properties/inject/propertyNames/enum").and_then(Value::as_array).expect("a list");
    assert!(names.iter().filter_map(Value::as_str).eq(inject::settings::annotations()), "{names:?}");
    for file in ["Chart.yaml", "values.yaml"] {
        let text = std::fs::read_to_string(folder.join(file)).expect("it is there");
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{file} is of another version");
    }
}

#[test]
fn a_registry_a_limit_and_a_port_of_their_own_reach_the_deployment() {
    let typed =
        ["--image-pull-secret=registry", "--image-pull-secret=a.b", "--memory-limit=2Gi", "--webhook-port=10250"];
    let first = said(&typed);
    let found = documents(&manifests("lanes", &first));
    let pod = &find(&found, "Deployment", CONTROL)["spec"]["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}, {"name": "a.b"}]));
    let container = &pod["containers"][0];
    assert_eq!(container["resources"]["limits"]["memory"], "2Gi");
    assert!(container["args"].as_array().expect("a list").contains(&json!("--webhook-listen=[::]:10250")));
    assert!(
        container["ports"].as_array().expect("a list").contains(&json!({"name": "webhook", "containerPort": 10250}))
    );
    // An upgrade goes on with them, and takes the secrets away only when that is said.
    assert_eq!(said(&[]).over(first.clone()), first);
    let none = said(&["--image-pull-secret=none"]).over(first);
    let found = documents(&manifests("lanes", &none));
    assert_eq!(find(&found, "Deployment", CONTROL)["spec"]["template"]["spec"]["imagePullSecrets"], json!([]));
    for wrong in ["", "A", "a..b", "a/b"] {
        assert!(secret(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "80", "15410", "15411", "65536", "web"] {
        assert!(webhook_port(wrong).is_err(), "{wrong}");
    }
    for wrong in ["", "none", "1 Gi", "-1", "{}"] {
        assert!(memory(wrong).is_err(), "{wrong}");
    }
}

/// Alerts and dashboards go by the names that deploy/prometheus gives.
#[test]
fn monitors_name_what_they_scrape_as_the_alerts_do() {
    let found = documents(&manifests("lanes", &said(&["--pod-monitor"])));
    for job in ["laneway-proxy", "laneway-control"] {
        let endpoint = &find(&found, "PodMonitor", job)["spec"]["podMetricsEndpoints"][0];
        assert_eq!(endpoint["honorLabels"], true);
        let rules = endpoint["relabelings"].as_array().expect("a list");
        assert!(rules.contains(&json!({"targetLabel": "job", "replacement": job})), "{rules:?}");
        assert!(rules.iter().any(|rule| rule["targetLabel"] == "pod_namespace"), "{rules:?}");
        let alerts = include_str!("../../../deploy/prometheus/rules.yaml");
        assert!(job != "laneway-control" || alerts.contains(&format!("up{{job=\"{job}\"}}")));
    }
}

/// Or the plain command would give sidecars that the plain installation does not take.
#[test]
fn a_sidecar_of_lanectl_inject_is_told_of_its_control_plane_as_one_of_the_webhook() {
    let found = documents(&manifests(NAMESPACE, &said(&[])));
    let arguments = &find(&found, "Deployment", CONTROL)["spec"]["template"]["spec"]["containers"][0]["args"];
    let arguments = arguments.as_array().expect("a list").iter().filter_map(Value::as_str);
    let pairs: Vec<String> = arguments.filter_map(|flag| flag.strip_prefix("--inject=")).map(str::to_owned).collect();
    let of_webhook = inject::Settings::of(&pairs).expect("what we render can be read");
    let of_lanectl = inject::Settings::of(&[]).expect("defaults are good");
    let told = |of: &inject::Settings| [Some(of.control.clone()), of.control_ca.clone(), of.control_token.clone()];
    assert_eq!(told(&of_lanectl), told(&of_webhook));
    assert!(told(&of_lanectl).iter().all(Option::is_some) && !pairs.is_empty());
    assert_eq!(installed::url(NAMESPACE), installed::URL);
    assert_eq!(of_lanectl.oddity(), None);
}

/// Or pods of a namespace would wait for authorities that nobody puts there.
#[cfg(feature = "kubernetes")]
#[test]
fn the_authorities_are_published_where_the_webhook_injects() {
    let found = documents(&manifests(NAMESPACE, &said(&[])));
    let webhook = &find(&found, "MutatingWebhookConfiguration", WEBHOOK)["webhooks"][0];
    let selected = &webhook["namespaceSelector"]["matchExpressions"][0];
    let values = selected["values"].as_array().expect("a list").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let (key, operator) = (selected["key"].as_str(), selected["operator"].as_str());
    assert_eq!((key, operator), (Some("laneway.io/inject"), Some("In")));
    assert_eq!(crate::authority::ENABLED, format!("laneway.io/inject in ({})", values.join(",")));
}
