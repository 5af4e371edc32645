//! laneway-control as a child process on free ports, and a folder for its files.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use laneway_proto::admin::lane_admin_client::LaneAdminClient;
use laneway_proto::status::mesh_status_client::MeshStatusClient;
use tonic::transport::{Channel, Endpoint};

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// Services that run in most tests.
pub(super) const SERVICES: &str = "
kind: Service
name: a
addresses: [10.96.0.1]
hosts: [sc-a]
ports: [{port: 80, name: http, protocol: http1}]
endpoints:
  - {address: '10.1.0.1:8080', portName: http}
  - {address: '10.1.0.2:8080', portName: http, tag: gray}
---
kind: Service
name: b
addresses: [10.96.0.2]
hosts: [sc-b]
ports: [{port: 80, name: http, protocol: http1}]
endpoints:
  - {address: '10.1.1.1:8080', portName: http}
  - {address: '10.1.1.2:8080', portName: http, tag: gray}
";

/// A lane group and a lane.
pub(super) const SHOP: &str = "
kind: LaneGroup
name: shop
---
kind: Lane
name: gray
group: shop
entry: {services: [a]}
";

/// A folder, and a control plane that may be started, killed and started again on it.
pub(super) struct Control {
    folder: PathBuf,
    child: Option<Child>,
    /// What it is started with beside the usual.
    arguments: Vec<String>,
    pub(super) discovery: String,
    pub(super) api: String,
}

impl Control {
    /// Running, with the usual services.
    pub(super) fn start() -> Control {
        Control::start_with(&[])
    }

    /// With these arguments too, `--store` and `--replica` instead of the usual ones.
    pub(super) fn start_with(arguments: &[&str]) -> Control {
        let mut control = Control::prepared();
        control.argue(arguments);
        control.restart();
        control
    }

    /// Not yet running.
    pub(super) fn prepared() -> Control {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("laneway-control-it-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
        let (discovery, api) = (String::new(), String::new());
        let control = Control { folder, child: None, arguments: Vec::new(), discovery, api };
        control.write("services.yaml", SERVICES);
        control
    }

    /// More arguments, from the next start on; paths are of its folder.
    pub(super) fn argue(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let part = self.path(&format!(".{name}.part"));
        std::fs::write(&part, text).expect("the folder is ours");
        std::fs::rename(part, self.path(name)).expect("the folder is ours");
    }

    /// The command line, on free ports.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_laneway-control"));
        if !self.arguments.iter().any(|argument| argument == "--store") {
            command.arg("--store").arg(self.path("control.db"));
        }
        if !self.arguments.iter().any(|argument| argument == "--replica") {
            command.args(["--replica", "test"]);
        }
        command
            .current_dir(&self.folder)
            .arg("--discovery")
            .arg(self.path("services.yaml"))
            .args(["--discovery-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"])
            .arg("--ready-file")
            .arg(self.path("ready.json"))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.path("log")).expect("the folder is ours"));
        command
    }

    /// Starts it and waits until it is ready.
    pub(super) fn restart(&mut self) {
        let _ = std::fs::remove_file(self.path("ready.json"));
        let child = self.command().spawn().expect("the program was built");
        self.child = Some(child);
        let begun = Instant::now();
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(self.path("ready.json")) {
                break text;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        };
        let ready: serde_json::Value = serde_json::from_str(&text).expect("the ready file is JSON");
        let address = |key: &str| ready[key].as_str().expect("it names both addresses").to_owned();
        let scheme = if self.arguments.iter().any(|argument| argument == "--tls-cert") { "https" } else { "http" };
        (self.discovery, self.api) =
            (format!("{scheme}://{}", address("discovery")), format!("{scheme}://{}", address("api")));
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; its exit status and how long it took.
    pub(super) async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.tell_to_end();
        let mut child = self.child.take().expect("it runs");
        // Not on the thread that its clients answer on.
        let status = tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("it ends");
        (status.code(), begun.elapsed())
    }

    /// SIGTERM, and nothing is waited for.
    pub(super) fn tell_to_end(&self) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill is there");
        assert!(sent.success());
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(super) async fn admin(&self) -> LaneAdminClient<Channel> {
        LaneAdminClient::new(channel(&self.api).await)
    }

    pub(super) async fn status(&self) -> MeshStatusClient<Channel> {
        MeshStatusClient::new(channel(&self.api).await)
    }

    /// One call as JSON over HTTP: the whole answer, head and body.
    pub(super) fn http(&self, method: &str, target: &str, body: &str) -> String {
        self.http_with(method, target, "", body)
    }

    /// With more headers, each a line with its end.
    pub(super) fn http_with(&self, method: &str, target: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.api.trim_start_matches("http://")).expect("the API listens");
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        text
    }

    /// Runs lanectl against it.
    pub(super) fn lanectl(&self, arguments: &[&str]) -> Output {
        self.lanectl_with(&[], arguments)
    }

    /// With more environment.
    pub(super) fn lanectl_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lanectl"))
            .current_dir(&self.folder)
            .env("LANECTL_SERVER", &self.api)
            .envs(environment.iter().copied())
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the program was built")
    }

    /// The same, and it must work: what it printed.
    pub(super) fn lanectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.lanectl(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "lanectl {arguments:?}: {errors}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Applies documents, which must be good; they are published when it returns.
    pub(super) fn apply(&self, documents: &str) -> String {
        self.write("documents.yaml", documents);
        self.lanectl_ok(&["apply", "-f", "documents.yaml", "--wait"])
    }
}

/// Waits until it is so; panics when that takes too long.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection to one of its ports.
pub(super) async fn channel(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    endpoint.connect().await.expect("the port is there")
}

impl Drop for Control {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
