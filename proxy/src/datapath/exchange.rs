//! Carries one request to an instance and its answer back, over HTTP/1.1 or HTTP/2 on either side, both ways at a time. Driven by
//! who serves the client's connection (`serve1`, `serve2`), which opens and keeps connections; decides nothing.
//!
//! ```text
//!  client ── up: request body ──▶ instance
//!  client ◀── down: interim answers, head, body ── instance
//! ```

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use laneway_proto::contract::PATH_HEADER;

use super::account::Moved;
use super::attempts::is_gateway_error;
use super::buffers;
use super::deadline::Progress;
use super::failure::Failure;
use super::head_reader::{HeadReader, Heard};
use super::link::Answer;
use super::path::{Line, Path};
use super::pipe::{Broken, Incoming, Pipe, Sink, Source, grpc_status};
use super::pool::Conn;
use super::propagate::Names;
use super::retry::Reach;
use super::translate::{self, Framing, Persistence};
use super::wire::Wire;
use crate::h1::body::Decoder;
use crate::h1::{Parsed, Reason, request, response};

/// Interim answers to one request. 102 comes every twenty seconds or so for as long as a request runs.
const INTERIMS_MAX: u32 = 100;
/// Of interim answers, what may wait for a client that does not read; then the instance is not read either.
const INTERIM_UNSENT_BYTES_MAX: usize = 64 << 10;

/// What of a request its answer depends on.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) is_connect: bool,
    pub(crate) is_upgrade: bool,
    /// By HTTP/1.0.
    pub(crate) is_old: bool,
    /// The client wants no other answer on this connection, or we do not.
    pub(crate) closes: bool,
    pub(crate) expects_continue: bool,
    /// Doing it twice does what doing it once does (RFC 9110 section 9.2.2).
    pub(crate) is_idempotent: bool,
    /// An answer of 502, 503 or 504 is to be held back: another instance may do better.
    pub(crate) holds_gateway_errors: bool,
}

/// The client's side.
pub(crate) enum Client<'c> {
    One(&'c mut Wire),
    Two(&'c mut SendResponse<Bytes>),
}

/// The instance's side.
pub(crate) enum Instance {
    One(Box<Conn>),
    Two(Box<Answer>),
    /// Given back to the pool.
    Gone,
}

pub(crate) struct Exchange {
    asked: Asked,
    pub(crate) instance: Instance,
    up: Pipe,
    upward: Upward,
    reader: HeadReader,
    interims: u32,
    names: Rc<Names>,
    path: Option<Rc<Path>>,
    down: Option<Pipe>,
    /// An answer of HTTP/2 that is held back; one of HTTP/1.1 waits in its connection.
    held: Option<Box<http::Response<RecvStream>>>,
    /// Of the answer; 0: there is none yet.
    status: u16,
    /// As said in the head of the answer.
    closes: bool,
    instance_closes: bool,
    is_tunnel: bool,
}

/// How far the request is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upward {
    Running,
    Whole,
    /// The instance takes no more of it; it may have answered for all that.
    GivenUp,
}

/// The answer was given, whole.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Done {
        client_persists: bool,
        instance_persists: bool,
    },
    /// Both sides speak something else from here.
    Tunnel,
}

pub(crate) enum Failed {
    /// The client knows nothing yet, and can be told.
    Before { failure: Failure, reach: Reach },
    /// The instance says that it cannot answer; the client knows nothing yet. It gets the answer if the exchange
    /// goes on.
    Held,
    /// A time limit was passed in the middle of the answer.
    Late(Failure),
    /// In the middle of the answer: what is left is to make the end seen.
    Within(Reason),
    /// The client itself has gone.
    ClientGone,
}

impl Asked {
    pub(crate) fn of_http1(request: &request::Request<'_, '_>, is_ending: bool) -> Asked {
        Asked {
            is_head: request.method == "HEAD",
            is_connect: request.is_connect(),
            is_upgrade: request.is_upgrade(),
            is_old: request.is_old,
            closes: request.closes() || is_ending,
            expects_continue: request.fields.summary().expects_continue,
            is_idempotent: is_idempotent(request.method),
            holds_gateway_errors: false,
        }
    }

    pub(crate) fn of_http2(request: &http::Request<()>) -> Asked {
        Asked {
            is_head: *request.method() == http::Method::HEAD,
            is_connect: *request.method() == http::Method::CONNECT,
            is_upgrade: false,
            is_old: false,
            closes: false,
            expects_continue: false,
            is_idempotent: is_idempotent(request.method().as_str()),
            holds_gateway_errors: false,
        }
    }
}

fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE")
}

impl Exchange {
    /// `up` has begun: the head of the request was given to the instance.
    pub(crate) fn new(
        asked: Asked,
        instance: Instance,
        up: Pipe,
        names: Rc<Names>,
        path: Option<Rc<Path>>,
    ) -> Exchange {
        Exchange {
            asked,
            instance,
            up,
            upward: Upward::Running,
            reader: HeadReader::default(),
            interims: 0,
            names,
            path,
            down: None,
            held: None,
            status: 0,
            closes: asked.closes,
            instance_closes: false,
            is_tunnel: false,
        }
    }

    /// The connection to the instance, when the exchange has ended.
    pub(crate) fn take_conn(&mut self) -> Option<Box<Conn>> {
        match std::mem::replace(&mut self.instance, Instance::Gone) {
            Instance::One(conn) => Some(conn),
            Instance::Two(_) | Instance::Gone => None,
        }
    }

    /// The answer is the last on the client's connection, if its head has not said otherwise yet.
    pub(crate) fn close_after(&mut self) {
        self.asked.closes = true;
    }

    /// Nothing of the body of the request is lost yet.
    pub(crate) fn is_body_at_hand(&self) -> bool {
        self.up.is_at_hand()
    }

    /// The body from its beginning, where it is at hand: for another try.
    pub(crate) fn into_body(self) -> Source {
        self.up.into_source()
    }

    /// The client gets the answer, whatever it is.
    pub(crate) fn let_go(&mut self) {
        self.asked.holds_gateway_errors = false;
    }

    /// An answer over HTTP/2 that has begun ends with these trailers. False: it cannot.
    pub(crate) fn end_with(&mut self, trailers: http::HeaderMap) -> bool {
        self.down.as_mut().is_some_and(|down| down.end_with(trailers))
    }

    /// For who watches the time.
    pub(crate) fn progress(&self) -> Progress {
        let moved = self.moved();
        Progress {
            is_request_whole: self.upward != Upward::Running,
            is_answered: self.down.is_some(),
            moved: moved.request_bytes + moved.response_bytes + u64::from(self.interims),
        }
    }

    /// For who counts.
    pub(crate) fn moved(&self) -> Moved {
        Moved {
            status: self.status,
            grpc_status: self.down.as_ref().and_then(|down| down.grpc_status),
            request_bytes: self.up.moved_bytes,
            response_bytes: self.down.as_ref().map_or(0, |down| down.moved_bytes),
        }
    }

    /// Bytes of both bodies.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.up.moved_bytes + self.down.as_ref().map_or(0, |down| down.moved_bytes)
    }

    /// Is it a client of HTTP/1.1 that has to send, or to take, for anything to go on? Not while the instance takes no more, nor while
    /// the client waits to be told to send (RFC 9110 section 10.1.1).
    pub(crate) fn waits_for_client(&self, wire: &Wire) -> bool {
        if wire.unsent_bytes() > 0 {
            return true;
        }
        let instance_takes = match &self.instance {
            Instance::One(conn) => conn.wire.unsent_bytes() == 0,
            Instance::Two(_) => self.up.is_starving,
            Instance::Gone => false,
        };
        let may_send = !self.asked.expects_continue || self.interims > 0;
        self.upward == Upward::Running && self.down.is_none() && instance_takes && may_send
    }

    /// Moves what can be moved; ready when the answer is whole, or cannot be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<End, Failed>> {
        if self.upward == Upward::Running {
            match self.up.poll(cx, client.wire(), self.instance.wire()) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.upward = Upward::Whole,
                Poll::Ready(Err(Broken::Sink | Broken::Untaken)) => self.upward = Upward::GivenUp,
                Poll::Ready(Err(Broken::Source(reason))) => return Poll::Ready(Err(self.bad_request(reason))),
            }
        }
        while self.down.is_none() {
            if self.interims > 0
                && let Client::One(wire) = client
                && wire.unsent_bytes() > 0
            {
                match wire.poll_flush(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::ClientGone)),
                    Poll::Pending if wire.unsent_bytes() > INTERIM_UNSENT_BYTES_MAX => return Poll::Pending,
                    Poll::Pending | Poll::Ready(Ok(())) => {}
                }
            }
            let answered = match self.instance {
                Instance::One(_) => self.poll_head_1(cx, client),
                Instance::Two(_) | Instance::Gone => self.poll_head_2(cx, client),
            };
            match answered {
                Poll::Ready(answered) => answered?,
                Poll::Pending => return self.poll_client(cx, client),
            }
        }
        let Some(down) = &mut self.down else { return Poll::Pending };
        match down.poll(cx, self.instance.wire(), client.wire()) {
            Poll::Pending => self.poll_client(cx, client),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(self.end())),
            Poll::Ready(Err(Broken::Sink | Broken::Untaken)) => Poll::Ready(Err(Failed::ClientGone)),
            Poll::Ready(Err(Broken::Source(reason))) => Poll::Ready(Err(Failed::Within(reason))),
        }
    }

    fn end(&self) -> End {
        if self.is_tunnel {
            return End::Tunnel;
        }
        let is_whole = self.upward == Upward::Whole;
        End::Done { client_persists: is_whole && !self.closes, instance_persists: is_whole && !self.instance_closes }
    }

    fn bad_request(&self, reason: Reason) -> Failed {
        match (reason, &self.down) {
            (_, Some(_)) => Failed::Within(reason),
            (Reason::Truncated, None) => Failed::ClientGone,
            (_, None) => Failed::Before { failure: Failure::BadRequest(reason), reach: Reach::Final },
        }
    }

    /// While the instance is waited for: has the client gone? While its body is moved, moving finds out.
    fn poll_client(&self, cx: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<End, Failed>> {
        match client {
            Client::One(wire) if self.upward != Upward::Running => {
                wire.poll_broken(cx).map(|_| Err(Failed::ClientGone))
            }
            Client::Two(send) if self.down.is_none() => send.poll_reset(cx).map(|_| Err(Failed::ClientGone)),
            Client::One(_) | Client::Two(_) => Poll::Pending,
        }
    }

    /// The next head that an instance of HTTP/1.1 sends: interim, or the answer's.
    fn poll_head_1(&mut self, cx: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<(), Failed>> {
        let Exchange { asked, instance, reader, upward, interims, names, path, .. } = self;
        let Instance::One(conn) = instance else { return Poll::Pending };
        let heard = ready!(reader.poll(cx, &mut conn.wire, |bytes| {
            buffers::with_slots(|slots| match response::parse(bytes, slots, asked.is_head, asked.is_connect) {
                Err(reason) => Some((bytes.len(), Err(Deliver::Upstream(reason)))),
                Ok(Parsed::Partial) => None,
                Ok(Parsed::Whole(response)) if response.is_interim() => {
                    *interims += 1;
                    let delivered = if *interims > INTERIMS_MAX {
                        Err(Deliver::Upstream(Reason::InterimFlood))
                    } else {
                        deliver_interim_1(&response, asked, client).map(|()| None)
                    };
                    Some((response.bytes, delivered))
                }
                // Nothing of it is used up: it is read again when it is let go.
                Ok(Parsed::Whole(response)) if asked.holds_gateway_errors && is_gateway_error(response.status) => {
                    Some((0, Err(Deliver::Held)))
                }
                Ok(Parsed::Whole(response)) => {
                    let closes = asked.closes || (asked.expects_continue && *interims == 0 && *upward != Upward::Whole);
                    let theirs = || response.fields.line(PATH_HEADER, 0).map(<[u8]>::to_vec);
                    let path = Path::line(path.as_deref(), theirs);
                    Some(match deliver_1(&response, bytes, Asked { closes, ..*asked }, client, names, &path) {
                        Ok((used, delivered)) => (used, Ok(Some(delivered))),
                        Err(broken) => (bytes.len(), Err(broken)),
                    })
                }
            })
        }));
        let reach = match *interims == 0 && !reader.has_begun() {
            true if conn.is_used => Reach::Unanswered,
            true => Reach::Dropped,
            false => Reach::Unknown,
        };
        match heard {
            Ok(Heard::Head(delivered)) => Poll::Ready(self.delivered(delivered)),
            Ok(Heard::End | Heard::EndInside) | Err(_) => {
                Poll::Ready(Err(Failed::Before { failure: Failure::UpstreamClosed, reach }))
            }
        }
    }

    /// The same of an instance of HTTP/2.
    fn poll_head_2(&mut self, cx: &mut Context<'_>, client: &mut Client<'_>) -> Poll<Result<(), Failed>> {
        if let Some(response) = self.held.take() {
            return Poll::Ready(self.deliver_2(*response, client));
        }
        let Instance::Two(answer) = &mut self.instance else { return Poll::Pending };
        if let Poll::Ready(Some(Ok(interim))) = answer.poll_informational(cx) {
            self.interims += 1;
            let delivered = if self.interims > INTERIMS_MAX {
                Err(Deliver::Upstream(Reason::InterimFlood))
            } else {
                deliver_interim_2(interim, &self.asked, client).map(|()| None)
            };
            return Poll::Ready(self.delivered(delivered));
        }
        match ready!(answer.poll(cx)) {
            Ok(response) if self.asked.holds_gateway_errors && is_gateway_error(response.status().as_u16()) => {
                self.held = Some(Box::new(response));
                Poll::Ready(Err(Failed::Held))
            }
            Ok(response) => Poll::Ready(self.deliver_2(response, client)),
            Err(error) => {
                let (failure, reach) = answer.lost(&error);
                let reach = if self.interims == 0 { reach } else { Reach::Unknown };
                Poll::Ready(Err(Failed::Before { failure, reach }))
            }
        }
    }

    fn deliver_2(&mut self, response: http::Response<RecvStream>, client: &mut Client<'_>) -> Result<(), Failed> {
        let theirs = || response.headers().get(PATH_HEADER).map(|value| value.as_bytes().to_vec());
        let path = Path::line(self.path.as_deref(), theirs);
        let delivered = deliver_2(response, self.asked, client, &self.names, &path).map(Some);
        self.delivered(delivered)
    }

    fn delivered(&mut self, delivered: Result<Option<Delivered>, Deliver>) -> Result<(), Failed> {
        match delivered {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => {
                self.status = answer.status;
                self.closes = answer.closes;
                self.instance_closes = answer.instance_closes;
                self.is_tunnel = answer.is_tunnel;
                self.down = Some(answer.down);
                Ok(())
            }
            Err(Deliver::Upstream(reason)) => {
                Err(Failed::Before { failure: Failure::UpstreamProtocol(reason), reach: Reach::Unknown })
            }
            Err(Deliver::Held) => Err(Failed::Held),
            Err(Deliver::Within(reason)) => Err(Failed::Within(reason)),
            Err(Deliver::Client) => Err(Failed::ClientGone),
        }
    }
}

impl Client<'_> {
    fn wire(&mut self) -> Option<&mut Wire> {
        match self {
            Client::One(wire) => Some(wire),
            Client::Two(_) => None,
        }
    }
}

impl Instance {
    fn wire(&mut self) -> Option<&mut Wire> {
        match self {
            Instance::One(conn) => Some(&mut conn.wire),
            Instance::Two(_) | Instance::Gone => None,
        }
    }
}

/// The head of the answer is on its way to the client.
struct Delivered {
    down: Pipe,
    status: u16,
    closes: bool,
    instance_closes: bool,
    is_tunnel: bool,
}

/// Why a head could not be delivered.
enum Deliver {
    /// The instance said what is no answer.
    Upstream(Reason),
    /// It says that it cannot, and nothing was delivered.
    Held,
    /// The same as `Upstream`, of the first bytes of the body, when the head had gone.
    Within(Reason),
    Client,
}

impl From<Broken> for Deliver {
    fn from(broken: Broken) -> Deliver {
        match broken {
            Broken::Source(reason) => Deliver::Within(reason),
            Broken::Sink | Broken::Untaken => Deliver::Client,
        }
    }
}

/// HTTP/1.0 has none (RFC 9110 section 15.2).
fn deliver_interim_1(
    interim: &response::Response<'_, '_>,
    asked: &Asked,
    client: &mut Client<'_>,
) -> Result<(), Deliver> {
    match client {
        Client::One(_) if asked.is_old => Ok(()),
        Client::One(wire) => {
            let mut head = buffers::take();
            translate::response_1_to_1(interim, Framing::Plain, Persistence::Silent, false, &Line::AsItCame, &mut head);
            let sent = wire.send(&[&head]);
            buffers::give(head);
            sent.map_err(|_| Deliver::Client)
        }
        Client::Two(send) => {
            let head = translate::response_1_to_2(interim, &Line::AsItCame).map_err(Deliver::Upstream)?;
            send.send_informational(head).map_err(|_| Deliver::Client)
        }
    }
}

fn deliver_interim_2(interim: http::Response<()>, asked: &Asked, client: &mut Client<'_>) -> Result<(), Deliver> {
    match client {
        Client::One(_) if asked.is_old || interim.status() == StatusCode::SWITCHING_PROTOCOLS => Ok(()),
        Client::One(wire) => {
            let mut head = buffers::take();
            translate::response_2_to_1(
                &interim,
                Framing::Plain,
                Persistence::Silent,
                false,
                &Line::AsItCame,
                &mut head,
            );
            let sent = wire.send(&[&head]);
            buffers::give(head);
            sent.map_err(|_| Deliver::Client)
        }
        Client::Two(send) => send.send_informational(interim).map_err(|_| Deliver::Client),
    }
}

fn persistence(asked: Asked, closes: bool) -> Persistence {
    match (closes, asked.is_old) {
        (true, _) => Persistence::Close,
        (false, true) => Persistence::KeepAlive,
        (false, false) => Persistence::Silent,
    }
}

/// Says the head of an answer, and what of `bytes` behind it belongs to its body. Returns how many bytes were used.
fn deliver_1(
    response: &response::Response<'_, '_>,
    bytes: &[u8],
    asked: Asked,
    client: &mut Client<'_>,
    names: &Rc<Names>,
    path: &Line,
) -> Result<(usize, Delivered), Deliver> {
    let is_switch = response.status == 101;
    if is_switch && !asked.is_upgrade {
        return Err(Deliver::Upstream(Reason::UnaskedUpgrade));
    }
    let is_tunnel = is_switch || (asked.is_connect && (200..300).contains(&response.status));
    let decoder = Decoder::from(response.body);
    let rest = if is_tunnel { &[] } else { &bytes[response.bytes..] };
    let instance_closes = response.closes();
    let status = response.status;
    match client {
        Client::One(wire) => {
            // HTTP/1.0 knows no chunks: such a body ends with the connection.
            let (framing, ends_by_close) = match (response.body, asked.is_old) {
                (response::BodyLength::None | response::BodyLength::Exact(_), _) => (Framing::Plain, false),
                (response::BodyLength::Chunked, false) => (Framing::Chunks, false),
                (response::BodyLength::UntilClose, false) => (Framing::NewChunks, false),
                (response::BodyLength::Chunked | response::BodyLength::UntilClose, true) => (Framing::Plain, true),
            };
            let closes = !is_tunnel && (asked.closes || ends_by_close);
            let keeps_encoding = framing == Framing::Chunks || (asked.is_head && !asked.is_old);
            let said = if is_tunnel { Persistence::Silent } else { persistence(asked, closes) };
            let mut head = buffers::take();
            translate::response_1_to_1(response, framing, said, keeps_encoding, path, &mut head);
            let mut down = Pipe::new(Source::Wire(decoder), Sink::Wire(framing), names);
            let pushed = down.push(&head, rest, wire);
            buffers::give(head);
            Ok((response.bytes + pushed?, Delivered { down, status, closes, instance_closes, is_tunnel }))
        }
        Client::Two(send) => {
            let head = translate::response_1_to_2(response, path).map_err(Deliver::Upstream)?;
            let is_end = decoder.is_ended();
            let stream = send.send_response(head, is_end).map_err(|_| Deliver::Client)?;
            let down = Pipe::new(Source::Wire(decoder), stream_or_end(stream, is_end), names);
            Ok((response.bytes, Delivered { down, status, closes: false, instance_closes, is_tunnel: false }))
        }
    }
}

fn deliver_2(
    response: http::Response<RecvStream>,
    asked: Asked,
    client: &mut Client<'_>,
    names: &Rc<Names>,
    path: &Line,
) -> Result<Delivered, Deliver> {
    let (parts, body) = response.into_parts();
    let head = http::Response::from_parts(parts, ());
    let status = head.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Deliver::Upstream(Reason::UnaskedUpgrade));
    }
    let is_end = body.is_end_stream();
    // Without a body, the head is the trailers too.
    let grpc_status = is_end.then(|| grpc_status(head.headers())).flatten();
    let source = Source::Stream(Box::new(Incoming::new(body)));
    let delivered = |mut down: Pipe, closes: bool| {
        down.grpc_status = grpc_status;
        Delivered { down, status: status.as_u16(), closes, instance_closes: false, is_tunnel: false }
    };
    match client {
        Client::One(wire) => {
            let is_bodiless = asked.is_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
            let has_length = head.headers().contains_key(CONTENT_LENGTH);
            let (framing, ends_by_close) = match (is_end || is_bodiless || has_length, asked.is_old) {
                (true, _) => (Framing::Plain, false),
                (false, false) => (Framing::NewChunks, false),
                (false, true) => (Framing::Plain, true),
            };
            let closes = asked.closes || ends_by_close;
            let has_no_length = is_end && !has_length && !is_bodiless;
            let mut text = buffers::take();
            translate::response_2_to_1(&head, framing, persistence(asked, closes), has_no_length, path, &mut text);
            wire.queue(&text);
            buffers::give(text);
            let sink = if is_end || is_bodiless { Sink::Ended } else { Sink::Wire(framing) };
            Ok(delivered(Pipe::new(source, sink, names), closes))
        }
        Client::Two(send) => {
            let stream =
                send.send_response(translate::response_2_to_2(head, path), is_end).map_err(|_| Deliver::Client)?;
            Ok(delivered(Pipe::new(source, stream_or_end(stream, is_end), names), false))
        }
    }
}

pub(crate) fn stream_or_end(stream: SendStream<Bytes>, is_end: bool) -> Sink {
    if is_end { Sink::Ended } else { Sink::Stream(stream) }
}
