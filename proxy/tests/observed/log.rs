//! The access log of a real sidecar: what its lines say, and a pipe that nobody empties.

use std::io::{BufReader, Read as _};
use std::process::ChildStdout;

use serde_json::Value;

use crate::pods::{Pod, ask, chain, get, wait_until};

fn output(pod: &mut Pod) -> ChildStdout {
    pod.sidecar().stdout.take().expect("it is piped")
}

/// The next lines, as JSON.
fn lines(reader: &mut impl std::io::BufRead, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for _ in 0..count {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a pipe");
        found.push(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}")));
    }
    found
}

#[test]
fn a_line_says_where_a_request_went_and_why_and_nothing_secret() {
    let mut pods = chain("log", 2, &["--access-log", "json"]);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let secrets = format!(
        "x-mse-tag: gray\r\ntraceparent: 00-{trace}-b7ad6b7169203331-01\r\n\
         authorization: Bearer secret\r\ncookie: session=secret\r\n"
    );
    let answer = get(pods[0].inbound, "/hello?token=secret", &secrets);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut reader = BufReader::new(output(&mut pods[0]));
    let said = lines(&mut reader, 2);
    let of = |direction: &str| said.iter().find(|line| line["dir"] == direction).expect("a line each way");
    let (inbound, outbound) = (of("inbound"), of("outbound"));
    for (line, service, path) in [(inbound, "a", "/hello"), (outbound, "b", "/next")] {
        assert_eq!((&line["service"], &line["path"]), (&service.into(), &path.into()), "{line}");
        assert_eq!(
            (&line["method"], &line["code"], &line["flags"]),
            (&"GET".into(), &200.into(), &"".into()),
            "{line}"
        );
        assert_eq!((&line["req_tag"], &line["source"]), (&"gray".into(), &"carried".into()), "{line}");
        assert_eq!((&line["trace_id"], &line["bytes"]), (&trace.into(), &3.into()), "{line}");
        assert!(line["dur_ms"].as_f64().is_some_and(|took| took > 0.0), "{line}");
        assert!(line["ts"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{line}");
    }
    assert_eq!((&outbound["why"], &outbound["fallback"]), (&"fallback_absent".into(), &true.into()));
    assert_eq!(outbound["upstream"], pods[1].inbound.to_string());
    assert!(!format!("{said:?}").contains("secret"));
}

#[test]
fn a_line_says_by_a_flag_why_there_was_no_answer() {
    let mut pods = chain("flags", 1, &["--access-log", "json"]);
    let outbound = pods[0].outbound;
    let mut reader = BufReader::new(output(&mut pods[0]));
    let answer = ask(outbound, "GET /x HTTP/1.1\r\nhost: nobody\r\n");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    let line = &lines(&mut reader, 1)[0];
    assert_eq!(
        (&line["flags"], &line["code"], &line["dir"]),
        (&"NR".into(), &502.into(), &"outbound".into()),
        "{line}"
    );
    assert_eq!((&line["host"], &line["upstream"]), (&"nobody".into(), &"".into()), "{line}");
    let answer = ask(outbound, "GET /x\u{1}y HTTP/1.1\r\nhost: nobody\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[test]
fn a_pipe_that_nobody_empties_stops_no_request_and_lost_lines_are_counted() {
    let mut pods = chain("full", 1, &["--access-log", "json"]);
    // A line has more than a kilobyte; pipe and ring hold 1.1 MiB.
    let path = format!("/{}", "x".repeat(1000));
    let mut asked = 0;
    while pods[0].metric("laneway_access_log_lines_total{outcome=\"dropped\"}") == 0 {
        for _ in 0..100 {
            let answer = get(pods[0].inbound, &path, "");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            asked += 1;
        }
        assert!(asked < 20_000, "nothing is bounded");
    }
    // What was taken comes whole once somebody reads; what was not, is missing and counted.
    let mut reader = BufReader::new(output(&mut pods[0]));
    let sum = |pod: &Pod| {
        let of = |outcome: &str| pod.metric(&format!("laneway_access_log_lines_total{{outcome=\"{outcome}\"}}"));
        (of("taken"), of("dropped"))
    };
    wait_until("every request is told of", || {
        let (taken, dropped) = sum(&pods[0]);
        taken + dropped == asked
    });
    let (taken, _) = sum(&pods[0]);
    for line in lines(&mut reader, usize::try_from(taken).expect("few")) {
        assert_eq!(line["path"], path.as_str());
    }
}

#[test]
fn a_file_is_appended_to_and_the_last_lines_are_there_when_the_program_has_ended() {
    let file = std::env::temp_dir().join(format!("laneway-access-{}.log", std::process::id()));
    std::fs::write(&file, "before\n").expect("a file");
    let flags = ["--access-log", "text", "--access-log-file", file.to_str().expect("text")];
    let mut pods = chain("file", 1, &flags);
    for number in 0..10 {
        get(pods[0].inbound, &format!("/{number}"), "");
    }
    let sidecar = pods[0].sidecar();
    // SAFETY: the child is ours and not waited for yet, so its id cannot belong to another process.
    unsafe { libc::kill(i32::try_from(sidecar.id()).expect("an id"), libc::SIGTERM) };
    assert!(sidecar.wait().expect("it ends").success());
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::remove_file(&file).expect("it is ours");
    let said: Vec<&str> = text.lines().collect();
    assert_eq!((said[0], said.len()), ("before", 11), "{text}");
    for (number, line) in said[1..].iter().enumerate() {
        assert!(line.contains(&format!(" path=/{number} ")) && line.contains(" code=200 "), "{line}");
    }
}

#[test]
fn nothing_is_written_unless_it_is_asked_for() {
    let mut pods = chain("off", 1, &[]);
    get(pods[0].inbound, "/x", "");
    let mut said = String::new();
    let mut output = output(&mut pods[0]);
    drop(pods);
    output.read_to_string(&mut said).expect("a pipe");
    assert_eq!(said, "");
}
