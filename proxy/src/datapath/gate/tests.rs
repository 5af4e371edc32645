//! Heads and what the gate says of them.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use super::check;

fn verdict(version: Version, target: &str, headers: &[(&str, &str)]) -> Result<(), &'static str> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::try_from(*name).expect("test name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("test value"),
        );
    }
    check(version, &Method::GET, &target.parse::<Uri>().expect("test target"), &map)
}

#[test]
fn each_smuggling_class_is_refused_by_name() {
    type Case = (&'static [(&'static str, &'static str)], Result<(), &'static str>);
    let cases: [Case; 20] = [
        (&[("host", "b")], Ok(())),
        (&[("host", "")], Ok(())),
        (&[("host", "[fd00::1]:80")], Ok(())),
        (&[("host", "b"), ("content-length", "5")], Ok(())),
        (&[("host", "b"), ("transfer-encoding", "Chunked")], Ok(())),
        (&[], Err("host-missing")),
        (&[("host", "a"), ("host", "b")], Err("host-twice")),
        (&[("host", "a,b")], Err("host")),
        (&[("host", "a b")], Err("host")),
        (&[("host", "u@a")], Err("host")),
        (&[("host", "a/b")], Err("host")),
        (&[("host", "b"), ("transfer-encoding", "identity, chunked")], Err("transfer-encoding")),
        (&[("host", "b"), ("transfer-encoding", "chunked, chunked")], Err("transfer-encoding")),
        (&[("host", "b"), ("transfer-encoding", ",chunked")], Err("transfer-encoding")),
        (
            &[("host", "b"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Err("transfer-encoding"),
        ),
        (
            &[("host", "b"), ("transfer-encoding", "chunked"), ("content-length", "1")],
            Err("transfer-encoding-and-content-length"),
        ),
        (&[("host", "b"), ("content-length", "1"), ("content-length", "1")], Err("content-length-twice")),
        (&[("host", "b"), ("content-length", "+1")], Err("content-length")),
        (&[("host", "b"), ("content-length", "9223372036854775808")], Err("content-length")),
        (&[("host", "b"), ("content_length", "1")], Err("framing-look-alike")),
    ];
    for (headers, expected) in cases {
        assert_eq!(verdict(Version::HTTP_11, "/", headers), expected, "{headers:?}");
    }
}

#[test]
fn http2_and_http10_have_rules_of_their_own() {
    assert_eq!(verdict(Version::HTTP_2, "http://b/", &[]), Ok(()));
    assert_eq!(verdict(Version::HTTP_2, "http://b/", &[("host", "B")]), Ok(()));
    assert_eq!(verdict(Version::HTTP_2, "http://b/", &[("host", "c")]), Err("host-differs"));
    assert_eq!(
        verdict(Version::HTTP_2, "http://b/", &[("transfer-encoding", "chunked")]),
        Err("transfer-encoding-version")
    );
    assert_eq!(verdict(Version::HTTP_10, "/", &[]), Ok(()));
    assert_eq!(verdict(Version::HTTP_10, "/", &[("transfer-encoding", "chunked")]), Err("transfer-encoding-version"));
    assert_eq!(verdict(Version::HTTP_11, "http://u@b/", &[("host", "b")]), Err("userinfo"));
}
