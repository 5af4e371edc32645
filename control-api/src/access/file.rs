//! The access file: YAML, read whole or refused by the entry at fault. Pure.
//!
//! ```yaml
//! people:
//!   - {name: alice, role: admin, sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08}
//!   - {certificate: 'spiffe://corp.example/ns/ops/sa/deployer', role: operator}
//! sidecars:
//!   - {namespace: shop, service: b, sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752}
//!   - {namespace: shop, service: '*', certificate: 'spiffe://corp.example/ns/shop/sa/default'}
//! ```

use serde::Deserialize;

use super::{Access, Credential, Person, Role, Sidecar, hash};

/// Largest file, and entries in it.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
const ENTRIES_MAX: usize = 5_000;
const NAME_BYTES_MAX: usize = 128;

/// Why a file was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    people: Vec<PersonText>,
    #[serde(default)]
    sidecars: Vec<SidecarText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonText {
    #[serde(default)]
    name: String,
    role: Role,
    sha256: Option<String>,
    certificate: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SidecarText {
    namespace: String,
    service: String,
    sha256: Option<String>,
    certificate: Option<String>,
}

pub(super) fn parse(text: &[u8]) -> Result<Access, FileError> {
    let text = std::str::from_utf8(text).map_err(|_| FileError("is not UTF-8".to_owned()))?;
    let text: Text = serde_saphyr::from_str(text).map_err(|error| FileError(error.to_string()))?;
    if text.people.len().max(text.sidecars.len()) > ENTRIES_MAX {
        return Err(FileError(format!("has more than {ENTRIES_MAX} entries of a kind")));
    }
    let mut access = Access::default();
    for (at, entry) in text.people.into_iter().enumerate() {
        let problem = |problem: String| FileError(format!("people[{at}]{problem}"));
        let credential = credential(entry.sha256, entry.certificate).map_err(problem)?;
        let is_token = matches!(credential, Credential::Token(_));
        if is_token != is_name(&entry.name) || (!is_token && !entry.name.is_empty()) {
            return Err(problem(format!(
                ".name: with a sha256 it is 1 to {NAME_BYTES_MAX} letters, digits and any of -._@; a certificate has its own"
            )));
        }
        if is_token && access.people.iter().any(|known| known.credential == credential) {
            return Err(problem(".sha256: is that of an entry before".to_owned()));
        }
        access.people.push(Person { credential, name: entry.name, role: entry.role });
    }
    for (at, entry) in text.sidecars.into_iter().enumerate() {
        let problem = |problem: String| FileError(format!("sidecars[{at}]{problem}"));
        let credential = credential(entry.sha256, entry.certificate).map_err(problem)?;
        if entry.namespace.is_empty() || entry.service.is_empty() {
            return Err(problem(": namespace and service are names, or `*` for any".to_owned()));
        }
        // The same token may be good for several services, but never for people.
        if matches!(credential, Credential::Token(_))
            && access.people.iter().any(|person| person.credential == credential)
        {
            return Err(problem(".sha256: is that of a person; a sidecar has a token of its own".to_owned()));
        }
        access.sidecars.push(Sidecar { credential, namespace: entry.namespace, service: entry.service });
    }
    Ok(access)
}

/// The error begins with the field.
fn credential(sha256: Option<String>, certificate: Option<String>) -> Result<Credential, String> {
    match (sha256, certificate) {
        (Some(sha256), None) => {
            let hash = unhex(&sha256).ok_or_else(|| ".sha256: is 64 hexadecimal digits".to_owned())?;
            // What `printf %s "$TOKEN" | sha256sum` says where TOKEN is not set.
            if hash == self::hash("") {
                return Err(".sha256: is that of the empty token, which anybody could give".to_owned());
            }
            Ok(Credential::Token(hash))
        }
        (None, Some(name)) => {
            let fixed = name.strip_suffix('*').unwrap_or(&name);
            if fixed.is_empty() || fixed.contains('*') {
                return Err(".certificate: is a name in the certificate (URI or DNS), perhaps with one `*` at its end"
                    .to_owned());
            }
            Ok(Credential::Certificate(name))
        }
        _ => Err(": has one of sha256 and certificate".to_owned()),
    }
}

fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_good)
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}
