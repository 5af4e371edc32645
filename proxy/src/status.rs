//! What people and machines may ask the sidecar: /ready, /live and /metrics for everybody, /config_dump, /explain and
//! /drain on loopback.
//!
//! Small HTTP/1 servers with bounds of their own, on the control thread: asking never costs a worker anything.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use laneway_core::decode::Resources;
use laneway_proto::contract::{
    TYPE_ENDPOINTS, TYPE_LANE, TYPE_LANE_GROUP, TYPE_PEER, TYPE_SERVICE, TYPE_SERVICE_POLICY,
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

use crate::current::View;
use crate::telemetry::Telemetry;

mod explain;

/// Askers at a time; slow readers must not cost memory.
const CONNECTIONS_MAX: usize = 64;
/// One connection, whole.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// How far the sidecar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No configuration yet.
    Starting = 0,
    Ready = 1,
    /// No configuration came in time: serves as baseline, passes through.
    Degraded = 2,
    Draining = 3,
}

/// (type, name, version)
pub type HeldResource = (String, String, String);

/// What is held, for /config_dump and /metrics.
#[derive(Default, Clone)]
pub struct Held {
    pub revision: u64,
    pub resources: Vec<HeldResource>,
}

/// Names and versions of what is held.
pub fn held(resources: &Resources) -> Vec<HeldResource> {
    let types = [TYPE_LANE_GROUP, TYPE_LANE, TYPE_SERVICE_POLICY, TYPE_SERVICE, TYPE_ENDPOINTS, TYPE_PEER];
    let of = |kind: &'static str| {
        let id = kind.rsplit('.').next().unwrap_or(kind);
        let versions = resources.versions(kind).into_iter();
        versions.map(move |(name, version)| (id.to_owned(), name.to_owned(), version.to_owned()))
    };
    types.into_iter().flat_map(of).collect()
}

/// Told by the parts, shown to whoever asks. Cheap to clone.
#[derive(Clone)]
pub struct Status(Arc<Shared>);

struct Shared {
    state: AtomicU8,
    connected: AtomicBool,
    panics: AtomicU64,
    refusals: AtomicU64,
    held: ArcSwap<(Held, Instant)>,
    telemetry: Telemetry,
    drain: Notify,
    source: &'static str,
    view: View,
}

impl Status {
    /// `source` says where the configuration comes from: `control` or `file`.
    pub fn new(telemetry: Telemetry, source: &'static str, view: View) -> Status {
        Status(Arc::new(Shared {
            state: AtomicU8::new(State::Starting as u8),
            connected: AtomicBool::new(false),
            panics: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            held: ArcSwap::from_pointee((Held::default(), Instant::now())),
            telemetry,
            drain: Notify::new(),
            source,
            view,
        }))
    }

    /// A state that was passed does not come back, but for Degraded, which becomes Ready.
    pub fn reached(&self, state: State) {
        let _ = self.0.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
            let is_better = match state {
                State::Starting => false,
                State::Ready => now != State::Draining as u8,
                State::Degraded => now == State::Starting as u8,
                State::Draining => true,
            };
            is_better.then_some(state as u8)
        });
    }

    pub fn state(&self) -> State {
        match self.0.state.load(Ordering::Acquire) {
            0 => State::Starting,
            1 => State::Ready,
            2 => State::Degraded,
            _ => State::Draining,
        }
    }

    /// Whether a stream to the control plane stands.
    pub fn connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Release);
    }

    /// The control part panicked, and went on with the last good configuration.
    pub fn panicked(&self) {
        self.0.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// A response, or a changed file, had something that was refused.
    pub fn refused(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// A new configuration is in force.
    pub fn holds(&self, held: Held) {
        self.0.held.store(Arc::new((held, Instant::now())));
    }

    /// Waits until somebody asks for a drain.
    pub async fn drain_asked(&self) {
        self.0.drain.notified().await;
    }

    fn metrics(&self) -> String {
        let mut text = self.0.telemetry.render();
        let held = self.0.held.load();
        let _ = write!(
            text,
            "# HELP laneway_build_info Version of this program.\n# TYPE laneway_build_info gauge\n\
             laneway_build_info{{version=\"{}\"}} 1\n\
             # HELP laneway_config_revision Configurations that were put in force since the start.\n\
             # TYPE laneway_config_revision gauge\nlaneway_config_revision {}\n\
             # HELP laneway_config_age_seconds Time since the last one.\n\
             # TYPE laneway_config_age_seconds gauge\nlaneway_config_age_seconds {}\n\
             # HELP laneway_config_resources Resources that are held.\n\
             # TYPE laneway_config_resources gauge\nlaneway_config_resources {}\n\
             # HELP laneway_control_connected A stream to the control plane stands.\n\
             # TYPE laneway_control_connected gauge\nlaneway_control_connected{{source=\"{}\"}} {}\n\
             # HELP laneway_control_refusals_total Responses, or states of the file, with something that was refused.\n\
             # TYPE laneway_control_refusals_total counter\nlaneway_control_refusals_total {}\n\
             # HELP laneway_control_panics_total Bugs of ours in taking a configuration; the last good one stayed.\n\
             # TYPE laneway_control_panics_total counter\nlaneway_control_panics_total {}\n",
            env!("CARGO_PKG_VERSION"),
            held.0.revision,
            held.1.elapsed().as_secs(),
            held.0.resources.len(),
            self.0.source,
            u8::from(self.0.connected.load(Ordering::Acquire)),
            self.refusals(),
            self.0.panics.load(Ordering::Relaxed),
        );
        text
    }

    fn public(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/live" => answer(StatusCode::OK, "live\n"),
            "/ready" => match self.state() {
                State::Ready => answer(StatusCode::OK, "ready\n"),
                State::Degraded => answer(StatusCode::OK, "degraded: no configuration yet, baseline only\n"),
                State::Starting => answer(StatusCode::SERVICE_UNAVAILABLE, "starting: waiting for the configuration\n"),
                State::Draining => answer(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            },
            "/metrics" => answer(StatusCode::OK, self.metrics()),
            _ => answer(StatusCode::NOT_FOUND, "here are /ready, /live and /metrics\n"),
        }
    }

    fn private(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (_, "/config_dump") => {
                let held = self.0.held.load();
                let resources: Vec<_> = held
                    .0
                    .resources
                    .iter()
                    .map(|(kind, name, version)| json!({"type": kind, "name": name, "version": version}))
                    .collect();
                let dump = json!({"revision": held.0.revision, "resources": resources});
                answer(StatusCode::OK, format!("{dump:#}\n"))
            }
            (&Method::GET, "/explain") => {
                match explain::answer(&self.0.view.current(), request.uri().query().unwrap_or_default()) {
                    Ok(json) => {
                        let mut response = answer(StatusCode::OK, format!("{json:#}\n"));
                        let kind = hyper::header::HeaderValue::from_static("application/json");
                        response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
                        response
                    }
                    Err(wrong) => answer(StatusCode::BAD_REQUEST, format!("explain: {wrong}\n")),
                }
            }
            (_, "/explain") => answer(StatusCode::METHOD_NOT_ALLOWED, "GET /explain\n"),
            (&Method::POST, "/drain") => {
                self.0.drain.notify_one();
                answer(StatusCode::ACCEPTED, "draining\n")
            }
            (_, "/drain") => answer(StatusCode::METHOD_NOT_ALLOWED, "POST /drain\n"),
            _ => answer(StatusCode::NOT_FOUND, "here are /config_dump, /explain and POST /drain\n"),
        }
    }
}

/// Which pages a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    Public,
    Private,
}

/// Binds a listener; the error names the address.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let bound = match bound {
        // No IPv6 in this kernel.
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && address.ip().is_unspecified() => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    };
    bound.map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))
}

/// Serves for ever.
pub async fn serve(status: Status, listener: TcpListener, pages: Pages) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let status = status.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(CONNECTION_TIME, serve_one(status, stream, pages)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "status port");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(status: Status, stream: TcpStream, pages: Pages) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = match pages {
            Pages::Public => status.public(&request),
            Pages::Private => status.private(&request),
        };
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let io = hyper_util::rt::TokioIo::new(stream);
    let served = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "status connection ended");
    }
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
