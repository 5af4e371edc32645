//! Answers for probes that only ask whether the application takes connections: `GET /app-health/PORT` on the status port dials that
//! port and says 200 or 503. Behind the redirect such a probe would reach the sidecar, which takes connections for a dead
//! application too; so `lanectl inject` points it here.
//!
//! Dials nothing but the ports it was given, on the pod's own address, as the inbound side does: from the address that the redirect
//! lets through. What the application then says is nobody's business: the connection is closed at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use laneway_proto::contract::{APP_HEALTH_PATH, INBOUND_SOURCE_V4, INBOUND_SOURCE_V6};
use tokio::net::TcpSocket;

use crate::pages::{self, Page};

/// An application whose queue is full does not answer; the asker has mostly given up before.
const DIAL_TIME: Duration = Duration::from_secs(5);

/// What may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// At most [`laneway_proto::contract::PROBE_PORTS_MAX`].
    pub ports: Vec<u16>,
    /// Where a kubelet dials: the first address of the pod.
    pub address: Option<IpAddr>,
}

/// Asks the application. Cheap to clone.
#[derive(Clone)]
pub struct AppHealth(Arc<Config>);

impl AppHealth {
    pub fn new(config: Config) -> AppHealth {
        AppHealth(Arc::new(config))
    }

    /// The page, where this is one of ours.
    pub async fn page(&self, asked: &Parts) -> Option<Page> {
        let port = asked.uri.path().strip_prefix(APP_HEALTH_PATH)?;
        if !pages::is_reading(&asked.method) {
            return None;
        }
        let Some(port) = port.parse().ok().filter(|port| self.0.ports.contains(port)) else {
            let text = "no such port: only those of --probe-ports / LANEWAY_PROBE_PORTS are dialled\n";
            return Some(pages::text(StatusCode::NOT_FOUND, text));
        };
        Some(match self.dial(port).await {
            Ok(()) => pages::text(StatusCode::OK, format!("{port} takes connections\n")),
            Err(error) => pages::text(StatusCode::SERVICE_UNAVAILABLE, format!("{port}: {error}\n")),
        })
    }

    async fn dial(&self, port: u16) -> io::Result<()> {
        let Some(address) = self.0.address else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
        let (socket, source): (TcpSocket, IpAddr) = match address {
            IpAddr::V4(_) => (TcpSocket::new_v4()?, INBOUND_SOURCE_V4.into()),
            IpAddr::V6(_) => (TcpSocket::new_v6()?, INBOUND_SOURCE_V6.into()),
        };
        socket.bind(SocketAddr::new(source, 0))?;
        match tokio::time::timeout(DIAL_TIME, socket.connect(SocketAddr::new(address, port))).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[cfg(test)]
mod tests;
