//! The profile of the heap, of a program that was built with the feature `heap-profile`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

struct Sidecar(Child);

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("loopback has free ports")
}

fn ask(admin: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(admin).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn the_admin_port_gives_a_profile_that_names_who_holds_what() {
    let admin = free();
    let file = std::env::temp_dir().join(format!("laneway-heap-test-{}.yaml", std::process::id()));
    let listens = free();
    std::fs::write(
        &file,
        format!("kind: Proxy\nservice: a\nlisteners: [{{address: '{listens}', direction: outbound}}]\n"),
    )
    .expect("the directory can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_laneway-proxy"));
    command.arg("--resources").arg(&file).args(["--status", &free().to_string(), "--admin", &admin.to_string()]);
    let _sidecar = Sidecar(command.stderr(Stdio::null()).spawn().expect("it is built"));
    let end = Instant::now() + DEADLINE;
    let answer = loop {
        match ask(admin, "/heap_profile") {
            Some(answer) => break answer,
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            None => panic!("the admin port does not answer"),
        }
    };
    let _ = std::fs::remove_file(&file);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.starts_with("heap_v2/"), "{}", &body[..body.len().min(200)]);
    assert!(body.contains("MAPPED_LIBRARIES"), "addresses can be told apart");
}
