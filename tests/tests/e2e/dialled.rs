//! However the application dials a service, the lane decides: virtual address, host name, pod address.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Uri};
use laneway_tests::client::{Client, Speech};
use laneway_tests::conformance::names;

use crate::support::{SERVER_PORT, curl_in, from_pod, namespaces_or_skip, pair};

#[test]
fn virtual_address_host_name_and_pod_address_lead_to_the_lane() {
    if !namespaces_or_skip("virtual_address_host_name_and_pod_address_lead_to_the_lane") {
        return;
    }
    let mesh = pair("dial", &["", "gray"], "", &[]);
    let [virtual_v4, virtual_v6] = mesh.plan().virtual_addresses("server").expect("the service is there");
    let (base, gray) = (mesh.socket("server-base").expect("a pod"), mesh.socket("server-gray").expect("a pod"));
    let targets =
        [format!("sc-server:{SERVER_PORT}"), format!("{virtual_v4}:{SERVER_PORT}"), base.to_string(), gray.to_string()];
    let _ = virtual_v6;
    for target in &targets {
        let url = format!("http://{target}/");
        for (headers, expected) in [(&[][..], "SERVER"), (&["-H", "x-mse-tag: gray"][..], "SERVERgray")] {
            let mut arguments = vec![url.as_str()];
            arguments.extend(headers);
            let answer = curl_in(&mesh, "caller-base", &arguments).expect("curl succeeds");
            assert_eq!(names(answer.trim()), expected, "{target} {headers:?}");
        }
    }
}

#[test]
fn one_kept_connection_serves_lane_and_baseline_by_turns() {
    if !namespaces_or_skip("one_kept_connection_serves_lane_and_baseline_by_turns") {
        return;
    }
    let mesh = pair("turns", &["", "gray"], "", &[]);
    let [virtual_address, _] = mesh.plan().virtual_addresses("server").expect("the service is there");
    let uri: Uri = format!("http://{virtual_address}:{SERVER_PORT}/").parse().expect("an address is a URI");
    let (gray, base) = ("SERVERgray", "SERVER");
    for speech in [Speech::Http1, Speech::H2c] {
        let uri = uri.clone();
        // One client, so one connection: by turns with and without the tag.
        let visited = from_pod(&mesh, "caller-base", async move {
            let client = Client::default();
            let mut visited = Vec::new();
            for turn in 0..7 {
                let mut headers = HeaderMap::new();
                if turn % 2 == 1 {
                    headers.insert("x-mse-tag", HeaderValue::from_static("gray"));
                }
                let answer = client.send(speech, "GET", &uri, headers, Bytes::new()).await?;
                visited.push(names(&answer.text()));
            }
            anyhow::Ok(visited)
        });
        let visited = visited.expect("every request is answered");
        assert_eq!(visited, [base, gray, base, gray, base, gray, base], "{speech:?}");
    }
}
