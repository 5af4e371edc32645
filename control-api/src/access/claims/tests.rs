//! Tokens as the API server makes them, and bytes of anybody.

use proptest::prelude::*;

use super::audiences;

// printf %s '{"aud":["laneway.io"],"sub":"a"}' | basenc --base64url | tr -d =
const SEVERAL: &str = "eyJhdWQiOlsibGFuZXdheS5pbyJdLCJzdWIiOiJhIn0";
// printf %s '{"aud":"vault"}' | basenc --base64url | tr -d =
const ONE: &str = "eyJhdWQiOiJ2YXVsdCJ9";
// printf %s '{"sub":"a"}' | basenc --base64url | tr -d =
const NONE: &str = "eyJzdWIiOiJhIn0";

#[test]
fn a_signed_token_says_for_whom_it_is_and_nothing_else_does() {
    let is = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(audiences(&format!("h.{SEVERAL}.s")), is(&["laneway.io"]));
    assert_eq!(audiences(&format!("h.{ONE}.s")), is(&["vault"]));
    for bad in [
        String::new(),
        "secret".to_owned(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("h.{SEVERAL}"),
        format!("h.{SEVERAL}."),
        format!(".{SEVERAL}.s"),
        // Encrypted: five parts.
        format!("h.k.{SEVERAL}.c.t"),
        format!("h.{SEVERAL}=.s"),
        format!("h.{NONE}.s"),
        format!("h.{}.s", "A".repeat(1 << 20)),
    ] {
        assert_eq!(audiences(&bad), None, "{bad:.40}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_odd_to_be_read(token in any::<String>(), payload in "[A-Za-z0-9_-]{0,200}") {
        let _ = audiences(&token);
        let _ = audiences(&format!("h.{payload}.s"));
    }
}
