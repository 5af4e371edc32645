//! Header hygiene between two hops: hop-by-hop fields (RFC 9110 section 7.6.1), and the view of a head that rules see.

use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};
use laneway_core::facts::Headers;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The head of a request as rules see it.
pub(crate) struct HeadView<'a>(pub(crate) &'a HeaderMap);

impl Headers for HeadView<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        if index == 0 {
            return self.0.get(name).map(HeaderValue::as_bytes);
        }
        self.0.get_all(name).iter().nth(index).map(HeaderValue::as_bytes)
    }
}

/// Removes what belongs to one hop only. `is_kept` names the lane and trace headers: no `Connection` token removes one.
/// `is_upgrade`: the message asks for, or agrees to, another protocol; `Upgrade` then goes on, but never for h2c.
/// The order of what stays is kept.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, is_upgrade: bool, is_kept: impl Fn(&HeaderName) -> bool) {
    let has_te = headers.contains_key(TE);
    if !has_te
        && !headers.contains_key(CONNECTION)
        && !headers.contains_key(UPGRADE)
        && !headers.contains_key(KEEP_ALIVE)
        && !headers.contains_key(PROXY_CONNECTION)
    {
        return;
    }
    let wants_trailers =
        has_te && headers.get_all(TE).iter().any(|line| tokens(line).any(|t| t.eq_ignore_ascii_case("trailers")));
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| HeaderName::try_from(token).ok())
        .filter(|name| !is_kept(name) && !is_framing(name))
        .collect();
    let upgrade = if is_upgrade { headers.get(UPGRADE).cloned() } else { None };

    // `HeaderMap::remove` moves the last field into the gap; building anew keeps the order.
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current: Option<HeaderName> = None;
    for (name, value) in headers.drain() {
        if name.is_some() {
            current = name;
        }
        let Some(name) = &current else { continue };
        let is_hop = *name == CONNECTION
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || *name == TE
            || *name == UPGRADE
            || named.contains(name);
        if !is_hop {
            kept.append(name.clone(), value);
        }
    }
    if wants_trailers {
        kept.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        kept.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        kept.insert(UPGRADE, protocol);
    }
    *headers = kept;
}

/// Does the message ask to change the protocol? h2c is not one that we tunnel (RFC 9113 section 3.1): it would hide requests.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    if !headers.contains_key(UPGRADE) {
        return false;
    }
    let asked = headers.get_all(CONNECTION).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let h2c = headers.get_all(UPGRADE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("h2c"));
    asked && !h2c
}

/// Framing and routing are never named away by a `Connection` token.
fn is_framing(name: &HeaderName) -> bool {
    matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "expect" | "content-type")
}

fn tokens(line: &HeaderValue) -> impl Iterator<Item = &str> {
    line.to_str().unwrap_or("").split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
