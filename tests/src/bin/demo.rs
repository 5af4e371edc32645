//! `./x demo`: the main job on this machine, with its answers.
//!
//! Control plane on SQLite; A, B and C with a baseline and a gray instance each, every instance in a namespace of its own
//! behind its own sidecar and redirect; an entry without a sidecar; real curl. Prints every request with its expected and
//! its actual answer, switches a lane off and on again under load, and ends clean: status 1 if an answer differs.

#![allow(clippy::print_stdout, reason = "a program that answers on stdout")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use laneway_tests::application::{Application, Forwards, Runtime};
use laneway_tests::conformance::{self, Outcome, SCENARIOS};
use laneway_tests::load::{Load, Sample};
use laneway_tests::mesh::Mesh;
use laneway_tests::mesh::network::namespaces_work;
use laneway_tests::process::{confine, leave_nothing_behind, read_text};
use serde_json::json;

/// Requests per second and connections of the load that runs while the lane is switched.
const LOAD_REQUESTS_PER_SECOND: u32 = 200;
const LOAD_CONNECTIONS: u32 = 8;
/// Answers that are seen before and after each switch.
const ANSWERS_AROUND_A_SWITCH: usize = 60;
/// Longest wait for them.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(30);

/// Traffic lanes end to end: a mesh, its curls, their answers
#[derive(Parser)]
#[command(name = "x demo")]
struct Arguments {
    /// One JSON object a line: id, request, expected, actual, ok
    #[arg(long)]
    json: bool,
    /// Leave the mesh up, and say how to talk to it and how to end it
    #[arg(long)]
    keep: bool,
    /// On loopback without a redirect, also as root
    #[arg(long)]
    loopback: bool,
    /// The process that holds a kept mesh
    #[arg(long, hide = true)]
    hold: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.keep && !arguments.hold { start_holder() } else { demonstrate(&arguments) };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo, and says whether every answer was as expected.
fn demonstrate(arguments: &Arguments) -> Result<bool> {
    leave_nothing_behind();
    let say = Say { json: arguments.json };
    let redirect = !arguments.loopback && namespaces_work();
    if redirect {
        say.text("Every pod in a network namespace of its own, behind a real redirect.");
    } else {
        say.aloud("Without root: every pod on a loopback address of its own, WITHOUT a redirect; applications call their sidecar.");
    }
    let started = Instant::now();
    let mut mesh = Mesh::up(conformance::plan("demo", redirect))?;
    let pods = mesh.plan().pods.len();
    say.text(&format!(
        "Control plane, {pods} applications, {pods} sidecars up in {:.1} s.",
        started.elapsed().as_secs_f64()
    ));

    let mut failed = 0;
    for scenario in SCENARIOS {
        say.text(&format!("\n{} ({})", scenario.title, scenario.documents));
        conformance::arrange(&mut mesh, scenario)?;
        for check in scenario.checks {
            let outcome = conformance::ask(&mesh, check)?;
            failed += usize::from(!outcome.ok);
            say.outcome(&outcome);
        }
    }

    say.text("\nall of these through applications that do not know of the tag");
    for outcome in unchanged_applications(&mut mesh)? {
        failed += usize::from(!outcome.ok);
        say.outcome(&outcome);
    }

    say.text("\na lane is switched off and on again while requests run (scenario-1.yaml)");
    conformance::arrange(&mut mesh, &SCENARIOS[0])?;
    for outcome in switch(&mesh)? {
        failed += usize::from(!outcome.ok);
        say.outcome(&outcome);
    }

    let ok = failed == 0;
    let seconds = started.elapsed().as_secs_f64();
    say.text(&if ok { format!("\nAll as expected, {seconds:.1} s.") } else { format!("\n{failed} not as expected.") });
    if arguments.keep {
        tell_how_to_talk(&mesh, arguments.json)?;
        hold(ok)?;
    } else if !ok {
        // What the parts said is worth more than a clean directory.
        let kept = keep_logs(mesh.directory());
        eprintln!("demo: logs in {}", kept.unwrap_or_else(|error| format!("(not kept: {error})")));
    }
    Ok(ok)
}

/// The same checks, a line each for what applications forward that nobody changed for lanes.
fn unchanged_applications(mesh: &mut Mesh) -> Result<Vec<Outcome>> {
    let kinds = [("trace-id", Forwards::TraceId, "only a trace id"), ("nothing", Forwards::Nothing, "nothing")];
    let mut outcomes = Vec::new();
    for (id, forwards, what) in kinds {
        let application = Application { runtime: Runtime::Echo, forwards };
        let (mut count, mut differs) = (0, Vec::new());
        for scenario in conformance::scenarios(application) {
            conformance::arrange_with(mesh, scenario, application)?;
            for check in scenario.checks {
                let outcome = conformance::ask(mesh, check)?;
                count += 1;
                if !outcome.ok {
                    differs.push(format!("{}: {}", outcome.id, outcome.actual));
                }
            }
        }
        outcomes.push(Outcome {
            id,
            request: format!("every request above, applications forward {what}"),
            expected: "every answer as above",
            actual: match differs.is_empty() {
                true => format!("all {count} as above"),
                false => format!("{} of {count} differ: {}", differs.len(), differs.join("; ")),
            },
            path: String::new(),
            ok: differs.is_empty(),
        });
    }
    Ok(outcomes)
}

/// Off, then on, under load; each is a line with its time, and nothing may be lost.
fn switch(mesh: &Mesh) -> Result<Vec<Outcome>> {
    let load = Load {
        namespace: mesh.network().namespace("entry"),
        to: mesh.entry_address(),
        path: "/a".to_owned(),
        headers: vec![("host".to_owned(), "www.base.com".to_owned()), ("x-mse-tag".to_owned(), "gray".to_owned())],
        connections: LOAD_CONNECTIONS,
        requests_per_second: LOAD_REQUESTS_PER_SECOND,
    }
    .start();
    load.await_answers(ANSWERS_AROUND_A_SWITCH, ANSWERS_TIMEOUT)?;
    let switched_off = Instant::now();
    mesh.lanectl(&["lane", "disable", "gray", "--group", "shop", "--wait"])?;
    let off = Instant::now();
    load.await_answers(ANSWERS_AROUND_A_SWITCH, ANSWERS_TIMEOUT)?;
    let switched_on = Instant::now();
    mesh.lanectl(&["lane", "enable", "gray", "--group", "shop", "--wait"])?;
    let on = Instant::now();
    load.await_answers(ANSWERS_AROUND_A_SWITCH, ANSWERS_TIMEOUT)?;
    let samples = load.stop()?;

    let is_gray = |sample: &&Sample| sample.answer.as_ref().is_ok_and(|chain| chain.contains("gray"));
    let lost = samples.iter().filter(|sample| sample.answer.is_err()).count();
    let last_gray = samples
        .iter()
        .filter(is_gray)
        .filter(|sample| sample.answered < switched_on)
        .map(|sample| sample.answered)
        .max();
    let first_gray =
        samples.iter().filter(is_gray).filter(|sample| sample.sent >= switched_on).map(|sample| sample.answered).min();
    // What was sent after the command came back must be on the other side, without exception; what was answered after the
    // next command began may rightly follow either.
    let late =
        samples.iter().filter(|sample| sample.sent > off && sample.answered < switched_on).filter(is_gray).count();
    let early = samples.iter().filter(|sample| sample.sent > on).filter(|sample| !is_gray(sample)).count();
    let milliseconds = |from: Instant, to: Option<Instant>| {
        to.map_or("never".to_owned(), |to| format!("{:.1} ms", to.saturating_duration_since(from).as_secs_f64() * 1e3))
    };
    Ok(vec![
        Outcome {
            id: "switch-off",
            request: format!("{}lanectl lane disable gray --group shop --wait", mesh.typed("control")),
            expected: "0 lost, 0 in the lane after the command returned",
            actual: format!(
                "{lost} lost, {late} in the lane after the command returned; last gray answer after {}, command took {}, {} requests",
                milliseconds(switched_off, last_gray),
                milliseconds(switched_off, Some(off)),
                samples.len()
            ),
            path: String::new(),
            ok: lost == 0 && late == 0 && last_gray.is_some(),
        },
        Outcome {
            id: "switch-on",
            request: format!("{}lanectl lane enable gray --group shop --wait", mesh.typed("control")),
            expected: "0 out of the lane after the command returned",
            actual: format!(
                "{early} out of the lane after the command returned; first gray answer after {}, command took {}",
                milliseconds(switched_on, first_gray),
                milliseconds(switched_on, Some(on)),
            ),
            path: String::new(),
            ok: early == 0 && first_gray.is_some(),
        },
    ])
}

/// How it is said: for people, or an object a line.
struct Say {
    json: bool,
}

impl Say {
    fn text(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// Also where stdout is for machines.
    fn aloud(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }

    fn outcome(&self, outcome: &Outcome) {
        if self.json {
            println!("{}", serde_json::to_string(outcome).expect("an outcome is JSON"));
        } else {
            let verdict = if outcome.ok { "ok" } else { "DIFFERS" };
            println!("  {:<10} {}", outcome.id, outcome.request);
            println!("             expected  {}", outcome.expected);
            println!("             actual    {}   {verdict}", outcome.actual);
            if !outcome.path.is_empty() {
                println!("             path      {}", outcome.path);
            }
        }
        let _ = std::io::stdout().flush();
    }
}

fn tell_how_to_talk(mesh: &Mesh, json: bool) -> Result<()> {
    let lanectl = laneway_tests::process::program("lanectl")?;
    let (entry, control) = (mesh.typed("entry"), mesh.typed("control"));
    let curl = format!("{entry}curl -H 'Host: www.base.com' -H 'x-mse-tag: gray' http://{}/a", mesh.entry_address());
    let lanectl = format!("{control}{} --server {}", lanectl.display(), mesh.admin_url());
    let end = format!("kill {}", std::process::id());
    let directory = mesh.directory().display().to_string();
    if json {
        println!("{}", json!({"kept": true, "curl": curl, "lanectl": lanectl, "end": end, "directory": directory}));
        return Ok(());
    }
    println!(
        "\nThe mesh stays up. Talk to it:\n  {curl}\n  {lanectl} status\n  {lanectl} lane disable gray --group shop --wait"
    );
    println!("Its logs and the entry's rules: {directory}\nEnd it:\n  {end}");
    Ok(())
}

/// Lets go of the terminal and keeps the mesh until a signal ends it.
fn hold(ok: bool) -> Result<()> {
    println!("{}", if ok { HOLDING_OK } else { HOLDING_DIFFERS });
    std::io::stdout().flush()?;
    confine::let_go_of_output()?;
    loop {
        std::thread::park();
    }
}

/// The holder's last line, for [`start_holder`] alone.
const HOLDING_OK: &str = "\u{1}ok";
const HOLDING_DIFFERS: &str = "\u{1}differs";

/// Starts this program anew in a session of its own, repeats what it says until it holds the mesh, and leaves it there.
fn start_holder() -> Result<bool> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--hold").stdin(Stdio::null()).stdout(Stdio::piped());
    confine::outlive_parent(&mut command);
    let mut holder = command.spawn().context("start the process that keeps the mesh")?;
    let output = holder.stdout.take().context("its output is a pipe")?;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
    for line in lines.by_ref() {
        let line = line?;
        match line.as_str() {
            HOLDING_OK => return Ok(true),
            HOLDING_DIFFERS => return Ok(false),
            line => println!("{line}"),
        }
    }
    let status = holder.wait()?;
    ensure!(!status.success(), "the process that keeps the mesh ended");
    Ok(false)
}

fn keep_logs(directory: &Path) -> Result<String> {
    let kept = std::env::temp_dir().join(format!("laneway-demo-logs-{}", std::process::id()));
    std::fs::create_dir_all(&kept)?;
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.path().is_file() {
            let text = read_text(std::fs::File::open(entry.path())?);
            std::fs::write(kept.join(entry.file_name()), text)?;
        }
    }
    Ok(kept.display().to_string())
}
