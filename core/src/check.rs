//! The checker: everything that is wrong with a whole configuration, each with a stable code, a path and a remedy.

mod unsupported;

use laneway_proto::admin;
use laneway_proto::admin::diagnostic::Severity;

pub use self::unsupported::{unsupported_group, unsupported_lane, unsupported_policy};
use crate::compile::{Catalog, Objects};

/// The findings about one object.
struct Report {
    resource: String,
    diagnostics: Vec<admin::Diagnostic>,
}

impl Report {
    fn new(resource: &str) -> Report {
        Report { resource: resource.to_owned(), diagnostics: Vec::new() }
    }

    fn add(&mut self, severity: Severity, code: &str, field: &str, message: String, help: &str) {
        self.diagnostics.push(admin::Diagnostic {
            severity: severity.into(),
            code: code.to_owned(),
            resource: self.resource.clone(),
            field: field.to_owned(),
            message,
            help: help.to_owned(),
        });
    }

    fn unsupported(&mut self, field: &str, help: &str) {
        self.add(Severity::Error, unsupported::CODE, field, format!("`{field}` is not supported yet"), help);
    }
}

/// Everything that is wrong with a configuration, and what is odd about it.
pub fn check(objects: &Objects, catalog: &Catalog) -> Vec<admin::Diagnostic> {
    let _ = catalog;
    let groups = objects.groups.values().flat_map(unsupported_group);
    let lanes = objects.lanes.values().flat_map(unsupported_lane);
    groups.chain(lanes).chain(objects.policies.values().flat_map(unsupported_policy)).collect()
}
