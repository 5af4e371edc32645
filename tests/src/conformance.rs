//! The conformance chains: what a lane must do in front of applications that know nothing of it.
//!
//! One list for the demo and the end-to-end tests. A request enters through an unmeshed entry and goes A -> B -> C; the
//! answer names every instance it visited.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use laneway_proto::contract;

use crate::application::{Application, Forwards, Propagation, Runtime};
use crate::client::Speech;
use crate::entry::Rule;
use crate::mesh::{Mesh, Plan};
use crate::process::wait_for;

/// A pod that left discovery is forgotten by every sidecar in this time, or the test fails.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// One state of the mesh, and the requests that show it.
pub struct Scenario {
    pub title: &'static str,
    /// The file in tests/demo that is applied.
    pub documents: &'static str,
    /// Headers by which the entry sends a request to A-gray, as an ingress's canary does.
    pub canary: &'static [(&'static str, &'static str)],
    /// What the applications forward.
    pub forward: &'static str,
    /// How B calls C.
    pub c_called_by: Speech,
    /// Pods that do not run here.
    pub absent: &'static [&'static str],
    pub checks: &'static [Check],
}

/// One request and the chain that it must visit.
pub struct Check {
    pub id: &'static str,
    pub host: &'static str,
    pub headers: &'static [(&'static str, &'static str)],
    pub expected: &'static str,
}

/// What came of a check.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    pub id: &'static str,
    pub request: String,
    pub expected: &'static str,
    pub actual: String,
    /// What the sidecars say of it: `x-laneway-path` of the answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    pub ok: bool,
}

const fn check(
    id: &'static str,
    host: &'static str,
    headers: &'static [(&'static str, &'static str)],
    expected: &'static str,
) -> Check {
    Check { id, host, headers, expected }
}

const TAG: &str = "x-mse-tag";
const BOTH: &str = "x-mse-tag,x-user-id";

/// Scenarios in an order that changes little from one to the next.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        title: "one gray environment: A-gray stamps, the lane goes on",
        documents: "scenario-1.yaml",
        canary: &[],
        forward: TAG,
        c_called_by: Speech::Http1,
        absent: &[],
        checks: &[
            check("S1-1", "www.base.com", &[], "A -> B -> C"),
            check("S1-2", "www.gray.com", &[], "Agray -> Bgray -> Cgray"),
            check("S1-3", "www.base.com", &[(TAG, "gray")], "A -> Bgray -> Cgray"),
        ],
    },
    Scenario {
        title: "the same while B calls C by gRPC",
        documents: "scenario-1.yaml",
        canary: &[],
        forward: TAG,
        c_called_by: Speech::Grpc,
        absent: &[],
        checks: &[check("S1-3-grpc", "www.base.com", &[(TAG, "gray")], "A -> Bgray -> Cgray")],
    },
    Scenario {
        title: "behind an ingress with a canary by the header x-mse-tag",
        documents: "scenario-2.yaml",
        canary: &[(TAG, "gray")],
        forward: TAG,
        c_called_by: Speech::Http1,
        absent: &[],
        checks: &[
            check("S2-1", "www.demo.com", &[], "A -> B -> C"),
            check("S2-2", "www.demo.com", &[(TAG, "gray")], "Agray -> Bgray -> Cgray"),
        ],
    },
    Scenario {
        title: "behind an ingress with a canary by the header x-user-id",
        documents: "scenario-2.yaml",
        canary: &[("x-user-id", "100")],
        forward: TAG,
        c_called_by: Speech::Http1,
        absent: &[],
        checks: &[
            check("S2-3", "www.demo.com", &[("x-user-id", "100")], "Agray -> Bgray -> Cgray"),
            check("S2-4", "www.demo.com", &[("x-user-id", "101")], "A -> B -> C"),
        ],
    },
    Scenario {
        title: "B has no gray instance: fall back, keep the tag, come back at C",
        documents: "scenario-4.yaml",
        canary: &[("x-user-id", "120")],
        forward: TAG,
        c_called_by: Speech::Http1,
        absent: &["b-gray"],
        checks: &[check("S4", "www.demo.com", &[("x-user-id", "120")], "Agray -> B -> Cgray")],
    },
    Scenario {
        title: "nobody stamps, B's own rule takes user 100; the ingress has a canary too",
        documents: "scenario-3.yaml",
        canary: &[("x-user-id", "100")],
        forward: BOTH,
        c_called_by: Speech::Http1,
        absent: &[],
        checks: &[
            check("S3-1", "www.base.com", &[("x-user-id", "100")], "Agray -> Bgray -> C"),
            check("S3-2", "www.base.com", &[("x-user-id", "101")], "A -> B -> C"),
        ],
    },
    Scenario {
        title: "the same without the ingress's canary",
        documents: "scenario-3.yaml",
        canary: &[],
        forward: BOTH,
        c_called_by: Speech::Http1,
        absent: &[],
        checks: &[
            check("S3-3", "www.base.com", &[("x-user-id", "100")], "A -> Bgray -> C"),
            check("S3-4", "www.base.com", &[("x-user-id", "101")], "A -> B -> C"),
        ],
    },
];

/// The mesh of all scenarios: A, B, C, each with a baseline and a gray instance.
pub fn plan(label: &str, redirect: bool) -> Plan {
    let tags: &[&str] = &["", "gray"];
    Plan::chain(label, redirect, &[("a", tags), ("b", tags), ("c", tags)])
}

/// The folder of the documents.
pub fn documents() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo"))
}

/// The scenarios that hold for an application: all, but what it does not speak.
pub fn scenarios(application: Application) -> impl Iterator<Item = &'static Scenario> {
    SCENARIOS
        .iter()
        .filter(move |scenario| scenario.c_called_by == Speech::Http1 || application.runtime == Runtime::Echo)
}

/// Brings the mesh into the state of a scenario, with applications that forward what it says.
pub fn arrange(mesh: &mut Mesh, scenario: &Scenario) -> Result<()> {
    arrange_with(mesh, scenario, Application { runtime: Runtime::Echo, forwards: Forwards::Tag })
}

/// The same with other applications. Behind those that forward nothing the sidecars infer the lane, which they can as the
/// requests of a scenario come one by one.
pub fn arrange_with(mesh: &mut Mesh, scenario: &Scenario, application: Application) -> Result<()> {
    let names: Vec<String> = mesh.plan().pods.iter().map(|pod| pod.name.clone()).collect();
    for name in &names {
        mesh.change_application(name, |pod| {
            application.dress(pod)?;
            if application.forwards == Forwards::Tag {
                scenario.forward.clone_into(&mut pod.forward);
            }
            pod.speech = if name.starts_with("b-") { scenario.c_called_by } else { Speech::Http1 };
            Ok(())
        })?;
    }
    mesh.write_entry_rules(&entry_rules(mesh, scenario)?)?;
    let propagation = Propagation::for_application(application.forwards, application.forwards == Forwards::Nothing);
    let documents = mesh.directory().join("scenario.yaml");
    std::fs::write(&documents, propagation.in_documents(&self::documents().join(scenario.documents))?)
        .context("write the documents of the scenario")?;
    mesh.apply(&documents)?;
    let state = |pod: &str| if scenario.absent.contains(&pod) { "" } else { "ready" };
    if mesh.plan().pods.iter().any(|pod| pod.state != state(&pod.name)) {
        mesh.rewrite_discovery(|plan| {
            for pod in &mut plan.pods {
                state(&pod.name).clone_into(&mut pod.state);
            }
        })?;
        settle(mesh, &scenario.checks[0]);
    }
    Ok(())
}

/// Sends a check's request with curl, and reads which instances it visited.
pub fn ask(mesh: &Mesh, check: &Check) -> Result<Outcome> {
    let url = format!("http://{}/a", mesh.entry_address());
    let host = format!("Host: {}", check.host);
    let headers: Vec<String> = check.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut arguments = vec!["-H", &host];
    for header in &headers {
        arguments.extend(["-H", header]);
    }
    arguments.push(&url);
    let quoted: Vec<String> = arguments
        .iter()
        .map(|part| if part.contains(' ') { format!("\"{part}\"") } else { (*part).to_owned() })
        .collect();
    let request = format!("curl {}", quoted.join(" "));
    arguments.push("--include");
    let (actual, path) = match mesh.curl(&arguments) {
        Ok(answer) => parts(&answer),
        Err(error) => (format!("{error:#}"), String::new()),
    };
    let ok = names(&actual) == check.expected;
    Ok(Outcome { id: check.id, request, expected: check.expected, actual, path, ok })
}

/// The body of an answer, and the path that its head says.
fn parts(answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or(("", answer));
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let path = lines.find(|(name, _)| name.eq_ignore_ascii_case(contract::PATH_HEADER));
    (body.trim_end().to_owned(), path.map_or_else(String::new, |(_, path)| path.to_owned()))
}

/// The chain without the addresses: `Agray[10.1.0.12] -> B[10.1.0.13]` is `Agray -> B`.
pub fn names(chain: &str) -> String {
    let mut depth = 0;
    let mut text = String::with_capacity(chain.len());
    for letter in chain.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    text
}

/// Waits until what discovery said last has reached the sidecars: asked of them, not of a clock. If it never does, the
/// check itself says so.
fn settle(mesh: &Mesh, check: &Check) {
    wait_for(DISCOVERY_TIMEOUT, || ask(mesh, check).ok().filter(|outcome| outcome.ok));
}

fn entry_rules(mesh: &Mesh, scenario: &Scenario) -> Result<Vec<Rule>> {
    let (base, gray) = (mesh.socket("a-base")?, mesh.socket("a-gray")?);
    let mut rules: Vec<Rule> = scenario
        .canary
        .iter()
        .map(|(name, value)| Rule { host: None, headers: [((*name).to_owned(), (*value).to_owned())].into(), to: gray })
        .collect();
    for (host, to) in [("www.base.com", base), ("www.demo.com", base), ("www.gray.com", gray)] {
        rules.push(Rule { host: Some(host.to_owned()), headers: Default::default(), to });
    }
    Ok(rules)
}
