//! Hosts that a person says, and hosts that a rebound name says.

use http::Request;

use super::{Refused, check};

fn checked(target: &str, headers: &[(&str, &str)]) -> Result<(), Refused> {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    check(&request.body(()).expect("a request").into_parts().0)
}

#[test]
fn only_names_and_addresses_of_loopback_are_hosts() {
    for host in [
        "localhost",
        "LocalHost:15400",
        "127.0.0.1",
        "127.0.0.1:15400",
        "127.9.8.7:1",
        "[::1]",
        "[::1]:15400",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert_eq!(checked("/lanes", &[("host", host)]), Ok(()), "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:15400",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1@evil.example",
        "localhost:15400:1",
        "localhost:99999",
        "localhost:",
        "10.0.0.1:15400",
        "0.0.0.0:15400",
        "[::1",
        "[::1]x",
        "::1",
        "[127.0.0.1]",
        "[localhost]",
        "",
        " localhost",
    ] {
        assert_eq!(checked("/lanes", &[("host", host)]), Err(Refused::Host(host.to_owned())), "{host}");
    }
}

#[test]
fn every_host_that_is_said_must_be_loopback() {
    assert_eq!(checked("/lanes", &[]), Err(Refused::NoHost));
    assert!(checked("/lanes", &[("host", "localhost"), ("host", "evil.example")]).is_err());
    assert!(checked("http://evil.example/lanes", &[("host", "localhost")]).is_err());
    assert_eq!(checked("http://localhost:15400/lanes", &[("host", "localhost:15400")]), Ok(()));
}

#[test]
fn a_page_of_a_browser_is_not_answered() {
    for origin in ["http://evil.example", "http://localhost:15400", "null"] {
        assert_eq!(checked("/drain", &[("host", "localhost"), ("origin", origin)]), Err(Refused::Origin));
    }
}
