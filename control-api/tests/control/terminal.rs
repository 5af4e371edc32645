//! lanectl on a terminal, which script(1) plays: colours, and the line that says how far a `--wait` is; and that neither is there
//! where nobody looks.

use std::process::{Command, Output, Stdio};

use laneway_proto::contract::TYPE_LANE;

use super::program::{Control, SHOP};
use super::sidecar::Sidecar;

const GREEN: &str = "\x1b[32m";
const BEGIN_OF_LINE: &str = "\r\x1b[K";

/// Runs lanectl on a terminal: all that it shows there, and how it ended.
async fn shown(control: &Control, environment: &[(&str, &str)], command: &str) -> Output {
    let line = format!("{} {command}", env!("CARGO_BIN_EXE_lanectl"));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
        .current_dir(control.path(""))
        .env("LANECTL_SERVER", &control.api)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    // A sidecar of the test may answer meanwhile.
    tokio::task::spawn_blocking(move || script.output())
        .await
        .expect("no panic")
        .expect("script is installed (bsdutils)")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_shows_colours_unless_somebody_forbids_them() {
    let control = Control::start();
    let coloured = shown(&control, &[], "check").await;
    assert!(text(&coloured).contains(&format!("{GREEN}✓\x1b[0m")), "{}", text(&coloured));
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let plain = text(&shown(&control, &[environment], "check").await);
        assert!(plain.contains("✓ store sqlite") && !plain.contains('\x1b'), "{environment:?}: {plain:?}");
    }
    // Empty forbids nothing (no-color.org); and for a program that reads there are never any.
    assert!(text(&shown(&control, &[("NO_COLOR", "")], "check").await).contains(GREEN));
    let piped = control.lanectl_with(&[("TERM", "xterm")], &["check"]);
    assert!(!String::from_utf8_lossy(&piped.stdout).contains('\x1b'));
    assert!(!text(&shown(&control, &[], "-o json check").await).contains(GREEN), "what programs read has none either");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_says_how_far_it_is_and_wipes_that_away() {
    let control = Control::start();
    control.apply(SHOP);
    // Connected, and it never answers.
    let mut silent = Sidecar::connect(&control.discovery, "silent-1", "a", "", &[TYPE_LANE]).await;
    silent.take().await;
    let switch = "lane disable gray --group shop --wait=5s";
    let waited = shown(&control, &[], switch).await;
    let progress = format!("{BEGIN_OF_LINE}0 of 1 sidecars have lanes/gray, ");
    assert!(text(&waited).contains(&progress) && text(&waited).contains("waiting for silent-1"), "{:?}", text(&waited));
    let (_, end) = text(&waited).rsplit_once(BEGIN_OF_LINE).map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a line");
    assert!(!end.contains("s left") && end.contains("acknowledged 0/1"), "the line is gone, the answer stays: {end:?}");
    assert_eq!(waited.status.code(), Some(1), "not everybody has it");

    for environment in [[("TERM", "dumb")].as_slice(), &[]] {
        let is_terminal = !environment.is_empty();
        let told = match is_terminal {
            true => text(&shown(&control, environment, &switch.replace("disable", "enable")).await),
            false => {
                let output = control.lanectl(&["lane", "disable", "gray", "--group", "shop", "--wait=1s"]);
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
            }
        };
        assert!(!told.contains('\x1b') && !told.contains("s left"), "{told:?}");
    }
}
