//! docs/lanectl.md is held to the program: its commands are run, in their order, against a real control plane, and what
//! they print is compared with what stands there. `UPDATE=1 cargo test -p laneway-control-api transcript` writes it anew.
//!
//! In the document a block of `yaml` whose first line is `# NAME` is a file; a line `$ COMMAND` of a block of `console` is
//! run by sh, both outputs together, and must succeed: where it fails the document says so with `; echo "exit status $?"`.
//! What differs from run to run (times, hashes, ports) is compared by the patterns of [`normal`].

mod admin;
pub(super) mod document;
mod normal;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use laneway_control_api::lanectl::arguments::Arguments;
use laneway_proto::contract::{TYPE_LANE, TYPE_LANE_GROUP, TYPE_SERVICE_POLICY};
use laneway_proto::status::{ConfigState, GetRolloutRequest, GetServerInfoRequest, ListProxiesRequest};
use laneway_proto::telemetry::LaneStat;

use self::document::{Block, Run};
use super::program::Control;
use super::sidecar::Sidecar;
use super::stats::{Reports, calls};

/// What runs while the document is told: three services, of which two have a gray instance.
const SERVICES: &str = "
kind: Service
name: a
addresses: [10.96.0.1]
hosts: [sc-a]
ports: [{port: 80, name: http, protocol: http1}]
endpoints:
  - {address: '10.1.0.1:8080', portName: http, meshed: true}
  - {address: '10.1.0.2:8080', portName: http, tag: gray, meshed: true}
---
kind: Service
name: b
addresses: [10.96.0.2]
hosts: [sc-b]
ports: [{port: 80, name: http, protocol: http1}]
endpoints:
  - {address: '10.1.1.1:8080', portName: http, meshed: true}
  - {address: '10.1.1.2:8080', portName: http, tag: gray, meshed: true}
---
kind: Service
name: c
addresses: [10.96.0.3]
hosts: [sc-c]
ports: [{port: 80, name: http, protocol: http1}]
endpoints:
  - {address: '10.1.2.1:8080', portName: http, meshed: true}
";

/// Sidecars that are connected: id, service, tag. The last does not know the lane `odd`.
const SIDECARS: [(&str, &str, &str); 5] =
    [("a-1", "a", ""), ("a-gray-1", "a", "gray"), ("b-1", "b", ""), ("b-gray-1", "b", "gray"), ("c-1", "c", "")];

/// Longest run of one command, for sh.
const COMMAND_SECONDS: &str = "60";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lanectl.md")
}

#[test]
fn every_verb_is_in_the_document() {
    let text = std::fs::read_to_string(path()).expect("docs/lanectl.md is there");
    let runs: Vec<String> = document::parts(&text).into_iter().flat_map(Block::runs).map(|run| run.command).collect();
    let missing: Vec<String> = verbs().into_iter().filter(|verb| !runs.iter().any(|run| is_of(run, verb))).collect();
    assert!(missing.is_empty(), "docs/lanectl.md never runs: {}", missing.join(", "));
}

/// `lanectl lane enable`: every command that does something.
fn verbs() -> Vec<String> {
    fn walk(command: &clap::Command, path: &str, verbs: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        if !command.has_subcommands() {
            verbs.push(path.trim().to_owned());
        }
        command.get_subcommands().for_each(|inner| walk(inner, &path, verbs));
    }
    let mut verbs = Vec::new();
    walk(&Arguments::command(), "", &mut verbs);
    verbs
}

fn is_of(run: &str, verb: &str) -> bool {
    run.match_indices(verb).any(|(at, _)| {
        let rest = &run[at + verb.len()..];
        rest.is_empty() || rest.starts_with(|letter: char| !letter.is_alphanumeric() && letter != '-')
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_says_what_lanectl_prints() {
    let text = std::fs::read_to_string(path()).expect("docs/lanectl.md is there");
    let control = Control::start();
    control.write("services.yaml", SERVICES);
    let mut sidecars = Vec::new();
    for (id, service, tag) in SIDECARS {
        let types = [TYPE_LANE_GROUP, TYPE_LANE, TYPE_SERVICE_POLICY];
        let sidecar = Sidecar::connect(&control.discovery, id, service, tag, &types).await;
        sidecars.push(if id == "c-1" { sidecar.obey_but("odd") } else { sidecar.obey() });
    }
    let admin = admin::start().await;
    let world = World { control, admin };
    world.settled().await;
    let reports = Reports::open(&world.control, "a-1").await;
    let shop = || "namespaces/default/laneGroups/shop".to_owned();
    let of_shop = |tag, requests| LaneStat { lane_group: shop(), ..calls(tag, requests) };
    // Once, and looked at over an hour: the same whenever it is looked at.
    reports.report(vec![of_shop("gray", 720), of_shop("", 7200)]).await;

    let (mut told, mut wrong) = (String::new(), Vec::new());
    for block in document::parts(&text) {
        match block {
            Block::Text(text) => told.push_str(&text),
            Block::File { name, text, whole } => {
                world.control.write(&name, &text);
                told.push_str(&whole);
            }
            Block::Console(runs) => {
                told.push_str("```console\n");
                for run in runs {
                    world.quiet().await;
                    let printed = world.run(&run).await;
                    let is_same = normal::text(&printed) == normal::text(&run.output);
                    if !is_same {
                        wrong.push(format!(
                            "$ {}\n--- docs/lanectl.md\n{}--- printed\n{printed}",
                            run.command, run.output
                        ));
                    }
                    told.push_str(&format!("$ {}\n{}", run.command, if is_same { &run.output } else { &printed }));
                }
                told.push_str("```\n");
            }
        }
    }
    sidecars.into_iter().for_each(|sidecar| sidecar.abort());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path(), told).expect("docs/lanectl.md can be written");
        return;
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes docs/lanectl.md anew", wrong.join("\n"));
}

/// What the commands talk to.
struct World {
    control: Control,
    /// `http://127.0.0.1:PORT` of one sidecar's admin port.
    admin: String,
}

impl World {
    /// Waits until what runs is known, and every sidecar has answered.
    async fn settled(&self) {
        let begun = std::time::Instant::now();
        loop {
            let status = self.control.lanectl_ok(&["status"]);
            let synced = status.matches("synced").count() + status.matches("not sent").count();
            let explained = self.control.lanectl(&["explain", "--to", "c"]).status.success();
            if synced == SIDECARS.len() && explained {
                return;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{status}\n{}", self.control.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Runs one command as it stands there, but for the ports.
    async fn run(&self, run: &Run) -> String {
        let command = run.command.replace(normal::ADMIN, &self.admin);
        let folder = self.control.path("");
        let programs = folder.join("bin");
        if !programs.exists() {
            std::fs::create_dir(&programs).expect("the folder is ours");
            for name in ["lanectl", "kubectl-laneway"] {
                symlink(env!("CARGO_BIN_EXE_lanectl"), programs.join(name)).expect("the folder is ours");
            }
        }
        let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("timeout");
        shell
            .args([COMMAND_SECONDS, "sh", "-c", &format!("exec 2>&1; {command}")])
            .current_dir(folder)
            .env("PATH", search)
            .env("LANECTL_SERVER", &self.control.api)
            .stdin(std::process::Stdio::null());
        // The simulated sidecars answer on this runtime meanwhile.
        let output = tokio::task::spawn_blocking(move || shell.output()).await.expect("no panic").expect("sh is there");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "$ {}\n{printed}\nfailed and does not say so", run.command);
        let printed = printed.replace(&self.control.api, normal::SERVER).replace(&self.admin, normal::ADMIN);
        printed.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// Waits until every sidecar has answered what the commands before brought about.
    async fn quiet(&self) {
        let mut status = self.control.status().await;
        let begun = std::time::Instant::now();
        loop {
            let server = status.get_server_info(GetServerInfoRequest {}).await.expect("it answers").into_inner();
            let name = "namespaces/default/laneGroups/shop".to_owned();
            let request = GetRolloutRequest { name, ..GetRolloutRequest::default() };
            let rollout = status.get_rollout(request).await.expect("it answers").into_inner();
            let proxies = status.list_proxies(ListProxiesRequest::default()).await.expect("it answers").into_inner();
            let is_stale = proxies.proxies.iter().any(|proxy| proxy.state() == ConfigState::Stale);
            if rollout.done && rollout.revision == server.revision && !is_stale {
                return;
            }
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{rollout:?}\n{}", self.control.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
