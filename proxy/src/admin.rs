//! The admin port: what one sidecar holds and does, for whoever debugs it, and the few things that may be changed while it runs.
//! Shapes and meanings: docs/admin.md.
//!
//! Loopback only, and for programs rather than pages of a browser (`guard.rs`): what changes something is a POST. Answers are
//! made on the control thread from what is in force; no worker is asked. Longest answer: [`ENTRIES_MAX`] entries.

use std::time::Instant;

use http::request::Parts;
use http::{Method, StatusCode};
use laneway_core::explain::query_pairs;
use serde::Serialize;

use crate::logging::Logging;
use crate::pages::{self, Bounds, Page};
use crate::status::Status;

mod explain;
mod guard;
#[cfg(feature = "heap-profile")]
mod heap;
mod held;
mod memory;

/// Askers at a time: with [`ENTRIES_MAX`] what a few that never read can make us hold.
const CONNECTIONS_MAX: usize = 8;
/// Entries of one answer; `total` says how many there are.
const ENTRIES_MAX: usize = 10_000;

pub const BOUNDS: Bounds = Bounds { connections_max: CONNECTIONS_MAX, only_loopback: true };

/// What the pages are made from. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    pub status: Status,
    pub logging: Logging,
    /// For people.
    pub pod_name: String,
    pub started: Instant,
}

/// What one page says, and how it may be asked for.
struct Known {
    path: &'static str,
    /// GET shows.
    reads: Option<fn(&Admin, &str) -> Page>,
    /// POST changes.
    changes: Option<fn(&Admin, &str) -> Page>,
    says: &'static str,
}

const PAGES: [Known; 11] = [
    Known { path: "/config_dump", reads: Some(config_dump), changes: None, says: "what is in force, with versions" },
    Known { path: "/lanes", reads: Some(lanes), changes: None, says: "the group and its lanes" },
    Known { path: "/services", reads: Some(services), changes: None, says: "services that can be called; ?service=" },
    Known { path: "/endpoints", reads: Some(endpoints), changes: None, says: "their instances; ?service=, ?tag=" },
    Known { path: "/explain", reads: Some(explained), changes: None, says: "what would be done with a request" },
    Known {
        path: "/logging",
        reads: Some(logging),
        changes: Some(set_logging),
        says: "what is logged; POST ?level= changes it",
    },
    Known {
        path: "/announce",
        reads: None,
        changes: Some(announce),
        says: "POST tells callers that this pod is about to end",
    },
    Known { path: "/drain", reads: None, changes: Some(drain), says: "POST drains and ends this sidecar" },
    Known { path: "/memory", reads: Some(memory), changes: None, says: "what this process holds" },
    Known {
        path: "/heap_profile",
        reads: Some(heap_profile),
        changes: None,
        says: "who holds what of the heap, for jeprof",
    },
    Known { path: "/version", reads: Some(version), changes: None, says: "what this program is" },
];

#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct Index {
    pages: Vec<Indexed>,
}

#[derive(Serialize)]
struct Indexed {
    path: &'static str,
    methods: &'static str,
    says: &'static str,
}

impl Admin {
    /// The answer to one request.
    pub fn page(&self, asked: &Parts) -> Page {
        if let Err(refused) = guard::check(asked) {
            return wrong(StatusCode::FORBIDDEN, &refused.to_string());
        }
        let query = asked.uri.query().unwrap_or_default();
        let path = asked.uri.path();
        if path == "/" && pages::is_reading(&asked.method) {
            return pages::json(StatusCode::OK, &index());
        }
        let Some(known) = PAGES.iter().find(|known| known.path == path) else {
            return wrong(StatusCode::NOT_FOUND, &format!("there is no page {path:?}; / lists them"));
        };
        let made = match asked.method {
            Method::POST => known.changes,
            _ if pages::is_reading(&asked.method) => known.reads,
            _ => None,
        };
        match made {
            Some(made) => made(self, query),
            None => {
                let error = format!("{path} takes {} only", known.methods());
                pages::only(known.methods(), wrong(StatusCode::METHOD_NOT_ALLOWED, &error))
            }
        }
    }
}

impl Known {
    fn methods(&self) -> &'static str {
        match (self.reads.is_some(), self.changes.is_some()) {
            (true, true) => "GET, POST",
            (true, false) => "GET",
            (false, _) => "POST",
        }
    }
}

fn index() -> Index {
    let pages = PAGES.iter().map(|known| Indexed { path: known.path, methods: known.methods(), says: known.says });
    Index { pages: pages.collect() }
}

fn wrong(status: StatusCode, error: &str) -> Page {
    pages::json(status, &Wrong { error })
}

/// The parameters of a page, each at most once.
fn parameters<const N: usize>(query: &str, allowed: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut found = std::array::from_fn(|_| None);
    for (name, value) in query_pairs(query) {
        let Some(at) = allowed.iter().position(|known| *known == name) else {
            let allowed =
                if N == 0 { "there are none".to_owned() } else { format!("there are {}", allowed.join(", ")) };
            return Err(format!("unknown parameter {name:?}; {allowed}"));
        };
        if found[at].replace(value).is_some() {
            return Err(format!("{name} stands twice"));
        }
    }
    Ok(found)
}

/// A page from its parameters, or what is wrong with these.
fn answered<T: Serialize>(made: Result<T, String>) -> Page {
    match made {
        Ok(made) => pages::json(StatusCode::OK, &made),
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
    }
}

fn config_dump(admin: &Admin, query: &str) -> Page {
    answered(parameters(query, []).map(|[]| held::config(admin)))
}

fn lanes(admin: &Admin, query: &str) -> Page {
    let snapshot = admin.status.snapshot();
    answered(parameters(query, []).map(|[]| held::lanes(&snapshot)))
}

fn services(admin: &Admin, query: &str) -> Page {
    let snapshot = admin.status.snapshot();
    answered(parameters(query, ["service"]).map(|[service]| held::services(&snapshot, service.as_deref())))
}

fn endpoints(admin: &Admin, query: &str) -> Page {
    let snapshot = admin.status.snapshot();
    let asked = parameters(query, ["service", "tag"]);
    answered(asked.and_then(|[service, tag]| held::endpoints(&snapshot, service.as_deref(), tag.as_deref())))
}

fn explained(admin: &Admin, query: &str) -> Page {
    answered(explain::answer(&admin.status.snapshot(), query))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    filter: String,
    /// What held before a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

fn logging(admin: &Admin, query: &str) -> Page {
    answered(parameters(query, []).map(|[]| Filter { filter: admin.logging.filter(), before: None }))
}

fn set_logging(admin: &Admin, query: &str) -> Page {
    let set = parameters(query, ["level"]).and_then(|[level]| {
        let level = level.ok_or_else(|| "say ?level=, a level or directives".to_owned())?;
        let before = admin.logging.set(&level).map_err(|error| error.to_string())?;
        tracing::info!(filter = %level, %before, "what is logged was changed");
        Ok(Filter { filter: level, before: Some(before) })
    });
    answered(set)
}

#[derive(Serialize)]
struct Draining {
    state: &'static str,
}

fn drain(admin: &Admin, query: &str) -> Page {
    match parameters(query, []) {
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
        Ok([]) => {
            admin.status.ask_drain();
            pages::json(StatusCode::ACCEPTED, &Draining { state: "draining" })
        }
    }
}

fn announce(admin: &Admin, query: &str) -> Page {
    match parameters(query, []) {
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
        Ok([]) => {
            admin.status.ask_announcement();
            pages::json(StatusCode::ACCEPTED, &Draining { state: "draining" })
        }
    }
}

fn memory(_admin: &Admin, query: &str) -> Page {
    match parameters(query, []).map(|[]| memory::read()) {
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
        Ok(Err(error)) => wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(Ok(memory)) => pages::json(StatusCode::OK, &memory),
    }
}

#[cfg(feature = "heap-profile")]
fn heap_profile(_admin: &Admin, query: &str) -> Page {
    match parameters(query, []).map(|[]| heap::profile()) {
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
        Ok(Err(error)) => wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(Ok(profile)) => pages::text(StatusCode::OK, profile),
    }
}

#[cfg(not(feature = "heap-profile"))]
fn heap_profile(_admin: &Admin, query: &str) -> Page {
    match parameters(query, []) {
        Err(error) => wrong(StatusCode::BAD_REQUEST, &error),
        Ok([]) => wrong(
            StatusCode::NOT_IMPLEMENTED,
            "this build keeps no profile of the heap; one with the cargo feature `heap-profile` does",
        ),
    }
}

const FEATURES: [(&str, bool); 3] = [
    ("heap-profile", cfg!(feature = "heap-profile")),
    ("otlp", cfg!(feature = "otlp")),
    ("tls", cfg!(feature = "tls")),
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: &'static str,
    version: &'static str,
    /// What was built in.
    features: Vec<&'static str>,
    pid: u32,
    uptime_seconds: u64,
}

fn version(admin: &Admin, query: &str) -> Page {
    answered(parameters(query, []).map(|[]| Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        features: FEATURES.into_iter().filter_map(|(name, is_built)| is_built.then_some(name)).collect(),
        pid: std::process::id(),
        uptime_seconds: admin.started.elapsed().as_secs(),
    }))
}

#[cfg(test)]
mod tests;
