//! However the application dials a service, the lane decides: virtual address, host name, pod address.

use laneway_tests::conformance::names;

use crate::support::{SERVER_PORT, curl_in, namespaces_or_skip, pair};

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
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let url = "http://sc-server:7000/";
        let tag = ["-H", "x-mse-tag: gray"];
        let mut arguments = vec![version, url];
        for turn in 0..6 {
            arguments.extend(["--next", "--silent", "--max-time", "15", version, url]);
            if turn % 2 == 0 {
                arguments.extend(tag);
            }
        }
        let answer = curl_in(&mesh, "caller-base", &arguments).expect("curl succeeds");
        let visited: Vec<_> = answer.lines().map(names).collect();
        let (gray, base) = ("SERVERgray", "SERVER");
        assert_eq!(visited, [base, gray, base, gray, base, gray, base], "{version}");
    }
}
