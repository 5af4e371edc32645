use serde_json::{Value, json};

use super::*;

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).expect("an object")
}

/// As a list has it: without its kind.
fn listed(name: &str, manager: &str, more: Value) -> DynamicObject {
    let mut metadata = json!({"name": name, "managedFields": [{"manager": manager, "operation": "Apply"}]});
    let Value::Object(more) = more else { panic!("fields") };
    metadata.as_object_mut().expect("fields").extend(more);
    object(json!({"metadata": metadata}))
}

#[test]
fn only_what_we_applied_and_is_no_longer_rendered_is_left_over() {
    let kind = |kind: &str| TypeMeta { api_version: "v1".to_owned(), kind: kind.to_owned() };
    let documents = [object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kept"}}))];
    let is = |object: &DynamicObject| is_left_over(object, &kind("Secret"), &documents);
    assert!(is(&listed("gone", MANAGER, json!({}))));
    assert!(!is(&listed("kept", MANAGER, json!({}))));
    // Our label on what somebody else made.
    assert!(!is(&listed("theirs", "kubectl", json!({}))));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "1"}]);
    assert!(!is(&listed("made", MANAGER, json!({"ownerReferences": owner}))));
    // Of another kind under the same name.
    assert!(is_left_over(&listed("kept", MANAGER, json!({})), &kind("ConfigMap"), &documents));
}
