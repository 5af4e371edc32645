//! Tags that are forged, doubled, hidden or stripped by who sends a request, against what the application is told: one tag in
//! every carrier, or none in any, whoever is trusted.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use laneway_tests::client::Speech;
use laneway_tests::mesh::Mesh;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{from_pod, namespaces_or_skip, pair};

const TRACE: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A claim, the lines that are sent (a byte for each letter), and the tag that an application hears from who is trusted.
const TRICKS: [(&str, &[&str], Option<&str>); 19] = [
    ("a forged header", &["x-mse-tag: gray"], Some("gray")),
    ("forged baggage", &["baggage: k=v,x-mse-tag=gray;p=1"], Some("gray")),
    ("baggage that is encoded more than it need be", &["baggage: x-mse-tag=%67ray"], Some("gray")),
    ("forged tracestate", &[TRACE, "tracestate: o=1,laneway=gray"], Some("gray")),
    ("baggage beside bytes that are no text", &["baggage: a=\u{ff},x-mse-tag=gray,b=\u{fe}"], Some("gray")),
    ("tracestate beside such bytes", &[TRACE, "tracestate: o=\u{ff},laneway=gray"], Some("gray")),
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

/// What the application heard of a request with these lines, and with a tag in its trailers, which never count.
async fn heard(to: SocketAddr, speech: Speech, lines: Vec<String>) -> anyhow::Result<Value> {
    let answer = match speech {
        Speech::Http1 => over_http1(to, &lines).await?,
        Speech::H2c | Speech::Grpc => over_http2(to, &lines).await?,
    };
    Ok(serde_json::from_slice(&answer)?)
}

/// Byte for byte: no client says such things.
async fn over_http1(to: SocketAddr, lines: &[String]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!("POST /echo HTTP/1.1\r\nhost: sc-server\r\ntransfer-encoding: chunked\r\n{lines}\r\n");
    stream.write_all(&bytes(&format!("{head}2\r\nhi\r\n0\r\nx-mse-tag: trailer\r\n\r\n"))).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("an answer has a body")?;
    Ok(answer.split_off(body + 4))
}

/// HTTP/2 has no `Connection`: those lines are left out.
async fn over_http2(to: SocketAddr, lines: &[String]) -> anyhow::Result<Vec<u8>> {
    let stream = TokioIo::new(TcpStream::connect(to).await?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-mse-tag", HeaderValue::from_static("trailer"));
    let body = Full::new(Bytes::from_static(b"hi")).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut request = Request::post("http://sc-server/echo").body(body)?;
    for (name, value) in lines.iter().filter_map(|line| line.split_once(':')) {
        if !name.eq_ignore_ascii_case("connection") {
            request.headers_mut().append(HeaderName::try_from(name)?, HeaderValue::from_bytes(&bytes(value.trim()))?);
        }
    }
    Ok(sender.send_request(request).await?.into_body().collect().await?.to_bytes().to_vec())
}

/// Latin-1.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| letter as u8).collect()
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

/// `entry`: the service at which requests get in. Nobody stamps, so a tag is one that was believed.
fn apply(mesh: &Mesh, trust: &str, entry: &str) {
    let file = mesh.directory().join(format!("trust-{trust}-{entry}.yaml"));
    let text = format!(
        "{{kind: LaneGroup, name: shop, tag: {{trust: {trust}}}, propagate: {{stampPodTag: never}}}}\n---\n\
         {{kind: Lane, name: gray, group: shop, entry: {{services: [{entry}]}}}}\n"
    );
    std::fs::write(&file, text).expect("the mesh's folder is ours");
    mesh.apply(&file).expect("the documents are good");
}

/// Sends every trick from this host, in both versions of HTTP, and says what differs: each is believed, or none is.
fn differing(mesh: &Mesh, group: &str, host: &str, is_believed: bool) -> Vec<String> {
    let to = mesh.socket("server-base").expect("a pod of the mesh");
    let mut differs = Vec::new();
    for speech in [Speech::Http1, Speech::H2c] {
        for (claim, lines, tag) in TRICKS {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let answer = from_pod(mesh, host, heard(to, speech, lines)).expect("the request is answered");
            let (actual, expected) = (told(&answer), tag.filter(|_| is_believed));
            if actual.as_ref().map(Option::as_deref) != Ok(expected) {
                differs.push(format!("{group}, {host}, {speech:?}, {claim}: expected {expected:?}, got {actual:?}"));
            }
        }
    }
    differs
}

/// Who tries it is an outsider, or the application of a pod behind its own sidecar, which believes it.
#[test]
fn an_application_is_told_one_tag_or_none_whatever_is_tried_and_whoever_is_trusted() {
    if !namespaces_or_skip("an_application_is_told_one_tag_or_none_whatever_is_tried_and_whoever_is_trusted") {
        return;
    }
    let mesh = pair("tricks", &["", "gray"], "", &[]);
    let mut differs = Vec::new();
    for (trust, entry, believes_outsiders, believes_the_mesh) in [
        ("any", "server", true, true),
        ("mesh", "server", false, true),
        ("none", "server", false, false),
        ("none", "caller", false, true),
    ] {
        apply(&mesh, trust, entry);
        let group = format!("trust {trust}, entry {entry}");
        differs.extend(differing(&mesh, &group, "entry", believes_outsiders));
        differs.extend(differing(&mesh, &group, "caller-base", believes_the_mesh));
    }
    assert!(differs.is_empty(), "{}", differs.join("\n"));
    let metrics = mesh.status_page("server-base", "metrics").expect("the metrics are read");
    for reason in ["malformed", "conflicting", "untrusted", "carriers_differ"] {
        let none = format!("laneway_tag_rejected_total{{reason=\"{reason}\"}} 0\n");
        assert!(!metrics.contains(&none), "{reason} was never counted: {metrics}");
    }
}
