//! One client connection of HTTP/1.1: its requests one after the other, each decided, sent and answered; the sidecar's own answers;
//! its end.
//!
//! A request whose instance has an idle connection goes out in the very call that read it: its bytes are written from the buffer
//! that they were read into.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use laneway_core::snapshot::Protocol;

use super::account::Account;
use super::activity::{Command, Connection, Running};
use super::attempts::{Attempts, Lost, means, means_unsent, poll_clock};
use super::buffers;
use super::deadline::{Overrun, Progress};
use super::evidence::InFlightGuard;
use super::exchange::{Asked, Client, End, Exchange, Failed, Instance, stream_or_end};
use super::failure::Failure;
use super::head_reader::{HeadReader, Heard};
use super::headers::is_grpc;
use super::path::Path;
use super::pipe::{Broken, Pipe, Sink, Source};
use super::pool::{Conn, Ending};
use super::propagate::Names;
use super::refusal::Refusal;
use super::relay::Relay;
use super::retry::Reach;
use super::route::{Head, Plan, Route, Verdict};
use super::translate::{self, Framing};
use super::wire::Wire;
use super::worker::Worker;
use crate::h1::body::{Decoder, Piece};
use crate::h1::request::BodyLength;
use crate::h1::{Parsed, Reason, request};
use crate::pressure::Level;

/// A client that we stop listening to may still be sending: what is read over before it is cut, so that it sees our answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// Of the body of a request, what is kept to be said again over another connection, if it came with the head.
const KEPT_BODY_BYTES_MAX: usize = 8 << 10;

/// What one client connection has while it lives.
struct Served {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    route: Rc<dyn Route>,
    wire: Wire,
    reader: HeadReader,
}

/// What a head has led to.
enum Next {
    End,
    Learn(String),
    Refuse(Box<Refused>),
    Run(Box<Job>),
}

/// A request that gets the sidecar's own answer.
struct Refused {
    refusal: Refusal,
    is_head: bool,
    closes: bool,
    /// Of its body, what is missing.
    body: Decoder,
}

/// A request on its way.
struct Job {
    asked: Asked,
    is_grpc: bool,
    body: BodyLength,
    service: Option<Arc<str>>,
    attempts: Attempts,
    /// `None`: it needs a connection.
    sent: Option<Exchange>,
    /// The head for HTTP/1.1, for another try, and the body behind it if `keeps_body`.
    head: Vec<u8>,
    /// The whole body went out with the head, and stands behind it.
    keeps_body: bool,
    /// The head for HTTP/2, for another try.
    translated: Option<Box<http::Request<()>>>,
    names: Rc<Names>,
    path: Option<Rc<Path>>,
    in_flight: Option<InFlightGuard>,
    account: Account,
    _running: Running,
}

/// What becomes of the client connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Persist,
    Close,
    Drop,
}

/// What a request that runs has come to.
enum Outcome {
    Over(After),
    /// It needs a connection to its instance.
    Unconnected,
    Failed(Failure, Reach),
    /// The instance says that it cannot: another may.
    Held(Failure),
    Tunnel,
}

/// Why a tunnel does not go on.
enum Stop {
    Overrun,
    InstanceLeft,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, wire: Wire, connection: Rc<Connection>, route: Rc<dyn Route>) {
    let mut served = Served { worker, connection, route, wire, reader: HeadReader::default() };
    // What is rare is boxed: this future lives as long as its connection, and most of that it rests.
    loop {
        let after = match poll_fn(|cx| served.poll_next(cx)).await {
            Next::End => After::Drop,
            Next::Learn(authority) => {
                Rc::clone(&served.route).learn(authority).await;
                After::Persist
            }
            Next::Refuse(refused) => Box::pin(served.refuse(*refused)).await,
            Next::Run(mut job) => loop {
                match poll_fn(|cx| served.poll_job(cx, &mut job)).await {
                    Outcome::Over(after) => break after,
                    Outcome::Unconnected => {
                        if let Err((failure, reach)) = Box::pin(served.connect(&mut job)).await
                            && !Box::pin(served.goes_again(&mut job, failure, reach)).await
                        {
                            break Box::pin(served.fail(&mut job, failure)).await;
                        }
                    }
                    Outcome::Failed(failure, reach) => {
                        if !Box::pin(served.goes_again(&mut job, failure, reach)).await {
                            break Box::pin(served.fail(&mut job, failure)).await;
                        }
                    }
                    Outcome::Held(failure) => {
                        if !Box::pin(served.goes_again(&mut job, failure, Reach::Held)).await
                            && let Some(exchange) = &mut job.sent
                        {
                            exchange.let_go();
                        }
                    }
                    Outcome::Tunnel => {
                        Box::pin(served.tunnel(&mut job)).await;
                        break After::Drop;
                    }
                }
            },
        };
        match after {
            After::Persist => {}
            After::Close => return Box::pin(served.close()).await,
            After::Drop => return,
        }
    }
}

impl Served {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Served { worker, connection, route, wire, reader } = self;
        let command = connection.listen(cx);
        if command == Command::Cut {
            return Poll::Ready(Next::End);
        }
        let heard = reader.poll(cx, wire, |bytes| {
            buffers::with_slots(|slots| match request::parse(bytes, slots) {
                Ok(Parsed::Partial) => None,
                Ok(Parsed::Whole(request)) => Some(begin(worker, &**route, connection, &request, bytes)),
                Err(reason) => Some((bytes.len(), Next::Refuse(Box::new(unreadable(worker, reason))))),
            })
        });
        match heard {
            Poll::Pending => {
                if reader.has_begun() {
                    connection.head_began();
                } else if command == Command::Finish {
                    // Only now: a request that had come already is answered.
                    return Poll::Ready(Next::End);
                }
                Poll::Pending
            }
            Poll::Ready(Ok(Heard::Head(next))) => Poll::Ready(next),
            Poll::Ready(Ok(Heard::End | Heard::EndInside) | Err(_)) => Poll::Ready(Next::End),
        }
    }

    /// Moves a request that was sent, and its answer.
    fn poll_job(&mut self, cx: &mut Context<'_>, job: &mut Job) -> Poll<Outcome> {
        let Some(exchange) = &mut job.sent else { return Poll::Ready(Outcome::Unconnected) };
        match self.connection.listen(cx) {
            Command::Run => {}
            Command::Announce | Command::Finish => exchange.close_after(),
            Command::Cut => return Poll::Ready(Outcome::Over(After::Drop)),
        }
        let ending = job.attempts.ending();
        if ending != Ending::None {
            exchange.close_after();
        }
        let Poll::Ready(ended) = exchange.poll(cx, &mut Client::One(&mut self.wire)) else {
            if exchange.waits_for_client(&self.wire) {
                self.connection.waits_for_client(exchange.moved_bytes());
            } else {
                self.connection.waits_for_nobody();
            }
            // What is here already has gone its way.
            if ending == Ending::Over {
                job.account.moved(exchange.moved());
                return Poll::Ready(self.instance_left(job));
            }
            let overrun = ready!(job.attempts.poll_overrun(cx, || exchange.progress()));
            job.account.moved(exchange.moved());
            return Poll::Ready(self.overrun(job, overrun));
        };
        let moved = exchange.moved();
        job.account.moved(moved);
        Poll::Ready(match ended {
            Ok(End::Done { client_persists, instance_persists }) => {
                job.attempts.answered(&self.worker, moved);
                if instance_persists && let Some(conn) = exchange.take_conn() {
                    job.attempts.claim.host.put_idle(conn);
                }
                buffers::give(std::mem::take(&mut job.head));
                Outcome::Over(if client_persists { After::Persist } else { After::Close })
            }
            Ok(End::Tunnel) => Outcome::Tunnel,
            Err(Failed::Before { failure, reach }) => Outcome::Failed(failure, reach),
            Err(Failed::Held) => Outcome::Held(Failure::UpstreamClosed),
            Err(Failed::Late(failure)) => self.break_off(job, failure),
            Err(Failed::Within(reason)) => self.break_off(job, Failure::UpstreamProtocol(reason)),
            Err(Failed::ClientGone) => {
                job.account.client_gone();
                Outcome::Over(After::Drop)
            }
        })
    }

    /// The end of the answer will not come: what is left is to make that seen.
    fn break_off(&self, job: &mut Job, failure: Failure) -> Outcome {
        self.worker.note_failure(failure, job.attempts.claim.target.address);
        job.account.broke_off();
        if job.asked.is_old {
            // Its end could be taken for the end of the body.
            self.wire.reset();
        }
        Outcome::Over(After::Drop)
    }

    /// The instance goes away, and what runs on it is to end.
    fn instance_left(&self, job: &mut Job) -> Outcome {
        self.worker.counters.stream_ended(if job.is_grpc { "grpc" } else { "http1" });
        if job.sent.as_ref().is_some_and(|exchange| exchange.progress().is_answered) {
            return self.break_off(job, Failure::InstanceLeft);
        }
        job.asked.closes = true;
        Outcome::Failed(Failure::InstanceLeft, Reach::Unknown)
    }

    /// A time limit was passed.
    fn overrun(&self, job: &mut Job, overrun: Overrun) -> Outcome {
        let progress = job.sent.as_ref().map(Exchange::progress).unwrap_or_default();
        let (failure, reach) = means(overrun, progress);
        if progress.is_answered {
            return self.break_off(job, failure);
        }
        Outcome::Failed(failure, reach)
    }

    /// Both sides speak something else from here.
    async fn tunnel(&mut self, job: &mut Job) {
        // What comes is no answer to the request any more.
        job.account.close();
        job.attempts.begin_tunnel();
        let Some(Exchange { instance: Instance::One(conn), .. }) = &mut job.sent else { return };
        let is_websocket = asks_for_websocket(&job.head);
        let mut relay = if is_websocket { Relay::of_websocket() } else { Relay::default() };
        let moved = Cell::new(0_u64);
        let count = |forth: usize, back: usize| moved.set(moved.get() + (forth + back) as u64);
        let (connection, attempts) = (&self.connection, &mut job.attempts);
        let stop = |cx: &mut Context<'_>| {
            connection.listen(cx);
            if attempts.ending() == Ending::Over {
                return Poll::Ready(Stop::InstanceLeft);
            }
            let progress = Progress { is_request_whole: true, is_answered: true, moved: moved.get() };
            attempts.poll_overrun(cx, || progress).map(|_| Stop::Overrun)
        };
        if let Some(Stop::InstanceLeft) = relay.run(&mut self.wire, &mut conn.wire, count, stop).await {
            self.worker.counters.stream_ended(if is_websocket { "websocket" } else { "tunnel" });
            let [random, ..] = self.worker.random();
            let [a, b, c, d, ..] = random.to_be_bytes();
            relay.end(&mut self.wire, &mut conn.wire, &self.worker.timer, [a, b, c, d]).await;
        }
    }

    /// The same within the time that is left.
    async fn connect(&mut self, job: &mut Job) -> Result<(), (Failure, Reach)> {
        // The whole request is here, or what is missing of it is not waited for yet.
        let progress = Progress { is_request_whole: job.body == BodyLength::None, ..Progress::default() };
        job.attempts.await_place(progress).await?;
        let mut clock = job.attempts.take_clock();
        let ended = {
            let mut sending = pin!(self.send(job));
            poll_fn(|cx| {
                if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                    return Poll::Ready(sent);
                }
                poll_clock(&mut clock, cx, progress).map(|overrun| Err(means_unsent(overrun)))
            })
            .await
        };
        job.attempts.give_clock(clock);
        ended
    }

    /// Opens a connection and sends the head, with what of the body is here already.
    async fn send(&mut self, job: &mut Job) -> Result<(), (Failure, Reach)> {
        let exchange = match job.translated.clone() {
            Some(request) => self.send_translated(job, *request).await?,
            None => self.send_over_new(job).await?,
        };
        job.sent = Some(exchange);
        Ok(())
    }

    /// A request got no answer. May it go out once more? Then it waits for a connection.
    async fn goes_again(&mut self, job: &mut Job, failure: Failure, mut reach: Reach) -> bool {
        let (was, mut is_at_hand) = (reach, true);
        if let Some(exchange) = &job.sent {
            is_at_hand = job.keeps_body || exchange.is_body_at_hand();
            if let Instance::One(conn) = &exchange.instance
                && matches!(reach, Reach::Unanswered | Reach::Dropped)
                && is_at_hand
                && !job.asked.is_idempotent
                && self.worker.upstream.was_untaken(&conn.wire, job.head.len()).await
            {
                reach = Reach::Unprocessed;
            }
        }
        let Job { path, account, asked, .. } = job;
        let is_dropped = was == Reach::Dropped;
        let lost = Lost { failure, reach, is_dropped, is_idempotent: asked.is_idempotent, is_at_hand, path, account };
        let goes = job.attempts.go_again(&self.worker, &*self.route, lost);
        if goes {
            job.sent = None;
            job.asked.holds_gateway_errors = job.attempts.holds_gateway_errors(job.asked.is_idempotent);
        }
        goes
    }

    async fn send_over_new(&mut self, job: &mut Job) -> Result<Exchange, (Failure, Reach)> {
        let claim = &job.attempts.claim;
        let idle = if job.attempts.takes_idle() { claim.host.take_idle() } else { None };
        let mut conn = match idle {
            Some(conn) => conn,
            None => self.worker.upstream.open_http1(claim).await.map_err(|failure| (failure, Reach::Unsent))?,
        };
        job.sent_from(&conn);
        let mut up = job.up();
        let wire = &mut self.wire;
        let unread = if job.keeps_body { &[] } else { wire.unread() };
        let pushed = up.push(&job.head, unread, &mut conn.wire);
        match pushed {
            Ok(used) => {
                if used > 0 {
                    job.keep_body(&wire.unread()[..used]);
                    wire.use_up(used);
                }
            }
            Err(Broken::Untaken) => return Err((Failure::UpstreamClosed, Reach::Unprocessed)),
            Err(Broken::Sink) => return Err((Failure::UpstreamClosed, Reach::Unknown)),
            Err(Broken::Source(reason)) => return Err((Failure::BadRequest(reason), Reach::Final)),
        }
        Ok(Exchange::new(job.asked, Instance::One(conn), up, Rc::clone(&job.names), job.path.clone()))
    }

    async fn send_translated(&mut self, job: &Job, request: http::Request<()>) -> Result<Exchange, (Failure, Reach)> {
        let opened = self.worker.upstream.http2(&job.attempts.claim).await;
        let sender = opened.map_err(|failure| (failure, Reach::Unsent))?;
        let is_end = job.body == BodyLength::None;
        let sent = sender.send(request, is_end);
        let (answer, stream) = sent.map_err(|_| (Failure::UpstreamClosed, Reach::Unprocessed))?;
        let source = Source::Wire(Decoder::from(job.body));
        let up = Pipe::new(source, stream_or_end(stream, is_end), &job.names);
        Ok(Exchange::new(job.asked, Instance::Two(answer), up, Rc::clone(&job.names), job.path.clone()))
    }

    /// The sidecar's own answer to a request that was decided.
    async fn fail(&mut self, job: &mut Job, failure: Failure) -> After {
        job.account.failed(failure);
        job.sent = None;
        let Job { asked, service, attempts, .. } = job;
        self.worker.note_failure(failure, attempts.claim.target.address);
        if let Some(path) = &job.path {
            path.refused();
        }
        let refusal = Refusal { failure, service: service.clone().unwrap_or_default(), is_grpc: job.is_grpc };
        // Where its body stands is not known any more; only a request without one leaves the connection fit for another.
        let is_last = asked.closes || self.connection.is_ending();
        let closes = is_last || job.body != BodyLength::None || asked.is_connect || asked.is_old;
        self.refuse(Refused { refusal, is_head: asked.is_head, closes, body: Decoder::Exact(0) }).await
    }

    /// Says why not. The connection stays only if the body of the request is here to its end.
    async fn refuse(&mut self, mut refused: Refused) -> After {
        let is_read = self.read_over(&mut refused.body);
        let closes = refused.closes || !is_read;
        let text = refused.refusal.to_http1(refused.is_head, closes);
        self.wire.queue(&text);
        let flushed = poll_fn(|cx| {
            if self.connection.listen(cx) == Command::Cut {
                return Poll::Ready(Err(ErrorKind::ConnectionAborted.into()));
            }
            let flushed = self.wire.poll_flush(cx);
            match flushed.is_pending() {
                true => self.connection.waits_for_client(0),
                false => self.connection.waits_for_nobody(),
            }
            flushed
        });
        match flushed.await {
            Ok(()) if !closes => After::Persist,
            Ok(()) => After::Close,
            Err(_) => After::Drop,
        }
    }

    /// Uses up what of the body was read already. True: it was all.
    fn read_over(&mut self, body: &mut Decoder) -> bool {
        loop {
            match body.next(self.wire.unread()) {
                Ok(Piece::Data(count) | Piece::Frame(count) | Piece::Skip(count)) => self.wire.use_up(count),
                Ok(Piece::End) => return true,
                Ok(Piece::More) | Err(_) => return false,
            }
        }
    }

    /// Ends our side and reads over what the client still sends, for a while: a reset would take our answer from it.
    async fn close(&mut self) {
        let ended = poll_fn(|cx| match self.connection.listen(cx) {
            Command::Cut => Poll::Ready(Err(ErrorKind::ConnectionAborted.into())),
            Command::Run | Command::Announce | Command::Finish => self.wire.poll_end(cx),
        });
        if ended.await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        let rest = poll_fn(|cx| {
            while left > 0 {
                if self.connection.listen(cx) == Command::Cut {
                    return Poll::Ready(());
                }
                match ready!(self.wire.poll_bytes(cx, |bytes| (bytes.len(), bytes.len()))) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(count) => left = left.saturating_sub(count),
                }
            }
            Poll::Ready(())
        });
        let _ = self.worker.timer.timeout(LINGER, rest).await;
    }
}

impl Job {
    fn up(&self) -> Pipe {
        if self.keeps_body {
            let mut up = Pipe::new(Source::Wire(Decoder::Exact(0)), Sink::Wire(Framing::Plain), &self.names);
            if let BodyLength::Exact(length) = self.body {
                up.moved_bytes = length;
            }
            return up;
        }
        let framing = if self.body == BodyLength::Chunked { Framing::Chunks } else { Framing::Plain };
        Pipe::new(Source::Wire(Decoder::from(self.body)), Sink::Wire(framing), &self.names)
    }

    fn sent_from(&mut self, conn: &Conn) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.sent_from(conn.local());
        }
    }

    /// Its first bytes of the body went out with the head. If they are all of it, they are kept.
    fn keep_body(&mut self, sent: &[u8]) {
        if let BodyLength::Exact(length) = self.body
            && sent.len() as u64 == length
            && sent.len() <= KEPT_BODY_BYTES_MAX
        {
            self.head.extend_from_slice(sent);
            self.keeps_body = true;
        }
    }
}

/// Is it a WebSocket that the head of this request asks for, and nothing else (RFC 6455 section 4.1)?
fn asks_for_websocket(head: &[u8]) -> bool {
    buffers::with_slots(|slots| match request::parse(head, slots) {
        Ok(Parsed::Whole(request)) => {
            let asked = request.fields.line("upgrade", 0).is_some_and(|line| line.eq_ignore_ascii_case(b"websocket"));
            asked && request.fields.line("upgrade", 1).is_none()
        }
        Ok(Parsed::Partial) | Err(_) => false,
    })
}

fn unreadable(worker: &Worker, reason: Reason) -> Refused {
    worker.counters.gate_refused(reason.label());
    last_word(Failure::BadRequest(reason))
}

/// Where the next request begins is not known.
fn last_word(failure: Failure) -> Refused {
    let refusal = Refusal { failure, service: "".into(), is_grpc: false };
    Refused { refusal, is_head: false, closes: true, body: Decoder::Exact(0) }
}

/// Decides a request, and sends it at once if an idle connection leads to its instance. Returns how many bytes were used.
fn begin(
    worker: &Rc<Worker>,
    route: &dyn Route,
    connection: &Rc<Connection>,
    request: &request::Request<'_, '_>,
    bytes: &[u8],
) -> (usize, Next) {
    let asked = Asked::of_http1(request, connection.is_ending());
    let is_grpc = is_grpc(request.fields.summary().content_type);
    let head = Head {
        method: request.method,
        target: if asked.is_connect { "" } else { request.origin },
        authority: request.authority,
        is_grpc,
        is_http2: false,
        headers: &request.fields,
    };
    let refuse = |failure: Failure, service: Option<Arc<str>>| {
        let refusal = Refusal { failure, service: service.unwrap_or_default(), is_grpc };
        let closes = asked.closes || asked.is_connect || asked.is_old || matches!(failure, Failure::Loop);
        let is_head = asked.is_head;
        let refused = Refused { refusal, is_head, closes, body: Decoder::from(request.body) };
        (request.bytes, Next::Refuse(Box::new(refused)))
    };
    if worker.pressure.level() != Level::Easy {
        worker.counters.failure(Failure::Memory.label());
        return refuse(Failure::Memory, None);
    }
    let Plan { target, called, request_timeout, service, rewrite, path, in_flight, account } = match route.route(&head)
    {
        Verdict::Send(plan) => plan,
        Verdict::Refuse(failure, service) => return refuse(failure, service),
        Verdict::Learn => return (0, Next::Learn(request.authority.to_owned())),
    };
    let mut job = Job {
        asked,
        is_grpc,
        body: request.body,
        service,
        attempts: Attempts::new(worker, target, called, request_timeout),
        sent: None,
        head: Vec::new(),
        keeps_body: false,
        translated: None,
        names: Rc::clone(rewrite.names()),
        path,
        in_flight,
        account,
        _running: connection.begin(),
    };
    job.asked.holds_gateway_errors = job.attempts.holds_gateway_errors(asked.is_idempotent);
    if target.protocol == Protocol::Http2 {
        return match translate::request_1_to_2(request, &rewrite) {
            Ok(translated) => {
                job.translated = Some(Box::new(translated));
                (request.bytes, Next::Run(Box::new(job)))
            }
            Err(reason) => {
                worker.counters.gate_refused(reason.label());
                let failure = Failure::BadRequest(reason);
                job.account.failed(failure);
                refuse(failure, job.service.take())
            }
        };
    }
    job.head = buffers::take();
    translate::request_1_to_1(request, &rewrite, &mut job.head);
    let mut used = request.bytes;
    if !job.attempts.claim.has_place() {
        return (used, Next::Run(Box::new(job)));
    }
    while let Some(mut conn) = job.attempts.claim.host.take_idle() {
        job.sent_from(&conn);
        let mut up = job.up();
        match up.push(&job.head, &bytes[request.bytes..], &mut conn.wire) {
            Ok(pushed) => {
                used += pushed;
                if pushed > 0 {
                    job.keep_body(&bytes[request.bytes..used]);
                }
                job.sent =
                    Some(Exchange::new(job.asked, Instance::One(conn), up, Rc::clone(&job.names), job.path.clone()));
                break;
            }
            // Closed, and not a byte of it was taken: the next connection.
            Err(Broken::Untaken) => {}
            Err(Broken::Sink) => {
                job.account.failed(Failure::UpstreamClosed);
                return give_up(worker, Failure::UpstreamClosed, bytes.len());
            }
            Err(Broken::Source(reason)) => {
                job.account.failed(Failure::BadRequest(reason));
                return give_up(worker, Failure::BadRequest(reason), bytes.len());
            }
        }
    }
    (used, Next::Run(Box::new(job)))
}

/// The first bytes of the body are wrong already, or only some of them were taken.
fn give_up(worker: &Worker, failure: Failure, used: usize) -> (usize, Next) {
    if let Failure::BadRequest(reason) = failure {
        worker.counters.gate_refused(reason.label());
    }
    (used, Next::Refuse(Box::new(last_word(failure))))
}
