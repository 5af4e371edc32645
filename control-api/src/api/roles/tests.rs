//! Which role takes what, over every method of the contract.

use laneway_proto::descriptors;

use super::{NEEDED, needed};
use crate::access::Role;

/// Every method of the API's packages, as `laneway.admin.v1.LaneAdmin/GetLane`.
fn methods() -> Vec<String> {
    let pool = descriptors();
    let services =
        pool.services().filter(|service| ["laneway.admin.v1", "laneway.status.v1"].contains(&service.package_name()));
    services
        .flat_map(|own| {
            own.methods().map(|method| format!("{}/{}", own.full_name(), method.name())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_method_of_the_contract_has_a_role_and_no_other_has_one() {
    let known: Vec<String> = NEEDED
        .iter()
        .flat_map(|(service, methods)| methods.iter().map(move |(method, _)| format!("{service}/{method}")))
        .collect();
    let mut missing = methods();
    missing.retain(|method| !known.contains(method));
    assert!(missing.is_empty(), "give these a role in api/roles.rs, or nobody may call them: {missing:?}");
    let gone: Vec<&String> = known.iter().filter(|method| !methods().contains(method)).collect();
    assert!(gone.is_empty(), "not in the contract any more: {gone:?}");
}

#[test]
fn whoever_may_read_changes_nothing_and_an_operator_only_switches() {
    for method in methods() {
        let name = method.rsplit('/').next().expect("a method has a name");
        let is_read = ["Get", "List", "Watch", "Query", "Explain", "Export"].iter().any(|verb| name.starts_with(verb));
        let is_switch = ["EnableLane", "DisableLane"].contains(&name);
        let expected = match (is_read, is_switch) {
            (true, _) => Role::Viewer,
            (_, true) => Role::Operator,
            _ => Role::Admin,
        };
        assert_eq!(needed(&method), Some(expected), "{method}");
    }
    for other in ["laneway.admin.v1.LaneAdmin/Drop", "laneway.admin.v2.LaneAdmin/GetLane", "GetLane", ""] {
        assert_eq!(needed(other), None, "{other}");
    }
}
