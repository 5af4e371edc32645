//! The wire of the delta stream, and of the statistics over the same connection: the one file of the sidecar that names tonic.

use std::collections::BTreeMap;
use std::time::Duration;

use laneway_core::back_off::Ended;
use laneway_proto::contract::DISCOVERY_MESSAGE_BYTES_MAX;
use laneway_proto::telemetry::lane_stats_client::LaneStatsClient;
use laneway_proto::telemetry::{ReportLaneStatsRequest, ReportLaneStatsResponse};
use laneway_proto::xds::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use prost_types::{ListValue, Struct, Value, value::Kind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::Config;
use super::credentials::Credentials;

/// Messages that may wait to be sent; who sends more waits.
const SEND_QUEUE: usize = 64;
/// Reports that may wait; what finds no room is not sent at all.
const REPORT_QUEUE: usize = 2;
/// Longest wait of a connection that stands: for its handshake, and for the first word of a stream. Who holds it is answered as
/// soon as a control plane that was stopped goes on, so a long one costs nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 PING, and the wait for its answer: a control plane that hangs is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// One open stream.
pub(super) struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    channel: Channel,
    node_id: String,
    token: Option<String>,
}

pub(super) enum Received {
    Response(DeltaDiscoveryResponse),
    Ended(End),
}

/// How and why there is no stream any more.
pub(super) struct End {
    pub(super) how: Ended,
    /// In words, the whole chain.
    pub(super) reason: String,
    /// Nothing to look into.
    pub(super) is_expected: bool,
}

impl End {
    /// It was never open: nobody answered.
    fn unopened(reason: String) -> End {
        End { how: Ended::Unopened, reason, is_expected: false }
    }

    /// It was never open, and what stands in the way is here: nobody else need have it.
    fn prevented(reason: String) -> End {
        End { how: Ended::Dismissed, reason, is_expected: false }
    }

    /// What the control plane, or the way to it, said instead of a stream.
    fn turned_away(status: &tonic::Status) -> End {
        End { how: Ended::before_open(status.code().into()), reason: words(status), is_expected: false }
    }

    /// It broke without a word.
    fn lost() -> End {
        End { how: Ended::Lost, reason: "the stream ended".to_owned(), is_expected: false }
    }

    /// It had its time, which is drawn for each stream.
    fn aged() -> End {
        let reason = "it had its time".to_owned();
        End { how: Ended::Dismissed, reason, is_expected: true }
    }

    /// We end it, for a reason that no other sidecar need have.
    pub(super) fn of_us(reason: &str) -> End {
        End { how: Ended::Dismissed, reason: reason.to_owned(), is_expected: false }
    }

    /// What the control plane said at the end of an open stream.
    fn said(status: &tonic::Status) -> End {
        End { how: Ended::with_code(status.code().into()), reason: words(status), is_expected: false }
    }
}

impl Client {
    /// Connects and sends the first messages.
    pub(super) async fn open(
        config: &Config,
        connect_timeout: Duration,
        first: Vec<DeltaDiscoveryRequest>,
    ) -> Result<Client, End> {
        let credentials = Credentials::read(&config.credentials).await.map_err(End::prevented)?;
        let endpoint = Endpoint::from_shared(config.url.clone()).map_err(|error| End::prevented(chain(&error)))?;
        let endpoint = secured(endpoint, &credentials)
            .map_err(End::prevented)?
            .connect_timeout(connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.map_err(|error| End::unopened(chain(&error)))?;
        let mut service = AggregatedDiscoveryServiceClient::new(channel.clone())
            .max_decoding_message_size(DISCOVERY_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(DISCOVERY_MESSAGE_BYTES_MAX);
        // All of the first messages are there before anybody takes one.
        let (requests, outgoing) = mpsc::channel(first.len().max(SEND_QUEUE));
        let node = node(config);
        let node_id = node.id.clone();
        let mut node = Some(node);
        for mut message in first.into_iter() {
            message.node = node.take();
            requests.send(message).await.map_err(|_| End::unopened("the stream ended at once".to_owned()))?;
        }
        let request =
            with_token(ReceiverStream::new(outgoing), credentials.token.as_deref()).map_err(End::prevented)?;
        let opening = service.delta_aggregated_resources(request);
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, opening).await;
        let opened = opened.map_err(|_| End::unopened("the control plane does not answer".to_owned()))?;
        let responses = opened.map_err(|status| End::turned_away(&status))?.into_inner();
        Ok(Client { requests, responses, channel, node_id, token: credentials.token })
    }

    pub(super) async fn send(&self, message: DeltaDiscoveryRequest) -> Result<(), End> {
        self.requests.send(message).await.map_err(|_| End::lost())
    }

    /// Where statistics go, over the same connection and so to the same replica.
    pub(super) fn stats(&self) -> StatsClient {
        let service = LaneStatsClient::new(self.channel.clone());
        StatsClient { service, node_id: self.node_id.clone(), token: self.token.clone() }
    }

    pub(super) async fn receive(&mut self) -> Received {
        match self.responses.message().await {
            Ok(Some(response)) => Received::Response(response),
            Ok(None) => Received::Ended(End::aged()),
            Err(status) => Received::Ended(End::said(&status)),
        }
    }
}

/// With TLS where the files say so. The provider of the arithmetic is ring, the only one there is.
#[cfg(feature = "tls")]
fn secured(endpoint: Endpoint, credentials: &Credentials) -> Result<Endpoint, String> {
    use tonic::transport::{Certificate, ClientTlsConfig, Identity};

    let Some(ca) = &credentials.ca else { return Ok(endpoint) };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).timeout(ANSWER_TIMEOUT);
    if let Some((certificate, key)) = &credentials.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &credentials.server_name {
        tls = tls.domain_name(name);
    }
    endpoint.tls_config(tls).map_err(|error| chain(&error))
}

/// `config` lets no URL through that would need more.
#[cfg(not(feature = "tls"))]
fn secured(endpoint: Endpoint, _credentials: &Credentials) -> Result<Endpoint, String> {
    Ok(endpoint)
}

/// With the token that says who we are, if there is one.
fn with_token<T>(message: T, token: Option<&str>) -> Result<Request<T>, String> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = MetadataValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| "the token is no header value".to_owned())?;
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// Opens streams of statistics.
pub(super) struct StatsClient {
    service: LaneStatsClient<Channel>,
    node_id: String,
    token: Option<String>,
}

/// One of them.
pub(super) struct StatsStream {
    reports: mpsc::Sender<ReportLaneStatsRequest>,
    responses: Streaming<ReportLaneStatsResponse>,
}

impl StatsClient {
    /// Says who we are. The error is in words.
    pub(super) async fn open(&mut self) -> Result<StatsStream, String> {
        let (reports, outgoing) = mpsc::channel(REPORT_QUEUE);
        let first = ReportLaneStatsRequest { node_id: self.node_id.clone(), ..ReportLaneStatsRequest::default() };
        reports.send(first).await.map_err(|_| "the stream ended at once".to_owned())?;
        let request = with_token(ReceiverStream::new(outgoing), self.token.as_deref())?;
        let opening = self.service.report_lane_stats(request);
        let opened = tokio::time::timeout(ANSWER_TIMEOUT, opening).await;
        let opened = opened.map_err(|_| "the control plane does not answer".to_owned())?;
        Ok(StatsStream { reports, responses: opened.map_err(|status| words(&status))?.into_inner() })
    }
}

impl StatsStream {
    /// False: there is no room, and it will not be sent.
    pub(super) fn try_send(&self, report: ReportLaneStatsRequest) -> bool {
        self.reports.try_send(report).is_ok()
    }

    /// The next pace; an error says why there will be none.
    pub(super) async fn response(&mut self) -> Result<ReportLaneStatsResponse, String> {
        match self.responses.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err("the control plane ended the stream".to_owned()),
            Err(status) => Err(words(&status)),
        }
    }
}

/// Who we are: id, service, and `NodeMetadata` as a Struct with its JSON names.
fn node(config: &Config) -> Node {
    let identity = &config.identity;
    let tag = identity.tag.map(|tag| tag.as_str().to_owned()).unwrap_or_default();
    let pod = if config.pod_name.is_empty() {
        // Two sidecars of one service on one host (a laptop) must not share an id.
        format!("{}-{}-{}", identity.service, tag, std::process::id())
    } else {
        config.pod_name.clone()
    };
    let address = config.addresses.first().cloned().unwrap_or_default();
    let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
    let addresses = ListValue { values: config.addresses.iter().map(|address| text(address)).collect() };
    let fields = BTreeMap::from([
        ("namespace".to_owned(), text(&identity.namespace)),
        ("service".to_owned(), text(&identity.service)),
        ("tag".to_owned(), text(&tag)),
        ("podName".to_owned(), text(&pod)),
        ("addresses".to_owned(), Value { kind: Some(Kind::ListValue(addresses)) }),
        ("proxyVersion".to_owned(), text(env!("CARGO_PKG_VERSION"))),
        ("mode".to_owned(), text("PROXY_MODE_SIDECAR")),
    ]);
    Node {
        id: format!("sidecar~{address}~{pod}.{}~", identity.namespace),
        cluster: identity.service.clone(),
        metadata: Some(Struct { fields }),
        user_agent_name: "laneway-proxy".to_owned(),
        client_features: vec!["laneway.v1".to_owned()],
        ..Node::default()
    }
}

fn words(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
