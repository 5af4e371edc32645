//! The mutating webhook: `POST /inject`, where the API server asks about each new pod and is told what to put into it.
//!
//! ```text
//!  API server ──TLS──▶ listen ──▶ body (bounded, timed) ──review──▶ answer, one line of the log, one count
//! ```
//! What is put in is decided by `inject`, as for `lanectl inject`. It asks no cluster and changes nothing but its counts, so that a dry
//! run is like any other. Which pods it is asked about is said by the MutatingWebhookConfiguration. Started by `app`.

mod patch;
mod review;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use tokio::sync::Semaphore;
use tonic::service::Routes;
use tonic::transport::Server;
use tracing::{debug, info, warn};

use self::review::{Answer, Deed};
use crate::drain::Draining;
use crate::inject::Settings;
use crate::listen::{Bounds, Connections};

#[cfg(test)]
mod tests;

/// Connections at a time, and of one address. An API server has one or two, with a hundred questions in each; several may come by one
/// address (a proxy between them and the pods), while a pod that holds connections for nothing has an address of its own.
pub const CONNECTIONS: Bounds = Bounds { all_max: 1_024, peer_max: 64 };
/// Largest review. The API server takes objects of at most 3 MiB; one that came in a shorter form than JSON may be beyond this, and no
/// pod comes near it.
const BODY_BYTES_MAX: usize = 4 << 20;
/// From the head of a request to the end of its body; the API server waits 30 s at most.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bodies that are read at a time, and reviews that are answered; more wait. Both bound memory: taken apart, a hostile body has many times
/// its size, while one of a pod has a few KiB and is answered in less than a millisecond.
const BODIES_MAX: usize = 64;
const ANSWERS_MAX: usize = 2;
/// Of one connection.
const STREAMS_MAX: u32 = 100;
const HEADERS_BYTES_MAX: u32 = 16 << 10;
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// A connection takes no more questions after this, and ends with the last of them; the API server makes another. With a grace tonic would
/// cut it, and a pod would be refused.
const CONNECTION_AGE: Duration = Duration::from_secs(10 * 60);

const RESULTS: [&str; 4] = ["injected", "skipped", "refused", "failed"];

/// What became of the requests so far, by [`RESULTS`].
#[derive(Clone, Default)]
pub struct Counts(Arc<[AtomicU64; 4]>);

impl Counts {
    pub fn counts(&self) -> [(&'static str, u64); 4] {
        let mut counts = RESULTS.map(|result| (result, 0));
        for ((_, count), kept) in counts.iter_mut().zip(self.0.iter()) {
            *count = kept.load(Ordering::Relaxed);
        }
        counts
    }

    fn count(&self, result: &'static str) {
        let at = RESULTS.iter().position(|known| *known == result);
        if let Some(count) = at.and_then(|at| self.0.get(at)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Webhook {
    settings: Settings,
    counts: Counts,
    bodies: Semaphore,
    answers: Semaphore,
}

/// Serves until the drain; then what runs is finished.
pub async fn serve(
    connections: Connections,
    settings: Settings,
    counts: Counts,
    mut draining: Draining,
) -> Result<(), tonic::transport::Error> {
    let (bodies, answers) = (Semaphore::new(BODIES_MAX), Semaphore::new(ANSWERS_MAX));
    let webhook = Arc::new(Webhook { settings, counts, bodies, answers });
    let routes = Router::new().route("/inject", axum::routing::post(inject)).with_state(webhook);
    Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .max_concurrent_streams(Some(STREAMS_MAX))
        .max_connection_age(CONNECTION_AGE)
        .add_routes(Routes::from(routes))
        .serve_with_incoming_shutdown(connections, async move {
            draining.started().await;
        })
        .await
}

async fn inject(State(webhook): State<Arc<Webhook>>, request: Request) -> Response<Body> {
    let answered = webhook.answer(request).await;
    let (status, kind, body) = match answered {
        Ok(answer) => {
            webhook.tell(&answer);
            (StatusCode::OK, "application/json", Body::from(answer.body))
        }
        Err((status, problem)) => {
            webhook.counts.count("failed");
            warn!(status = status.as_u16(), %problem, "an admission request was not answered");
            (status, "text/plain; charset=utf-8", Body::from(problem + "\n"))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl Webhook {
    async fn answer(&self, request: Request) -> Result<Answer, (StatusCode, String)> {
        // Neither is ever closed. A body that comes slowly holds up no answer.
        let _body = self.bodies.acquire().await;
        let body = read(request.into_body()).await?;
        let _answer = self.answers.acquire().await;
        review::answer(&body, &self.settings).map_err(|error| {
            let status = match error {
                review::ReviewError::NotAPod { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                review::ReviewError::Unreadable(_)
                | review::ReviewError::Other { .. }
                | review::ReviewError::NoRequest
                | review::ReviewError::NoPod => StatusCode::BAD_REQUEST,
            };
            (status, error.to_string())
        })
    }

    /// Names and reasons were written by others and are not checked yet: never more than one line of the log.
    fn tell(&self, answer: &Answer) {
        let (namespace, pod) = (answer.subject.namespace.as_str(), answer.subject.name.as_str());
        match &answer.deed {
            Deed::Injected(notes) => {
                self.counts.count("injected");
                let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
                info!(?namespace, ?pod, notes = ?notes.join("; "), "a sidecar was put into a pod");
            }
            Deed::Skipped(reason) => {
                self.counts.count("skipped");
                debug!(?namespace, ?pod, ?reason, "a pod was left without a sidecar, or as it is");
            }
            Deed::Refused(reasons) => {
                self.counts.count("refused");
                let shown = review::message(reasons);
                warn!(?namespace, ?pod, reasons = ?shown, "a pod was refused");
            }
        }
    }
}

async fn read(body: Body) -> Result<Bytes, (StatusCode, String)> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let problem = format!("the body could not be read, or has more than {BODY_BYTES_MAX} bytes: {error}");
            Err((StatusCode::PAYLOAD_TOO_LARGE, problem))
        }
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {BODY_TIMEOUT:?}"))),
    }
}
