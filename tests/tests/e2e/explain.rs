//! A running sidecar is asked what it would do, and does it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::alone::free;
use crate::connections::serve_once_each;
use crate::sidecar::Sidecar;

/// The whole answer to a GET.
fn get(address: SocketAddr, host: &str, target: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    text
}

#[test]
fn a_sidecar_explains_where_a_call_goes_and_it_goes_there() {
    let at = serve_once_each();
    let admin = free();
    let sidecar = Sidecar::start_with_admin("explain", "http1", at, admin);
    let told = get(admin, "localhost", "/explain?to=b&path=/x");
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(told.contains("\"WHY_BASELINE\"") && told.contains(&format!("\"{at}\"")), "{told}");
    let refused = get(admin, "localhost", "/explain?to=b&path=x");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("begins with `/`"), "{refused}");
    let answer = get(sidecar.address, "sc-b", "/x");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
}
