//! Writes the head of a message for the next hop: HTTP/1.1 or HTTP/2 in, HTTP/1.1 or HTTP/2 out. What belongs to one hop goes, what
//! the lane changes is changed, the rest stays as it is: case and order where the versions have them.
//!
//! Heads come here checked (`h1`, `gate.rs`). What one version can say and the other cannot is refused, not bent.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, StatusCode, Version};
use laneway_proto::contract::PATH_HEADER;

use super::headers;
use super::path::Line;
use super::propagate::Rewrite;
use crate::h1::fields::Kind;
use crate::h1::{Reason, request, response};

/// How the body of a message is framed on an HTTP/1 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it came: its length stands in the head, or it ends with the connection, or there is none.
    Plain,
    /// Chunks as they came.
    Chunks,
    /// Chunks of our own: it came without a length.
    NewChunks,
}

/// What a connection says of itself in the head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// HTTP/1.1 stays open unless something is said.
    Silent,
    /// To an HTTP/1.0 client that stays.
    KeepAlive,
    Close,
}

// ---- requests ----

/// HTTP/1 to HTTP/1.1.
pub(crate) fn request_1_to_1(request: &request::Request<'_, '_>, rewrite: &Rewrite, out: &mut Vec<u8>) {
    let fields = &request.fields;
    let is_upgrade = request.is_upgrade();
    // What the target says goes before Host (RFC 9112 sections 3.2.2 and 3.2.3).
    let keeps_host = fields.summary().host == Some(request.authority.as_bytes());
    let is_verbatim = keeps_host && !request.is_absolute && !request.is_old;
    if !is_verbatim {
        put(out, &[request.method, " ", request.origin, " HTTP/1.1\r\n"]);
    }
    if !keeps_host {
        // Empty for an HTTP/1.0 client that names no host (section 3.2).
        put(out, &["Host: ", request.authority, "\r\n"]);
    }
    fields.copy_kept(out, if is_verbatim { 0 } else { fields.start() }, |name, kind| match kind {
        Kind::Other => rewrite.keeps(name, || fields.is_named_by_connection(name)),
        Kind::Host => keeps_host,
        Kind::ContentType | Kind::ContentLength | Kind::TransferEncoding | Kind::Expect => true,
        Kind::Upgrade => is_upgrade,
        Kind::Connection | Kind::Te | Kind::Hop => false,
    });
    out.extend_from_slice(rewrite.added());
    // RFC 9110 sections 7.8 and 10.1.4: both are said to the next hop by `Connection` too.
    match (is_upgrade, fields.summary().wants_trailers) {
        (false, false) => {}
        (true, false) => put(out, &["Connection: Upgrade\r\n"]),
        (false, true) => put(out, &["TE: trailers\r\nConnection: TE\r\n"]),
        (true, true) => put(out, &["TE: trailers\r\nConnection: TE, Upgrade\r\n"]),
    }
    put(out, &["\r\n"]);
}

/// HTTP/1 to HTTP/2. A tunnel cannot be asked for; an upgrade is not, which a server may always do (RFC 9110 section 7.8).
pub(crate) fn request_1_to_2(
    request: &request::Request<'_, '_>,
    rewrite: &Rewrite,
) -> Result<http::Request<()>, Reason> {
    if request.is_connect() || request.authority.is_empty() {
        return Err(Reason::Translation);
    }
    let mut translated = http::Request::new(());
    *translated.version_mut() = Version::HTTP_2;
    *translated.method_mut() = Method::from_bytes(request.method.as_bytes()).map_err(|_| Reason::Method)?;
    *translated.uri_mut() = uri(request.authority, request.origin)?;
    let fields = &request.fields;
    let map = translated.headers_mut();
    map.reserve(fields.count());
    for (name, value, kind) in fields.iter() {
        let keeps = match kind {
            Kind::Other => rewrite.keeps(name, || fields.is_named_by_connection(name)),
            Kind::ContentType | Kind::ContentLength | Kind::Expect => true,
            Kind::Host | Kind::TransferEncoding | Kind::Upgrade | Kind::Connection | Kind::Te | Kind::Hop => false,
        };
        if keeps {
            append(map, name, value)?;
        }
    }
    add_lines(map, rewrite.added())?;
    if fields.summary().wants_trailers {
        map.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(translated)
}

/// HTTP/2 to HTTP/1.1. `has_body`: one follows; without a length it is chunked.
pub(crate) fn request_2_to_1(
    request: &http::Request<()>,
    rewrite: &Rewrite,
    has_body: bool,
    out: &mut Vec<u8>,
) -> Result<Framing, Reason> {
    if *request.method() == Method::CONNECT {
        return Err(Reason::Translation);
    }
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    put(out, &[request.method().as_str(), " ", target, " HTTP/1.1\r\nhost: ", authority(request), "\r\n"]);
    let map = request.headers();
    for (name, value) in map {
        let is_ours = *name == HOST || *name == COOKIE || *name == TE || headers::is_connection_specific(name);
        if !is_ours && rewrite.keeps(name.as_str().as_bytes(), || false) {
            put_line(out, name.as_str(), value.as_bytes());
        }
    }
    let mut cookies = map.get_all(COOKIE).iter();
    if let Some(first) = cookies.next() {
        // Crumbs become one line again (RFC 9113 section 8.2.3).
        put(out, &["cookie: "]);
        out.extend_from_slice(first.as_bytes());
        for crumb in cookies {
            put(out, &["; "]);
            out.extend_from_slice(crumb.as_bytes());
        }
        put(out, &["\r\n"]);
    }
    out.extend_from_slice(rewrite.added());
    if headers::wants_trailers(map) {
        put(out, &["te: trailers\r\nconnection: te\r\n"]);
    }
    let has_length = map.contains_key(CONTENT_LENGTH);
    let framing = match (has_body, has_length) {
        (true, false) => {
            put(out, &["transfer-encoding: chunked\r\n"]);
            Framing::NewChunks
        }
        (false, false) if [Method::POST, Method::PUT, Method::PATCH].contains(request.method()) => {
            // RFC 9110 section 8.6.
            put(out, &["content-length: 0\r\n"]);
            Framing::Plain
        }
        _ => Framing::Plain,
    };
    put(out, &["\r\n"]);
    Ok(framing)
}

/// HTTP/2 to HTTP/2.
pub(crate) fn request_2_to_2(mut request: http::Request<()>, rewrite: &Rewrite) -> Result<http::Request<()>, Reason> {
    if request.method() != Method::CONNECT && request.uri().authority().is_none() {
        // The authority may stand in Host alone (RFC 9113 section 8.3.1); the next hop gets the pseudo field.
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        *request.uri_mut() = uri(authority(&request), target)?;
    }
    let is_dropped = |name: &HeaderName| {
        *name == HOST || headers::is_connection_specific(name) || !rewrite.keeps(name.as_str().as_bytes(), || false)
    };
    without(request.headers_mut(), is_dropped);
    if !headers::wants_trailers(request.headers()) {
        request.headers_mut().remove(TE);
    }
    add_lines(request.headers_mut(), rewrite.added())?;
    Ok(request)
}

// ---- answers ----

/// HTTP/1 to HTTP/1.1.
pub(crate) fn response_1_to_1(
    response: &response::Response<'_, '_>,
    framing: Framing,
    persistence: Persistence,
    keeps_encoding: bool,
    path: &Line,
    out: &mut Vec<u8>,
) {
    let fields = &response.fields;
    let is_switch = response.status == 101;
    if response.is_old {
        put(out, &["HTTP/1.1"]);
        out.extend_from_slice(response.status_line_rest());
    }
    let is_bodiless = response.status < 200 || response.status == 204;
    fields.copy_kept(out, if response.is_old { fields.start() } else { 0 }, |name, kind| match kind {
        Kind::Other => !fields.is_named_by_connection(name) && path.keeps(name),
        Kind::Host | Kind::ContentType | Kind::Expect => true,
        // RFC 9110 section 8.6: never beside these.
        Kind::ContentLength => !is_bodiless,
        Kind::TransferEncoding => keeps_encoding,
        Kind::Upgrade => is_switch,
        Kind::Connection | Kind::Te | Kind::Hop => false,
    });
    if let Some(value) = path.value() {
        put_line(out, PATH_HEADER, value);
    }
    if framing == Framing::NewChunks {
        put(out, &["Transfer-Encoding: chunked\r\n"]);
    }
    if is_switch {
        put(out, &["Connection: Upgrade\r\n"]);
    }
    put_persistence(out, persistence);
    put(out, &["\r\n"]);
}

/// HTTP/1 to HTTP/2.
pub(crate) fn response_1_to_2(
    response: &response::Response<'_, '_>,
    path: &Line,
) -> Result<http::Response<()>, Reason> {
    let mut translated = http::Response::new(());
    *translated.version_mut() = Version::HTTP_2;
    *translated.status_mut() = StatusCode::from_u16(response.status).map_err(|_| Reason::Status)?;
    let fields = &response.fields;
    let is_bodiless = response.status < 200 || response.status == 204;
    let map = translated.headers_mut();
    map.reserve(fields.count());
    for (name, value, kind) in fields.iter() {
        let keeps = match kind {
            Kind::Other => !fields.is_named_by_connection(name) && path.keeps(name),
            Kind::ContentType | Kind::Expect => true,
            Kind::ContentLength => !is_bodiless,
            Kind::Host | Kind::TransferEncoding | Kind::Upgrade | Kind::Connection | Kind::Te | Kind::Hop => false,
        };
        if keeps {
            append(map, name, value)?;
        }
    }
    if let Some(value) = path.value() {
        append(map, PATH_HEADER.as_bytes(), value)?;
    }
    Ok(translated)
}

/// HTTP/2 to HTTP/1.1. `has_body`: one follows or may.
pub(crate) fn response_2_to_1(
    response: &http::Response<()>,
    framing: Framing,
    persistence: Persistence,
    has_no_length: bool,
    path: &Line,
    out: &mut Vec<u8>,
) {
    let status = response.status();
    put(out, &["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or(""), "\r\n"]);
    for (name, value) in response.headers() {
        if !headers::is_connection_specific(name) && path.keeps(name.as_str().as_bytes()) {
            put_line(out, name.as_str(), value.as_bytes());
        }
    }
    if let Some(value) = path.value() {
        put_line(out, PATH_HEADER, value);
    }
    if framing == Framing::NewChunks {
        put(out, &["transfer-encoding: chunked\r\n"]);
    } else if has_no_length {
        put(out, &["content-length: 0\r\n"]);
    }
    put_persistence(out, persistence);
    put(out, &["\r\n"]);
}

/// HTTP/2 to HTTP/2.
pub(crate) fn response_2_to_2(mut response: http::Response<()>, path: &Line) -> http::Response<()> {
    let map = response.headers_mut();
    without(map, |name| headers::is_connection_specific(name) || !path.keeps(name.as_str().as_bytes()));
    // What came in a head can stand in one.
    if let Some(value) = path.value().and_then(|value| HeaderValue::from_bytes(value).ok()) {
        map.append(PATH_HEADER, value);
    }
    response
}

// ---- parts ----

/// `:authority`, or Host.
pub(crate) fn authority(request: &http::Request<()>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(""),
    }
}

fn uri(authority: &str, target: &str) -> Result<Uri, Reason> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(authority).map_err(|_| Reason::Translation)?);
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| Reason::Translation)?);
    Uri::from_parts(parts).map_err(|_| Reason::Translation)
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<(), Reason> {
    let name = HeaderName::from_bytes(name).map_err(|_| Reason::FieldName)?;
    let value = HeaderValue::from_bytes(value).map_err(|_| Reason::FieldValue)?;
    map.try_append(name, value).map(|_| ()).map_err(|_| Reason::FieldsTooMany)
}

/// Our own field lines.
fn add_lines(map: &mut HeaderMap, lines: &[u8]) -> Result<(), Reason> {
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        append(map, &line[..colon], line[colon + 1..].trim_ascii())?;
    }
    Ok(())
}

/// Takes fields out and keeps the order of the others, which `HeaderMap::remove` does not.
fn without(map: &mut HeaderMap, is_dropped: impl Fn(&HeaderName) -> bool) {
    if !map.keys().any(&is_dropped) {
        return;
    }
    let mut kept = HeaderMap::with_capacity(map.len());
    let mut current: Option<HeaderName> = None;
    for (name, value) in map.drain() {
        if name.is_some() {
            current = name;
        }
        if let Some(name) = current.as_ref().filter(|name| !is_dropped(name)) {
            kept.append(name.clone(), value);
        }
    }
    *map = kept;
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn put_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(out, &[name, ": "]);
    out.extend_from_slice(value);
    put(out, &["\r\n"]);
}

fn put_persistence(out: &mut Vec<u8>, persistence: Persistence) {
    match persistence {
        Persistence::Silent => {}
        Persistence::KeepAlive => put(out, &["Connection: keep-alive\r\n"]),
        Persistence::Close => put(out, &["Connection: close\r\n"]),
    }
}

#[cfg(test)]
mod tests;
