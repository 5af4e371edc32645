//! Why a call failed, as gRPC says it (AIP-193): a code, a sentence, ErrorInfo; BadRequest with every finding,
//! PreconditionFailure and RetryInfo where they say more.

use std::time::Duration;

use laneway_proto::admin::Diagnostic;
use laneway_proto::rpc::bad_request::FieldViolation;
use laneway_proto::rpc::{self, BadRequest, ErrorInfo, PreconditionFailure, RetryInfo, precondition_failure};
use prost::Message;
use tonic::{Code, Status};

use crate::causes;
use crate::reconcile::{self, WriteError};
use crate::store::StoreError;

const DOMAIN: &str = "laneway.io";
/// Details travel in a trailer, and a client may take no more than 16 KiB of these; what is left out is counted in the
/// message, and `validate_only` returns all of it in the body.
const DETAILS_BYTES_MAX: usize = 8 << 10;
const MESSAGE_BYTES_MAX: usize = 1 << 10;
/// When to try again what was refused for lack of something that comes back.
const RETRY_AFTER: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

/// One bad field of a request.
pub(super) fn bad_field(field: &str, message: impl Into<String>) -> Status {
    bad_fields(vec![(field.to_owned(), message.into())])
}

/// All that is wrong with a request: fields, and what of them.
pub(super) fn bad_fields(found: Vec<(String, String)>) -> Status {
    let message = match found.as_slice() {
        [(field, message)] => format!("{field}: {message}"),
        [(field, message), rest @ ..] => format!("{field}: {message} (and {} more)", rest.len()),
        [] => "the request is bad".to_owned(),
    };
    let violations = found.into_iter().map(|(field, description)| FieldViolation {
        field,
        description,
        ..FieldViolation::default()
    });
    build(Code::InvalidArgument, message, "INVALID_REQUEST", violations.collect())
}

/// Something that is bounded is used up.
pub(super) fn exhausted(message: impl Into<String>) -> Status {
    build(Code::ResourceExhausted, message.into(), "TOO_MANY", Vec::new())
}

/// A client that does not take what it asked for.
pub(super) fn too_slow(message: String) -> Status {
    build(Code::Aborted, message, "TOO_SLOW", Vec::new())
}

/// The process ends; another replica, or the next process, goes on.
pub(super) fn going_away() -> Status {
    build(Code::Unavailable, "the control plane is going away".to_owned(), "DRAINING", Vec::new())
}

pub(super) fn missing(name: &str) -> Status {
    build(Code::NotFound, format!("{name} is not there"), "NOT_FOUND", Vec::new())
}

pub(super) fn exists(name: &str) -> Status {
    build(Code::AlreadyExists, format!("{name} is there already"), "ALREADY_EXISTS", Vec::new())
}

/// Nobody knows who calls.
pub(super) fn unauthenticated(message: String) -> Status {
    build(Code::Unauthenticated, message, "UNAUTHENTICATED", Vec::new())
}

/// Whoever calls may not.
pub(super) fn denied(message: String) -> Status {
    build(Code::PermissionDenied, message, "PERMISSION_DENIED", Vec::new())
}

/// Nobody can say who calls, for the moment.
pub(super) fn unavailable(message: String) -> Status {
    build(Code::Unavailable, message, "UNAVAILABLE", Vec::new())
}

/// Whoever calls may, a little later.
pub(super) fn too_many(message: String, wait: Duration) -> Status {
    let retry = RetryInfo { retry_delay: prost_types::Duration::try_from(wait).ok() };
    let message = format!("{message}; one more may come in {} ms", wait.as_millis() + 1);
    with_details(Code::ResourceExhausted, &message, vec![info("RATE_LIMITED"), any("google.rpc.RetryInfo", &retry)])
}

/// Something of the past that was let go.
pub(super) fn no_longer_held(message: String) -> Status {
    build(Code::OutOfRange, message, "COMPACTED", Vec::new())
}

/// The store could not be read.
pub(super) fn unreadable(error: &StoreError) -> Status {
    if matches!(error, StoreError::Away(_)) {
        return build(Code::Unavailable, causes::in_words(error), "STORE_AWAY", Vec::new());
    }
    tracing::error!(error = %causes::in_words(error), "the history cannot be read");
    build(Code::Internal, causes::in_words(error), "STORE_FAILED", Vec::new())
}

/// A write that was not done. `path` says where in the request an object was given.
pub(super) fn write(error: WriteError, path: &dyn Fn(&str) -> String) -> Status {
    match error {
        WriteError::Refused(findings) => refused(&findings, path),
        error @ WriteError::Stale { .. } => build(Code::Aborted, error.to_string(), "STALE_ETAG", Vec::new()),
        error @ WriteError::Moved { .. } => build(Code::Aborted, error.to_string(), "STALE_REVISION", Vec::new()),
        WriteError::Missing { name } => missing(&name),
        WriteError::Exists { name } => exists(&name),
        WriteError::Precondition { kind, subject, message } => precondition(kind, subject, message),
        error @ WriteError::Outrun(_) => {
            let message = format!("{error}; nothing was changed. Try again, or write through one replica");
            build(Code::Aborted, message, "OUTRUN", Vec::new())
        }
        WriteError::Store(source @ StoreError::Away(_)) => {
            let message = format!(
                "nothing was changed: {}. Sidecars keep what they have; try again when the store is back",
                causes::in_words(&source)
            );
            build(Code::Unavailable, message, "STORE_AWAY", Vec::new())
        }
        WriteError::Store(source @ StoreError::Doubtful(_)) => {
            tracing::warn!(error = %causes::in_words(&source), "it is not known whether a change was stored");
            let message = format!(
                "{}: all of the change was stored, or nothing. Look at `lanectl history` before you try again",
                causes::in_words(&source)
            );
            build(Code::Unavailable, message, "STORE_DOUBTFUL", Vec::new())
        }
        WriteError::Store(StoreError::TooLarge(reason)) => {
            build(Code::InvalidArgument, format!("{reason}; nothing was changed"), "TOO_LARGE", Vec::new())
        }
        WriteError::Store(source) => {
            tracing::error!(error = %causes::in_words(&source), "a change could not be stored");
            build(
                Code::Internal,
                format!("nothing was changed: {}", causes::in_words(&source)),
                "STORE_FAILED",
                Vec::new(),
            )
        }
    }
}

fn refused(findings: &[Diagnostic], path: &dyn Fn(&str) -> String) -> Status {
    let errors: Vec<&Diagnostic> = findings.iter().filter(|finding| reconcile::is_error(finding)).collect();
    let violations = errors.iter().map(|finding| FieldViolation {
        field: [path(&finding.resource), finding.field.clone()].join(".").trim_matches('.').to_owned(),
        description: sentence(finding),
        reason: finding.code.clone(),
    });
    let mut message = match errors.as_slice() {
        [only] => format!("{} {}: {}", only.resource, only.field, sentence(only)),
        [first, rest @ ..] => {
            format!("{} {}: {} (and {} more)", first.resource, first.field, sentence(first), rest.len())
        }
        [] => "refused".to_owned(),
    };
    message.push_str("; nothing was changed");
    build(Code::InvalidArgument, message, "INVALID_OBJECTS", violations.collect())
}

fn sentence(finding: &Diagnostic) -> String {
    if finding.help.is_empty() { finding.message.clone() } else { format!("{}. {}", finding.message, finding.help) }
}

fn precondition(kind: &'static str, subject: String, message: String) -> Status {
    let description = message.clone();
    let violation = precondition_failure::Violation { r#type: kind.to_owned(), subject, description };
    let failure = PreconditionFailure { violations: vec![violation] };
    with_details(Code::FailedPrecondition, &message, vec![info(kind), any("google.rpc.PreconditionFailure", &failure)])
}

fn build(code: Code, message: String, reason: &str, violations: Vec<FieldViolation>) -> Status {
    let mut details = vec![info(reason)];
    if matches!(code, Code::Unavailable | Code::ResourceExhausted) {
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay: Some(RETRY_AFTER) }));
    }
    if !violations.is_empty() {
        let mut bytes = 0;
        let fitting = violations.into_iter().take_while(|violation| {
            bytes += violation.encoded_len();
            bytes <= DETAILS_BYTES_MAX
        });
        details.push(any("google.rpc.BadRequest", &BadRequest { field_violations: fitting.collect() }));
    }
    with_details(code, &message, details)
}

fn with_details(code: Code, message: &str, details: Vec<prost_types::Any>) -> Status {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let message = message[..end].to_owned();
    let status = rpc::Status { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, status.encode_to_vec().into())
}

fn info(reason: &str) -> prost_types::Any {
    let info = ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), ..ErrorInfo::default() };
    any("google.rpc.ErrorInfo", &info)
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
