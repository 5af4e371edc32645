//! Heads and bodies as the data path sees them, and the serving of one client connection: the seam that hides hyper.
//!
//! inbound and outbound are called with a [`Request`] and answer with a [`Response`]; they never see a connection.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use http::{StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use laneway_proto::contract;

use super::failure::Failure;
use super::interim::Interim;
use super::io::{Activity, CoarseClock, Io};

pub(crate) type Request = http::Request<Body>;
pub(crate) type Response = http::Response<Body>;

/// Streams of one client connection that run at a time (RFC 9113 section 6.5.2).
const STREAMS_MAX: u32 = 256;
/// Bytes of a header list after decompression, and of a head in HTTP/1.
pub(crate) const HEADER_BYTES_MAX: u32 = 64 << 10;

/// A body on its way; what it holds is released when it ends or is given up.
pub(crate) struct Body {
    source: Source,
    lease: Option<Box<dyn Lease>>,
    _running: Option<Running>,
    holds: Vec<Box<dyn Hold>>,
}

/// What an answer is read from. Dropped with the body; told first if that was read to its end.
pub(crate) trait Lease {
    fn finish(&mut self);
}

/// Something that lasts as long as a request does.
pub(crate) trait Hold {}
impl<T> Hold for T {}

enum Source {
    Empty,
    Text(Bytes),
    Stream(Incoming),
    /// The sender waits for `100 Continue`: nothing is read of it until the peer has said so.
    Expecting(Incoming, Arc<Continue>),
}

/// Whether the peer has asked for the body (RFC 9110 section 10.1.1).
#[derive(Default)]
pub(crate) struct Continue {
    // A mutex, because hyper's callback for 1xx answers must be `Sync`; one thread uses it.
    state: Mutex<(Expectation, Option<Waker>)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Expectation {
    #[default]
    Waiting,
    /// The peer said 100, or nothing for too long: send.
    Met,
    /// The peer gave its final answer without asking: never send.
    Declined,
}

impl Continue {
    /// The first answer holds.
    pub(crate) fn settle(&self, answer: Expectation) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == Expectation::Waiting {
            state.0 = answer;
        }
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 == Expectation::Met
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Expectation> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 == Expectation::Waiting {
            state.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.0)
    }
}

impl Body {
    fn of(source: Source) -> Body {
        Body { source, lease: None, _running: None, holds: Vec::new() }
    }

    pub(crate) fn empty() -> Body {
        Body::of(Source::Empty)
    }

    pub(crate) fn text(text: impl Into<Bytes>) -> Body {
        Body::of(Source::Text(text.into()))
    }

    fn stream(incoming: Incoming) -> Body {
        Body::of(Source::Stream(incoming))
    }

    /// An answer from an instance, with what it is read from.
    pub(crate) fn answer(incoming: Incoming, lease: Box<dyn Lease>) -> Body {
        let mut body = Body::stream(incoming);
        body.lease = Some(lease);
        body
    }

    /// Not read before `until` says so.
    pub(crate) fn expecting(&mut self, until: Arc<Continue>) {
        self.source = match std::mem::replace(&mut self.source, Source::Empty) {
            Source::Stream(incoming) => Source::Expecting(incoming, until),
            other => other,
        };
    }

    /// Keeps `hold` until the body has ended or was given up.
    pub(crate) fn hold(&mut self, hold: impl Hold + 'static) {
        self.holds.push(Box::new(hold));
    }

    fn finish(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.finish();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A body that nobody had to poll (HEAD, 204, length 0) has ended all the same.
        if self.lease.is_some() && self.is_end_stream() {
            self.finish();
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let incoming = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Text(text) => {
                let text = std::mem::take(text);
                this.source = Source::Empty;
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            Source::Expecting(incoming, until) => {
                if ready!(until.poll(cx)) == Expectation::Declined {
                    return Poll::Ready(None);
                }
                incoming
            }
            Source::Stream(incoming) => incoming,
        };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if frame.is_none() {
            this.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Text(text) => text.is_empty(),
            Source::Stream(incoming) | Source::Expecting(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Stream(incoming) | Source::Expecting(incoming, _) => incoming.size_hint(),
        }
    }
}

/// The sidecar's own answer: why there is none from an application. gRPC callers get their own kind of error.
pub(crate) fn refusal(failure: Failure, service: &str, is_grpc: bool) -> Response {
    let reason = failure.header_value(service);
    let mut response = if is_grpc {
        // Trailers-only (the gRPC protocol over HTTP/2); 14 is UNAVAILABLE.
        let mut response = http::Response::new(Body::empty());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
        response.headers_mut().insert("grpc-message", reason.clone());
        response
    } else {
        let mut text = reason.to_str().unwrap_or(failure.label()).to_owned();
        text.push('\n');
        let mut response = http::Response::new(Body::empty());
        *response.status_mut() = failure.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        *response.body_mut() = Body::text(text);
        response
    };
    response.headers_mut().insert(contract::ERROR_HEADER, reason);
    response
}

/// Is it gRPC (the gRPC protocol over HTTP/2: content-type begins with `application/grpc`)?
pub(crate) fn is_grpc(headers: &http::HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return false };
    let value = value.as_bytes();
    value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+' | b';'))
}

/// What a client connection is told from outside while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Nothing.
    Run,
    /// Finish what runs, then close.
    Finish,
    /// Close now.
    Cut,
}

/// A client connection as the sweeper and the drain see it.
pub(crate) struct Connection {
    pub(crate) activity: Arc<Activity>,
    pub(crate) is_http2: bool,
    /// Interim answers on their way to the client; HTTP/1.1 only.
    pub(crate) interim: Option<Interim>,
    command: Cell<Command>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(crate) fn new(is_http2: bool, clock: &CoarseClock) -> Connection {
        let activity = Arc::new(Activity::default());
        activity.idle_since.store(clock.seconds(), Relaxed);
        let interim = (!is_http2).then(Interim::default);
        Connection { activity, is_http2, interim, command: Cell::new(Command::Run), waker: RefCell::new(None) }
    }

    pub(crate) fn tell(&self, command: Command) {
        if self.command.get() != command && self.command.get() != Command::Cut {
            self.command.set(command);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    fn listen(&self, cx: &Context<'_>) -> Command {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.command.get()
    }
}

/// Marks one request of a connection as running.
struct Running {
    activity: Arc<Activity>,
    clock: CoarseClock,
}

impl Running {
    fn begin(activity: &Arc<Activity>, clock: &CoarseClock) -> Running {
        activity.streams.fetch_add(1, Relaxed);
        activity.head_since.store(0, Relaxed);
        Running { activity: Arc::clone(activity), clock: clock.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.streams.fetch_sub(1, Relaxed);
        self.activity.idle_since.store(self.clock.seconds(), Relaxed);
    }
}

/// Serves one client connection until it ends. `answer` is called for each request; `is_draining` is asked after each.
pub(crate) async fn serve<A, F>(
    io: Io,
    connection: Rc<Connection>,
    clock: CoarseClock,
    is_draining: impl Fn() -> bool,
    answer: A,
) -> Result<(), hyper::Error>
where
    A: Fn(Request) -> F,
    F: Future<Output = Response> + 'static,
{
    let is_http2 = connection.is_http2;
    let activity = Arc::clone(&connection.activity);
    let interim = connection.interim.clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let running = Running::begin(&activity, &clock);
        let version = request.version();
        let closes = !is_http2 && is_draining();
        if let (Some(interim), Version::HTTP_11) = (&interim, version) {
            request.extensions_mut().insert(interim.clone());
        }
        let answering = answer(request.map(Body::stream));
        async move {
            let mut response = answering.await;
            if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
            }
            // The version of the hop that the answer came over is not that of this one.
            *response.version_mut() = if version == Version::HTTP_2 { version } else { Version::HTTP_11 };
            response.body_mut()._running = Some(running);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    if is_http2 {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADER_BYTES_MAX).auto_date_header(false);
        let mut driven = pin!(builder.serve_connection(io, service));
        return poll_fn(|cx| {
            match connection.listen(cx) {
                Command::Run => {}
                Command::Finish => driven.as_mut().graceful_shutdown(),
                Command::Cut => return Poll::Ready(Ok(())),
            }
            driven.as_mut().poll(cx)
        })
        .await;
    }
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .half_close(true)
        .auto_date_header(false)
        .max_header_size(HEADER_BYTES_MAX as usize);
    let mut driven = pin!(builder.serve_connection(io, service).with_upgrades());
    poll_fn(|cx| {
        match connection.listen(cx) {
            Command::Run => {}
            Command::Finish => driven.as_mut().graceful_shutdown(),
            Command::Cut => return Poll::Ready(Ok(())),
        }
        driven.as_mut().poll(cx)
    })
    .await
}

/// Runs hyper's own tasks on the worker's thread.
#[derive(Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// `:authority`, the authority of an absolute form, or Host.
pub(crate) fn authority(request: &Request) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(""),
    }
}
