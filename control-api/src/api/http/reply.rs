//! From what a method answers to what goes over HTTP: JSON, server-sent events, or why it was refused (AIP-193).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use laneway_proto::rpc;
use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

/// Silence after which a comment is sent: a client that is gone is noticed, and what stands between keeps the connection.
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// A call that was not done.
pub(super) struct Refusal {
    /// Where HTTP has a better word than the code of the status.
    http: Option<StatusCode>,
    status: Box<Status>,
    allow: Option<String>,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal { http: None, status: Box::new(status), allow: None }
    }
}

impl Refusal {
    pub(super) fn new(http: StatusCode, status: Status) -> Refusal {
        Refusal { http: Some(http), ..Refusal::from(status) }
    }

    pub(super) fn not_allowed(method: &Method, path: &str, allowed: &[Method]) -> Refusal {
        let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let status = Status::unimplemented(format!("there is no {method} {path}; there is {allowed}"));
        Refusal { allow: Some(allowed), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, status) }
    }

    /// A body that could not be read.
    pub(super) fn unread(error: &axum::Error, bytes_max: usize) -> Refusal {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if cause.to_string().contains("length limit") {
                let message = format!("the body has more than {bytes_max} bytes; apply it in parts");
                return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Status::out_of_range(message));
            }
            source = cause.source();
        }
        Refusal::from(Status::cancelled("the body ended early"))
    }

    pub(super) fn response(&self) -> Response<Body> {
        let code = self.http.unwrap_or_else(|| http_status(self.status.code()));
        let mut response = json_response(&json!({ "error": error(&self.status, code) }));
        *response.status_mut() = code;
        if let Some(allow) = self.allow.as_ref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

/// The one message of a method that answers once.
pub(super) async fn object(mut answers: Streaming<DynamicMessage>) -> Result<Response<Body>, Status> {
    let message = answers.message().await?.ok_or_else(|| Status::internal("the method gave no answer"))?;
    // Behind the message stands whether the call succeeded.
    answers.message().await?;
    Ok(json_response(&json_of(&message)))
}

/// Each message as an event; at the end `event: end`, or `event: error` with the status.
pub(super) fn events(answers: Streaming<DynamicMessage>, with_id: bool) -> Response<Body> {
    // The first after a while: an interval of its own begins at once, before what there is to tell.
    let comments = tokio::time::interval_at(tokio::time::Instant::now() + COMMENT_EVERY, COMMENT_EVERY);
    let events = answers.timeout_repeating(comments).map(move |next| match next {
        Err(_) => Bytes::from_static(b":\n\n"),
        Ok(Ok(message)) => event(&message, with_id),
        Ok(Err(status)) => {
            let error = error(&status, http_status(status.code()));
            format!("event: error\ndata: {}\n\n", json!({ "error": error })).into()
        }
    });
    let events = events.chain(tokio_stream::once(Bytes::from_static(b"event: end\ndata: {}\n\n")));
    let mut response = Response::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn event(message: &DynamicMessage, with_id: bool) -> Bytes {
    let revision = message.get_field_by_name("revision").and_then(|value| value.as_i64());
    let id = revision.filter(|revision| with_id && *revision > 0).map(|revision| format!("id: {revision}\n"));
    // One line: JSON has no line breaks of its own.
    format!("{}data: {}\n\n", id.unwrap_or_default(), json_of(message)).into()
}

fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{value}\n")));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn json_of(message: &DynamicMessage) -> Value {
    message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .unwrap_or_else(|problem| json!({ "unreadable": problem.to_string() }))
}

/// google.rpc.Status, with the HTTP status as its code and the name of the other beside it.
fn error(status: &Status, code: StatusCode) -> Value {
    let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let details: Vec<Value> = details.iter().map(|detail| crate::json::of(detail, "google.protobuf.Any")).collect();
    json!({
        "code": code.as_u16(),
        "message": status.message(),
        "status": code_name(status.code()),
        "details": details,
    })
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        // "Client closed request": nobody reads it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
