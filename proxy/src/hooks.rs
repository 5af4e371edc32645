//! What a pod's hooks run beside the sidecar, from the same image: `laneway-proxy wait`, `laneway-proxy announce` and `laneway-proxy
//! drain`. Each asks the sidecar's own ports, as curl would, and waits where there is something to wait for.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Of one answer; what we ask for is a few hundred.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Return when the sidecar is ready.
    Wait { status: SocketAddr, timeout: Duration },
    /// Say that the pod is about to end.
    Announce { admin: SocketAddr },
    /// Drain the sidecar, and return when it has ended.
    Drain { admin: SocketAddr, timeout: Duration },
}

/// Why a hook fails.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("not ready in {timeout:?}: {status} (--status / LANEWAY_STATUS) {last}")]
    NotReady { status: SocketAddr, timeout: Duration, last: String },
    #[error("no sidecar to tell: {admin} (--admin / LANEWAY_ADMIN) {last}")]
    Nobody { admin: SocketAddr, last: String },
    #[error("not drained in {timeout:?}: process {process} still runs; it cuts what is left after its --drain-max")]
    NotDrained { process: u64, timeout: Duration },
}

/// Does it, and returns what to tell.
pub fn run(hook: Hook) -> Result<String, HookError> {
    match hook {
        Hook::Wait { status, timeout } => wait(reachable(status), timeout),
        Hook::Announce { admin } => announce(reachable(admin)),
        Hook::Drain { admin, timeout } => drain(reachable(admin), timeout),
    }
}

/// Who listens on every address is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    // Both families: IPv6 may not be there, and a socket for both takes IPv4.
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

fn wait(status: SocketAddr, timeout: Duration) -> Result<String, HookError> {
    let end = Instant::now() + timeout;
    loop {
        let last = match ask(status, "GET", "/ready") {
            Ok((200, text)) => return Ok(text.trim_end().to_owned()),
            Ok((code, text)) => format!("answers {code}, {}", text.trim_end()),
            Err(error) => format!("does not answer: {error}"),
        };
        if Instant::now() >= end {
            return Err(HookError::NotReady { status, timeout, last });
        }
        std::thread::sleep(PAUSE);
    }
}

fn announce(admin: SocketAddr) -> Result<String, HookError> {
    tell(admin, "/announce").map(|()| "callers are told that this pod is about to end".to_owned())
}

fn drain(admin: SocketAddr, timeout: Duration) -> Result<String, HookError> {
    let end = Instant::now() + timeout;
    let process = process_at(admin).map_err(|last| HookError::Nobody { admin, last })?;
    tell(admin, "/drain")?;
    // It answers until it ends; then nobody does, or whoever was started after it.
    while is_there(admin, process) {
        if Instant::now() >= end {
            return Err(HookError::NotDrained { process, timeout });
        }
        std::thread::sleep(PAUSE);
    }
    Ok(format!("process {process} has drained and ended"))
}

fn tell(admin: SocketAddr, path: &str) -> Result<(), HookError> {
    let last = match ask(admin, "POST", path) {
        Ok((202, _)) => return Ok(()),
        Ok((code, text)) => format!("answers {code}, {}", text.trim_end()),
        Err(error) => format!("does not answer: {error}"),
    };
    Err(HookError::Nobody { admin, last })
}

/// The id of the sidecar that answers there.
fn process_at(admin: SocketAddr) -> Result<u64, String> {
    let (code, text) = ask(admin, "GET", "/version").map_err(|error| format!("does not answer: {error}"))?;
    process_of(&text).ok_or_else(|| format!("answers {code} as no sidecar does"))
}

/// Does that process still hold the port? One that is too busy to answer does.
fn is_there(admin: SocketAddr, process: u64) -> bool {
    match ask(admin, "GET", "/version") {
        Ok((_, text)) => process_of(&text) == Some(process),
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    }
}

fn process_of(version: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(version).ok()?["pid"].as_u64()
}

/// Asks one question. Status and body.
fn ask(to: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    // The admin port answers who says a name of loopback.
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let no_answer = || io::Error::new(io::ErrorKind::InvalidData, "that is no answer of HTTP/1.1");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_answer)?;
    let code = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(no_answer)?;
    Ok((code, body.to_owned()))
}

#[cfg(test)]
mod tests;
