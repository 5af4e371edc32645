//! The admin port of one sidecar: small HTTP/1.1 questions, answered in JSON. The one file of lanectl that speaks it.

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Trouble;

/// A sidecar answers at once, or is not there.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More than 10,000 entries of any list need.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks one page; what the sidecar says is wrong is said as it says it.
pub(super) async fn ask(admin: &str, method: Method, page: &str) -> Result<Value, Trouble> {
    let usage = || Trouble::Usage(format!("--admin {admin:?} is no URL; it is like http://127.0.0.1:15400"));
    let uri: Uri = admin.parse().map_err(|_| usage())?;
    let authority = uri.authority().filter(|_| matches!(uri.scheme_str(), None | Some("http"))).ok_or_else(usage)?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let answer = tokio::time::timeout(TIMEOUT, exchange(&address, method, page)).await;
    let failed = |why: String| {
        Trouble::Said(format!(
            "lanectl: the sidecar at {admin} cannot be asked: {why}. Its admin port listens on its own loopback: bring \
             it here with kubectl port-forward POD 15400"
        ))
    };
    let (status, body) = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(failed(why)),
        Err(_) => return Err(failed(format!("no answer in {} s", TIMEOUT.as_secs()))),
    };
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    match (status.is_success(), value) {
        (true, Some(value)) => Ok(value),
        (true, None) => Err(failed(format!("{page} answered something that is no JSON"))),
        (false, value) => {
            let told = value.and_then(|value| value["error"].as_str().map(str::to_owned));
            let told = told.unwrap_or_else(|| String::from_utf8_lossy(&body).trim().to_owned());
            Err(Trouble::Said(format!("lanectl: the sidecar says {}: {told}", status.as_u16())))
        }
    }
}

async fn exchange(address: &str, method: Method, page: &str) -> Result<(hyper::StatusCode, Vec<u8>), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::builder()
        .method(method)
        .uri(page)
        .header(hyper::header::HOST, address)
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| error.to_string())?.to_bytes().to_vec()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It moves the bytes; that it ends first is told by the answer.
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// A value of a parameter, as it stands in a query (RFC 3986: unreserved letters as they are).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
