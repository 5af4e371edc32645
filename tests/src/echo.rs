//! The application of the tests: answers its chain, `Agray[10.1.0.11] -> Bgray[10.1.0.13] -> C[10.1.0.14]`.
//!
//! It says its own name, calls the next service, and appends that answer. Of the request it forwards only the headers that
//! it was told to, so that what reaches the next service is the sidecar's work. HTTP/1.1, HTTP/2 with prior knowledge
//! and gRPC on one port. Run by `laneway-echo`, and in process by tests.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Answer, Client, Speech};
use crate::grpc;

/// The gRPC method that stands for "answer your chain".
pub const CHAIN_METHOD: &str = "/laneway.tests.v1.Echo/Chain";
/// Bytes of one chunk of `/chunked/N`.
const CHUNK_BYTES: usize = 1024;

/// Who the application is and whom it calls.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Name in the chain, as `A`
    #[arg(long, env = "NAME", default_value = "A")]
    pub name: String,
    /// Appended to the name, as `gray`
    #[arg(long, env = "TAG", default_value = "")]
    pub tag: String,
    /// Own address in the chain
    #[arg(long, env = "ADDRESS", default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// The service that is called before answering, as `http://sc-b:20002/b`; empty: the chain ends here
    #[arg(long, env = "NEXT", default_value = "")]
    pub next: String,
    /// Where the call is sent instead of to its host: the sidecar, where nothing redirects
    #[arg(long, env = "VIA", default_value = "")]
    pub via: String,
    /// How it is called
    #[arg(long, env = "NEXT_SPEECH", value_enum, default_value = "http1")]
    pub next_speech: Speech,
    /// Headers that are forwarded to it, separated by commas
    #[arg(long, env = "FORWARD", default_value = "x-mse-tag", value_delimiter = ',')]
    pub forward: Vec<String>,
    /// A bad version: it answers its chain with this status; 0: as it went
    #[arg(long, env = "FAIL", default_value_t = 0)]
    pub fail: u16,
}

type Body = BoxBody<Bytes, Infallible>;

/// A running application.
pub struct Echo {
    config: Config,
    forward: Vec<HeaderName>,
    client: Client,
}

impl Echo {
    pub fn new(config: Config) -> Result<Arc<Self>> {
        let forward = config.forward.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
        let forward = forward.map(|name| name.parse().with_context(|| format!("forward: `{name}` is no header name")));
        Ok(Arc::new(Self { forward: forward.collect::<Result<_>>()?, config, client: Client::default() }))
    }

    /// Serves every connection of a listener, for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // Too many open files and the like: the next accept may do.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            tokio::spawn(Arc::clone(&self).connection(stream, peer));
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let echo = Arc::clone(&self);
            async move { Ok::<_, Infallible>(echo.answer(request, peer).await) }
        });
        // A peer that hangs up is no matter of ours.
        let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let path = request.uri().path().to_owned();
        let mut steps = path.trim_matches('/').splitn(2, '/');
        let (verb, argument) = (steps.next().unwrap_or(""), steps.next().unwrap_or(""));
        match verb {
            _ if grpc => {
                let (status, text) = self.chain(&request).await;
                grpc_answer(status, &text)
            }
            "echo" => echo(request, peer).await,
            "status" => plain(status_of(argument), &format!("{}\n", self.own_name())),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(argument.parse().unwrap_or(0).min(60_000))).await;
                plain(StatusCode::OK, &format!("{}\n", self.own_name()))
            }
            "chunked" => chunked(argument.parse().unwrap_or(1).min(100_000)),
            "bytes" => plain(StatusCode::OK, &"x".repeat(argument.parse().unwrap_or(1).min(64 << 20))),
            _ => {
                let (status, text) = self.chain(&request).await;
                plain(status, &format!("{text}\n"))
            }
        }
    }

    /// Own name, then what the next service answers.
    async fn chain(&self, request: &Request<Incoming>) -> (StatusCode, String) {
        if let Ok(status) = StatusCode::from_u16(self.config.fail) {
            return (status, self.own_name());
        }
        let asked = |key: &str| request.uri().query()?.split('&').find_map(|part| part.strip_prefix(key));
        // The number of an order is named by everybody whom it reaches, so that no answer can belong to another request.
        let order = asked("order=");
        let own = match order {
            Some(order) => format!("{}{}[{} {order}]", self.config.name, self.config.tag, self.config.address),
            None => self.own_name(),
        };
        // A test may send a request elsewhere than the environment says: `?next=http://10.96.0.12:20002/b`.
        let next = asked("next=").unwrap_or(&self.config.next);
        if next.is_empty() {
            return (StatusCode::OK, own);
        }
        let next = match order {
            Some(order) => format!("{next}?order={order}"),
            None => next.to_owned(),
        };
        match self.call(&next, request.headers()).await {
            Ok(answer) => {
                match (answer.status, answer.headers.get("grpc-status").or(answer.trailers.get("grpc-status"))) {
                    (StatusCode::OK, Some(code)) if code != "0" => {
                        (StatusCode::BAD_GATEWAY, format!("{own} -> grpc-status {code:?} {}", refusal(&answer)))
                    }
                    (StatusCode::OK, _) => {
                        let text =
                            if self.config.next_speech == Speech::Grpc { grpc::text(&answer.body) } else { None };
                        (StatusCode::OK, format!("{own} -> {}", text.unwrap_or_else(|| answer.text())))
                    }
                    (status, _) => (status, format!("{own} -> {} {}", status.as_u16(), refusal(&answer))),
                }
            }
            Err(error) => (StatusCode::BAD_GATEWAY, format!("{own} -> {error:#}")),
        }
    }

    async fn call(&self, next: &str, incoming: &HeaderMap) -> Result<Answer> {
        let mut uri: Uri = next.parse().with_context(|| format!("next: `{next}` is no address"))?;
        let mut headers = HeaderMap::new();
        for name in &self.forward {
            for value in incoming.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        let speech = self.config.next_speech;
        if speech != Speech::Grpc {
            return self.send("GET", &uri, headers, Bytes::new()).await;
        }
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(CHAIN_METHOD.parse()?);
        uri = Uri::from_parts(parts)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("te", HeaderValue::from_static("trailers"));
        self.send("POST", &uri, headers, grpc::message("")).await
    }

    async fn send(&self, method: &str, uri: &Uri, headers: HeaderMap, body: Bytes) -> Result<Answer> {
        let speech = self.config.next_speech;
        match self.config.via.as_str() {
            "" => self.client.send(speech, method, uri, headers, body).await,
            via => self.client.send_to(via, speech, method, uri, headers, body).await,
        }
    }

    fn own_name(&self) -> String {
        format!("{}{}[{}]", self.config.name, self.config.tag, self.config.address)
    }
}

/// A listener that takes an address again at once, and an IPv6 address without the IPv4 beside it.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("listen on {address}"))?;
    socket.listen(1024)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// What the refused call said: the sidecar's own header, else the body.
fn refusal(answer: &Answer) -> String {
    match answer.headers.get("x-laneway-error").or(answer.headers.get("grpc-message")) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => answer.text(),
    }
}

fn status_of(argument: &str) -> StatusCode {
    argument.parse().ok().and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::OK)
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The request as the application saw it: headers in their order, names as they came.
async fn echo(request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
    let (head, body) = request.into_parts();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = body.collect().await;
    let trailers = body.as_ref().ok().and_then(|body| body.trailers()).map_or(0, HeaderMap::len);
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    let text = json!({
        "method": head.method.as_str(), "uri": head.uri.to_string(), "version": format!("{:?}", head.version),
        "peer": peer.to_string(), "headers": headers, "bodyBytes": bytes.len(), "trailers": trailers,
        "body": String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]),
    });
    let mut response = plain(StatusCode::OK, &text.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn chunked(chunks: usize) -> Response<Body> {
    let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
    let frames = (0..chunks).map(move |_| Ok::<_, Infallible>(Frame::data(chunk.clone())));
    Response::new(BodyExt::boxed(StreamBody::new(Iterate(frames))))
}

fn grpc_answer(status: StatusCode, text: &str) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    // UNAVAILABLE where the chain broke.
    trailers.insert("grpc-status", HeaderValue::from_static(if status.is_success() { "0" } else { "14" }));
    if !status.is_success() {
        let message: String = text.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').collect();
        trailers.insert("grpc-message", HeaderValue::from_str(&message).expect("printable ASCII is a header value"));
    }
    let frames = [Ok::<_, Infallible>(Frame::data(grpc::message(text))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(Iterate(frames.into_iter()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An iterator as a stream: `http-body-util` asks for a stream, and no crate for streams is worth five lines.
struct Iterate<I>(I);

impl<I: Iterator + Unpin> tokio_stream::Stream for Iterate<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}
