//! Who may do what: the rules of the access file, what a cluster says, and the doors that ask them. Knows nothing of gRPC or TLS.
//!
//! ```text
//!   bearer token ----------\
//!   names in a verified     >-- Access --> person:  principal, role          (API)
//!   client certificate ----/           \-> sidecar: namespaces and services  (discovery)
//!   a token that it does not know --> Authority (TokenReview): the same
//! ```
//! Without an access file and a cluster both doors stand open and everybody is `anonymous`, an admin. With one, whom it does not name
//! comes in nowhere. Tokens are known by their SHA-256 alone and compared in constant time; none is ever logged.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod limit;
pub mod review;
pub mod reviewer;
pub mod turns;

mod claims;
mod door;
mod file;
mod rights;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use subtle::ConstantTimeEq;

pub use self::door::{Denied, Door, Rules};
pub use self::file::{FILE_BYTES_MAX, FileError};

#[cfg(test)]
mod tests;

/// Whoever calls, where nobody is asked.
pub const ANONYMOUS: &str = "anonymous";
/// Any namespace, any service.
const ANY: &str = "*";

/// What somebody may do; each may do all that the ones before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Enable and disable lanes.
    Operator,
    /// Everything.
    Admin,
}

/// Who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// "user:alice", "spiffe://...", "anonymous".
    pub principal: String,
    pub role: Role,
    pub remote_address: String,
}

/// What a peer shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// The bearer token.
    pub token: Option<&'a str>,
    /// URI and DNS names of its client certificate, which was verified.
    pub names: &'a [String],
}

/// What a sidecar may say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// Who it is, for logs.
    pub principal: String,
    /// Namespace and service; `*` is any.
    places: Vec<(String, String)>,
    /// Where a cluster gave it: no other than this one.
    pod: Option<reviewer::Pod>,
}

/// What a sidecar says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<'a> {
    pub node_id: &'a str,
    pub namespace: &'a str,
    pub service: &'a str,
    /// Empty: it does not say.
    pub pod_name: &'a str,
    pub pod_uid: &'a str,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no credentials: give a bearer token (`authorization: Bearer TOKEN`) or a client certificate")]
    Nothing,
    #[error("the authorization header is not `Bearer TOKEN`")]
    Scheme,
    #[error("the bearer token is not known here")]
    Token,
    #[error("no entry of the access file names the client certificate ({})", shown(.0))]
    Certificate(Vec<String>),
    #[error("the bearer token is not known here, and the API server does not know it for us{}", because(.0))]
    Unreviewed(String),
    #[error(
        "the bearer token is no JWT: a sidecar shows the projected token of its pod (volume source serviceAccountToken)"
    )]
    NoJwt,
    #[error("the bearer token says that it is for {says:?}, not for {wanted:?} (--token-audience)")]
    OtherAudience { says: Vec<String>, wanted: String },
    #[error(
        "the API server does not say that the bearer token is for {0:?}: it is too old for audiences, or the token is for others"
    )]
    Audience(String),
    #[error(
        "the bearer token of {0} is no pod's: a sidecar shows the projected token of its pod (volume source serviceAccountToken)"
    )]
    NoPod(String),
    #[error(
        "{0} may do nothing here: a ClusterRole over lanegroups, lanes and servicepolicies of laneway.io with get and list makes a \
         viewer, one with enable on lanes an operator, one with create, update and delete an admin"
    )]
    NoRole(String),
}

/// The access file, read.
#[derive(Debug, Default)]
pub struct Access {
    people: Vec<Person>,
    sidecars: Vec<Sidecar>,
}

#[derive(Debug)]
struct Person {
    credential: Credential,
    /// Of a token; a certificate names itself.
    name: String,
    role: Role,
}

#[derive(Debug)]
struct Sidecar {
    credential: Credential,
    namespace: String,
    service: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Credential {
    /// SHA-256 of it.
    Token([u8; 32]),
    /// A name in the certificate; `*` at the end stands for any rest.
    Certificate(String),
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl Access {
    /// From the text of the file.
    pub fn parse(text: &[u8]) -> Result<Access, FileError> {
        file::parse(text)
    }

    /// The principal and role of whoever calls the API.
    pub fn person(&self, shown: Shown<'_>) -> Result<(String, Role), Refusal> {
        if let Some(token) = shown.token {
            let hash = hash(token);
            // All of them are compared: how long it takes says nothing of the one that fits.
            let mut found = None;
            for person in &self.people {
                if person.credential.is_token(&hash) {
                    found = Some((format!("user:{}", person.name), person.role));
                }
            }
            return found.ok_or(Refusal::Token);
        }
        let fits = self.people.iter().flat_map(|person| {
            shown.names.iter().filter(|name| person.credential.is_named(name)).map(|name| (person.role, name))
        });
        match fits.max_by_key(|(role, _)| *role) {
            Some((role, name)) => Ok((principal(name), role)),
            None => Err(refusal(shown)),
        }
    }

    /// What a sidecar may say it is. A certificate that no entry names, and that has a SPIFFE id, speaks for itself.
    pub fn sidecar(&self, shown: Shown<'_>) -> Result<Pass, Refusal> {
        let place = |sidecar: &Sidecar| (sidecar.namespace.clone(), sidecar.service.clone());
        if let Some(token) = shown.token {
            let hash = hash(token);
            let mut places = Vec::new();
            for sidecar in &self.sidecars {
                if sidecar.credential.is_token(&hash) {
                    places.push(place(sidecar));
                }
            }
            let [(namespace, service), ..] = places.as_slice() else { return Err(Refusal::Token) };
            return Ok(Pass { principal: format!("token:{namespace}/{service}"), places, pod: None });
        }
        for name in shown.names {
            let fits = self.sidecars.iter().filter(|sidecar| sidecar.credential.is_named(name));
            let mut places: Vec<_> = fits.map(place).collect();
            if places.is_empty() {
                places.extend(spiffe(name));
            }
            if !places.is_empty() {
                return Ok(Pass { principal: principal(name), places, pod: None });
            }
        }
        Err(refusal(shown))
    }
}

impl Pass {
    /// Of whoever comes where nobody is asked.
    pub fn any() -> Pass {
        Pass { principal: ANONYMOUS.to_owned(), places: vec![(ANY.to_owned(), ANY.to_owned())], pod: None }
    }

    /// The pod that a cluster gave it to; nothing: the access file did, or nobody was asked.
    pub fn pod(&self) -> Option<&reviewer::Pod> {
        self.pod.as_ref()
    }

    /// Why it may not say it is that.
    pub fn refusal(&self, said: &Said<'_>) -> Option<String> {
        let Said { node_id, namespace, service, pod_name, pod_uid } = *said;
        if !self.admits(namespace, service) {
            let (principal, places) = (&self.principal, self.places());
            return Some(format!(
                "node.metadata says namespace {namespace:?}, service {service:?}, but {principal} may only be {places}"
            ));
        }
        let pod = self.pod.as_ref()?;
        let own = format!("the token is that of pod {}/{}", pod.namespace, pod.name);
        if !pod_name.is_empty() && pod_name != pod.name {
            return Some(format!("node.metadata says pod {pod_name:?}, but {own}"));
        }
        if !pod_uid.is_empty() && pod_uid != pod.uid {
            return Some(format!("node.metadata says pod uid {pod_uid:?}, but {own} with uid {:?}", pod.uid));
        }
        // sidecar~ADDRESS~POD.NAMESPACE~
        let is_of_pod = node_id.split('~').nth(2) == Some(&*format!("{}.{}", pod.name, pod.namespace));
        (!is_of_pod).then(|| format!("node.id {node_id:?} is not of that pod, but {own}"))
    }

    /// Whether it may say it is that. A sidecar without a service is one of its namespace, if any service is good.
    pub fn admits(&self, namespace: &str, service: &str) -> bool {
        let fits = |wanted: &str, given: &str| wanted == ANY || wanted == given;
        self.places.iter().any(|(own, other)| fits(own, namespace) && fits(other, service))
    }

    /// What it admits, for people.
    pub fn places(&self) -> String {
        let place = |(namespace, service): &(String, String)| match service.as_str() {
            "" => format!("{namespace} without a service"),
            service => format!("{namespace}/{service}"),
        };
        self.places.iter().map(place).collect::<Vec<_>>().join(", ")
    }
}

impl Credential {
    fn is_token(&self, hash: &[u8; 32]) -> bool {
        match self {
            Credential::Token(known) => known.ct_eq(hash).into(),
            Credential::Certificate(_) => false,
        }
    }

    fn is_named(&self, name: &str) -> bool {
        match self {
            Credential::Token(_) => false,
            Credential::Certificate(pattern) => match pattern.strip_suffix(ANY) {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            },
        }
    }
}

/// Namespace and service of `spiffe://DOMAIN/ns/NAMESPACE/sa/SERVICE`.
fn spiffe(name: &str) -> Option<(String, String)> {
    let mut parts = name.strip_prefix("spiffe://")?.split('/');
    let (domain, ns, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let (sa, service) = (parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && ns == "ns" && sa == "sa";
    // `*` would be any, and no name is written so.
    let is_good = |part: &str| !part.is_empty() && part != ANY;
    (is_whole && !domain.is_empty() && is_good(namespace) && is_good(service))
        .then(|| (namespace.to_owned(), service.to_owned()))
}

/// A name in a certificate as a principal; one that is no URI says that it is a DNS name.
fn principal(name: &str) -> String {
    if name.contains("://") { name.to_owned() } else { format!("dns:{name}") }
}

fn refusal(shown: Shown<'_>) -> Refusal {
    if shown.names.is_empty() { Refusal::Nothing } else { Refusal::Certificate(shown.names.to_vec()) }
}

fn shown(names: &[String]) -> String {
    names.join(", ")
}

fn because(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

fn hash(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
