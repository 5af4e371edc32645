//! The API as JSON, by the real curl.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use laneway_proto::contract::TYPE_LANE;
use serde_json::{Value, json};

use super::program::{Control, SHOP};
use super::sidecar::Sidecar;

const LANES: &str = "/v1/namespaces/default/laneGroups/shop/lanes";

/// A call: HTTP status, content type, body.
fn curl(control: &Control, arguments: &[&str], path: &str) -> (u16, String, String) {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--write-out", "\n%{http_code} %{content_type}"])
        .args(arguments)
        .arg(format!("{}{path}", control.api))
        .output()
        .expect("curl is installed");
    assert!(output.status.success(), "curl {path}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, head) = text.rsplit_once('\n').expect("the line that was asked for");
    let (code, kind) = head.split_once(' ').expect("a code and a type");
    (code.parse().expect("a code"), kind.to_owned(), body.to_owned())
}

/// A call that is done.
fn done(control: &Control, arguments: &[&str], path: &str) -> Value {
    let (code, kind, body) = curl(control, arguments, path);
    assert_eq!((code, kind.as_str()), (200, "application/json"), "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

/// A call that is refused, as google.rpc.Status.
fn refused(control: &Control, arguments: &[&str], path: &str, code: u16, name: &str) -> Value {
    let (found, kind, body) = curl(control, arguments, path);
    assert_eq!((found, kind.as_str()), (code, "application/json"), "{path}: {body}");
    let mut body: Value = serde_json::from_str(&body).expect("JSON");
    let error = body["error"].take();
    assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(code.into()), Some(name)), "{error}");
    error
}

fn send<'a>(method: &'a str, body: &'a str) -> [&'a str; 6] {
    ["-X", method, "-H", "content-type: application/json", "-d", body]
}

#[test]
fn objects_are_made_changed_listed_and_deleted_by_curl() {
    let control = Control::start();
    let groups = "/v1/namespaces/default/laneGroups";
    let made = done(&control, &send("POST", r#"{"services": ["a", "b"]}"#), &format!("{groups}?laneGroupId=shop"));
    assert_eq!(made["name"], "namespaces/default/laneGroups/shop");
    let lane = r#"{"entry": {"services": ["a"]}, "labels": {"team": "trade"}}"#;
    let made = done(&control, &send("POST", lane), &format!("{LANES}?laneId=gray&reason=by+curl"));
    assert_eq!((&made["tag"], &made["state"]), (&json!("gray"), &json!("STATE_ENABLED")));
    let etag = made["etag"].as_str().expect("an etag").to_owned();

    let patched = done(
        &control,
        &send("PATCH", &json!({"priority": 7, "description": "x", "etag": etag}).to_string()),
        &format!("{LANES}/gray?updateMask=priority"),
    );
    assert_eq!((&patched["priority"], &patched["description"]), (&json!(7), &Value::Null));
    let stale = json!({"priority": 8, "etag": etag}).to_string();
    let error = refused(&control, &send("PATCH", &stale), &format!("{LANES}/gray"), 409, "ABORTED");
    assert_eq!(error["details"][0]["reason"], "STALE_ETAG");
    assert_eq!(done(&control, &[], &format!("{LANES}/gray"))["priority"], 7);

    let listed = done(&control, &[], "/v1/namespaces/-/laneGroups/-/lanes?pageSize=1&filter=labels.team%3Dtrade");
    assert_eq!((&listed["totalSize"], listed["lanes"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let switched = done(&control, &send("POST", r#"{"waitTimeout": "1s"}"#), &format!("{LANES}/gray:disable"));
    assert_eq!((&switched["lane"]["enabled"], &switched["rollout"]["done"]), (&json!(false), &json!(true)));
    done(&control, &["-X", "POST"], &format!("{LANES}/gray:enable"));

    let bundle = done(&control, &[], "/v1/bundle:export?parent=namespaces/default");
    assert_eq!(bundle["lanes"][0]["priority"], 7);
    let applied = json!({"bundle": bundle, "prune_parent": "namespaces/default"}).to_string();
    assert_eq!(done(&control, &send("POST", &applied), "/v1/bundle:apply"), json!({"revision": "5"}));
    let policies = "/v1/namespaces/default/servicePolicies";
    done(&control, &send("POST", "{}"), &format!("{policies}?service_policy_id=b"));
    assert_eq!(done(&control, &[], &format!("{policies}/b"))["service"], "b");
    assert_eq!(done(&control, &["-X", "DELETE"], &format!("{policies}/b")), json!({}));
    assert_eq!(done(&control, &[], "/v1/revisions?pageSize=1")["revisions"][0]["name"], "revisions/7");

    let id = "requestId=9f1c0a52-6d0e-4b5e-8f3a-2d1e7c9b0a64";
    for _ in 0..2 {
        done(&control, &["-X", "DELETE"], &format!("{LANES}/gray?force=true&{id}"));
    }
    refused(&control, &["-X", "DELETE"], &format!("{LANES}/gray?force=true"), 404, "NOT_FOUND");
    assert_eq!(done(&control, &[], "/v1/server")["replica"], "test");
    assert_eq!(done(&control, &[], "/v1/proxies"), json!({}));
    let rollout = done(&control, &[], "/v1/namespaces/default/laneGroups/shop:rollout");
    assert_eq!(rollout["done"], true);
}

#[test]
fn what_is_wrong_is_said_as_a_status() {
    let control = Control::start();
    control.apply(SHOP);
    let gray = format!("{LANES}/gray");
    let error = refused(&control, &send("PATCH", r#"{"colour": "red"}"#), &gray, 400, "INVALID_ARGUMENT");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("colour")), "{error}");
    let bad = r#"{"fallback": {"chain": ["x", "x"]}, "ttl": "1s"}"#;
    let error = refused(&control, &send("PATCH", bad), &gray, 400, "INVALID_ARGUMENT");
    let details = error["details"].as_array().expect("details");
    assert_eq!(details[0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo");
    assert_eq!((&details[0]["domain"], &details[0]["reason"]), (&json!("laneway.io"), &json!("INVALID_OBJECTS")));
    assert_eq!(details[1]["@type"], "type.googleapis.com/google.rpc.BadRequest");
    let violations = details[1]["fieldViolations"].as_array().expect("violations");
    let mut fields: Vec<&str> = violations.iter().filter_map(|violation| violation["field"].as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["lane.fallback.chain[1]", "lane.ttl"]);
    let error = refused(&control, &["-X", "DELETE"], &gray, 400, "FAILED_PRECONDITION");
    assert_eq!(error["details"][1]["violations"][0]["type"], "HAS_INSTANCES");

    refused(&control, &[], "/v1/colours", 404, "NOT_FOUND");
    refused(&control, &["-X", "PUT"], &gray, 405, "UNIMPLEMENTED");
    refused(&control, &[], &format!("{gray}?colour=red"), 400, "INVALID_ARGUMENT");
    refused(&control, &[], "/v1/auditEvents?pageToken=x", 400, "INVALID_ARGUMENT");
    // What curl sends by itself is what a form of some page could send.
    let error = refused(&control, &["-X", "POST", "-d", "{}"], &format!("{gray}:disable"), 415, "INVALID_ARGUMENT");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("-H")), "{error}");
    let foreign = ["-X", "POST", "-H", "origin: https://example.com"];
    refused(&control, &foreign, &format!("{gray}:disable"), 403, "PERMISSION_DENIED");
    assert_eq!(done(&control, &[], &gray)["enabled"], true);
    control.write("large.json", &format!("{{\"description\": \"{}\"}}", "x".repeat(17 << 20)));
    let large = format!("@{}", control.path("large.json").display());
    refused(&control, &send("PATCH", &large), &gray, 413, "OUT_OF_RANGE");
    let allowed = Command::new("curl").args(["-si", "-X", "PUT"]).arg(format!("{}{gray}", control.api)).output();
    let allowed = String::from_utf8(allowed.expect("curl is installed").stdout).expect("text").to_lowercase();
    assert!(allowed.contains("allow: get, patch, delete"), "{allowed}");
}

#[test]
fn a_large_answer_comes_whole() {
    let control = Control::start();
    let lanes: Vec<Value> = (0..1000)
        .map(|number| {
            let name = format!("namespaces/default/laneGroups/default/lanes/l{number}");
            json!({"name": name, "description": "x".repeat(1000), "labels": {"a": "y".repeat(60)}})
        })
        .collect();
    for (number, part) in lanes.chunks(500).enumerate() {
        control.write("bundle.json", &json!({"bundle": {"lanes": part}}).to_string());
        let body = format!("@{}", control.path("bundle.json").display());
        let applied = done(&control, &send("POST", &body), "/v1/bundle:apply");
        assert_eq!(applied["changes"].as_array().map(Vec::len), Some(500), "part {number}");
    }
    let bundle = done(&control, &[], "/v1/bundle:export");
    assert_eq!(bundle["lanes"].as_array().map(Vec::len), Some(1000));
}

/// curl on a stream of events.
struct Events {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Events {
    fn open(control: &Control, arguments: &[&str], path: &str) -> Events {
        let mut child = Command::new("curl")
            .args(["--silent", "--no-buffer", "--max-time", "60"])
            .args(arguments)
            .arg(format!("{}{path}", control.api))
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is installed");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Events { child, lines }
    }

    /// The next event: its fields, comments left out.
    fn next(&mut self) -> (Vec<String>, Value) {
        let (mut fields, mut data) = (Vec::new(), Value::Null);
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            match line.strip_prefix("data: ") {
                Some(json) => data = serde_json::from_str(json).expect("JSON"),
                None if line.is_empty() && !data.is_null() => return (fields, data),
                None if line.is_empty() || line.starts_with(':') => {}
                None => fields.push(line),
            }
        }
        panic!("the stream ended: {fields:?} {data}");
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn streams_are_server_sent_events() {
    let mut control = Control::start();
    control.apply(SHOP);
    let (_, kind, _) = curl(&control, &["--max-time", "60"], "/v1/namespaces/default/laneGroups/shop:watchRollout");
    assert_eq!(kind, "text/event-stream");
    let mut rollout = Events::open(&control, &[], "/v1/namespaces/default/laneGroups/shop:watchRollout");
    assert_eq!(rollout.next().1["done"], true);
    assert_eq!(rollout.next(), (vec!["event: end".to_owned()], json!({})));

    let mut watch = Events::open(&control, &[], "/v1/watch?parent=namespaces/default");
    for kind in ["KIND_SNAPSHOT", "KIND_SNAPSHOT"] {
        assert_eq!(watch.next().1["kind"], kind);
    }
    assert_eq!(watch.next(), (vec!["id: 1".to_owned()], json!({"kind": "KIND_SYNCED", "revision": "1"})));
    control.apply(&format!("{SHOP}priority: 7\n"));
    let (fields, changed) = watch.next();
    assert_eq!((fields, &changed["lane"]["priority"]), (vec!["id: 2".to_owned()], &json!(7)));
    // As a browser does that was cut off.
    let mut resumed = Events::open(&control, &["-H", "last-event-id: 1"], "/v1/watch");
    assert_eq!(resumed.next().1["kind"], "KIND_CHANGED");
    refused(&control, &[], "/v1/watch?resumeRevision=9", 400, "OUT_OF_RANGE");
    let mut proxies = Events::open(&control, &[], "/v1/proxies:watch");
    let sidecar = Sidecar::connect(&control.discovery, "a-1", "a", "", &[TYPE_LANE]).await;
    let told = tokio::task::spawn_blocking(move || proxies.next().1).await.expect("no panic");
    assert_eq!(told["proxy"]["name"], "proxies/a-1");
    drop(sidecar);

    let (status, _) = control.terminate().await;
    assert_eq!(status, Some(0), "{}", control.log());
    let (fields, end) = watch.next();
    assert_eq!((fields, &end["error"]["status"]), (vec!["event: error".to_owned()], &json!("UNAVAILABLE")));
}
