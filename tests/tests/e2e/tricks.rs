//! Tags that are forged, doubled, hidden or stripped by who sends a request from outside, against what the application is told:
//! one tag in every carrier, or none in any, whoever is trusted.

use anyhow::Context as _;
use laneway_tests::mesh::Mesh;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{from_pod, namespaces_or_skip, pair};

const TRACE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A claim, the lines that are sent, and the tag that an application hears where everybody is trusted.
const TRICKS: [(&str, &[&str], Option<&str>); 17] = [
    ("a forged header", &["x-mse-tag: gray"], Some("gray")),
    ("forged baggage", &["baggage: k=v,x-mse-tag=gray;p=1"], Some("gray")),
    ("baggage that is encoded more than it need be", &["baggage: x-mse-tag=%67ray"], Some("gray")),
    ("forged tracestate", &[TRACE, "tracestate: o=1,laneway=gray"], Some("gray")),
    ("tracestate alone", &["tracestate: laneway=gray"], None),
    ("the value baseline", &["x-mse-tag: baseline"], Some("baseline")),
    ("twice the same", &["x-mse-tag: gray", "X-MSE-Tag: gray"], Some("gray")),
    ("two values", &["x-mse-tag: gray", "x-mse-tag: blue"], None),
    ("two members", &["baggage: x-mse-tag=gray,x-mse-tag=blue"], None),
    ("a list", &["x-mse-tag: gray, gray"], None),
    ("an empty value before a good carrier", &["x-mse-tag:", "baggage: x-mse-tag=gray"], None),
    ("carriers that differ", &["x-mse-tag: gray", "baggage: x-mse-tag=blue"], Some("gray")),
    ("a look-alike", &["x_mse_tag: gray"], None),
    ("a look-alike beside a tag", &["x_mse-tag: blue", "x-mse-tag: gray"], Some("gray")),
    ("a Connection option that names the tag", &["x-mse-tag: gray", "Connection: x-mse-tag"], Some("gray")),
    (
        "one that names baggage and trace",
        &["baggage: x-mse-tag=gray", TRACE, "Connection: baggage, traceparent"],
        Some("gray"),
    ),
    ("a hop mark of a stranger", &["x-laneway-hop: 1", "x-mse-tag: gray"], Some("gray")),
];

/// What the application heard of a request with these lines, and with a tag in its trailers.
async fn heard(to: std::net::SocketAddr, lines: Vec<String>) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(to).await?;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("POST /echo HTTP/1.1\r\nhost: sc-server\r\ntransfer-encoding: chunked\r\n{lines}\r\n");
    // Trailers never count.
    stream.write_all(format!("{head}2\r\nhi\r\n0\r\nx-mse-tag: trailer\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let text = String::from_utf8(answer)?;
    let (_, body) = text.split_once("\r\n\r\n").context("an answer has a body")?;
    Ok(serde_json::from_str(body)?)
}

/// The tags that stand in the carriers, which must agree, and nothing else of a tag.
fn told(heard: &Value) -> Result<Option<String>, String> {
    let lines: Vec<(&str, &str)> = heard["headers"].as_array().into_iter().flatten().filter_map(pair_of).collect();
    let values = |name: &str| -> Vec<&str> { lines.iter().filter(|line| line.0 == name).map(|line| line.1).collect() };
    let members = |name: &str, key: &str| -> Vec<String> {
        let members = values(name).into_iter().flat_map(|line| line.split(','));
        members.filter_map(|member| Some(member.trim().strip_prefix(key)?.strip_prefix('=')?.to_owned())).collect()
    };
    let forbidden = lines.iter().find(|(name, _)| name.contains('_') || *name == "x-laneway-hop");
    if let Some(line) = forbidden {
        return Err(format!("{line:?} reached the application"));
    }
    if heard["trailers"] != 0 {
        return Err("a tag stood in the trailers".to_owned());
    }
    let header: Vec<String> = values("x-mse-tag").into_iter().map(str::to_owned).collect();
    let (baggage, state) = (members("baggage", "x-mse-tag"), members("tracestate", "laneway"));
    let has_trace = !values("traceparent").is_empty();
    match header.as_slice() {
        [] if baggage.is_empty() && state.is_empty() => Ok(None),
        [tag] if baggage == header && state == header && has_trace => Ok(Some(tag.clone())),
        _ => Err(format!("header {header:?}, baggage {baggage:?}, tracestate {state:?}")),
    }
}

fn pair_of(line: &Value) -> Option<(&str, &str)> {
    Some((line[0].as_str()?, line[1].as_str()?))
}

fn apply(mesh: &Mesh, trust: &str) {
    let file = mesh.directory().join(format!("trust-{trust}.yaml"));
    let text = format!(
        "{{kind: LaneGroup, name: shop, tag: {{trust: {trust}}}}}\n---\n\
         {{kind: Lane, name: gray, group: shop, entry: {{services: [server]}}}}\n"
    );
    std::fs::write(&file, text).expect("the mesh's folder is ours");
    mesh.apply(&file).expect("the documents are good");
}

/// Sends every trick from this host, and says what differs from what `expected` makes of each.
fn differing(mesh: &Mesh, host: &str, expected: impl Fn(Option<&'static str>) -> Option<&'static str>) -> Vec<String> {
    let to = mesh.socket("server-base").expect("a pod of the mesh");
    let mut differs = Vec::new();
    for (claim, lines, tag) in TRICKS {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let answer = from_pod(mesh, host, heard(to, lines)).expect("the request is answered");
        let actual = told(&answer);
        if actual.as_ref().map(Option::as_deref) != Ok(expected(tag)) {
            differs.push(format!("{host}, {claim}: expected {:?}, got {actual:?}", expected(tag)));
        }
    }
    differs
}

#[test]
fn an_application_is_told_one_tag_or_none_whatever_is_tried_and_whoever_is_trusted() {
    if !namespaces_or_skip("an_application_is_told_one_tag_or_none_whatever_is_tried_and_whoever_is_trusted") {
        return;
    }
    let mesh = pair("tricks", &["", "gray"], "", &[]);
    apply(&mesh, "any");
    let mut differs = differing(&mesh, "entry", |tag| tag);
    for trust in ["mesh", "none"] {
        apply(&mesh, trust);
        differs.extend(differing(&mesh, "entry", |_| None));
    }
    assert!(differs.is_empty(), "{}", differs.join("\n"));
    let metrics = mesh.status_page("server-base", "metrics").expect("the metrics are read");
    for reason in ["malformed", "conflicting", "untrusted", "carriers_differ"] {
        let none = format!("laneway_tag_rejected_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&none), "{reason} was never counted: {metrics}");
    }
}
