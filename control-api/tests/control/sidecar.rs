//! A sidecar's side of the discovery stream, by hand: what it was sent, and answers when the test says so.

use std::collections::BTreeMap;
use std::time::Duration;

use laneway_proto::discovery::{ResourceError, ResourceErrors};
use laneway_proto::rpc;
use laneway_proto::xds::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use laneway_proto::xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Longest wait for a response that is due.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Sidecar {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Sidecar {
    /// Connects and subscribes to everything of these types.
    pub(super) async fn connect(server: &str, id: &str, service: &str, tag: &str, types: &[&str]) -> Sidecar {
        Sidecar::try_connect(server, id, service, tag, types).await.expect("it is served")
    }

    /// The same, where the server may be gone.
    pub(super) async fn try_connect(
        server: &str,
        id: &str,
        service: &str,
        tag: &str,
        types: &[&str],
    ) -> Result<Sidecar, Status> {
        let endpoint = Endpoint::from_shared(server.to_owned()).expect("a URL");
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Sidecar::connect_as(channel, None, id, service, tag, types).await
    }

    /// The same over a connection that is there, with a token.
    pub(super) async fn connect_as(
        channel: Channel,
        token: Option<&str>,
        id: &str,
        service: &str,
        tag: &str,
        types: &[&str],
    ) -> Result<Sidecar, Status> {
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let (requests, stream) = mpsc::channel(64);
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let version = env!("CARGO_PKG_VERSION");
        let fields =
            [("namespace", "default"), ("service", service), ("tag", tag), ("podName", id), ("proxyVersion", version)];
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
        let mut node = Some(Node { id: id.to_owned(), metadata: Some(Struct { fields }), ..Node::default() });
        for type_url in types {
            let request = DeltaDiscoveryRequest {
                node: node.take(),
                type_url: (*type_url).to_owned(),
                resource_names_subscribe: vec!["*".to_owned()],
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await.expect("there is room");
        }
        let mut request = Request::new(ReceiverStream::new(stream));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("it is ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        let stream = client.delta_aggregated_resources(request).await?;
        Ok(Sidecar { requests, responses: stream.into_inner() })
    }

    pub(super) async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.expect("the stream lives");
    }

    pub(super) async fn ask(&self, type_url: &str, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// The next response, not answered.
    pub(super) async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = tokio::time::timeout(WAIT, self.responses.message()).await.expect("a response comes in time")?;
        next.ok_or_else(|| Status::unavailable("the stream ended"))
    }

    /// The next response, however long it takes.
    pub(super) async fn until_next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        self.responses.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))
    }

    /// False: the stream has ended.
    pub(super) async fn try_ack(&self, response: &DeltaDiscoveryResponse) -> bool {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(request).await.is_ok()
    }

    pub(super) async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.send(request).await;
    }

    /// The next response, acknowledged.
    pub(super) async fn take(&mut self) -> DeltaDiscoveryResponse {
        let response = self.next().await.expect("the stream lives");
        self.ack(&response).await;
        response
    }

    /// One response of each of so many types, by type.
    pub(super) async fn take_each(&mut self, count: usize) -> BTreeMap<String, DeltaDiscoveryResponse> {
        let mut all = BTreeMap::new();
        while all.len() < count {
            let response = self.take().await;
            all.insert(response.type_url.clone(), response);
        }
        all
    }

    /// Acknowledges everything from now on, until the stream ends, but for lanes of this id, which it refuses as one that
    /// does not know a field.
    pub(super) fn obey_but(mut self, refused: &'static str) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Ok(Some(response)) = self.responses.message().await {
                let is_refused = |name: &&String| name.ends_with(&format!("/lanes/{refused}"));
                let mut names = response.resources.iter().map(|resource| &resource.name);
                match names.find(is_refused) {
                    Some(name) => self.send(nack(&response, name)).await,
                    None => self.ack(&response).await,
                }
            }
        })
    }

    /// Acknowledges everything from now on, until the stream ends.
    pub(super) fn obey(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Ok(Some(response)) = self.responses.message().await {
                self.ack(&response).await;
            }
        })
    }
}

fn nack(response: &DeltaDiscoveryResponse, name: &str) -> DeltaDiscoveryRequest {
    let error = ResourceError {
        name: name.to_owned(),
        field: "rules[0].condition".to_owned(),
        reason: "UNKNOWN".to_owned(),
        message: "a test that this version does not know".to_owned(),
        ..ResourceError::default()
    };
    let detail = prost_types::Any {
        type_url: "type.googleapis.com/laneway.discovery.v1.ResourceErrors".to_owned(),
        value: ResourceErrors { errors: vec![error] }.encode_to_vec(),
    };
    let status = rpc::Status { code: 3, message: "refused".to_owned(), details: vec![detail] };
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: Some(status),
        ..DeltaDiscoveryRequest::default()
    }
}
