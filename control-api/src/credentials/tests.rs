//! Where a token may be sent, and what is never shown.

use tonic::Request;
use tonic::service::Interceptor;
use tonic::transport::{Endpoint, Uri};

use super::Credentials;

fn with(token: &str) -> Credentials {
    Credentials { token: Some(token.to_owned()), ..Credentials::default() }
}

#[test]
fn a_token_goes_over_tls_or_to_loopback_and_is_one_word() {
    let to = |url: &str, token: &str| with(token).bearer(&url.parse::<Uri>().expect("a URL"));
    for url in ["https://control.laneway:1", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        let mut bearer = to(url, " sesame\n").expect("it may be sent there");
        let request = bearer.call(Request::new(())).expect("it is added");
        assert_eq!(request.metadata().get("authorization").expect("it is there"), "Bearer sesame");
        assert!(!format!("{request:?}").contains("sesame"));
    }
    for url in ["http://control.laneway:1", "http://10.0.0.1:1", "http://127.0.0.1.evil:1"] {
        assert!(to(url, "sesame").is_err_and(|problem| problem.contains("in clear")), "{url}");
    }
    for bad in ["", " ", "two words", "schl\u{fc}ssel"] {
        assert!(to("http://127.0.0.1:1", bad).is_err_and(|problem| problem.contains("one word")), "{bad}");
    }
    assert!(!format!("{:?}", with("sesame")).contains("sesame"));
}

#[test]
fn tls_needs_authorities_and_names_the_file_that_is_not_there() {
    let endpoint = || Endpoint::from_static("https://127.0.0.1:1");
    let problem = Credentials::default().secured(endpoint()).expect_err("whom to believe");
    assert!(problem.contains("authorities"), "{problem}");
    let credentials = Credentials { ca: Some("/nowhere/ca.pem".into()), ..Credentials::default() };
    let problem = credentials.secured(endpoint()).expect_err("it is not there");
    assert!(problem.contains("/nowhere/ca.pem"), "{problem}");
}
