//! The network by itself: names resolve, hosts reach each other on both IP versions, and nothing is left behind.

use std::time::Duration;

use super::{Namespaces, Network, address_v4, address_v6, namespaces_work};
use crate::process::{Process, Scratch, confine, program, run, skip, wait_for};

#[test]
fn hosts_reach_each_other_and_leave_nothing_behind() {
    if !namespaces_work() {
        return skip("hosts_reach_each_other_and_leave_nothing_behind", "it needs root for network namespaces");
    }
    let scratch = Scratch::new("network").expect("a directory");
    let hosts = [("one".to_owned(), 11), ("two".to_owned(), 12)];
    let names = format!("127.0.0.1 localhost\n{} the-other\n", address_v4(12));
    let namespaces = Namespaces::new("self", &hosts, &names).expect("namespaces are made");
    let (prefix, two) = (namespaces.prefix.clone(), namespaces.name("two"));
    let network = Network::Namespaces(namespaces);

    let mut server = std::process::Command::new(program("laneway-echo").expect("it is built"));
    server.args(["--listen", "0.0.0.0:7000,[::]:7000", "--name", "two"]);
    network.confine(&mut server, "two").expect("the namespace is there");
    confine::as_user(&mut server, 10_001);
    let mut server = Process::start("two", server, &scratch.path().join("two.log")).expect("it starts");

    for target in ["the-other".to_owned(), address_v4(12).to_string(), format!("[{}]", address_v6(12))] {
        let answer = wait_for(Duration::from_secs(5), || {
            let mut curl = std::process::Command::new("curl");
            curl.args(["--silent", "--max-time", "2", &format!("http://{target}:7000/")]);
            network.confine(&mut curl, "one").ok()?;
            run(curl).ok()
        });
        assert_eq!(answer.as_deref(), Some("two[127.0.0.1]\n"), "{target}: {}", server.log());
    }
    assert!(server.ended().is_none());
    drop((server, network));
    let left: Vec<_> =
        std::fs::read_dir("/run/netns").expect("it is there").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(&prefix)), "{left:?}");
    assert!(!std::path::Path::new("/etc/netns").join(two).exists());
}
