//! hyper as a reader: its server for requests, its client for answers, over bytes in memory and without a runtime.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::message::{Field, Framing, Message, Role, Start};

/// What hyper's server saw of a connection.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// With whole bodies, in order.
    pub(crate) requests: Vec<Message>,
    /// A request began and did not become whole, or was none.
    pub(crate) error: Option<String>,
}

/// Gives `bytes` to hyper's server. `is_last`: it reads no second request.
pub(crate) fn serve(bytes: &[u8], is_last: bool) -> Served {
    let served = Rc::new(RefCell::new(Served::default()));
    let service = service_fn(|request: Request<Incoming>| {
        let served = served.clone();
        async move {
            let (head, body) = request.into_parts();
            let target = match (&head.uri.path_and_query(), head.uri.authority()) {
                (Some(path), _) if !path.as_str().is_empty() => path.as_str().to_owned(),
                (_, Some(authority)) => authority.as_str().to_owned(),
                (_, None) => String::new(),
            };
            let start = Start::Request { method: head.method.as_str().to_owned(), target };
            let framing = framing(&body, &head.headers);
            match collect(body).await {
                Ok((body, trailers)) => served.borrow_mut().requests.push(Message {
                    start,
                    authority: head.uri.authority().map_or(String::new(), |authority| authority.as_str().to_owned()),
                    fields: fields(&head.headers),
                    framing,
                    body,
                    trailers,
                    used: 0,
                }),
                Err(error) => served.borrow_mut().error = Some(error.to_string()),
            }
            let mut answer = Response::new(Empty::<Bytes>::new());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.half_close(true).keep_alive(!is_last);
    match run(builder.serve_connection(Wire::new(bytes), service)) {
        Some(Ok(())) => {}
        Some(Err(error)) => served.borrow_mut().error = Some(error.to_string()),
        None => served.borrow_mut().error = Some("stalled".to_owned()),
    }
    served.take()
}

/// Gives `bytes` to hyper's client as the answer to a request.
pub(crate) fn answer(role: Role, bytes: &[u8]) -> Result<Message, String> {
    let mut wire = Wire::new(bytes);
    // What comes before a request was sent is an error of its own.
    wire.is_held = true;
    let conversation = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(wire).await.map_err(|error| error.to_string())?;
        let mut connection = pin!(connection);
        let (method, target) = match role {
            Role::ResponseToHead => ("HEAD", "/"),
            Role::ResponseToConnect => ("CONNECT", "h:1"),
            Role::Request | Role::Response => ("GET", "/"),
        };
        let request = Request::builder().method(method).uri(target).header("host", "h");
        let request = request.body(Empty::<Bytes>::new()).expect("it is well formed");
        let mut exchange = pin!(async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let start = Start::Response { status: head.status.as_u16() };
            let framing = framing(&body, &head.headers);
            let (body, trailers) = collect(body).await?;
            let fields = fields(&head.headers);
            Ok(Message { start, authority: String::new(), fields, framing, body, trailers, used: 0 })
        });
        let mut is_over = false;
        std::future::poll_fn(|context| {
            is_over = is_over || connection.as_mut().poll(context).is_ready();
            exchange.as_mut().poll(context)
        })
        .await
        .map_err(|error: hyper::Error| error.to_string())
    };
    run(conversation).unwrap_or_else(|| Err("stalled".to_owned()))
}

async fn collect(mut body: Incoming) -> hyper::Result<(Vec<u8>, Vec<Field>)> {
    let (mut data, mut trailers) = (Vec::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers.extend(frame.trailers_ref().map(fields).unwrap_or_default()),
        }
    }
    Ok((data, trailers))
}

/// What hyper shows of it; until close looks like chunked but for the header.
fn framing(body: &Incoming, headers: &HeaderMap) -> Framing {
    match body.size_hint().exact() {
        Some(0) => Framing::None,
        Some(length) => Framing::Exact(length),
        None if headers.contains_key("transfer-encoding") => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

fn fields(headers: &HeaderMap) -> Vec<Field> {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// Bytes to read and then the end of the connection; what is written is lost.
struct Wire {
    bytes: Bytes,
    is_held: bool,
}

impl Wire {
    fn new(bytes: &[u8]) -> Wire {
        Wire { bytes: Bytes::copy_from_slice(bytes), is_held: false }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_held {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = into.remaining().min(self.bytes.len());
        into.put_slice(&self.bytes.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_held = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Set when somebody wants to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Everything a future waits for is in memory, so it either gets on or never will: none.
fn run<F: Future>(future: F) -> Option<F::Output> {
    const POLLS_MAX: usize = 100_000;
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut future = pin!(future);
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        if !woken.0.swap(false, Ordering::Relaxed) {
            return None;
        }
    }
    None
}
