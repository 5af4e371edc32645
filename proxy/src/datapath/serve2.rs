//! One client connection of HTTP/2: each stream a task of its own, decided, sent and answered.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use laneway_core::snapshot::Protocol;
use tokio::task::spawn_local;

use super::account::Account;
use super::activity::{Command, Connection, Running};
use super::exchange::{Asked, Client, End, Exchange, Failed, Instance, stream_or_end};
use super::failure::Failure;
use super::gate;
use super::glitches::{Credit, Watched};
use super::headers::{HeadView, content_type, is_grpc};
use super::path::Path;
use super::pipe::{Incoming, Pipe, Sink, Source};
use super::propagate::Rewrite;
use super::refusal::Refusal;
use super::retry::{Again, Reach, Tries};
use super::route::{Head, Plan, Route, Verdict};
use super::translate;
use super::upstream::{
    CONNECTION_WINDOW_BYTES, Claim, HEADER_LIST_BYTES_MAX, STREAM_SEND_BYTES_MAX, STREAM_WINDOW_BYTES,
};
use super::wire::Wire;
use super::worker::Worker;
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
    let watched = Watched::new(wire, Rc::clone(&credit));
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
        let Plan { target, service, rewrite, path, in_flight, mut account } = match self.decide(&request, is_grpc).await
        {
            Verdict::Send(plan) => plan,
            Verdict::Refuse(failure, service) => {
                return self.refuse(&Refusal { failure, service: service.unwrap_or_default(), is_grpc });
            }
            // Asked for already, and not answered in time.
            Verdict::Learn => {
                return self.refuse(&Refusal { failure: Failure::UnknownDestination, service: "".into(), is_grpc });
            }
        };
        let _in_flight = in_flight;
        let claim = self.worker.upstream.claim(target);
        let carried = match target.protocol {
            Protocol::Http1 => Box::pin(self.over_http1(&claim, &request, &rewrite, &path, body, &mut account)).await,
            Protocol::Http2 | Protocol::Detect | Protocol::Opaque => {
                self.over_http2(&claim, request, &rewrite, &path, body, &mut account).await
            }
        };
        match carried {
            Ok(()) => {}
            Err(Failed::ClientGone) => account.client_gone(),
            Err(Failed::Before { failure, .. }) => {
                self.worker.note_failure(failure, target.address);
                account.failed(failure);
                if let Some(path) = &path {
                    path.refused();
                }
                self.refuse(&Refusal { failure, service: service.unwrap_or_default(), is_grpc });
            }
            Err(Failed::Within(reason)) => {
                self.worker.note_failure(Failure::UpstreamProtocol(reason), target.address);
                account.broke_off();
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

    async fn over_http2(
        &mut self,
        claim: &Claim,
        request: http::Request<()>,
        rewrite: &Rewrite,
        path: &Option<Rc<Path>>,
        body: RecvStream,
        account: &mut Account,
    ) -> Result<(), Failed> {
        let is_end = body.is_end_stream();
        let asked = Asked::of_http2(&request);
        let request =
            translate::request_2_to_2(request, rewrite).map_err(|reason| before(Failure::BadRequest(reason)))?;
        let names = rewrite.names();
        let mut source = Source::Stream(Box::new(Incoming::new(body)));
        let mut tries = Tries::default();
        loop {
            let upstream = &self.worker.upstream;
            let ready = poll_fn(|cx| Poll::Ready(upstream.ready_http2(cx, claim))).await;
            let sender = match ready {
                Some(sender) => sender,
                None => Box::pin(upstream.http2(claim)).await.map_err(before)?,
            };
            let Ok((answer, stream)) = sender.send(request.clone(), is_end) else {
                match tries.again(Reach::Unprocessed, asked.is_idempotent, true) {
                    Again::Fresh => continue,
                    Again::No => return Err(before(Failure::UpstreamClosed)),
                }
            };
            let up = Pipe::new(source, stream_or_end(stream, is_end), names);
            let mut exchange = Exchange::new(asked, Instance::Two(answer), up, Rc::clone(names), path.clone());
            let ended = poll_fn(|cx| exchange.poll(cx, &mut Client::Two(&mut self.respond))).await;
            account.moved(exchange.moved());
            match ended {
                Ok(_) => return Ok(()),
                Err(Failed::Before { failure, reach }) => {
                    let body = exchange.take_body();
                    match (tries.again(reach, asked.is_idempotent, body.is_some()), body) {
                        (Again::Fresh, Some(body)) => source = body,
                        (Again::Fresh | Again::No, _) => return Err(Failed::Before { failure, reach }),
                    }
                }
                Err(failed) => return Err(failed),
            }
        }
    }

    async fn over_http1(
        &mut self,
        claim: &Claim,
        request: &http::Request<()>,
        rewrite: &Rewrite,
        path: &Option<Rc<Path>>,
        body: RecvStream,
        account: &mut Account,
    ) -> Result<(), Failed> {
        let is_end = body.is_end_stream();
        let asked = Asked::of_http2(request);
        let mut head = Vec::new();
        let framing = translate::request_2_to_1(request, rewrite, !is_end, &mut head)
            .map_err(|reason| before(Failure::BadRequest(reason)))?;
        let names = rewrite.names();
        let mut source = match is_end {
            true => Source::Wire(Decoder::Exact(0)),
            false => Source::Stream(Box::new(Incoming::new(body))),
        };
        let mut tries = Tries::default();
        loop {
            let idle = if tries.wants_fresh() { None } else { claim.host.take_idle() };
            let mut conn = match idle {
                Some(conn) => conn,
                None => Box::pin(self.worker.upstream.open_http1(claim)).await.map_err(before)?,
            };
            conn.wire.queue(&head);
            let sink = if is_end { Sink::Ended } else { Sink::Wire(framing) };
            let up = Pipe::new(source, sink, names);
            let mut exchange = Exchange::new(asked, Instance::One(conn), up, Rc::clone(names), path.clone());
            let ended = poll_fn(|cx| exchange.poll(cx, &mut Client::Two(&mut self.respond))).await;
            account.moved(exchange.moved());
            match ended {
                Ok(End::Done { instance_persists: true, .. }) => {
                    if let Instance::One(conn) = exchange.instance {
                        claim.host.put_idle(conn);
                    }
                    return Ok(());
                }
                Ok(End::Done { .. } | End::Tunnel) => return Ok(()),
                Err(Failed::Before { failure, mut reach }) => {
                    let is_unmoved = exchange.moved().request_bytes == 0;
                    let body = exchange.take_body();
                    if let Instance::One(conn) = &exchange.instance
                        && reach == Reach::Unanswered
                        && !asked.is_idempotent
                        && is_unmoved
                        && Box::pin(self.worker.upstream.was_untaken(&conn.wire, head.len())).await
                    {
                        reach = Reach::Unprocessed;
                    }
                    match (tries.again(reach, asked.is_idempotent, body.is_some()), body) {
                        (Again::Fresh, Some(body)) => source = body,
                        (Again::Fresh | Again::No, _) => return Err(Failed::Before { failure, reach }),
                    }
                }
                Err(failed) => return Err(failed),
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

fn before(failure: Failure) -> Failed {
    Failed::Before { failure, reach: Reach::Unsent }
}
