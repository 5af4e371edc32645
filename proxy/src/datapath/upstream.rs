//! Sends one request to one address and brings the answer back: pooled connections, upgrades, Expect.
//!
//! Called by inbound and outbound after they decided; decides nothing itself but whether a request that was certainly not
//! sent goes out once more on a fresh connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, StatusCode, Uri, Version};
use hyper::client::conn::{http1, http2};
use laneway_core::snapshot::EndpointAddr;

use super::connect::{self, From, OwnSockets};
use super::failure::Failure;
use super::headers;
use super::http::{Body, Continue, Expectation, HEADER_BYTES_MAX, LocalExecutor, Request, Response};
use super::interim::Interim;
use super::io::{Io, Upgraded};
use super::pool::{Host, Key, Lease, Pool};

/// How long a body waits for `100 Continue` of an application that ignores `Expect` (RFC 9110 section 10.1.1: a client
/// does not wait for ever). What curl waits.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
/// Each direction of a relay. Two a connection, kept while it lasts.
pub(crate) const RELAY_BUFFER_BYTES: usize = 16 << 10;

/// Where one request goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) from: From,
    pub(crate) connect_timeout: Duration,
}

/// Connections and what opening them needs; one a worker.
pub(crate) struct Upstream {
    pub(crate) pool: Pool,
    pub(crate) own_sockets: OwnSockets,
}

impl Upstream {
    /// Sends and waits for the head of the answer. The body of the answer holds the connection and the count.
    pub(crate) async fn send(&self, target: Target, mut request: Request) -> Result<Response, Failure> {
        let outstanding = self.pool.count(EndpointAddr(target.address));
        let host = self.pool.host(Key { address: target.address, from: target.from });
        if request.version() == Version::HTTP_2 {
            let response = self.send_http2(&host, target, request).await?;
            return Ok(response.map(|incoming| {
                Body::answer(incoming, Box::new(Lease { _outstanding: outstanding, connection: None }))
            }));
        }

        to_origin_form(&mut request);
        let is_connect = *request.method() == Method::CONNECT;
        let is_tunnel = is_connect || headers::is_upgrade(request.headers());
        let downstream = is_tunnel.then(|| hyper::upgrade::on(&mut request));
        let expectation = request.headers().contains_key(EXPECT).then(|| expect(&mut request));
        pass_interim(&mut request, expectation.clone());

        let (mut response, sender) = self.send_http1(&host, target, request).await?;

        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if is_switch && !is_tunnel {
            // Another protocol that nobody asked for.
            return Err(Failure::UpstreamProtocol);
        }
        if let Some(downstream) = downstream
            && (is_switch || (is_connect && response.status().is_success()))
        {
            let upstream = hyper::upgrade::on(&mut response);
            tokio::task::spawn_local(async move {
                let _held = outstanding;
                if let (Ok(upstream), Ok(downstream)) = (upstream.await, downstream.await) {
                    relay(Upgraded(downstream), Upgraded(upstream)).await;
                }
            });
            return Ok(response.map(|_| Body::empty()));
        }

        let mut lease = Lease { _outstanding: outstanding, connection: Some((host, sender)) };
        if let Some(expectation) = expectation {
            expectation.settle(Expectation::Declined);
            if !expectation.is_met() {
                // The body was never asked for: the connection still owes it.
                lease.connection = None;
            }
        }
        Ok(response.map(|incoming| Body::answer(incoming, Box::new(lease))))
    }

    async fn send_http1(
        &self,
        host: &Rc<Host>,
        target: Target,
        mut request: Request,
    ) -> Result<(http::Response<hyper::body::Incoming>, http1::SendRequest<Body>), Failure> {
        while let Some(mut sender) = host.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    // Closed under us before a byte of it was written: the next connection.
                    Some(unsent) => request = unsent,
                    None => return Err(classify(error.error())),
                },
            }
        }
        // Boxed: a connection is opened seldom, and every request's future would carry its thousands of bytes.
        let mut sender = Box::pin(self.open_http1(target)).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, sender)),
            Err(error) => Err(classify(error.error())),
        }
    }

    async fn open_http1(&self, target: Target) -> Result<http1::SendRequest<Body>, Failure> {
        let (stream, held) =
            connect::connect(target.address, target.from, target.connect_timeout, &self.own_sockets).await?;
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_header_size(HEADER_BYTES_MAX as usize)
            .handshake(Io::new(stream, Bytes::new()))
            .await
            .map_err(|error| classify(&error))?;
        tokio::task::spawn_local(async move {
            let _held = held;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to instance ended");
            }
        });
        Ok(sender)
    }

    async fn send_http2(
        &self,
        host: &Rc<Host>,
        target: Target,
        mut request: Request,
    ) -> Result<http::Response<hyper::body::Incoming>, Failure> {
        if let Some(mut sender) = host.http2() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        host.forget_http2();
                        request = unsent;
                    }
                    None => return Err(classify(error.error())),
                },
            }
        }
        let mut sender = Box::pin(self.open_http2(host, target)).await?;
        sender.try_send_request(request).await.map_err(|error| classify(error.error()))
    }

    /// One connection serves all streams: who comes while it is being opened waits for it.
    async fn open_http2(&self, host: &Rc<Host>, target: Target) -> Result<http2::SendRequest<Body>, Failure> {
        let _turn = host.opening.lock().await;
        if let Some(sender) = host.http2() {
            return Ok(sender);
        }
        let (stream, held) =
            connect::connect(target.address, target.from, target.connect_timeout, &self.own_sockets).await?;
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .max_header_list_size(HEADER_BYTES_MAX)
            .handshake(Io::new(stream, Bytes::new()))
            .await
            .map_err(|error| classify(&error))?;
        tokio::task::spawn_local(async move {
            let _held = held;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to instance ended");
            }
        });
        host.share_http2(sender.clone());
        Ok(sender)
    }
}

/// Copies both ways until both have ended; an end in one direction is passed on (half-close).
pub(crate) async fn relay<A, B>(mut a: A, mut b: B)
where
    A: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    B: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let copied = tokio::io::copy_bidirectional_with_sizes(&mut a, &mut b, RELAY_BUFFER_BYTES, RELAY_BUFFER_BYTES).await;
    if let Err(error) = copied {
        tracing::debug!(%error, "relay ended");
    }
}

/// A server is asked in origin form (RFC 9112 section 3.2.1); the authority of an absolute form becomes Host (3.2.2).
fn to_origin_form(request: &mut Request) {
    if *request.method() == Method::CONNECT || request.uri().scheme().is_none() {
        return;
    }
    let parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = &parts.authority
        && let Ok(host) = http::HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(http::header::HOST, host);
    }
    *request.uri_mut() = parts.path_and_query.map_or(Uri::from_static("/"), Uri::from);
}

/// Holds the body back until the peer says 100, or [`CONTINUE_WAIT`] is over.
fn expect(request: &mut Request) -> Arc<Continue> {
    let expectation = Arc::new(Continue::default());
    let timed = Arc::clone(&expectation);
    tokio::task::spawn_local(async move {
        tokio::time::sleep(CONTINUE_WAIT).await;
        timed.settle(Expectation::Met);
    });
    request.body_mut().expecting(Arc::clone(&expectation));
    expectation
}

/// Takes interim answers of the instance on to the client; 100 settles what waits for it.
fn pass_interim(request: &mut Request, expectation: Option<Arc<Continue>>) {
    let interim = request.extensions_mut().remove::<Interim>();
    if interim.is_none() && expectation.is_none() {
        return;
    }
    hyper::ext::on_informational(request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            if let Some(expectation) = &expectation {
                expectation.settle(Expectation::Met);
            }
        } else if let Some(interim) = &interim {
            interim.push(response.status(), response.headers());
        }
    });
}

fn classify(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
        return Failure::UpstreamProtocol;
    }
    Failure::UpstreamClosed
}
