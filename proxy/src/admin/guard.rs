//! Who may ask the admin port. It listens on loopback, but a browser on the same machine runs pages of strangers: one whose name
//! was turned to 127.0.0.1 (DNS rebinding) says that name as Host, and one that posts across sites says an Origin. Neither is
//! answered; there is no CORS, so that no page can read an answer.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::request::Parts;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refused {
    #[error("no Host is said; say localhost or an address of loopback")]
    NoHost,
    #[error("{0:?} is no name or address of loopback; say localhost, 127.0.0.1 or [::1] as Host")]
    Host(String),
    #[error("pages of a browser are not answered (Origin)")]
    Origin,
}

pub(super) fn check(asked: &Parts) -> Result<(), Refused> {
    if asked.headers.contains_key(ORIGIN) {
        return Err(Refused::Origin);
    }
    let of_target = asked.uri.authority().map(|authority| authority.as_str().as_bytes());
    let said = asked.headers.get_all(HOST).iter().map(http::HeaderValue::as_bytes);
    let mut hosts = of_target.into_iter().chain(said).peekable();
    if hosts.peek().is_none() {
        return Err(Refused::NoHost);
    }
    match hosts.find(|host| !is_loopback(host)) {
        Some(host) => Err(Refused::Host(String::from_utf8_lossy(host).into_owned())),
        None => Ok(()),
    }
}

/// `localhost`, `127.0.0.1:15400`, `[::1]`.
fn is_loopback(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let is_own = match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() && address.is_ipv6() == host.starts_with('['),
        Err(_) => !host.starts_with('[') && name.eq_ignore_ascii_case("localhost"),
    };
    is_port && is_own
}

#[cfg(test)]
mod tests;
