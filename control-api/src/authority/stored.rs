//! The Secret in which the authorities are kept: one key, `authorities.json`. Pure.
//!
//! Whatever cannot be read is told and never written over: who has damaged it may still have the right one.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};

use super::root::Root;
use super::terms::{Seconds, Term};

#[cfg(test)]
mod tests;

pub(super) const KEY: &str = "authorities.json";
const VERSION: u32 = 1;
/// One, or two while one follows the other; more only where clocks have jumped.
pub(super) const ROOTS_MAX: usize = 8;
/// The end of the year 9999, the last that a certificate can name.
const TIME_MAX: Seconds = 253_402_300_799;

/// No `Debug`: there are keys in it.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    authorities: Vec<One>,
}

#[derive(Serialize, Deserialize)]
struct One {
    #[serde(flatten)]
    term: Term,
    certificate: String,
    key: String,
}

/// Why a Secret was not taken. Never what stands in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum StoredError {
    #[error("it has no key {KEY}")]
    NoKey,
    #[error("its {KEY} is not what laneway-control writes (line {line}, column {column})")]
    Unreadable { line: usize, column: usize },
    #[error("its {KEY} has version {0}; this program knows {VERSION}")]
    Version(u32),
    #[error("its {KEY} holds {0} authorities; allowed: 1 to {ROOTS_MAX}")]
    Count(usize),
    #[error("authority {at} of its {KEY}: {problem}")]
    Root { at: usize, problem: String },
}

pub(super) fn read(secret: &Secret) -> Result<Vec<Root>, StoredError> {
    let data = secret.data.as_ref().and_then(|data| data.get(KEY)).ok_or(StoredError::NoKey)?;
    // The reader's own words would show what it found.
    let unreadable = |error: serde_json::Error| StoredError::Unreadable { line: error.line(), column: error.column() };
    let stored: Stored = serde_json::from_slice(&data.0).map_err(unreadable)?;
    if stored.version != VERSION {
        return Err(StoredError::Version(stored.version));
    }
    if !(1..=ROOTS_MAX).contains(&stored.authorities.len()) {
        return Err(StoredError::Count(stored.authorities.len()));
    }
    let mut roots = Vec::with_capacity(stored.authorities.len());
    for (at, one) in stored.authorities.into_iter().enumerate() {
        let is_term = one.term.from < one.term.until && one.term.until <= TIME_MAX;
        let root = match is_term {
            true => Root::of(one.term, one.certificate, &one.key),
            false => Err(format!("it lives from {} until {}", one.term.from, one.term.until)),
        };
        roots.push(root.map_err(|problem| StoredError::Root { at: at + 1, problem })?);
    }
    Ok(roots)
}

/// What stands in the Secret beside it stays.
pub(super) fn write(roots: &[Root], secret: &mut Secret) {
    let one = |root: &Root| One { term: root.term, certificate: root.certificate.clone(), key: root.key_pem() };
    let stored = Stored { version: VERSION, authorities: roots.iter().map(one).collect() };
    let text = serde_json::to_vec(&stored).expect("it has keys of text alone");
    secret.data.get_or_insert_with(BTreeMap::new).insert(KEY.to_owned(), ByteString(text));
}

/// The authorities as everybody may see them, PEM.
pub(super) fn bundle(roots: &[Root]) -> String {
    roots.iter().map(|root| root.certificate.as_str()).collect()
}
