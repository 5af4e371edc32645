//! The HTTP client of the test applications: HTTP/1.1 with keep-alive, HTTP/2 with prior knowledge.
//!
//! Connections are pooled per authority, as the clients of real applications do, so that a switch of a lane is felt on
//! connections that live on. Never used by the product.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Idle connections that are kept to one authority.
const IDLE_MAX: usize = 64;
/// Longest wait for one answer: tests fail rather than hang.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How a request is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// gRPC, on HTTP/2 with prior knowledge.
    Grpc,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Answer {
    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim_end().to_owned()
    }
}

type Http1 = http1::SendRequest<Full<Bytes>>;
type Http2 = http2::SendRequest<Full<Bytes>>;

/// A client with its pool.
#[derive(Default)]
pub struct Client {
    http1: Mutex<HashMap<String, Vec<Http1>>>,
    http2: Mutex<HashMap<String, Http2>>,
}

impl Client {
    /// Sends to the host of `uri` and reads the whole answer. `Host` is the authority unless `headers` has one.
    pub async fn send(
        &self,
        speech: Speech,
        method: &str,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer> {
        let host = uri.authority().context("the address has no host")?.as_str();
        self.send_to(&with_port(host, uri), speech, method, uri, headers, body).await
    }

    /// The same, to an address that `uri` need not name.
    pub async fn send_to(
        &self,
        address: &str,
        speech: Speech,
        method: &str,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer> {
        let sent = async {
            match speech {
                Speech::Http1 => self.send_http1(address, method, uri, headers, body).await,
                Speech::H2c | Speech::Grpc => self.send_http2(address, method, uri, headers, body).await,
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, sent).await.map_err(|_| anyhow!("no answer in {ANSWER_TIMEOUT:?}"))?
    }

    async fn send_http1(
        &self,
        address: &str,
        method: &str,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer> {
        loop {
            let pooled = self.idle(address);
            let reused = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => connect_http1(address).await?,
            };
            let target = uri.path_and_query().map_or("/", |path| path.as_str());
            let mut request = Request::builder().method(method).uri(target).body(Full::new(body.clone()))?;
            *request.headers_mut() = headers.clone();
            if !request.headers().contains_key("host") {
                let host = uri.authority().map_or(address, |authority| authority.as_str());
                request.headers_mut().insert("host", host.parse()?);
            }
            match sender.send_request(request).await {
                Ok(response) => {
                    let answer = collect(response).await?;
                    self.keep(address, sender);
                    return Ok(answer);
                }
                // The peer closed a kept connection before it saw the request: every client asks again.
                Err(error) if reused && (error.is_canceled() || error.is_incomplete_message()) => {}
                Err(error) => return Err(error).context("send HTTP/1.1 request"),
            }
        }
    }

    async fn send_http2(
        &self,
        address: &str,
        method: &str,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer> {
        let pooled =
            self.http2.lock().expect("no panic holds the pool").get(address).filter(|kept| !kept.is_closed()).cloned();
        let mut sender = match pooled {
            Some(sender) => sender,
            None => {
                let sender = connect_http2(address).await?;
                self.http2.lock().expect("no panic holds the pool").insert(address.to_owned(), sender.clone());
                sender
            }
        };
        let mut request = Request::builder().method(method).uri(uri.clone()).body(Full::new(body))?;
        *request.headers_mut() = headers;
        collect(sender.send_request(request).await.context("send HTTP/2 request")?).await
    }

    fn idle(&self, address: &str) -> Option<Http1> {
        let mut pool = self.http1.lock().expect("no panic holds the pool");
        let idle = pool.get_mut(address)?;
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, address: &str, sender: Http1) {
        let mut pool = self.http1.lock().expect("no panic holds the pool");
        let idle = pool.entry(address.to_owned()).or_default();
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push(sender);
        }
    }
}

fn with_port(host: &str, uri: &Uri) -> String {
    match uri.port_u16() {
        Some(_) => host.to_owned(),
        None => format!("{host}:80"),
    }
}

async fn connect(address: &str) -> Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

async fn connect_http1(address: &str) -> Result<Http1> {
    let (sender, connection) = http1::handshake(connect(address).await?).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn connect_http2(address: &str) -> Result<Http2> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), connect(address).await?).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn collect(response: hyper::Response<hyper::body::Incoming>) -> Result<Answer> {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.context("read the answer's body")?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
}
