//! Exports spans to a collector by OTLP over gRPC, on the control thread. A collector that is slow, hangs or is gone costs its spans,
//! which are counted, and nobody's request anything.
//!
//! Not the OpenTelemetry SDK: its batch processor allocates and locks for each span on the way of a request, and has its own idea of
//! what begins a trace. Of that family we take the messages of the protocol alone.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use laneway_core::snapshot::Identity;
use laneway_core::tag::Tag;
use laneway_core::why::{source_label, why_label};
use laneway_proto::contract::BASELINE;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as WireSpan, SpanFlags, Status};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::line::is_fallback;
use super::spans::{BATCH, Queues, Span};

/// How long spans wait for others to go with them.
const INTERVAL: Duration = Duration::from_secs(1);
/// Until the collector has taken a batch; what comes meanwhile waits in the queues.
const EXPORT_TIME: Duration = Duration::from_secs(5);
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// For the last spans, when the program ends.
const LAST_TIME: Duration = Duration::from_secs(1);

/// The exporter's task, until it is told to end.
pub struct Exporting {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Nothing is connected yet. The error says what is wrong with the address.
    pub fn start(endpoint: &str, identity: &Identity, pod_name: &str, queues: Queues) -> Result<Exporting, String> {
        let exporter = Exporter::new(endpoint, identity, pod_name, queues)?;
        let (end, ending) = oneshot::channel();
        Ok(Exporting { end, task: tokio::spawn(exporter.run(ending)) })
    }

    /// Exports what waits, and ends; a collector that takes nothing does not hold the program.
    pub async fn finish(self) {
        // It fails only if the task has ended already.
        let _ = self.end.send(());
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST_TIME, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Sends what the queues hold, again and again.
struct Exporter {
    client: TraceServiceClient<Channel>,
    resource: Resource,
    queues: Queues,
    /// The collector took the last batch: an end of that is said once.
    is_well: bool,
}

impl Exporter {
    fn new(endpoint: &str, identity: &Identity, pod_name: &str, queues: Queues) -> Result<Exporter, String> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| error.to_string())?;
        let channel = endpoint.connect_timeout(CONNECT_TIME).timeout(EXPORT_TIME).connect_lazy();
        let client = TraceServiceClient::new(channel);
        Ok(Exporter { client, resource: resource(identity, pod_name), queues, is_well: true })
    }

    async fn run(mut self, mut ending: oneshot::Receiver<()>) {
        let many = Arc::clone(&self.queues.many);
        let mut is_ending = false;
        while !is_ending {
            tokio::select! {
                _ = &mut ending => is_ending = true,
                _ = tokio::time::timeout(INTERVAL, many.notified()) => {}
            }
            self.export().await;
        }
    }

    /// Exports what waits now.
    async fn export(&mut self) {
        let mut waiting = self.queues.take().into_iter().peekable();
        while waiting.peek().is_some() {
            let batch: Vec<WireSpan> = waiting.by_ref().take(BATCH).map(|span| wire(&span)).collect();
            self.send(batch).await;
        }
    }

    async fn send(&mut self, spans: Vec<WireSpan>) {
        let count = spans.len();
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scoped = ScopeSpans { scope: Some(scope), spans, schema_url: String::new() };
        let of_resource = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![scoped],
            schema_url: String::new(),
        };
        let request = ExportTraceServiceRequest { resource_spans: vec![of_resource] };
        // The channel's own time counts from the connection on.
        let error = match tokio::time::timeout(EXPORT_TIME, self.client.export(request)).await {
            Ok(Ok(answer)) => {
                let rejected = answer.into_inner().partial_success.map_or(0, |partial| partial.rejected_spans);
                let rejected = usize::try_from(rejected).unwrap_or(0).min(count);
                self.queues.exported(count - rejected);
                self.queues.failed(rejected);
                self.is_well = true;
                return;
            }
            Ok(Err(status)) => status.message().to_owned(),
            Err(_) => format!("no answer in {EXPORT_TIME:?}"),
        };
        self.queues.failed(count);
        if std::mem::replace(&mut self.is_well, false) {
            tracing::warn!(%error, "the collector of traces takes no spans; they are dropped and counted until it does");
        }
    }
}

/// Who sends them.
fn resource(identity: &Identity, pod_name: &str) -> Resource {
    let mut attributes = vec![
        text("service.name", if identity.service.is_empty() { "unknown_service" } else { &identity.service }),
        text("service.namespace", &identity.namespace),
        text("lane.pod.tag", word(identity.tag.as_ref())),
    ];
    if !pod_name.is_empty() {
        attributes.push(text("k8s.pod.name", pod_name));
    }
    Resource { attributes, ..Resource::default() }
}

/// A span as the protocol has it; names of attributes are those of the semantic conventions, and `lane.*`.
fn wire(span: &Span) -> WireSpan {
    let Span { ids, seen, at, ended } = span;
    let start = u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
    let took = u64::try_from(ended.took.as_nanos()).unwrap_or(u64::MAX);
    let (method, is_known) = method(&seen.head.method);
    let mut attributes = vec![
        text("http.request.method", method),
        text("url.path", &seen.head.path),
        text("server.address", &seen.head.host),
        text("lane.tag", seen.tag.wire().unwrap_or(BASELINE)),
        text("lane.source", source_label(seen.source)),
        text("lane.why", why_label(seen.why)),
        KeyValue {
            key: "lane.fallback".into(),
            value: value(Value::BoolValue(is_fallback(seen.why))),
            ..KeyValue::default()
        },
        text("lane.service", &seen.service),
        text("lane.endpoint.tag", word(seen.endpoint_tag.as_ref())),
    ];
    if !is_known {
        attributes.push(text("http.request.method_original", &seen.head.method));
    }
    if let Some(upstream) = seen.upstream {
        attributes.push(text("lane.endpoint", &upstream.to_string()));
    }
    if ended.status != 0 {
        attributes.push(number("http.response.status_code", ended.status.into()));
    }
    attributes.push(number("http.response.body.size", i64::try_from(ended.response_bytes).unwrap_or(i64::MAX)));
    if let Some(flag) = ended.flag {
        attributes.push(text("lane.flags", flag.label()));
    }
    // A client takes 4xx for an error, a server only 5xx (semantic conventions for HTTP spans).
    let is_error = ended.status == 0 || ended.status >= if seen.is_inbound { 500 } else { 400 };
    let name = match (is_known, seen.service.is_empty()) {
        (true, false) => format!("{method} {}", seen.service),
        (true, true) => method.to_owned(),
        (false, _) => "HTTP".to_owned(),
    };
    WireSpan {
        trace_id: ids.trace.to_be_bytes().to_vec(),
        span_id: ids.span.to_be_bytes().to_vec(),
        parent_span_id: ids.parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        flags: u32::from(ids.flags)
            | SpanFlags::ContextHasIsRemoteMask as u32
            | if ids.parent.is_some() { SpanFlags::ContextIsRemoteMask as u32 } else { 0 },
        name,
        kind: if seen.is_inbound { SpanKind::Server } else { SpanKind::Client }.into(),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(took),
        attributes,
        status: is_error.then(|| Status {
            message: ended.flag.map_or("", super::Flag::label).to_owned(),
            code: StatusCode::Error.into(),
        }),
        ..WireSpan::default()
    }
}

/// The method, and whether it is one that is registered (others would make names without end).
fn method(said: &str) -> (&str, bool) {
    match said {
        "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH" => (said, true),
        _ => ("_OTHER", false),
    }
}

fn word(tag: Option<&Tag>) -> &str {
    tag.map_or(BASELINE, Tag::as_str)
}

fn value(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn text(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(Value::StringValue(text.to_owned())), ..KeyValue::default() }
}

fn number(key: &str, number: i64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(Value::IntValue(number)), ..KeyValue::default() }
}

#[cfg(test)]
mod tests;
