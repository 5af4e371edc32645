//! A receiver of OTLP over gRPC: in this process, or in one of its own that can be stopped.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::{Request, Response, Status};

use crate::pods::{free, wait_until};

/// Set for the process that is nothing but a collector: where it listens.
const ALONE: &str = "LANEWAY_TEST_COLLECTOR";

/// A span and the service that sent it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) sender: String,
    pub(crate) span: Span,
}

#[derive(Clone, Default)]
struct Spans {
    held: Arc<Mutex<Vec<Received>>>,
    /// The name of each is written to standard output.
    are_printed: bool,
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut held = self.held.lock().expect("nobody panicked");
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let sender = text(&attributes, "service.name");
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                if self.are_printed {
                    writeln!(std::io::stdout(), "{}", span.name).expect("somebody reads");
                }
                held.push(Received { sender: sender.clone(), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Serves until the process ends.
fn serve(address: SocketAddr, spans: Spans) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(spans));
    runtime.block_on(server.serve(address)).expect("the port was free");
}

/// A collector in this process.
pub(crate) struct Collector {
    pub(crate) endpoint: String,
    spans: Spans,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let (address, spans) = (free(), Spans::default());
        let of_thread = spans.clone();
        std::thread::spawn(move || serve(address, of_thread));
        wait_until("collecting", || std::net::TcpStream::connect(address).is_ok());
        Collector { endpoint: format!("http://{address}"), spans }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.spans.held.lock().expect("nobody panicked").clone()
    }

    /// Waits until so many have come.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_until(&format!("{count} spans"), || self.received().len() >= count);
        self.received()
    }
}

/// A collector in a process of its own, which prints the name of each span.
pub(crate) struct Alone {
    pub(crate) endpoint: String,
    pub(crate) output: BufReader<std::process::ChildStdout>,
    process: Child,
}

impl Alone {
    pub(crate) fn start() -> Alone {
        let address = free();
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["collector::is_a_collector_where_it_is_told_to_be", "--exact", "--nocapture"]);
        command.env(ALONE, address.to_string()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        wait_until("collecting", || std::net::TcpStream::connect(address).is_ok());
        Alone { endpoint: format!("http://{address}"), output, process }
    }

    /// Reads its output until a span of this name comes.
    pub(crate) fn wait_for(&mut self, name: &str) {
        let mut line = String::new();
        while line.trim_end() != name {
            line.clear();
            let bytes = self.output.read_line(&mut line).expect("a pipe");
            assert!(bytes > 0, "the collector ended");
        }
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and not waited for yet, so its id cannot belong to another process.
        unsafe { libc::kill(i32::try_from(self.process.id()).expect("an id"), signal) };
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too. It fails only if the child has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn is_a_collector_where_it_is_told_to_be() {
    if let Ok(address) = std::env::var(ALONE) {
        serve(address.parse().expect("an address"), Spans { are_printed: true, ..Spans::default() });
    }
}

/// The value of an attribute in words; empty: it is not there.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
