//! One client connection of HTTP/2: each stream a task of its own, decided, sent and answered.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use laneway_core::snapshot::Protocol;
use tokio::task::spawn_local;

use super::account::Account;
use super::activity::{Command, Connection, Running};
use super::attempts::{Attempts, Lost, means, means_unsent, poll_clock};
use super::deadline::Progress;
use super::exchange::{Asked, Client, End, Exchange, Failed, Instance, stream_or_end};
use super::failure::Failure;
use super::gate;
use super::glitches::{Credit, Watched};
use super::headers::{HeadView, content_type, is_grpc};
use super::link::Sender;
use super::path::Path;
use super::pipe::{Incoming, Pipe, Sink, Source};
use super::pool::Ending;
use super::propagate::{Names, Rewrite};
use super::refusal::Refusal;
use super::retry::Reach;
use super::route::{Head, Plan, Route, Verdict};
use super::translate::{self, Framing};
use super::upstream::{CONNECTION_WINDOW_BYTES, HEADER_LIST_BYTES_MAX, STREAM_SEND_BYTES_MAX, STREAM_WINDOW_BYTES};
use super::wire::Wire;
use super::worker::Worker;
use crate::h1::Reason;
use crate::h1::body::Decoder;
use crate::pressure::Level;

/// Streams of one client connection that run at a time (RFC 9113 section 6.5.2).
/// With [`STREAM_WINDOW_BYTES`] it bounds what one client that takes nothing can make us hold.
const STREAMS_MAX: u32 = 100;

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, wire: Wire, connection: Rc<Connection>, route: Rc<dyn Route>) {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(STREAM_SEND_BYTES_MAX);
    let credit = Rc::new(Credit::new(&worker.clock));
    let watched = Watched::new(wire, Rc::clone(&credit), Rc::clone(&connection));
    let mut server = match builder.handshake::<_, Bytes>(watched).await {
        Ok(server) => server,
        Err(error) => return tracing::debug!(%error, "no HTTP/2 after its preface"),
    };
    let (mut is_finishing, mut is_flooding) = (false, false);
    loop {
        let accepted = poll_fn(|cx| {
            let command = connection.listen(cx);
            if command == Command::Cut {
                return Poll::Ready(None);
            }
            // GOAWAY with the highest id, and the last one when the client has seen that.
            if command >= Command::Announce && !is_finishing {
                is_finishing = true;
                server.graceful_shutdown();
            }
            let accepted = server.poll_accept(cx);
            if credit.is_spent() && !is_flooding {
                is_flooding = true;
                worker.counters.failure("http2-flood");
                server.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                return server.poll_accept(cx);
            }
            accepted
        });
        match accepted.await {
            Some(Ok((request, respond))) => {
                let stream = Stream {
                    worker: Rc::clone(&worker),
                    route: Rc::clone(&route),
                    respond,
                    _running: connection.begin(),
                };
                spawn_local(stream.serve(request));
            }
            Some(Err(error)) => return tracing::debug!(%error, "client connection ended"),
            None => return,
        }
    }
}

/// One request and its answer.
struct Stream {
    worker: Rc<Worker>,
    route: Rc<dyn Route>,
    respond: SendResponse<Bytes>,
    _running: Running,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A panic ends this stream; the connection and the process live.
        if std::thread::panicking() {
            self.worker.counters.panicked();
        }
    }
}

impl Stream {
    async fn serve(mut self, request: http::Request<RecvStream>) {
        let (parts, body) = request.into_parts();
        let request = http::Request::from_parts(parts, ());
        let is_grpc = is_grpc(content_type(request.headers()));
        if let Err(reason) = gate::check(&request) {
            self.worker.counters.gate_refused(reason.label());
            return self.refuse(&Refusal { failure: Failure::BadRequest(reason), service: "".into(), is_grpc });
        }
        if self.worker.pressure.level() != Level::Easy {
            self.worker.counters.failure(Failure::Memory.label());
            return self.refuse(&Refusal { failure: Failure::Memory, service: "".into(), is_grpc });
        }
        let plan = match self.decide(&request, is_grpc).await {
            Verdict::Send(plan) => plan,
            Verdict::Refuse(failure, service) => {
                return self.refuse(&Refusal { failure, service: service.unwrap_or_default(), is_grpc });
            }
            // Asked for already, and not answered in time.
            Verdict::Learn => {
                return self.refuse(&Refusal { failure: Failure::UnknownDestination, service: "".into(), is_grpc });
            }
        };
        let Plan { mut target, called, request_timeout, service, rewrite, path, in_flight, account } = plan;
        if target.protocol == Protocol::Detect {
            target.protocol = Protocol::Http2;
        }
        let _in_flight = in_flight;
        let is_end = body.is_end_stream();
        let mut job = Job {
            asked: Asked::of_http2(&request),
            is_grpc,
            is_end,
            service,
            attempts: Attempts::new(&self.worker, target, called, request_timeout),
            names: Rc::clone(rewrite.names()),
            path,
            account,
            body: Source::Stream(Box::new(Incoming::new(body))),
        };
        let carried = match said(request, target.protocol, &rewrite, is_end) {
            Ok(said @ Said::One(..)) => Box::pin(self.carry(&mut job, &said)).await,
            Ok(said @ Said::Two(_)) => self.carry(&mut job, &said).await,
            Err(reason) => Err(Failed::Before { failure: Failure::BadRequest(reason), reach: Reach::Final }),
        };
        let Job { attempts, service, path, mut account, .. } = job;
        let address = attempts.claim.target.address;
        match carried {
            Ok(()) => {}
            Err(Failed::ClientGone) => account.client_gone(),
            Err(Failed::Before { failure, .. }) => {
                self.worker.note_failure(failure, address);
                account.failed(failure);
                if let Some(path) = &path {
                    path.refused();
                }
                self.refuse(&Refusal { failure, service: service.unwrap_or_default(), is_grpc });
            }
            Err(Failed::Within(_) | Failed::Late(_) | Failed::Held) => {
                let failure = match carried {
                    Err(Failed::Within(reason)) => Failure::UpstreamProtocol(reason),
                    Err(Failed::Late(failure)) => failure,
                    _ => Failure::UpstreamClosed,
                };
                self.worker.note_failure(failure, address);
                account.broke_off();
                // Not CANCEL, and not NO_ERROR: there are clients that take either for the end of a whole body.
                self.respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        }
    }

    async fn decide(&self, request: &http::Request<()>, is_grpc: bool) -> Verdict {
        let head = Head {
            method: request.method().as_str(),
            target: request.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str),
            authority: translate::authority(request),
            is_grpc,
            is_http2: true,
            headers: &HeadView(request.headers()),
        };
        // Twice where what was learnt is given up at that very moment.
        for _ in 0..2 {
            let verdict = self.route.route(&head);
            if !matches!(verdict, Verdict::Learn) {
                return verdict;
            }
            Rc::clone(&self.route).learn(head.authority.to_owned()).await;
        }
        self.route.route(&head)
    }

    /// Sends the request, and again where that fails and may be, and moves its answer to the end.
    async fn carry(&mut self, job: &mut Job, said: &Said) -> Result<(), Failed> {
        let mut listener = self.worker.upstream.bell.listener();
        loop {
            job.asked.holds_gateway_errors = job.attempts.holds_gateway_errors(job.asked.is_idempotent);
            let progress = Progress { is_request_whole: job.is_end, ..Progress::default() };
            job.attempts.await_place(progress).await.map_err(before)?;
            let mut exchange = match self.send_in_time(job, said, progress).await {
                Ok(exchange) => exchange,
                Err((failure, reach)) => {
                    if self.goes_again(job, (failure, reach), false, true) {
                        continue;
                    }
                    return Err(before((failure, reach)));
                }
            };
            let ended = loop {
                let attempts = &mut job.attempts;
                let ended = poll_fn(|cx| match exchange.poll(cx, &mut Client::Two(&mut self.respond)) {
                    Poll::Ready(ended) => Poll::Ready(ended),
                    Poll::Pending => {
                        listener.listen(cx);
                        // What is here already has gone its way.
                        if attempts.ending() == Ending::Over {
                            return Poll::Ready(Err(cut(&exchange, (Failure::InstanceLeft, Reach::Unknown))));
                        }
                        let overrun = attempts.poll_overrun(cx, || exchange.progress());
                        overrun.map(|overrun| Err(cut(&exchange, means(overrun, exchange.progress()))))
                    }
                });
                match ended.await {
                    Err(Failed::Held) => {
                        let is_at_hand = exchange.is_body_at_hand();
                        if self.goes_again(job, (Failure::UpstreamClosed, Reach::Held), false, is_at_hand) {
                            break None;
                        }
                        exchange.let_go();
                    }
                    ended => break Some(ended),
                }
            };
            if let Some(Err(
                Failed::Late(Failure::InstanceLeft) | Failed::Before { failure: Failure::InstanceLeft, .. },
            )) = &ended
            {
                self.worker.counters.stream_ended(if job.is_grpc { "grpc" } else { "http2" });
            }
            let moved = exchange.moved();
            job.account.moved(moved);
            match ended {
                None => {}
                Some(Ok(End::Done { instance_persists, .. })) => {
                    job.attempts.answered(&self.worker, moved);
                    if instance_persists && let Some(conn) = exchange.take_conn() {
                        job.attempts.claim.host.put_idle(conn);
                    }
                    return Ok(());
                }
                Some(Ok(End::Tunnel)) => return Ok(()),
                Some(Err(Failed::Before { failure, reach })) => {
                    let is_at_hand = exchange.is_body_at_hand();
                    let is_dropped = reach == Reach::Dropped;
                    let reach = self.proved(&exchange, reach, job.asked.is_idempotent, said).await;
                    if !self.goes_again(job, (failure, reach), is_dropped, is_at_hand) {
                        return Err(before((failure, reach)));
                    }
                }
                // A client of gRPC is told in its own words, and may try again; by RST_STREAM it would learn of a fault.
                Some(Err(Failed::Late(failure @ Failure::InstanceLeft)))
                    if job.is_grpc && exchange.end_with(job.refusal(failure).to_trailers()) =>
                {
                    self.worker.note_failure(failure, job.attempts.claim.target.address);
                    job.account.moved(exchange.moved());
                    return Ok(());
                }
                Some(Err(failed)) => return Err(failed),
            }
            job.body = exchange.into_body();
        }
    }

    /// `is_dropped`: the instance took a fresh connection and ended it without a word, whatever is proved of the request.
    fn goes_again(
        &self,
        job: &mut Job,
        (failure, reach): (Failure, Reach),
        is_dropped: bool,
        is_at_hand: bool,
    ) -> bool {
        let Job { asked, attempts, path, account, .. } = job;
        let lost = Lost { failure, reach, is_dropped, is_idempotent: asked.is_idempotent, is_at_hand, path, account };
        attempts.go_again(&self.worker, &*self.route, lost)
    }

    /// A request that must not go out twice may still do so where it is certain that no application has seen a byte of it.
    async fn proved(&self, exchange: &Exchange, reach: Reach, is_idempotent: bool, said: &Said) -> Reach {
        if let (Said::One(head, _), Instance::One(conn)) = (said, &exchange.instance)
            && matches!(reach, Reach::Unanswered | Reach::Dropped)
            && !is_idempotent
            && exchange.moved().request_bytes == 0
            && Box::pin(self.worker.upstream.was_untaken(&conn.wire, head.len())).await
        {
            return Reach::Unprocessed;
        }
        reach
    }

    async fn send_in_time(&self, job: &mut Job, said: &Said, progress: Progress) -> Result<Exchange, (Failure, Reach)> {
        let upstream = &self.worker.upstream;
        if let Said::Two(request) = said
            && let Some(sender) = poll_fn(|cx| Poll::Ready(upstream.ready_http2(cx, &job.attempts.claim))).await
        {
            return over_http2(job, sender, request);
        }
        let mut clock = job.attempts.take_clock();
        let sent = {
            let mut sending = Box::pin(self.send(job, said));
            poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(sent) => Poll::Ready(sent),
                Poll::Pending => poll_clock(&mut clock, cx, progress).map(|overrun| Err(means_unsent(overrun))),
            })
            .await
        };
        job.attempts.give_clock(clock);
        sent
    }

    async fn send(&self, job: &mut Job, said: &Said) -> Result<Exchange, (Failure, Reach)> {
        let Job { attempts, .. } = &*job;
        match said {
            Said::One(head, framing) => {
                let idle = if attempts.takes_idle() { attempts.claim.host.take_idle() } else { None };
                let mut conn = match idle {
                    Some(conn) => conn,
                    None => self.worker.upstream.open_http1(&attempts.claim).await.map_err(unsent)?,
                };
                conn.wire.queue(head);
                let (source, sink) = match job.is_end {
                    true => (Source::Wire(Decoder::Exact(0)), Sink::Ended),
                    false => (job.take_body(), Sink::Wire(*framing)),
                };
                let up = Pipe::new(source, sink, &job.names);
                Ok(Exchange::new(job.asked, Instance::One(conn), up, Rc::clone(&job.names), job.path.clone()))
            }
            Said::Two(request) => {
                let sender = self.worker.upstream.http2(&attempts.claim).await.map_err(unsent)?;
                over_http2(job, sender, request)
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal) {
        let (head, body) = refusal.to_http2();
        // It fails only if the client has gone.
        if let Ok(mut stream) = self.respond.send_response(head, body.is_empty())
            && !body.is_empty()
        {
            let _ = stream.send_data(body, true);
        }
    }
}

/// What of a request lives until its end.
struct Job {
    asked: Asked,
    is_grpc: bool,
    /// It has no body.
    is_end: bool,
    /// Of the destination; empty where it is unknown.
    service: Option<Arc<str>>,
    attempts: Attempts,
    names: Rc<Names>,
    path: Option<Rc<Path>>,
    account: Account,
    body: Source,
}

impl Job {
    fn refusal(&self, failure: Failure) -> Refusal {
        let service = self.service.clone().unwrap_or_else(|| "".into());
        Refusal { failure, service, is_grpc: self.is_grpc }
    }

    fn take_body(&mut self) -> Source {
        std::mem::replace(&mut self.body, Source::Wire(Decoder::Exact(0)))
    }
}

/// The request as its instance is told, again if need be.
enum Said {
    One(Vec<u8>, Framing),
    Two(http::Request<()>),
}

fn said(request: http::Request<()>, protocol: Protocol, rewrite: &Rewrite, is_end: bool) -> Result<Said, Reason> {
    match protocol {
        Protocol::Http1 => {
            let mut head = Vec::new();
            let framing = translate::request_2_to_1(&request, rewrite, !is_end, &mut head)?;
            Ok(Said::One(head, framing))
        }
        // What the client speaks, where nothing is declared.
        Protocol::Http2 | Protocol::Detect | Protocol::Opaque => {
            Ok(Said::Two(translate::request_2_to_2(request, rewrite)?))
        }
    }
}

fn over_http2(job: &mut Job, sender: Sender, request: &http::Request<()>) -> Result<Exchange, (Failure, Reach)> {
    let sent = sender.send(request.clone(), job.is_end);
    let (answer, stream) = sent.map_err(|_| (Failure::UpstreamClosed, Reach::Unprocessed))?;
    let up = Pipe::new(job.take_body(), stream_or_end(stream, job.is_end), &job.names);
    Ok(Exchange::new(job.asked, Instance::Two(answer), up, Rc::clone(&job.names), job.path.clone()))
}

/// What an exchange comes to that does not go on.
fn cut(exchange: &Exchange, (failure, reach): (Failure, Reach)) -> Failed {
    match exchange.progress().is_answered {
        true => Failed::Late(failure),
        false => Failed::Before { failure, reach },
    }
}

fn unsent(failure: Failure) -> (Failure, Reach) {
    (failure, Reach::Unsent)
}

fn before((failure, reach): (Failure, Reach)) -> Failed {
    Failed::Before { failure, reach }
}
