//! The real programs with everything locked: control plane, sidecars and lanectl over TLS, known by certificates and by tokens.

use std::process::Command;
use std::time::Duration;

use laneway_tests::process::{Process, Scratch, program, run};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

const DEADLINE: Duration = Duration::from_secs(60);
/// Beside each token its SHA-256, as `printf %s TOKEN | sha256sum` says it.
const OPERATOR: (&str, &str) = ("operator-token", "0850123315d21ab90f4f7236408a52ef6dbd6a02a6550e5c10dc73f4d993680e");
const SIDECAR_A: (&str, &str) = ("sidecar-a-token", "e3bc06b8fc0b0fb60c56e4471e7e9e81a4b45807c040f5c5baa824174f1f3bf2");
const SERVICES: &str = "
kind: Service
name: a
addresses: [10.96.0.1]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.0.1:8080', portName: http}]
---
kind: Service
name: b
addresses: [10.96.0.2]
ports: [{port: 80, name: http}]
endpoints: [{address: '10.1.1.1:8080', portName: http}, {address: '10.1.1.2:8080', portName: http, tag: gray}]
";

/// A folder with certificates, keys, tokens and what the programs write.
struct Place {
    folder: Scratch,
    issuer: Issuer<'static, KeyPair>,
    discovery: String,
    api: String,
}

impl Place {
    fn new() -> Place {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("signed").pem();
        let folder = Scratch::new("secured").expect("a folder");
        let issuer = Issuer::new(params, key);
        let place = Place { folder, issuer, discovery: String::new(), api: String::new() };
        place.write("ca.pem", &authority);
        place
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path.to_string_lossy().into_owned()
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn sign(&self, file: &str, name: SanType) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn sign_uri(&self, file: &str, uri: &str) {
        self.sign(file, SanType::URI(uri.try_into().expect("ASCII")));
    }

    fn start_control(&mut self) -> Process {
        let mut command = Command::new(program("laneway-control").expect("built"));
        command
            .args(["--store", &self.path("laneway.db"), "--discovery", &self.path("services.yaml")])
            .args(["--discovery-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"])
            .args(["--tls-cert", &self.path("server.pem"), "--tls-key", &self.path("server.key")])
            .args(["--tls-client-ca", &self.path("ca.pem"), "--access-file", &self.path("access.yaml")])
            .args(["--ready-file", &self.path("ready.json")]);
        let mut control =
            Process::start("laneway-control", command, &self.folder.path().join("control.log")).expect("it starts");
        let ready = self.folder.path().join("ready.json");
        control.wait_until(DEADLINE, "ready", || ready.exists()).expect("it is ready");
        let text = std::fs::read_to_string(ready).expect("it is there");
        let ports: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let url = |key: &str| format!("https://{}", ports[key].as_str().expect("an address"));
        (self.discovery, self.api) = (url("discovery"), url("api"));
        control
    }

    fn start_sidecar(&self, pod: &str, service: &str, credentials: &[&str]) -> Process {
        let mut command = Command::new(program("laneway-proxy").expect("built"));
        command
            .args(["--control", &self.discovery, "--control-ca", &self.path("ca.pem"), "--pod-name", pod])
            .args(["--service", service, "--pod-ip", "127.0.0.1", "--listen", "outbound=127.0.0.1:0"])
            .args(["--status", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(credentials);
        Process::start(pod, command, &self.folder.path().join(format!("{pod}.log"))).expect("it starts")
    }

    fn lanectl(&self, credentials: &[&str], arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(program("lanectl")?);
        command.args(["--server", &self.api, "--ca", &self.path("ca.pem")]).args(credentials).args(arguments);
        run(command)
    }
}

#[test]
fn the_programs_know_each_other_by_certificates_and_tokens_and_nobody_else_comes_in() {
    let mut place = Place::new();
    place.sign("server", SanType::IpAddress([127, 0, 0, 1].into()));
    place.sign_uri("b", "spiffe://mesh/ns/default/sa/b");
    place.sign_uri("alice", "spiffe://mesh/ns/people/sa/alice");
    place.write("services.yaml", SERVICES);
    let operator = place.write("operator.token", OPERATOR.0);
    let sidecar_a = place.write("a.token", SIDECAR_A.0);
    place.write(
        "access.yaml",
        &format!(
            "people:\n- {{name: otto, role: operator, sha256: {}}}\n\
             - {{certificate: 'spiffe://mesh/ns/people/sa/alice', role: admin}}\n\
             sidecars:\n- {{namespace: default, service: a, sha256: {}}}\n",
            OPERATOR.1, SIDECAR_A.1
        ),
    );
    let control = place.start_control();
    let (alice_pem, alice_key) = (place.path("alice.pem"), place.path("alice.key"));
    let alice = ["--cert", alice_pem.as_str(), "--key", alice_key.as_str()];
    let otto = ["--token-file", operator.as_str()];

    // One sidecar by certificate, one by token, and one with a's token that says it is b.
    let (b_pem, b_key) = (place.path("b.pem"), place.path("b.key"));
    let _b = place.start_sidecar("b-1", "b", &["--control-cert", &b_pem, "--control-key", &b_key]);
    let token = ["--control-token-file", sidecar_a.as_str()];
    let mut a = place.start_sidecar("a-1", "a", &token);
    let mut liar = place.start_sidecar("liar-1", "b", &token);
    a.wait_until(DEADLINE, "connected", || {
        place.lanectl(&alice, &["status"]).is_ok_and(|shown| shown.contains("a-1") && shown.contains("b-1"))
    })
    .expect("both are connected");
    liar.wait_until(DEADLINE, "refused", || liar_is_told(&place)).expect("it is refused");
    assert!(!place.lanectl(&alice, &["status"]).expect("she may read").contains("liar-1"));

    // The admin applies, the operator switches and no more, and nobody else does anything.
    let lane = place.write("lane.yaml", "kind: Lane\nname: gray\nentry: {services: [a]}\n");
    place.lanectl(&alice, &["apply", "-f", &lane, "--wait"]).expect("she may");
    let switched = place.lanectl(&otto, &["lane", "disable", "gray", "--wait=30s"]).expect("he may");
    assert!(switched.contains("acknowledged"), "{switched}");
    let refusal = place.lanectl(&otto, &["apply", "-f", &lane]).expect_err("he may not");
    assert!(format!("{refusal:#}").contains("takes the role admin"), "{refusal:#}");
    let refusal = place.lanectl(&[], &["status"]).expect_err("nobody knows who asks");
    assert!(format!("{refusal:#}").contains("does not know who calls"), "{refusal:#}");
    let history = place.lanectl(&alice, &["history"]).expect("she may read");
    assert!(history.contains("user:otto") && history.contains("spiffe://mesh/ns/people/sa/alice"), "{history}");
    for log in [control.log(), a.log(), liar.log()] {
        assert!(!log.contains(OPERATOR.0) && !log.contains(SIDECAR_A.0), "a token is in the log: {log}");
    }
}

fn liar_is_told(place: &Place) -> bool {
    std::fs::read_to_string(place.path("liar-1.log")).is_ok_and(|log| log.contains("may only be default/a"))
}
