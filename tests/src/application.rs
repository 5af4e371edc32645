//! The applications of the tests: which program runs in a pod, and what of a request it carries on.
//!
//! Echo forwards the headers that it is told to. The Flask and the Node application are ordinary programs of their runtime
//! (tests/propagation): they forward nothing by themselves, and under OpenTelemetry's zero-code instrumentation what its
//! propagators carry. Their packages are installed by `./x`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::mesh::PodPlan;

/// What the program is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Echo,
    Flask,
    Node,
}

/// What it carries from a request to the calls that it makes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwards {
    /// The tag header, by the application's own code.
    Tag,
    /// A trace id and nothing else: W3C trace context, in a group whose tag travels in no other header that it knows.
    TraceId,
    /// A trace id in the headers of B3, which the client brings.
    B3,
    /// Everything that OpenTelemetry carries unless it is told otherwise: trace context and baggage.
    Baggage,
    Nothing,
}

/// A program and what it forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Application {
    pub runtime: Runtime,
    pub forwards: Forwards,
}

impl Application {
    /// For tables: `echo`, `Flask, OpenTelemetry`.
    pub fn name(self) -> String {
        let runtime = match self.runtime {
            Runtime::Echo => "echo",
            Runtime::Flask => "Flask",
            Runtime::Node => "Node",
        };
        match self.is_traced() {
            true => format!("{runtime}, OpenTelemetry"),
            false => runtime.to_owned(),
        }
    }

    /// Makes a pod run it.
    pub fn dress(self, pod: &mut PodPlan) -> Result<()> {
        pod.forward = self.headers().to_owned();
        (pod.program, pod.application_environment) = match self.runtime {
            Runtime::Echo => (None, Vec::new()),
            Runtime::Flask => (Some(self.flask()?), self.open_telemetry()),
            Runtime::Node => (Some((PathBuf::from("node"), vec![source("node/app.js")])), self.node_environment()?),
        };
        Ok(())
    }

    fn is_traced(self) -> bool {
        self.runtime != Runtime::Echo && self.forwards != Forwards::Nothing
    }

    /// What echo is told to forward.
    fn headers(self) -> &'static str {
        match self.forwards {
            Forwards::Tag => "x-mse-tag",
            Forwards::TraceId => "traceparent",
            Forwards::B3 => "b3,x-b3-traceid,x-b3-spanid,x-b3-sampled",
            Forwards::Baggage => "traceparent,tracestate,baggage",
            Forwards::Nothing => "",
        }
    }

    fn flask(self) -> Result<(PathBuf, Vec<String>)> {
        let (python, instrument) = (tool("bin/python")?, tool("bin/opentelemetry-instrument")?);
        let app = source("flask/app.py");
        Ok(match self.is_traced() {
            // By `env`, for the instrumentation looks whether it may run the program, and its look is more modest than its
            // rights where Python lies below /root.
            true => (instrument, vec!["env".to_owned(), python.display().to_string(), app]),
            false => (python, vec![app]),
        })
    }

    fn node_environment(self) -> Result<Vec<(String, String)>> {
        let packages = tool("node/node_modules")?;
        let mut environment = self.open_telemetry();
        environment.push(("NODE_PATH".to_owned(), packages.display().to_string()));
        if self.is_traced() {
            // The other detectors ask the metadata services of clouds, which would be counted as calls.
            environment.push(("OTEL_NODE_RESOURCE_DETECTORS".to_owned(), "env,host".to_owned()));
            let preload = "--require @opentelemetry/auto-instrumentations-node/register";
            environment.push(("NODE_OPTIONS".to_owned(), preload.to_owned()));
        }
        Ok(environment)
    }

    /// The environment of zero-code instrumentation: nothing is exported, for only what is propagated matters here.
    fn open_telemetry(self) -> Vec<(String, String)> {
        let propagators = match self.forwards {
            Forwards::TraceId => "tracecontext",
            Forwards::B3 => "b3multi",
            Forwards::Baggage => "tracecontext,baggage",
            Forwards::Tag | Forwards::Nothing => return Vec::new(),
        };
        let exporters = ["TRACES", "METRICS", "LOGS"].map(|signal| format!("OTEL_{signal}_EXPORTER"));
        let mut environment: Vec<_> = exporters.into_iter().map(|name| (name, "none".to_owned())).collect();
        environment.push(("OTEL_PROPAGATORS".to_owned(), propagators.to_owned()));
        environment
    }
}

/// What a group says of propagation beside what its file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// The tag goes in its own header alone; else in `baggage` and `tracestate` too, as by default.
    pub header_only: bool,
    /// `infer: unanimous`: requests in flight that agree answer for a call without a trace.
    pub infer: bool,
}

impl Propagation {
    /// What an application that forwards so is run with, to show what it forwards and nothing else.
    pub fn for_application(forwards: Forwards, infer: bool) -> Self {
        let header_only = match forwards {
            Forwards::TraceId | Forwards::B3 => true,
            Forwards::Tag | Forwards::Baggage | Forwards::Nothing => false,
        };
        Self { header_only, infer }
    }

    /// The documents of a file with this said in them.
    pub fn in_documents(self, file: &Path) -> Result<String> {
        let mut text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let mut say = |what: bool, before: &str, after: &str| {
            ensure!(!what || text.matches(before).count() == 1, "{} does not have one `{before}`", file.display());
            if what {
                text = text.replacen(before, after, 1);
            }
            Ok(())
        };
        say(self.header_only, "tag: {", "tag: {carriers: [header], ")?;
        say(self.infer, "propagate: {", "propagate: {infer: unanimous, ")?;
        Ok(text)
    }
}

/// A file of tests/propagation.
fn source(name: &str) -> String {
    format!("{}/propagation/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A part of what `./x` installed. Not canonical: the link is what makes Python's a virtual environment.
fn tool(name: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools").join(name);
    ensure!(path.exists(), "{} is not there: `./x test` and `./x test-propagation` install it", path.display());
    Ok(path)
}
