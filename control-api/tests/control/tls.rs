//! TLS on both ports of the real program: whom it believes, what it shows, and that both change with the files; and who may say
//! that it is which node.

use std::time::{Duration, Instant};

use laneway_proto::contract::TYPE_LANE_GROUP;
use laneway_proto::status::GetServerInfoRequest;
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::certificates::{Authority, Pair};
use super::program::Control;
use super::sidecar::Sidecar;

/// vera reads by her certificate; sidecar `b` has a token: `printf %s b-token | sha256sum`.
const RULES: &str = "
people:
- {certificate: 'spiffe://corp/ns/ops/sa/vera', role: viewer}
sidecars:
- {namespace: default, service: b, sha256: c033d6825ce303906a2a8cfc0f933e8380fefc8e039ef2bd3dabb97b1a27c875}
";
const VERA: &str = "spiffe://corp/ns/ops/sa/vera";

/// On TLS with a certificate of that authority, which is believed about clients too.
fn started(authority: &Authority, server: &Pair, more: &[&str]) -> Control {
    let mut control = Control::prepared();
    server.write(&control, "server");
    control.write("ca.pem", &authority.pem);
    control.write("access.yaml", RULES);
    control.argue(&["--tls-cert", "server.pem", "--tls-key", "server.key", "--tls-client-ca", "ca.pem"]);
    control.argue(&["--access-file", "access.yaml"]);
    control.argue(more);
    control.restart();
    control
}

/// A connection, or why there is none: the whole chain of it.
async fn connected(url: &str, tls: ClientTlsConfig) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL").tls_config(tls).expect("good PEM");
    endpoint.connect().await.map_err(|error| format!("{error:?}"))
}

/// Asks for what every role may read. Where the client's certificate is not taken, TLS 1.3 says so with the first answer.
async fn asked(url: &str, tls: ClientTlsConfig) -> Result<(), String> {
    let channel = connected(url, tls).await?;
    let answer = MeshStatusClient::new(channel).get_server_info(GetServerInfoRequest {}).await;
    answer.map(drop).map_err(|status| format!("{:?} {status:?}", status.code()))
}

#[tokio::test]
async fn a_client_believes_only_the_right_authority_name_and_time() {
    let authority = Authority::new("mesh");
    let vera = authority.sign(VERA);
    let control = started(&authority, &authority.sign("127.0.0.1"), &[]);
    asked(&control.api, authority.client(Some(&vera))).await.expect("all is well");
    let refusal =
        connected(&control.api, Authority::new("mesh").client(Some(&vera))).await.expect_err("another authority");
    assert!(refusal.contains("BadSignature") || refusal.contains("UnknownIssuer"), "{refusal}");
    let other_name = authority.client(Some(&vera)).domain_name("control.laneway");
    let refusal = connected(&control.api, other_name).await.expect_err("another name");
    assert!(refusal.contains("NotValidForName"), "{refusal}");
    // In clear nothing is answered.
    let clear = Endpoint::from_shared(control.api.replace("https", "http")).expect("a URL").connect().await;
    if let Ok(channel) = clear {
        let answer = MeshStatusClient::new(channel).get_server_info(GetServerInfoRequest {}).await;
        answer.expect_err("it speaks TLS alone");
    }

    let expired = started(&authority, &authority.sign_expired("127.0.0.1"), &[]);
    let refusal = connected(&expired.api, authority.client(Some(&vera))).await.expect_err("its time is over");
    assert!(refusal.contains("Expired"), "{refusal}");
}

#[tokio::test]
async fn a_client_certificate_must_be_of_the_authority_in_time_and_in_the_rules() {
    let authority = Authority::new("mesh");
    let control = started(&authority, &authority.sign("127.0.0.1"), &["--require-client-cert", "api,discovery"]);
    let ask = async |pair: Option<&Pair>| asked(&control.api, authority.client(pair)).await;
    ask(Some(&authority.sign(VERA))).await.expect("she may read");
    let nobody = ask(None).await.expect_err("it is required");
    let strange = ask(Some(&Authority::new("mesh").sign(VERA))).await.expect_err("signed by another");
    let expired = ask(Some(&authority.sign_expired(VERA))).await.expect_err("its time is over");
    for refusal in [&nobody, &strange, &expired] {
        assert!(!refusal.contains("Unauthenticated"), "not even the handshake: {refusal}");
    }
    let unnamed = ask(Some(&authority.sign("spiffe://corp/ns/ops/sa/eve"))).await.expect_err("nobody knows her");
    assert!(unnamed.contains("Unauthenticated") && unnamed.contains("spiffe://corp/ns/ops/sa/eve"), "{unnamed}");
    // Without a certificate the discovery port hangs up too.
    let refusal = match connected(&control.discovery, authority.client(None)).await {
        Ok(channel) => joined(channel, None, "a-1", "a").await.expect_err("no stream").to_string(),
        Err(refusal) => refusal,
    };
    assert!(!refusal.contains("credentials"), "not even the handshake: {refusal}");
}

#[tokio::test]
async fn certificates_change_with_their_files_and_no_connection_is_dropped() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let control = started(&first, &first.sign("127.0.0.1"), &[]);
    let vera = first.client(Some(&first.sign(VERA)));
    let mut old = MeshStatusClient::new(connected(&control.api, vera.clone()).await.expect("all is well"));
    old.get_server_info(GetServerInfoRequest {}).await.expect("she may read");

    // Half of a change is no good pair: the old one stays, said once.
    let new = second.sign("127.0.0.1");
    control.write("server.pem", &new.cert);
    until(async || control.log().contains("changed to something bad")).await;
    asked(&control.api, vera.clone()).await.expect("the last good pair stays");
    control.write("server.key", &new.key);
    let second_vera = second.client(Some(&first.sign(VERA)));
    until(async || asked(&control.api, second_vera.clone()).await.is_ok()).await;
    connected(&control.api, vera).await.expect_err("the first authority has not signed it");
    old.get_server_info(GetServerInfoRequest {}).await.expect("whoever was there stays");

    // Whose clients are believed changes too.
    control.write("ca.pem", &second.pem);
    until(async || asked(&control.api, second_vera.clone()).await.is_err()).await;
    asked(&control.api, second.client(Some(&second.sign(VERA)))).await.expect("the new authority is believed");
    old.get_server_info(GetServerInfoRequest {}).await.expect("whoever was there stays");
    assert_eq!(control.log().matches("changed to something bad").count(), 1, "{}", control.log());
}

/// A stream that was answered once.
async fn joined(channel: Channel, token: Option<&str>, id: &str, service: &str) -> Result<Sidecar, tonic::Status> {
    let mut sidecar = Sidecar::connect_as(channel, token, id, service, "", &[TYPE_LANE_GROUP]).await?;
    sidecar.next().await?;
    Ok(sidecar)
}

#[tokio::test]
async fn a_sidecar_is_only_what_its_certificate_or_token_says() {
    let authority = Authority::new("mesh");
    let control = started(&authority, &authority.sign("127.0.0.1"), &[]);
    let pair = |name: &str| Some(authority.sign(name));
    let join = async |pair: Option<Pair>, token: Option<&str>, id: &str, service: &str| {
        let channel = connected(&control.discovery, authority.client(pair.as_ref())).await.expect("all is well");
        joined(channel, token, id, service).await
    };
    let a = "spiffe://corp/ns/default/sa/a";
    let mut first = join(pair(a), None, "a-1", "a").await.expect("it is a");
    for (name, service) in [(a, "b"), (a, ""), ("spiffe://corp/ns/shop/sa/a", "a")] {
        let refusal = join(pair(name), None, "x-1", service).await.expect_err("it is not");
        assert_eq!(refusal.code(), Code::PermissionDenied, "{refusal}");
        let says = refusal.message();
        assert!(says.contains(&format!("service {service:?}")) && says.contains(name), "{says}");
    }
    let nobody = join(None, None, "a-2", "a").await.expect_err("nobody knows it");
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let mut by_token = join(None, Some("b-token"), "b-1", "b").await.expect("it is b");
    assert_eq!(join(None, Some("b-token"), "c-1", "c").await.expect_err("it is not").code(), Code::PermissionDenied);
    assert_eq!(join(None, Some("c-token"), "b-2", "b").await.expect_err("unknown").code(), Code::Unauthenticated);
    // People's credentials are none here.
    join(pair(VERA), None, "x-1", "a").await.expect_err("she is no sidecar of that name");

    // Nobody takes another's seat; its own kind does.
    let thief = join(None, Some("b-token"), "a-1", "b").await.expect_err("the seat is taken");
    assert!(thief.code() == Code::PermissionDenied && thief.message().contains("default/a"), "{thief}");
    let _second = join(pair(a), None, "a-1", "a").await.expect("a newer stream of the same");
    assert_eq!(first.next().await.expect_err("it was replaced").code(), Code::Aborted);

    // What is taken out of the rules ends at once.
    control.write("access.yaml", "people: []");
    let ended = by_token.next().await.expect_err("its token is gone");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "still not so");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
