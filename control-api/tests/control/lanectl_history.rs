//! lanectl diff, history and rollback as they are typed.

use super::program::{Control, SHOP};

const GRAY: &str = "namespaces/default/laneGroups/shop/lanes/gray";

#[test]
fn lanectl_tells_the_history_and_goes_back() {
    let control = Control::start();
    control.apply(SHOP);
    let gray = "kind: Lane\nname: gray\ngroup: shop\nentry: {services: [a]}\npriority: 7\n";
    control.write("gray.yaml", gray);
    let diff = |files: &str| {
        let output = control.lanectl(&["diff", "-f", files]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, told) = diff("gray.yaml");
    let expected = format!(
        "{GRAY} updated: priority
  ...
  group: shop
  kind: Lane
  name: gray
+ priority: 7
  tag: gray
"
    );
    assert_eq!((code, told.as_str()), (Some(1), expected.as_str()));
    control.lanectl_ok(&["apply", "-f", "gray.yaml", "--reason", "gray goes first"]);
    assert_eq!(diff("gray.yaml"), (Some(0), String::new()));
    assert_eq!(diff("nothing.yaml").0, Some(2));
    control.write("bad.yaml", "kind: Lane\nname: gray\ngroup: shop\nfallback: {chain: [x, x]}\n");
    assert_eq!(diff("bad.yaml").0, Some(2));

    let rows = |arguments: &[&str]| -> Vec<Vec<String>> {
        let told = control.lanectl_ok(arguments);
        let cells =
            |line: &str| line.split("   ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect();
        told.lines().map(cells).collect()
    };
    let all = rows(&["history"]);
    assert_eq!(all[0], ["REVISION", "WHEN", "WHO", "CALL", "CHANGED", "REASON"]);
    assert_eq!(
        [&all[1][0], &all[1][2], &all[1][3], &all[1][4], &all[1][5]],
        ["2", "anonymous", "ApplyBundle", "lane gray updated: priority", "gray goes first"]
    );
    assert_eq!([&all[2][0], &all[2][4]], ["1", "2 created"]);
    let told = control.lanectl_ok(&["history", "2"]);
    assert!(
        told.starts_with("revision 2 of 20") && told.contains(" by anonymous: ApplyBundle\nreason: gray"),
        "{told}"
    );
    assert!(told.ends_with(&format!("\n\n{expected}")), "{told}");
    assert_eq!(rows(&["history", "-n", "1"])[2], ["there are older ones: -n 2"]);
    assert_eq!(control.lanectl_ok(&["history", "-o", "name"]), "revisions/2\nrevisions/1\n");
    let json: serde_json::Value = serde_json::from_str(&control.lanectl_ok(&["history", "-o", "json"])).expect("JSON");
    assert!(json[0]["changes"][0]["afterJson"].as_str().is_some_and(|text| text.contains("priority")), "{json}");

    let told = control.lanectl_ok(&["rollback", "1", "--scope", "lane", "gray", "--dry-run"]);
    assert_eq!(told, format!("{GRAY} updated: priority (dry run)\n"));
    let told = control.lanectl_ok(&["rollback", "1", "--scope", "lane", "gray", "--wait", "--reason", "too early"]);
    assert!(told.starts_with(&format!("{GRAY} updated: priority\nrevision 3\nacknowledged by every")), "{told}");
    assert_eq!(control.lanectl_ok(&["rollback", "1"]), "nothing to do, all of it is as after revision 1\n");
    let last = &rows(&["history", "-n", "1"])[1];
    assert_eq!([&last[0], &last[3], &last[5]], ["3", "Rollback to 1", "too early"]);

    // Of a lane that is gone, too.
    control.lanectl_ok(&["delete", "lane", "gray", "--force"]);
    let about: Vec<String> =
        rows(&["history", "--for", "lane", "gray"]).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(about, ["REVISION", "4", "3", "2", "1"]);
    assert_eq!(rows(&["history", "--for", "lanegroup", "shop"]).len(), 2);
    let refused = control.lanectl(&["rollback", "3", "--scope", "lane", "gray"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && told.contains("--group"), "{told}");
    let back = control.lanectl(&["rollback", "3", "--scope", "lane", "gray", "--group", "shop"]);
    let warning = String::from_utf8_lossy(&back.stderr).into_owned();
    assert!(back.status.success() && warning.contains("lanectl lane enable gray"), "{back:?}");
    assert!(control.lanectl_ok(&["get", "lanes"]).contains("disabled"));

    for wrong in [&["history", "0"][..], &["rollback", "x"], &["rollback", "1", "--scope", "thing", "x"], &["rollback"]]
    {
        assert_eq!(control.lanectl(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let missing = control.lanectl(&["history", "99"]);
    let told = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && told.contains("revisions/99 is not there"), "{told}");
}
