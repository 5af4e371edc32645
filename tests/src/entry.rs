//! The entry of the tests: a reverse proxy without a sidecar, as ingress-nginx is in front of a mesh.
//!
//! It reads its rules anew for every request, so that a test changes them by writing the file, and sends straight to pod
//! addresses. It knows nothing of lanes. Run by `laneway-entry`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::client::{Client, Speech};

/// Headers that end at a proxy.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "te", "transfer-encoding", "upgrade", "proxy-connection"];

/// One rule; the first that matches wins, so canaries stand before what they are canaries of.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The host name, without a port. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Headers and their exact values, all of which must be there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The pod that gets the request.
    pub to: SocketAddr,
}

impl Rule {
    fn matches(&self, host: &str, headers: &HeaderMap) -> bool {
        self.host.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(host))
            && self
                .headers
                .iter()
                .all(|(name, value)| headers.get(name).is_some_and(|got| got.as_bytes() == value.as_bytes()))
    }
}

/// An entry that serves the rules of a file.
pub struct Entry {
    rules: PathBuf,
    client: Client,
}

impl Entry {
    pub fn new(rules: PathBuf) -> Arc<Self> {
        Arc::new(Self { rules, client: Client::default() })
    }

    /// Serves every connection of a listener, for ever.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        loop {
            let (stream, peer) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let entry = Arc::clone(&self);
            let service = service_fn(move |request| {
                let entry = Arc::clone(&entry);
                async move { Ok::<_, Infallible>(entry.forward(request, peer).await.unwrap_or_else(refused)) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn forward(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Full<Bytes>>> {
        let (head, body) = request.into_parts();
        let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or("");
        let host = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let to = self.rules()?.into_iter().find(|rule| rule.matches(host, &head.headers)).map(|rule| rule.to);
        let to = to.with_context(|| format!("no rule for host `{host}`"))?;

        let mut headers = head.headers;
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        headers.append("x-forwarded-for", peer.ip().to_string().parse()?);
        let body = body.collect().await.context("read the request's body")?.to_bytes();
        let answer =
            self.client.send_to(&to.to_string(), Speech::Http1, head.method.as_str(), &head.uri, headers, body).await?;

        let mut response = Response::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        for name in HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }

    fn rules(&self) -> Result<Vec<Rule>> {
        let text = std::fs::read_to_string(&self.rules).with_context(|| format!("read {}", self.rules.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("understand {}", self.rules.display()))
    }
}

fn refused(error: anyhow::Error) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("entry: {error:#}\n"))));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
