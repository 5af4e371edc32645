//! What a bearer token says of itself, read WITHOUT verification: enough to turn away what the API server would not know, before it
//! is asked. It lets nobody in.

use laneway_core::base64url;
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// The claims of a token of a ServiceAccount are some hundred bytes; encoded.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

#[derive(Deserialize)]
struct Claims {
    aud: Audience,
}

/// One, or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// For whom a token says that it is. `None`: it is no signed JWT that says so.
pub(super) fn audiences(token: &str) -> Option<Vec<String>> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && !header.is_empty() && !signature.is_empty();
    if !is_whole || payload.len() > PAYLOAD_BYTES_MAX {
        return None;
    }
    let mut json = Vec::new();
    base64url::decode(payload.as_bytes(), &mut json)?;
    match serde_json::from_slice::<Claims>(&json).ok()?.aud {
        Audience::One(audience) => Some(vec![audience]),
        Audience::Several(audiences) => Some(audiences),
    }
}
