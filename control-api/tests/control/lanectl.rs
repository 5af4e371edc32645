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
    assert_eq!(row, ["gray", "shop", "gray", "enabled", "-", "0", "a", "0", "2/2", "services"]);
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

/// An instant so many seconds from now, as documents say it.
fn in_seconds(seconds: u64) -> String {
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
    prost_types::Timestamp::from(at).to_string()
}

/// STATE and ENDS of the lane gray, as people see them.
fn shown(control: &Control) -> (String, String) {
    let table = control.lanectl_ok(&["get", "lane", "gray"]);
    let cells: Vec<&str> = table.lines().nth(1).expect("a row").split("   ").collect();
    let cells: Vec<&str> = cells.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
    (cells[3].to_owned(), cells[4].to_owned())
}

#[test]
fn a_lane_with_a_ttl_says_when_it_ends_and_the_same_again_extends_nothing() {
    let control = Control::start();
    let file = format!("{SHOP}ttl: 48h\n");
    control.apply(&file);
    assert_eq!(shown(&control), ("enabled".to_owned(), "in 48h".to_owned()));
    let document = control.lanectl_ok(&["get", "lane", "gray", "-o", "yaml"]);
    assert!(document.contains("expireTime:") && !document.contains("ttl"), "{document}");
    assert_eq!(control.apply(&file), "nothing to do, revision 1\n");
    assert_eq!(control.apply(&document), "nothing to do, revision 1\n", "{document}");
    assert_eq!(control.lanectl_ok(&["get", "lane", "gray", "-o", "yaml"]), document);

    // Another ttl counts from now; enabling counts the ttl anew, or another one.
    assert!(control.apply(&file.replace("48h", "30m")).contains("updated: expireTime"));
    assert_eq!(shown(&control).1, "in 30m");
    let told = control.lanectl_ok(&["lane", "enable", "gray", "--ttl", "8760h"]);
    assert!(told.contains("lanes/gray enabled until 20") && told.contains("Z, revision 3"), "{told}");
    assert_eq!(shown(&control).1, "in 365d");
    let told = control.lanectl_ok(&["lane", "enable", "gray", "--expire-time", "2199-01-01T00:00:00Z"]);
    assert!(told.contains("enabled until 2199-01-01T00:00:00Z, revision 4"), "{told}");
    control.lanectl_ok(&["lane", "disable", "gray"]);
    assert_eq!(shown(&control), ("disabled".to_owned(), "-".to_owned()));
    control.apply(SHOP);
    assert!(control.lanectl_ok(&["lane", "enable", "gray"]).contains("lanes/gray enabled, revision"));

    for (arguments, words) in [
        (["--ttl", "59s"], "1m to 8760h"),
        (["--ttl", "8761h"], "1m to 8760h"),
        (["--expire-time", "1999-12-31T23:59:59Z"], "was over at 1999"),
    ] {
        let output = control.lanectl(&[&["lane", "enable", "gray"][..], &arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(words), "{arguments:?}: {told}");
    }
    for wrong in [&["--ttl", "2d"][..], &["--expire-time", "soon"], &["--ttl", "1h", "--expire-time", "2199-01-01"]] {
        let output = control.lanectl(&[&["lane", "enable", "gray"], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
    }
}

#[test]
fn an_expired_lane_is_off_stays_off_and_says_how_it_comes_back() {
    let mut control = Control::start();
    control.apply(&format!("{SHOP}expireTime: {}\n", in_seconds(5)));
    let is_expired = || shown(&control).0 == "expired";
    assert!(await_so(is_expired), "{}", control.lanectl_ok(&["get", "lanes"]));
    assert!(shown(&control).1.ends_with("s ago"), "{:?}", shown(&control));
    assert!(control.log().contains("laneway:expiry"), "{}", control.log());

    // A file that does not speak of `enabled` does not bring it back, and says so.
    control.write("again.yaml", SHOP);
    let output = control.lanectl(&["apply", "-f", "again.yaml"]);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warning.contains("LANE0807"), "{warning}");
    assert!(warning.contains("document 2") && warning.contains("lanectl lane enable gray --ttl 48h"), "{warning}");
    assert_eq!(shown(&control).0, "expired");
    let past = format!("{SHOP}enabled: true\nexpireTime: {}\n", in_seconds(0));
    assert!(refusal(&control, &past).contains("LANE0806"));

    // One with a moment needs another; a ttl of its own begins anew.
    control.apply(&format!("{SHOP}expireTime: 2000-01-01T00:00:00Z\n"));
    let output = control.lanectl(&["lane", "enable", "gray"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("lanectl lane enable gray --ttl 48h"), "{told}");
    control.lanectl_ok(&["lane", "enable", "gray", "--ttl", "90m"]);
    assert_eq!(shown(&control), ("enabled".to_owned(), "in 90m".to_owned()));

    // What ends while the control plane is away is off when it is back.
    control.lanectl_ok(&["lane", "enable", "gray", "--expire-time", &in_seconds(5)]);
    control.kill();
    std::thread::sleep(std::time::Duration::from_millis(5100));
    control.restart();
    assert_eq!(shown(&control).0, "expired", "{}", control.log());
}

/// Waits until it is so, at most thirty seconds.
fn await_so(is_so: impl Fn() -> bool) -> bool {
    let begun = std::time::Instant::now();
    while !is_so() {
        if begun.elapsed() > std::time::Duration::from_secs(30) {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    true
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
