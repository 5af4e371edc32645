//! `lanectl inject` and `uninject` as they are typed: what they print where, their exit status, and docs/kubernetes.md, which is held
//! to the program. `UPDATE=1 cargo test -p laneway-control-api --test control inject` writes the page anew.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::transcript::document::{Block, parts};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {app: x}}\nspec: {containers: [{name: x}]}\n";

/// A folder of its own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("laneway-inject-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("the folder is ours");
    }

    fn lanectl(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanectl"));
        command.args(arguments).current_dir(&self.0);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("lanectl was built");
        // It may have ended already, by what was typed.
        let _ = child.stdin.take().expect("it was asked for").write_all(stdin.as_bytes());
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn documents_go_to_stdout_reasons_to_stderr_and_there_is_a_way_back() {
    let folder = Folder::new("pipe");
    let (status, injected, told) = said(&folder.lanectl(&["inject", "-"], POD));
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(told, "pod/x: injected: service x (label app); no tag: baseline\n");
    assert!(
        injected.starts_with("apiVersion: v1\nkind: Pod\n") && injected.contains("name: laneway-proxy"),
        "{injected}"
    );

    let (status, again, _) = said(&folder.lanectl(&["inject", "-"], &injected));
    assert_eq!((status, again), (Some(0), injected.clone()));

    let (status, back, told) = said(&folder.lanectl(&["uninject", "-"], &injected));
    assert_eq!((status, told.as_str()), (Some(0), "pod/x: the sidecar is taken out\n"));
    assert!(!back.contains("laneway"), "{back}");
    let (status, again, told) = said(&folder.lanectl(&["uninject", "-"], &back));
    assert_eq!((status, again, told.as_str()), (Some(0), back, "pod/x: had no sidecar of ours\n"));
}

#[test]
fn a_pod_that_is_refused_costs_all_output_and_status_1() {
    let folder = Folder::new("refused");
    folder.write("good.yaml", POD);
    folder.write("bad.yaml", &POD.replace("labels:", "annotations: {laneway.io/drain-seconds: long}, labels:"));
    let (status, out, told) = said(&folder.lanectl(&["inject", "good.yaml", "bad.yaml"], ""));
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert_eq!(
        told,
        "bad.yaml: pod/x: annotation laneway.io/drain-seconds: `long` is no number of seconds; allowed: 0 to 3600\n"
    );
    let (status, out, told) = said(&folder.lanectl(&["uninject", "-"], "a: [\n"));
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(told.starts_with("(stdin): document 1: neither YAML nor JSON"), "{told}");
    let (status, _, told) = said(&folder.lanectl(&["inject", "nowhere.yaml"], ""));
    assert_eq!(status, Some(1));
    assert!(told.contains("nowhere.yaml"), "{told}");
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let folder = Folder::new("usage");
    for (arguments, words) in [
        (&["inject"][..], "<PATH>"),
        (&["inject", "-", "--native-sidecar", "perhaps"], "allowed: true, false"),
        (&["inject", "-", "--exclude-inbound-ports", "80-"], "1 to 65535"),
        (&["inject", "-", "--control", "https://control:15410"], "--control-ca"),
        (&["inject", "-", "--proxy-cpu-limit", "1m"], "proxy-cpu-request"),
        (&["uninject"], "<PATH>"),
        (&["uninject", "-", "--proxy-image", "x"], "--proxy-image"),
    ] {
        let (status, out, told) = said(&folder.lanectl(arguments, POD));
        assert_eq!((status, out.as_str()), (Some(2), ""), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn several_files_become_one_stream() {
    let folder = Folder::new("several");
    std::fs::create_dir_all(folder.0.join("more")).expect("the folder is ours");
    folder.write("more/1.yaml", "kind: A");
    folder.write("more/2.yml", "---\nkind: B\n");
    folder.write("more/3.yaml", "# c\nkind: C\n");
    folder.write("more/other.txt", "kind: D\n");
    let (status, out, _) = said(&folder.lanectl(&["inject", "more", "-"], "kind: E\n"));
    assert_eq!((status, out.as_str()), (Some(0), "kind: A\n---\nkind: B\n---\n# c\nkind: C\n---\nkind: E\n"));
    folder.write("1.json", "{\"kind\": \"A\"}");
    folder.write("2.json", "{\"kind\": \"B\"}\n");
    let (status, out, _) = said(&folder.lanectl(&["uninject", "1.json", "2.json"], ""));
    assert_eq!((status, out.as_str()), (Some(0), "{\"kind\": \"A\"}\n{\"kind\": \"B\"}\n"));
    // Beside YAML each value has a mark, also the first: what begins with a brace would be read as JSON to its end.
    folder.write("3.json", "{\"kind\": \"C\"} {\"kind\": \"D\"}");
    folder.write("4.yaml", "{kind: E}\n");
    let (status, out, _) = said(&folder.lanectl(&["inject", "1.json", "more/1.yaml", "3.json", "4.yaml"], ""));
    let marked =
        "---\n{\"kind\": \"A\"}\n---\nkind: A\n---\n{\"kind\": \"C\"}\n---\n{\"kind\": \"D\"}\n---\n{kind: E}\n";
    assert_eq!((status, out.as_str()), (Some(0), marked));
    let (status, out, told) =
        said(&folder.lanectl(&["inject", "--control", "http://control.mesh:15410", "1.json"], ""));
    assert_eq!((status, out.as_str()), (Some(0), "{\"kind\": \"A\"}"));
    assert!(told.starts_with("--control http://control.mesh:15410: without TLS"), "{told}");
}

#[test]
fn the_page_says_what_lanectl_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("docs/kubernetes.md");
    let text = std::fs::read_to_string(&path).expect("docs/kubernetes.md is there");
    let folder = Folder::new("page");
    std::fs::create_dir_all(folder.0.join("bin")).expect("the folder is ours");
    symlink(env!("CARGO_BIN_EXE_lanectl"), folder.0.join("bin/lanectl")).expect("the folder is ours");
    symlink(root.join("deploy").canonicalize().expect("it is there"), folder.0.join("deploy"))
        .expect("the folder is ours");
    let search = format!("{}:{}", folder.0.join("bin").display(), std::env::var("PATH").unwrap_or_default());
    let (mut told, mut count) = (String::new(), 0);
    for block in parts(&text) {
        match block {
            Block::Text(text) => told.push_str(&text),
            Block::File { name, text, whole } => {
                folder.write(&name, &text);
                told.push_str(&whole);
            }
            Block::Console(runs) => {
                told.push_str("```console\n");
                for run in runs {
                    let mut shell = Command::new("timeout");
                    shell.args(["60", "sh", "-c", &format!("exec 2>&1; {}", run.command)]);
                    let shell = shell.current_dir(&folder.0).env("PATH", &search).stdin(Stdio::null());
                    let output = shell.output().expect("sh is there");
                    let printed = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.success(), "$ {}\n{printed}", run.command);
                    told.push_str(&format!("$ {}\n{printed}", run.command));
                    count += 1;
                }
                told.push_str("```\n");
            }
        }
    }
    assert!(count > 5, "{count} commands");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, told).expect("docs/kubernetes.md can be written");
        return;
    }
    assert_eq!(told, text, "UPDATE=1 writes docs/kubernetes.md anew");
}
