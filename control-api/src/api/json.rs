//! The calls as JSON over HTTP (AIP-127), for those methods that have it yet: the same handlers, ProtoJSON in and out. What is
//! refused is answered like Google's APIs do: an `error` with code, status, message and the fields at fault.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode, header};
use axum::routing::{get, post};
use laneway_proto::admin::lane_admin_server::LaneAdmin;
use laneway_proto::admin::{
    ExplainRouteRequest, GetRevisionRequest, ListRevisionsRequest, RevisionView, RollbackRequest,
};
use prost::Message;
use serde_json::{Value, json};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Api, REQUEST_BYTES_MAX, errors, explain, history};

pub(super) fn routes(api: Api) -> Router {
    Router::new()
        .route("/v1/namespaces/{target}", post(of_namespace))
        .route("/v1/revisions", get(list_revisions))
        .route("/v1/revisions/{target}", get(get_revision).post(of_revision))
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

async fn list_revisions(State(api): State<Api>, RawQuery(query): RawQuery) -> Response<Body> {
    let listed = async {
        let request = list_request(&query.unwrap_or_default())?;
        let response = history::list(&api, request).await?;
        Ok(crate::json::of(&response, "laneway.admin.v1.ListRevisionsResponse"))
    };
    answer(listed.await)
}

async fn get_revision(State(api): State<Api>, Path(number): Path<String>) -> Response<Body> {
    let found = history::get(&api, GetRevisionRequest { name: format!("revisions/{number}") }).await;
    answer(found.map(|revision| crate::json::of(&revision, "laneway.admin.v1.Revision")))
}

/// `{revision}:{verb}`
async fn of_revision(State(api): State<Api>, Path(target): Path<String>, parts: Parts, body: Bytes) -> Response<Body> {
    let Some((number, "rollback")) = target.rsplit_once(':') else {
        let unknown = Status::not_found(format!("there is no POST /v1/revisions/{target}"));
        return answer(Err(unknown));
    };
    answer(rollback(&api, number, parts, &body).await)
}

async fn rollback(api: &Api, number: &str, parts: Parts, body: &[u8]) -> Result<Value, Status> {
    let body = if body.is_empty() { b"{}" } else { body };
    let request: RollbackRequest = read(body, "laneway.admin.v1.RollbackRequest")?;
    let name = format!("revisions/{number}");
    if !request.name.is_empty() && request.name != name {
        return Err(errors::bad_field("name", format!("is {name} in the address, another in the body")));
    }
    let response = api.rollback(call(parts, RollbackRequest { name, ..request })).await?;
    Ok(crate::json::of(response.get_ref(), "laneway.admin.v1.RollbackResponse"))
}

/// As it would have come by gRPC: who calls stands in the extensions, the rest in headers.
fn call<M>(parts: Parts, message: M) -> tonic::Request<M> {
    tonic::Request::from_parts(MetadataMap::from_headers(parts.headers), parts.extensions, message)
}

/// The parameters of a list; an unknown one is refused by name.
fn list_request(query: &str) -> Result<ListRevisionsRequest, Status> {
    let mut request = ListRevisionsRequest::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| errors::bad_field(name, "is not percent-encoded UTF-8"))?;
        match name {
            "pageSize" => {
                request.page_size = value.parse().map_err(|_| errors::bad_field("page_size", "is a number"))?;
            }
            "pageToken" => request.page_token = value,
            "filter" => request.filter = value,
            "view" => {
                let view = RevisionView::from_str_name(&value);
                let view =
                    view.ok_or_else(|| errors::bad_field("view", "is REVISION_VIEW_BASIC or REVISION_VIEW_FULL"))?;
                request.set_view(view);
            }
            unknown => {
                return Err(errors::bad_field(unknown, "is no parameter; pageSize, pageToken, filter and view are"));
            }
        }
    }
    Ok(request)
}

fn decoded(value: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), value.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                rest = &rest[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            b'+' => b' ',
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A message of ProtoJSON; an unknown field is refused by name.
fn read<M: Message + Default>(body: &[u8], name: &str) -> Result<M, Status> {
    crate::json::read(body, name)
        .map_err(|problem| errors::bad_field("body", format!("is no {name} as JSON: {problem}")))
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
