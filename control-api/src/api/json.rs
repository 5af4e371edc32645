//! The calls as JSON over HTTP (AIP-127), for those methods that have it yet: the same handlers, ProtoJSON in and out. What is
//! refused is answered like Google's APIs do: an `error` with code, status, message and the fields at fault.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{Response, StatusCode, header};
use axum::routing::post;
use laneway_proto::admin::ExplainRouteRequest;
use laneway_proto::descriptors;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Api, REQUEST_BYTES_MAX, errors, explain};

pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/namespaces/{target}", post(of_namespace))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(api)
}

/// `{namespace}:{verb}`
async fn of_namespace(State(api): State<Api>, Path(target): Path<String>, body: Bytes) -> Response<Body> {
    let Some((namespace, "explain")) = target.rsplit_once(':') else {
        let unknown = Status::not_found(format!("there is no POST /v1/namespaces/{target}"));
        return answer(Err(unknown));
    };
    answer(explain_route(&api, namespace, &body).await)
}

async fn explain_route(api: &Api, namespace: &str, body: &[u8]) -> Result<Value, Status> {
    let request: ExplainRouteRequest = read(body, "laneway.admin.v1.ExplainRouteRequest")?;
    let parent = format!("namespaces/{namespace}");
    if !request.parent.is_empty() && request.parent != parent {
        return Err(errors::bad_field("parent", format!("is {parent} in the address, another in the body")));
    }
    let response = explain::explain(api, ExplainRouteRequest { parent, ..request }).await?;
    Ok(crate::json::of(&response, "laneway.admin.v1.ExplainRouteResponse"))
}

/// A message of ProtoJSON; an unknown field is refused by name.
fn read<M: Message + Default>(body: &[u8], name: &str) -> Result<M, Status> {
    let descriptor = descriptors().get_message_by_name(name).expect("the messages are in the contract");
    let refused = |error: serde_json::Error| errors::bad_field("body", format!("is no {name} as JSON: {error}"));
    let mut reader = serde_json::Deserializer::from_slice(body);
    let dynamic = DynamicMessage::deserialize(descriptor, &mut reader).map_err(refused)?;
    reader.end().map_err(refused)?;
    dynamic.transcode_to().map_err(|error| errors::bad_field("body", error.to_string()))
}

fn answer(outcome: Result<Value, Status>) -> Response<Body> {
    let (status, value) = match outcome {
        Ok(value) => (StatusCode::OK, value),
        Err(status) => {
            let code = http_status(status.code());
            (code, json!({ "error": error(&status, code) }))
        }
    };
    let mut response = Response::new(Body::from(format!("{value}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn error(status: &Status, code: StatusCode) -> Value {
    let bad = status.get_details_bad_request();
    let fields = bad.into_iter().flat_map(|bad| bad.field_violations);
    let fields: Vec<Value> = fields.map(|v| json!({ "field": v.field, "description": v.description })).collect();
    json!({
        "code": code.as_u16(),
        "status": format!("{:?}", status.code()),
        "message": status.message(),
        "fieldViolations": fields,
    })
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
