//! What is not plain HTTP/1.1 request and answer: gRPC, WebSocket, server-first bytes, TLS, unknown destinations.

use std::process::Command;

use laneway_tests::mesh::Mesh;
use laneway_tests::process::run;

use crate::support::{SERVER_PORT, await_listening, curl_in, in_pod, namespaces_or_skip, pair, python, script};

/// Runs a Python client in the caller's pod and expects its `ok`.
fn expect_ok(mesh: &Mesh, arguments: &[&str]) {
    let said = in_pod(mesh, "caller-base", python(), arguments).expect("the client succeeds");
    assert!(said.starts_with("ok"), "{said}");
}

#[test]
fn grpc_passes_two_sidecars_in_all_four_forms() {
    if !namespaces_or_skip("grpc_passes_two_sidecars_in_all_four_forms") {
        return;
    }
    let mesh = pair("grpc", &["", "gray"], "", &[&script("grpc_server.py"), "ADDRESS"]);
    let client = script("grpc_client.py");
    expect_ok(&mesh, &[&client, "sc-server:7000", "none"]);
    expect_ok(&mesh, &[&client, "sc-server:7000", "gray"]);
}

#[test]
fn a_websocket_lives_through_two_sidecars_and_keeps_its_lane() {
    if !namespaces_or_skip("a_websocket_lives_through_two_sidecars_and_keeps_its_lane") {
        return;
    }
    let mesh = pair("ws", &["", "gray"], "", &[&script("websocket_server.py"), "ADDRESS"]);
    let client = script("websocket_client.py");
    expect_ok(&mesh, &[&client, "ws://sc-server:7000/", "none"]);
    expect_ok(&mesh, &[&client, "ws://sc-server:7000/", "gray"]);
}

#[test]
fn a_protocol_in_which_the_server_speaks_first_is_not_stalled() {
    if !namespaces_or_skip("a_protocol_in_which_the_server_speaks_first_is_not_stalled") {
        return;
    }
    let mesh = pair("first", &[""], "", &[&script("server_first.py"), "server", "ADDRESS"]);
    expect_ok(&mesh, &[&script("server_first.py"), "client", "sc-server", &SERVER_PORT.to_string()]);
}

#[test]
fn tls_passes_untouched() {
    if !namespaces_or_skip("tls_passes_untouched") {
        return;
    }
    let scratch = laneway_tests::process::Scratch::new("tls").expect("a directory");
    let (certificate, key) = (scratch.path().join("cert.pem"), scratch.path().join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=sc-server", "-addext", "subjectAltName=DNS:sc-server", "-keyout"]);
    openssl.arg(&key).arg("-out").arg(&certificate);
    run(openssl).expect("openssl makes a certificate");
    // The application runs as another user.
    for path in [scratch.path(), &key, &certificate] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("permissions are ours to set");
    }
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let mesh = pair("tls", &[""], "", &[&script("tls.py"), "server", "ADDRESS", &certificate, &key]);
    expect_ok(&mesh, &[&script("tls.py"), "client", "sc-server", &SERVER_PORT.to_string(), &certificate]);
}

#[test]
fn an_unknown_destination_passes_byte_for_byte() {
    if !namespaces_or_skip("an_unknown_destination_passes_byte_for_byte") {
        return;
    }
    let mesh = pair("unknown", &[""], "", &[]);
    // The entry's place has no sidecar and is in no discovery: a listener there is a stranger to the mesh.
    let stranger = mesh.entry_address().ip();
    let mut listener = mesh.command("entry", python()).expect("the entry has a place");
    listener.args(["-c", STRANGER, &stranger.to_string()]);
    let log = mesh.directory().join("stranger.log");
    let _stranger = laneway_tests::process::Process::start("stranger", listener, &log).expect("the stranger starts");
    await_listening(&mesh, "entry", 9999);
    // Not a request that any HTTP proxy would leave as it is: odd case, spaces, a hop-by-hop header, a lane header of its own.
    let request = "GET  /x HTTP/1.1\\r\\nhOsT: somewhere\\r\\nConnection: x-mse-tag\\r\\nX-MSE-Tag:  Bad_Value\\r\\nfoo:bar\\r\\n\\r\\n\\x00\\xff";
    let probe = format!(
        "import socket,sys\ns=socket.create_connection((sys.argv[1],9999),10)\nsent=b'{request}'\ns.sendall(sent);s.shutdown(1)\ngot=b''\n\
         while (d:=s.recv(65536)): got+=d\nprint('ok' if got==sent else got)"
    );
    expect_ok(&mesh, &["-c", &probe, &stranger.to_string()]);
}

/// Sends back what it gets.
const STRANGER: &str = "
import socketserver
class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('0.0.0.0', 9999), Handler).serve_forever()
";

#[test]
fn http1_bodies_and_answers_keep_their_form() {
    if !namespaces_or_skip("http1_bodies_and_answers_keep_their_form") {
        return;
    }
    let mesh = pair("http1", &[""], "", &[]);
    let curl = |arguments: &[&str]| curl_in(&mesh, "caller-base", arguments).expect("curl succeeds");
    let server = "http://sc-server:7000";
    assert_eq!(curl(&[&format!("{server}/chunked/100")]).len(), 100 * 1024);
    assert_eq!(curl(&[&format!("{server}/bytes/3000000")]).len(), 3_000_000);
    let upload = "x".repeat(1_500_000);
    let file = mesh.directory().join("upload");
    std::fs::write(&file, &upload).expect("the directory is ours");
    let data = format!("@{}", file.display());
    // With Expect: 100-continue, as curl asks for large bodies; and chunked, of unknown length.
    for more in
        [&["-H", "Expect: 100-continue"][..], &["-H", "Transfer-Encoding: chunked"], &["--http2-prior-knowledge"]]
    {
        let mut arguments = vec!["--data-binary", &data, "http://sc-server:7000/echo"];
        arguments.extend(more);
        let seen: serde_json::Value = serde_json::from_str(&curl(&arguments)).expect("echo answers JSON");
        assert_eq!(seen["bodyBytes"], 1_500_000, "{more:?}");
    }
    assert_eq!(curl(&["-o", "/dev/null", "-w", "%{http_code}", &format!("{server}/status/418")]), "418");
    assert_eq!(curl(&["-I", "-o", "/dev/null", "-w", "%{http_code}", &format!("{server}/bytes/5")]), "200");
}

#[test]
fn the_application_sees_one_tag_its_own_header_case_and_nothing_of_ours() {
    if !namespaces_or_skip("the_application_sees_one_tag_its_own_header_case_and_nothing_of_ours") {
        return;
    }
    let mesh = pair("heads", &["", "gray"], "", &[]);
    let seen = |arguments: &[&str]| -> Vec<(String, String)> {
        let mut all = vec!["http://sc-server:7000/echo"];
        all.extend(arguments);
        let answer = curl_in(&mesh, "caller-base", &all).expect("curl succeeds");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("echo answers JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        assert!(text(&answer["peer"]).starts_with("127.0.0.6:"), "the mark of our connections: {}", answer["peer"]);
        let headers = answer["headers"].as_array().cloned().unwrap_or_default();
        headers.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    };
    let values = |headers: &[(String, String)], name: &str| -> Vec<String> {
        headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    };

    let plain = seen(&["-H", "X-One: 1"]);
    for ours in ["via", "x-forwarded-for", "x-mse-tag", "baggage", "traceparent", "tracestate", "x-laneway-hop"] {
        assert!(values(&plain, ours).is_empty(), "an untagged request got {ours}: {plain:?}");
    }
    assert_eq!(values(&plain, "host"), ["sc-server:7000"]);

    let tagged = seen(&["-H", "x-mse-tag: gray", "-H", "baggage: other=1"]);
    assert_eq!(values(&tagged, "x-mse-tag"), ["gray"]);
    assert_eq!(values(&tagged, "traceparent").len(), 1, "{tagged:?}");
    let baggage = values(&tagged, "baggage").join(",");
    assert!(baggage.contains("other=1") && baggage.contains("x-mse-tag=gray"), "{baggage}");

    // Two values are none; a Connection token does not take the tag away.
    assert!(values(&seen(&["-H", "x-mse-tag: gray", "-H", "x-mse-tag: blue"]), "x-mse-tag").is_empty());
    assert!(values(&seen(&["-H", "x-mse-tag: with_underscore"]), "x-mse-tag").is_empty());
    assert_eq!(values(&seen(&["-H", "x-mse-tag: gray", "-H", "Connection: x-mse-tag"]), "x-mse-tag"), ["gray"]);
}
