//! The checker: everything that is wrong with a whole configuration, each with a stable code, a path and a remedy.
//!
//! An error refuses the write; a warning tells of something odd that may yet come right, such as a lane without instances.

mod conduct;
mod objects;
mod reach;
mod rules;
mod running;
mod size;
mod unsupported;
mod words;

#[cfg(test)]
mod tests;

use laneway_proto::admin;
use laneway_proto::admin::diagnostic::Severity;

pub use self::objects::expiration;
pub use self::size::service_too_large;
pub use self::unsupported::{unsupported_group, unsupported_lane, unsupported_policy};
use crate::compile::{Catalog, Objects};

/// Codes of findings: stable, never used again for something else. `LANE00..` are those of documents, `LANE08..` those of
/// the control plane.
pub mod code {
    /// Not a tag.
    pub const TAG: &str = "LANE0101";
    /// Two lanes of a group have one tag, or a lane has the baseline tag.
    pub const TAG_TWICE: &str = "LANE0102";
    /// Two lanes of a group that have rules share a priority.
    pub const PRIORITY: &str = "LANE0103";
    /// Rules, or redirect, without entry services.
    pub const NO_ENTRY: &str = "LANE0104";
    /// A service, or `*`, in two groups.
    pub const OVERLAP: &str = "LANE0105";
    /// A lane of a group that is not there.
    pub const GROUP: &str = "LANE0106";
    /// A header name that is not legal, or not ours to write.
    pub const HEADER: &str = "LANE0107";
    /// A header that has another role already.
    pub const RESERVED: &str = "LANE0108";
    /// A share of more than the whole.
    pub const PERCENT: &str = "LANE0109";
    /// A condition that is not one source and one operator, or one combination.
    pub const CONDITION: &str = "LANE0110";
    pub const REGEX: &str = "LANE0111";
    /// A condition that is too deep or too large.
    pub const CONDITION_SIZE: &str = "LANE0112";
    pub const STICKY: &str = "LANE0113";
    pub const WEIGHTS: &str = "LANE0114";
    /// A fallback chain.
    pub const CHAIN: &str = "LANE0115";
    /// Redirect at a service whose policy sends requests to tags.
    pub const REDIRECT: &str = "LANE0116";
    /// A policy that is not named as its service.
    pub const POLICY: &str = "LANE0117";
    pub const DURATION: &str = "LANE0118";
    /// Name of a rule.
    pub const RULE_NAME: &str = "LANE0119";
    /// More than the limit of something.
    pub const TOO_MANY: &str = "LANE0120";
    /// A reference to a service that cannot be one.
    pub const REFERENCE: &str = "LANE0121";
    /// A value that the contract does not have.
    pub const ENUM: &str = "LANE0122";
    /// A path that is neither a full path nor a prefix.
    pub const PATH: &str = "LANE0123";
    /// Larger than what a sidecar receives.
    pub const SIZE: &str = "LANE0124";
    /// A guard that looks at nothing, or at a ratio that means nothing.
    pub const GUARD: &str = "LANE0125";

    /// Warning: an enabled lane without a ready instance.
    pub const NO_INSTANCE: &str = "LANE0201";
    /// Warning: a service that does not run.
    pub const NO_SERVICE: &str = "LANE0202";
    /// Warning: an entry service of another group.
    pub const OTHER_GROUP: &str = "LANE0203";
    /// Warning: one socket in two services.
    pub const SOCKET_TWICE: &str = "LANE0204";
    /// Warning: a rule that no request can match.
    pub const NEVER: &str = "LANE0205";
    /// Warning: a rule behind one that takes all that it could take.
    pub const BEHIND: &str = "LANE0206";
    /// Warning: a test for a value that no ordinary request has.
    pub const ODD_VALUE: &str = "LANE0207";
    /// Warning: instances with a tag that no lane of their group has.
    pub const NO_LANE: &str = "LANE0208";
    /// Warning: a policy chooses a tag that no instance of its service has.
    pub const NO_TAG: &str = "LANE0209";
    /// Warning: entry services believe a tag from anybody, and not everybody has a sidecar.
    pub const TRUST: &str = "LANE0210";
}

/// The findings about one object.
struct Report {
    resource: String,
    diagnostics: Vec<admin::Diagnostic>,
    /// Fields that are refused as not supported yet.
    unsupported: Vec<String>,
}

impl Report {
    fn new(resource: &str) -> Report {
        Report { resource: resource.to_owned(), diagnostics: Vec::new(), unsupported: Vec::new() }
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

    fn error(&mut self, code: &str, field: &str, message: String, help: &str) {
        self.add(Severity::Error, code, field, message, help);
    }

    fn warning(&mut self, code: &str, field: &str, message: String, help: &str) {
        self.add(Severity::Warning, code, field, message, help);
    }

    fn unsupported(&mut self, field: &str, help: &str) {
        self.unsupported.push(field.to_owned());
        self.error(unsupported::CODE, field, format!("`{field}` is not supported yet"), help);
    }
}

/// Everything that is wrong with a configuration, and what is odd about it.
pub fn check(objects: &Objects, catalog: &Catalog) -> Vec<admin::Diagnostic> {
    let whole = objects::Whole::new(objects, catalog);
    let mut all = Vec::new();
    for (name, group) in &objects.groups {
        all.extend(whole.group(name, group));
    }
    for (name, lane) in &objects.lanes {
        all.extend(whole.lane(name, lane));
    }
    for (name, policy) in &objects.policies {
        all.extend(whole.policy(name, policy));
    }
    all.extend(size::too_large(objects, catalog, &whole.membership));
    all.extend(running::sockets(catalog));
    all.extend(running::tags_without_lane(&whole));
    all.extend(running::trust(&whole));
    all
}
