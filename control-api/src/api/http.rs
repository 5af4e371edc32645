//! Every method as JSON over HTTP (AIP-127), for curl, browsers and the console.
//!
//! ```text
//!   GET /v1/... --route--> method --input--> message --gRPC, in this process--> the same services --reply--> JSON, or events
//! ```
//! Nothing is decided here: a call becomes the gRPC call that it stands for, with its headers and the address that it came
//! from, so that one place says who may do what. A new method is one row in `route`.

mod input;
mod reply;
mod route;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use self::reply::Refusal;
use self::route::{Found, Route};
use super::{REQUEST_BYTES_MAX, errors};

/// From the head of a request to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Of the HTTP connection, not of the call.
const CONNECTION_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

struct Http {
    routes: Vec<Route>,
    /// The gRPC services.
    calls: Router,
}

/// The paths below `/v1`, in front of the gRPC services.
pub(super) fn routes(calls: Router) -> Router {
    let http = Arc::new(Http { routes: route::all(), calls });
    Router::new().route("/v1/{*rest}", axum::routing::any(answer)).with_state(http)
}

/// The answer to a call that does not come so far.
pub(super) fn refusal(status: Status) -> Response<Body> {
    Refusal::from(status).response()
}

async fn answer(State(http): State<Arc<Http>>, request: Request) -> Response<Body> {
    match call(&http, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(),
    }
}

async fn call(http: &Http, request: Request) -> Result<Response<Body>, Refusal> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let (route, value) = match route::find(&http.routes, &head.method, path) {
        Found::Route(route, value) => (route, value),
        Found::OtherMethods(allowed) => return Err(Refusal::not_allowed(&head.method, path, &allowed)),
        Found::Nothing => {
            return Err(Refusal::from(Status::not_found(format!("there is no {path}; docs/api.md has the paths"))));
        }
    };
    is_of_this_site(&head.method, &head.headers)?;
    let body = read(body).await?;
    is_json(&head.headers, &body)?;
    let mut message = input::message(route, value, head.uri.query().unwrap_or_default(), &body)?;
    input::resume(&mut message, &head.headers);

    let mut headers = head.headers;
    for name in CONNECTION_HEADERS {
        headers.remove(name);
    }
    let call = tonic::Request::from_parts(MetadataMap::from_headers(headers), head.extensions, message);
    let path = PathAndQuery::from_static(route.method);
    // Its answers are ours: however large they are.
    let mut grpc = Grpc::new(http.calls.clone()).max_decoding_message_size(usize::MAX);
    grpc.ready().await.map_err(|never| Status::internal(never.to_string()))?;
    let answers = grpc.server_streaming(call, path, Dynamic(route.output.clone())).await?.into_inner();
    if route.is_stream {
        return Ok(reply::events(answers, input::is_resumable(route)));
    }
    reply::object(answers).await.map_err(Refusal::from)
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, REQUEST_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Refusal::unread(&error, REQUEST_BYTES_MAX)),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            Status::new(Code::DeadlineExceeded, "the body did not come in time"),
        )),
    }
}

/// A form of a page in a browser cannot send JSON: so no page can call us in its user's name by a form.
fn is_json(headers: &HeaderMap, body: &Bytes) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match essence.as_deref() {
        Some("application/json") => Ok(()),
        None if body.is_empty() => Ok(()),
        other => {
            let message = format!(
                "the body is JSON: send content-type: application/json (curl: -H 'content-type: application/json'), not {}",
                other.unwrap_or("none")
            );
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, errors::bad_field("content-type", message)))
        }
    }
}

/// Nor by a script: what changes something and comes from a page comes from a page of ours.
fn is_of_this_site(method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN).filter(|_| method != Method::GET) else { return Ok(()) };
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    if text(header::HOST) == Some(host) {
        return Ok(());
    }
    Err(Refusal::from(Status::permission_denied(format!("pages of {origin} may not change anything here"))))
}

/// Messages by their descriptor, as gRPC carries them.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = DynamicEncoder;
    type Decoder = DynamicDecoder;

    fn encoder(&mut self) -> DynamicEncoder {
        DynamicEncoder
    }

    fn decoder(&mut self) -> DynamicDecoder {
        DynamicDecoder(self.0.clone())
    }
}

struct DynamicEncoder;

impl Encoder for DynamicEncoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|error| Status::internal(error.to_string()))
    }
}

struct DynamicDecoder(MessageDescriptor);

impl Decoder for DynamicDecoder {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), from);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
