//! The request that somebody asks about, as people give it: checked here, and nowhere else.

use laneway_proto::admin;

use crate::condition::{form_decode, is_header_name};
use crate::facts::{Facts, Headers, Source};
use crate::snapshot::Group;
use crate::tag::RequestTag;

/// A head longer than this is refused by a sidecar too.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    target: String,
    host: String,
    /// Names in lower case.
    lines: Vec<(String, String)>,
    is_grpc: bool,
}

/// What is wrong with a call. `field` is that of the message, in proto names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadCall {
    pub field: String,
    pub message: String,
}

impl Call {
    /// A method that is not given is GET, a path `/`, a host that of a header `host`, else `host`.
    pub fn read(from: &admin::Call, host: &str) -> Result<Call, BadCall> {
        is_supported(from)?;
        let bytes = from.headers.iter().map(|line| line.name.len() + line.value.len());
        if from.path.len() + from.host.len() + bytes.sum::<usize>() > HEAD_BYTES_MAX {
            return Err(bad("headers", format!("a head has at most {HEAD_BYTES_MAX} bytes")));
        }
        let mut lines = Vec::with_capacity(from.headers.len());
        for (index, line) in from.headers.iter().enumerate() {
            if !is_header_name(&line.name) {
                return Err(bad(&format!("headers[{index}].name"), format!("{:?} is no header name", line.name)));
            }
            if line.value.chars().any(|letter| letter.is_control() && letter != '\t') {
                let message = "a value holds no control characters".to_owned();
                return Err(bad(&format!("headers[{index}].value"), message));
            }
            lines.push((line.name.to_ascii_lowercase(), line.value.clone()));
        }
        let of_header = |name: &str| lines.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim());
        let host = [Some(from.host.as_str()), of_header("host"), Some(host)];
        let host = host.into_iter().flatten().find(|host| !host.is_empty()).unwrap_or_default().to_owned();
        if !is_visible(&host) || host.contains(['/', '?', '#', '@']) {
            return Err(bad("host", format!("{host:?} is no host; it is like www.demo.com or www.demo.com:8080")));
        }
        let method = if from.method.is_empty() { "GET" } else { &from.method };
        if !is_header_name(method) {
            return Err(bad("method", format!("{method:?} is no method; it is like GET")));
        }
        let target = if from.path.is_empty() { "/" } else { &from.path };
        if !(target.starts_with('/') || target == "*") || !is_visible(target) {
            let message =
                format!("{target:?} is no path; it begins with `/`, and what is not ASCII is percent-encoded");
            return Err(bad("path", message));
        }
        let is_grpc = of_header("content-type").is_some_and(|kind| {
            let rest = kind.strip_prefix("application/grpc");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
        });
        Ok(Call { method: method.to_owned(), target: target.to_owned(), host, lines, is_grpc })
    }

    pub fn facts<'a>(&'a self, source: Source<'a>) -> Facts<'a> {
        Facts {
            method: &self.method,
            target: &self.target,
            authority: &self.host,
            headers: self,
            is_grpc: self.is_grpc,
            source,
        }
    }

    /// The call that an application makes which forwards everything: the tag that it was told instead of what was carried.
    pub fn forwarded(&self, group: &Group, tag: RequestTag, host: &str) -> Call {
        let is_carrier = |name: &str| {
            name == group.tag_header
                || name == "baggage"
                || name == "tracestate"
                || group.aliases.iter().any(|alias| alias == name)
        };
        let mut call = Call { host: host.to_owned(), ..self.clone() };
        call.lines.retain(|(name, _)| !is_carrier(name) && name != "host");
        if let Some(tag) = tag.wire() {
            call.lines.push((group.tag_header.clone(), tag.to_owned()));
        }
        call
    }
}

impl Headers for Call {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        self.lines.iter().filter(|(n, _)| n == name).nth(index).map(|(_, value)| value.as_bytes())
    }
}

/// What this version does not look at is refused, never ignored.
fn is_supported(from: &admin::Call) -> Result<(), BadCall> {
    let fields = [
        ("dubbo_service", !from.dubbo_service.is_empty()),
        ("dubbo_method", !from.dubbo_method.is_empty()),
        ("dubbo_arguments_json", !from.dubbo_arguments_json.is_empty()),
        ("attachments", !from.attachments.is_empty()),
        ("topic", !from.topic.is_empty()),
        ("properties", !from.properties.is_empty()),
        ("body", !from.body.is_empty()),
    ];
    match fields.into_iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(bad(field, "not supported yet (LANE0900)".to_owned())),
        None => Ok(()),
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bad(field: &str, message: String) -> BadCall {
    BadCall { field: field.to_owned(), message }
}

/// Names and values of a query, percent-decoded, in order; bytes that are not UTF-8 are replaced.
pub fn query_pairs(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let bytes: Vec<u8> = form_decode(text.as_bytes()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let split =
        |pair: &str| pair.split_once('=').map_or((decoded(pair), String::new()), |(n, v)| (decoded(n), decoded(v)));
    pairs.map(split).collect()
}
