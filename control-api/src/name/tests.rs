//! Names that parse, and names that must not.

use super::{id, is_child, is_under, parse_group, parse_lane, parse_namespace, parse_policy};

#[test]
fn good_names_come_apart() {
    assert_eq!(parse_namespace("namespaces/shop"), Some("shop"));
    assert_eq!(parse_group("namespaces/shop/laneGroups/web"), Some(("shop", "web")));
    assert_eq!(parse_lane("namespaces/shop/laneGroups/web/lanes/gray"), Some(("shop", "web", "gray")));
    assert_eq!(parse_policy("namespaces/shop/servicePolicies/com.shop:Order_1"), Some(("shop", "com.shop:Order_1")));
    assert_eq!(id("namespaces/shop/laneGroups/web/lanes/gray"), "gray");
}

#[test]
fn bad_names_do_not() {
    for name in [
        "",
        "gray",
        "namespaces/shop/laneGroups/web/lanes/",
        "namespaces/shop/laneGroups/web/lanes/with_underscore",
        "namespaces/shop/laneGroups/web/lanes/Gray",
        "namespaces/shop/laneGroups/web/lanes/baseline",
        "namespaces/shop/laneGroups/web/lanes/gray/more",
        "namespaces//laneGroups/web/lanes/gray",
        "/namespaces/shop/laneGroups/web/lanes/gray",
    ] {
        assert_eq!(parse_lane(name), None, "{name}");
    }
    assert_eq!(parse_policy("namespaces/shop/servicePolicies/a b"), None);
    assert_eq!(parse_namespace("namespaces/-"), None);
}

#[test]
fn a_parent_may_stand_for_all() {
    let lane = "namespaces/shop/laneGroups/web/lanes/gray";
    assert!(is_child(lane, "namespaces/shop/laneGroups/web"));
    assert!(is_child(lane, "namespaces/-/laneGroups/-"));
    assert!(!is_child(lane, "namespaces/other/laneGroups/-"));
    assert!(!is_child(lane, "namespaces/shop"));
    assert!(is_under(lane, "namespaces/shop"));
    assert!(!is_under(lane, "namespaces/sho"));
}
