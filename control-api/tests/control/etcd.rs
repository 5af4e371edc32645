//! A real etcd of one member, for tests: on loopback, in a folder of its own, killed with its handle. Used by the unit tests
//! of the store too.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

static FOLDERS: AtomicU64 = AtomicU64::new(0);
/// It starts in a fraction of a second on a machine that has nothing else to do.
const START_MAX: Duration = Duration::from_secs(60);

pub(crate) struct EtcdServer {
    folder: PathBuf,
    client_port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl EtcdServer {
    /// Running; or nothing, said aloud, where etcd is not installed.
    pub(crate) fn start(test: &str) -> Option<EtcdServer> {
        if Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            skip(test, "etcd is not installed (etcd-server)");
            return None;
        }
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("laneway-etcd-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let mut server = EtcdServer { folder, client_port: 0, peer_port: 0, child: None };
        // A port that was free may be taken by the time that etcd wants it.
        for _ in 0..5 {
            (server.client_port, server.peer_port) = (free_port(), free_port());
            if server.try_start() {
                return Some(server);
            }
            let _ = std::fs::remove_dir_all(server.folder.join("data"));
        }
        panic!("etcd does not start: {}", server.log());
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
        let client = format!("http://{}", self.address());
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"));
        let child = Command::new("etcd")
            .args(["--name", "one", "--data-dir"])
            .arg(self.folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
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
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.client_port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("\"true\"")
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
