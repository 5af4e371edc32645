//! A real etcd of one member, for tests: on loopback, in a folder of its own, killed with its handle; in clear and open to all, or
//! with TLS, client certificates and a user. Used by the unit tests of the store too.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};

static FOLDERS: AtomicU64 = AtomicU64::new(0);
/// It starts in a fraction of a second on a machine that has nothing else to do.
const START_MAX: Duration = Duration::from_secs(60);

pub(crate) struct EtcdServer {
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    /// In clear, whatever the other ports speak: health alone.
    health_port: u16,
    is_secured: bool,
    child: Option<Child>,
}

/// The one user of a secured server beside root, and what it may do: all under `/laneway/`.
pub(crate) const USER: (&str, &str) = ("laneway", "s:ecret");
/// Long enough for a test to see it.
const TOKEN_SECONDS: &str = "300";

impl EtcdServer {
    /// Running; or nothing, said aloud, where etcd is not installed.
    pub(crate) fn start(test: &str) -> Option<EtcdServer> {
        EtcdServer::prepare(test)?.started()
    }

    /// With TLS, client certificates and authentication; what a client needs is in its folder: `ca.pem`, `client.pem`,
    /// `client.key`, `user`.
    pub(crate) fn start_secured(test: &str) -> Option<EtcdServer> {
        let mut server = EtcdServer::prepare(test)?;
        write_certificates(&server.folder);
        let (user, password) = USER;
        std::fs::write(server.folder.join("user"), format!("{user}:{password}\n")).expect("the folder is ours");
        server.is_secured = true;
        let server = server.started()?;
        server.enable_auth();
        Some(server)
    }

    fn prepare(test: &str) -> Option<EtcdServer> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            skip(test, "etcd is not installed (etcd-server)");
            return None;
        }
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("laneway-etcd-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let (client_port, peer_port, health_port) = (0, 0, 0);
        Some(EtcdServer { folder, client_port, peer_port, health_port, is_secured: false, child: None })
    }

    fn started(mut self) -> Option<EtcdServer> {
        // A port that was free may be taken by the time that etcd wants it.
        for _ in 0..5 {
            (self.client_port, self.peer_port, self.health_port) = (free_port(), free_port(), free_port());
            if self.try_start() {
                return Some(self);
            }
            let _ = std::fs::remove_dir_all(self.folder.join("data"));
        }
        panic!("etcd does not start: {}", self.log());
    }

    /// `host:port`
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// On the same port and data.
    pub(crate) fn restart(&mut self) {
        for _ in 0..5 {
            if self.try_start() {
                return;
            }
        }
        panic!("etcd does not start again: {}", self.log());
    }

    fn try_start(&mut self) -> bool {
        let scheme = if self.is_secured { "https" } else { "http" };
        let client = format!("{scheme}://{}", self.address());
        let health = format!("http://127.0.0.1:{}", self.health_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let mut command = Command::new("etcd");
        if self.is_secured {
            command.args(["--cert-file", "server.pem", "--key-file", "server.key"]);
            command.args(["--client-cert-auth", "--trusted-ca-file", "ca.pem"]);
            command.args(["--auth-token", "simple", "--auth-token-ttl", TOKEN_SECONDS]);
        }
        let child = command
            .current_dir(&self.folder)
            .args(["--name", "one", "--data-dir"])
            .arg(self.folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}"), "--listen-metrics-urls", &health])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the folder is ours"))
            .spawn();
        self.child = Some(child.expect("it is installed"));
        let begun = Instant::now();
        while begun.elapsed() < START_MAX {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            if ended {
                self.child = None;
                return false;
            }
            if self.is_healthy() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    fn is_healthy(&self) -> bool {
        use std::io::Read;
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.health_port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("\"true\"")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A user for us, and root, without whom etcd does not enable it.
    fn enable_auth(&self) {
        let (user, password) = USER;
        // In base64, as JSON has bytes: `/laneway/`, and the first key behind all that begin so.
        let (from, to) = ("L2xhbmV3YXkv", "L2xhbmV3YXkw");
        for (path, body) in [
            ("user/add", r#"{"name": "root", "password": "root"}"#.to_owned()),
            ("role/add", r#"{"name": "root"}"#.to_owned()),
            ("user/grant", r#"{"user": "root", "role": "root"}"#.to_owned()),
            ("user/add", format!(r#"{{"name": "{user}", "password": "{password}"}}"#)),
            ("role/add", format!(r#"{{"name": "{user}"}}"#)),
            (
                "role/grant",
                format!(
                    r#"{{"name": "{user}", "perm": {{"permType": "READWRITE", "key": "{from}", "range_end": "{to}"}}}}"#
                ),
            ),
            ("user/grant", format!(r#"{{"user": "{user}", "role": "{user}"}}"#)),
            ("enable", "{}".to_owned()),
        ] {
            let asked = Command::new("curl")
                .current_dir(&self.folder)
                .args(["--silent", "--show-error", "--fail-with-body", "--max-time", "30"])
                .args(["--cacert", "ca.pem", "--cert", "client.pem", "--key", "client.key", "--data", &body])
                .arg(format!("https://{}/v3/auth/{path}", self.address()))
                .output()
                .expect("curl is installed");
            assert!(
                asked.status.success(),
                "{path}: {}",
                String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat())
            );
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// An authority, and what it signed for the server and for a client.
fn write_certificates(folder: &Path) {
    let params = || {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2999, 1, 1);
        params
    };
    let mut authority = params();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "etcd");
    let key = KeyPair::generate().expect("a key");
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("the folder is ours");
    write("ca.pem", authority.self_signed(&key).expect("signed").pem());
    let issuer = Issuer::new(authority, key);
    for name in ["server", "client"] {
        let mut params = params();
        params.subject_alt_names = vec![SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).expect("signed").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}

/// As the tests of other packages skip: aloud, counted, and never in CI.
fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{test}: {why}; in CI nothing is skipped");
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("LANEWAY_SKIPPED") {
        let list = std::fs::File::options().create(true).append(true).open(list);
        let _ = list.and_then(|mut list| list.write_all(line.as_bytes()));
    }
}
