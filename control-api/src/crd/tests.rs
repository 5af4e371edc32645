use std::path::Path;

use serde_json::Value;

use super::{all, yaml};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the repository")
}

#[test]
fn the_definitions_are_those_of_the_golden_file() {
    let path = repository().join("deploy/kubernetes/crds.yaml");
    let text = yaml();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("the folder is in the source tree");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == text, "UPDATE_GOLDEN=1 writes {} anew", path.display());
}

/// kubectl apply keeps what it applied in an annotation, and annotations have 256 KiB in all.
#[test]
fn every_definition_can_be_applied_by_kubectl() {
    for definition in all() {
        let bytes = definition.to_string().len();
        assert!(bytes < 240 << 10, "{}: {bytes} bytes", definition["metadata"]["name"]);
    }
}

/// What the documentation shows as documents has no field that a schema does not have.
#[test]
fn every_field_of_the_documented_examples_is_in_a_schema() {
    let text = std::fs::read_to_string(repository().join("docs/rules.md")).expect("docs/rules.md is there");
    let mut count = 0;
    for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let document: Value = serde_saphyr::from_str(block).expect("the example is YAML");
        let Value::Object(mut fields) = document else { continue };
        let Some(kind) = fields.remove("kind").and_then(|kind| kind.as_str().map(str::to_owned)) else { continue };
        fields.remove("name");
        let Some(definition) = all().into_iter().find(|own| own["spec"]["names"]["kind"] == kind.as_str()) else {
            continue;
        };
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        unknown(&Value::Object(fields), schema, &kind);
        count += 1;
    }
    assert!(count >= 5, "only {count} examples");
}

fn unknown(value: &Value, schema: &Value, path: &str) {
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let own = match schema.get("additionalProperties") {
                    Some(own) => own,
                    None => &schema["properties"][field],
                };
                assert!(own.is_object(), "{path}.{field} is in no schema");
                unknown(value, own, &format!("{path}.{field}"));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| unknown(item, &schema["items"], path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Without a bound the API server takes the cost of a rule in it for endless.
#[test]
fn every_list_and_map_around_a_rule_is_bounded() {
    for definition in all() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        bounded(schema, "", true);
    }
}

/// True where a rule is in it.
fn bounded(schema: &Value, path: &str, is_root: bool) -> bool {
    let mut has_rule = !is_root && schema.get("x-kubernetes-validations").is_some();
    if let Some(fields) = schema["properties"].as_object() {
        for (field, own) in fields {
            has_rule |= bounded(own, &format!("{path}.{field}"), false);
        }
    }
    for (inner, bound) in [("items", "maxItems"), ("additionalProperties", "maxProperties")] {
        if let Some(own) = schema.get(inner) {
            let within = bounded(own, &format!("{path}[]"), false);
            assert!(!within || schema.get(bound).is_some(), "{path} has a rule in it and no {bound}");
            has_rule |= within;
        }
    }
    has_rule
}
