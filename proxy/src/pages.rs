//! A small HTTP/1 server for pages that people and machines ask for: each answer is made whole by one function. Serves the status
//! port and the admin port, on the control thread: asking never costs a worker anything.
//!
//! Bounded: so many askers at a time, each for so long, and of each the page that it was sent last.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// One connection, whole.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// Pause after a connection could not be taken: a loop without one would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One whole answer.
pub type Page = Response<Full<Bytes>>;

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Askers at a time; more wait to be taken.
    pub connections_max: usize,
    /// Peers that are not loopback are hung up on.
    pub only_loopback: bool,
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

/// Serves for ever. `page` looks at the head of a request alone; a body is never read.
pub async fn serve<F: Future<Output = Page> + Send + 'static>(
    listener: TcpListener,
    bounds: Bounds,
    page: impl Fn(Parts) -> F + Clone + Send + Sync + 'static,
) {
    let room = Arc::new(Semaphore::new(bounds.connections_max));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((_, peer)) if bounds.only_loopback && !peer.ip().to_canonical().is_loopback() => {
                tracing::debug!(%peer, "not from loopback");
            }
            Ok((stream, _)) => {
                let page = page.clone();
                tokio::spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(CONNECTION_TIME, serve_one(stream, page)).await;
                });
            }
            Err(error) => {
                tracing::debug!(%error, "no asker taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one<F: Future<Output = Page>>(stream: TcpStream, page: impl Fn(Parts) -> F) {
    let service = service_fn(|request: Request<Incoming>| {
        let made = page(request.into_parts().0);
        async move { Ok::<_, Infallible>(made.await) }
    });
    let io = hyper_util::rt::TokioIo::new(stream);
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await {
        tracing::debug!(%error, "asker gone");
    }
}

/// GET, and HEAD, which is answered the same way; the server leaves the body out.
pub fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Page {
    page(status, "text/plain; charset=utf-8", text.into())
}

pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Page {
    match serde_json::to_vec_pretty(value) {
        Ok(mut body) => {
            body.push(b'\n');
            page(status, "application/json", body.into())
        }
        // Only a map with keys that are no strings, which no page of ours has.
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Another method is asked for.
pub fn only(methods: &'static str, mut page: Page) -> Page {
    *page.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    page.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    page
}

fn page(status: StatusCode, kind: &'static str, body: Bytes) -> Page {
    let mut page = Response::new(Full::new(body));
    *page.status_mut() = status;
    let lines: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in lines {
        page.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    page
}

#[cfg(test)]
mod tests;
