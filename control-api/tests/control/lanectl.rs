//! lanectl as it is typed.

use super::program::{Control, SHOP};
use super::sidecar::Sidecar;

use laneway_proto::contract::{TYPE_LANE, TYPE_LANE_GROUP};

/// A refused bundle: what it printed on stderr.
fn refusal(control: &Control, documents: &str) -> String {
    control.write("bad.yaml", documents);
    let output = control.lanectl(&["apply", "-f", "bad.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn apply_says_what_it_did() {
    let control = Control::start();
    control.write("shop.yaml", SHOP);
    let group = "namespaces/default/laneGroups/shop";
    assert_eq!(
        control.lanectl_ok(&["apply", "-f", "shop.yaml", "--dry-run"]),
        format!("{group} created (dry run)\n{group}/lanes/gray created (dry run)\n")
    );
    assert_eq!(
        control.lanectl_ok(&["apply", "-f", "shop.yaml"]),
        format!("{group} created\n{group}/lanes/gray created\nrevision 1\n")
    );
    assert_eq!(control.lanectl_ok(&["apply", "-f", "shop.yaml"]), "nothing to do, revision 1\n");
    control.write("shop.yaml", &format!("{SHOP}priority: 7\n"));
    let told = control.lanectl_ok(&["apply", "-f", "shop.yaml", "--wait"]);
    assert!(told.starts_with(&format!("{group}/lanes/gray updated: priority\nrevision 2\n")), "{told}");
    assert!(told.contains("acknowledged by every sidecar in "), "{told}");
    control.write("group.yaml", "kind: LaneGroup\nname: shop\n");
    assert_eq!(
        control.lanectl_ok(&["apply", "-f", "group.yaml", "--prune", "default"]),
        format!("{group}/lanes/gray deleted\nrevision 3\n")
    );
}

#[test]
fn a_bad_bundle_is_refused_by_file_document_and_field_and_nothing_changes() {
    let control = Control::start();
    control.apply(SHOP);
    let before = control.lanectl_ok(&["get", "all", "-o", "json"]);
    let good = "kind: Lane\nname: innocent\n---\n";
    for (bad, words) in [
        (
            "kind: Lane\nname: x\nentry:\n  services: [a]\n  rules:\n  - match: {header: h, regex: '[unclosed'}\n",
            vec!["bad.yaml", "document 2", "entry.rules[0].match"],
        ),
        ("kind: Lane\nname: x\ncolour: red\n", vec!["bad.yaml", "colour"]),
        (
            "kind: Lane\nname: one\ntag: blue\n---\nkind: Lane\nname: two\ntag: blue\n",
            vec!["bad.yaml", "document", "tag"],
        ),
        ("kind: Lane\nname: x\ntag: with_underscore\n", vec!["bad.yaml", "document 2", "tag", "with_underscore"]),
        ("kind: Service\nname: x\n", vec!["bad.yaml", "document 2", "kind: Service"]),
    ] {
        let told = refusal(&control, &format!("{good}{bad}"));
        for word in words {
            assert!(told.contains(word), "{word:?} is not in:\n{told}\nfor\n{bad}");
        }
        assert_eq!(control.lanectl_ok(&["get", "all", "-o", "json"]), before);
    }
}

#[test]
fn what_is_got_can_be_applied_again() {
    let control = Control::start();
    control.apply(SHOP);
    let yaml = control.lanectl_ok(&["get", "all", "-o", "yaml"]);
    control.write("again.yaml", &yaml);
    assert_eq!(control.lanectl_ok(&["apply", "-f", "again.yaml"]), "nothing to do, revision 1\n", "{yaml}");
    let json: serde_json::Value =
        serde_json::from_str(&control.lanectl_ok(&["get", "lane", "gray", "-o", "json"])).expect("JSON");
    assert_eq!((&json["kind"], &json["name"], &json["group"]), (&"Lane".into(), &"gray".into(), &"shop".into()));
    assert_eq!(
        control.lanectl_ok(&["get", "all", "-o", "name"]),
        "namespaces/default/laneGroups/shop\nnamespaces/default/laneGroups/shop/lanes/gray\n"
    );
    let table = control.lanectl_ok(&["get", "lanes"]);
    let row: Vec<&str> = table.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["gray", "shop", "gray", "enabled", "0", "a", "0", "2/2", "services"]);
    let output = control.lanectl(&["get", "lane", "none"]);
    assert_eq!(output.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_switch_tells_how_many_acknowledged() {
    let control = Control::start();
    control.apply(SHOP);
    let mut sidecars = Vec::new();
    for id in ["a-1", "a-2", "b-1"] {
        let mut sidecar = Sidecar::connect(&control.discovery, id, &id[..1], "", &[TYPE_LANE_GROUP, TYPE_LANE]).await;
        sidecar.take_each(2).await;
        sidecars.push(sidecar.obey());
    }
    let told = control.lanectl_ok(&["lane", "disable", "gray", "--wait"]);
    assert!(told.contains("lanes/gray disabled, revision 2\nacknowledged 3/3 sidecars in "), "{told}");
    assert!(control.lanectl_ok(&["get", "lanes"]).contains("disabled"));
    let told = control.lanectl_ok(&["lane", "enable", "gray", "--group", "shop", "--wait=2s"]);
    assert!(told.contains("acknowledged 3/3 sidecars in "), "{told}");
    // A tag without a lane.
    let told = control.lanectl_ok(&["lane", "disable", "blue"]);
    assert_eq!(told, "namespaces/default/laneGroups/shop/lanes/blue disabled, revision 4\n");
    let status = control.lanectl_ok(&["status"]);
    let row: Vec<&str> = status.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row[..4], ["a-1", "a", "-", "synced"], "{status}");
    assert!(status.contains("revision 4, 3 sidecars connected"), "{status}");
    assert!(control.lanectl_ok(&["status", "a-1"]).contains("lanes/blue"));
    let refused = control.lanectl(&["delete", "lane", "gray"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("force"), "{refused:?}");
    assert!(control.lanectl_ok(&["delete", "lane", "gray", "--force"]).contains("deleted"));
    sidecars.into_iter().for_each(|sidecar| sidecar.abort());
}

#[test]
fn wrong_usage_and_a_control_plane_that_is_away() {
    let control = Control::start();
    assert_eq!(control.lanectl(&["apply"]).status.code(), Some(2));
    assert_eq!(control.lanectl(&["get", "things"]).status.code(), Some(2));
    assert_eq!(control.lanectl(&["--help"]).status.code(), Some(0));
    let output = control.lanectl(&["--server", "http://127.0.0.1:1", "get", "lanes"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("cannot be reached") && told.contains("LANECTL_SERVER"), "{told}");
}

#[test]
fn a_database_that_is_held_or_foreign_refuses_to_start() {
    let control = Control::start();
    let status = control.command().status().expect("the program was built");
    assert_eq!(status.code(), Some(1));
    assert!(control.log().contains("held by another process"), "{}", control.log());
}
