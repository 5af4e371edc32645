use std::io;

use super::in_words;

#[derive(Debug, thiserror::Error)]
#[error("{says}")]
struct Said {
    says: &'static str,
    source: io::Error,
}

#[test]
fn every_cause_is_said_once() {
    let refused = || io::Error::other("connection refused");
    assert_eq!(in_words(&refused()), "connection refused");
    assert_eq!(in_words(&Said { says: "the list failed", source: refused() }), "the list failed: connection refused");
    let twice = Said { says: "the list failed: connection refused", source: refused() };
    assert_eq!(in_words(&twice), "the list failed: connection refused");
}
