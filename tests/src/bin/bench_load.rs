//! The two loads of `./x bench` that wrk and h2load do not make: requests at a steady rate on one connection (`paced`), and a
//! new connection for each request, closed by the client (`churn`).
//!
//! The request comes on standard input and is sent byte for byte; an answer is a 200 with a Content-Length. Prints one JSON
//! object; tests/load/loads.py starts it, pins it and reads it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

/// Longest wait for a connection or for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What one read takes: heads and small bodies at once.
const READ_BYTES: usize = 64 * 1024;

/// Sends the request on standard input again and again
#[derive(Parser)]
struct Arguments {
    /// To whom
    address: SocketAddr,
    /// For how long
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// At a steady rate, one at a time, on one connection
    Paced {
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        requests_per_second: u32,
    },
    /// A new connection for each
    Churn {
        /// Connections at a time
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        connections: u32,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut request = Vec::new();
    std::io::stdin().read_to_end(&mut request).context("read the request from standard input")?;
    ensure!(request.ends_with(b"\r\n\r\n"), "standard input holds no whole request head");
    let duration = Duration::from_secs(arguments.seconds);
    let result = match arguments.load {
        Load::Paced { requests_per_second } => paced(arguments.address, &request, duration, requests_per_second)?,
        Load::Churn { connections } => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, churn(arguments.address, request.into(), duration, connections))?
        }
    };
    #[allow(clippy::print_stdout, reason = "the answer of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

/// Blocking calls, so that a time is the proxy's and not a runtime's. A time starts when the request is sent.
fn paced(to: SocketAddr, request: &[u8], duration: Duration, requests_per_second: u32) -> Result<Value> {
    let mut stream = TcpStream::connect_timeout(&to, ANSWER_TIMEOUT).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let period = Duration::from_secs(1) / requests_per_second;
    let mut buffer = vec![0; READ_BYTES];
    let mut times = Vec::new();
    let mut late = 0_u32;
    let start = Instant::now();
    let mut due = start;
    while due.duration_since(start) < duration {
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(left) => std::thread::sleep(left),
            // The answer before took a whole period: what follows is sent at once, and said to be late.
            None => late += u32::from(now.duration_since(due) > period),
        }
        let sent = Instant::now();
        stream.write_all(request).context("send")?;
        let mut answer = Answer::default();
        while !answer.is_whole()? {
            let read = stream.read(&mut buffer).context("receive")?;
            ensure!(read > 0, "the connection was closed before the answer was whole");
            answer.take(&buffer[..read]);
        }
        times.push(sent.elapsed());
        due += period;
    }
    Ok(summary(times, 0, late, None))
}

async fn churn(to: SocketAddr, request: Rc<[u8]>, duration: Duration, connections: u32) -> Result<Value> {
    let end = Instant::now() + duration;
    let visitors: Vec<_> = (0..connections)
        .map(|_| {
            let request = Rc::clone(&request);
            tokio::task::spawn_local(async move {
                let (mut times, mut failures) = (Vec::new(), Vec::new());
                let mut buffer = vec![0; READ_BYTES];
                while Instant::now() < end {
                    let start = Instant::now();
                    match tokio::time::timeout(ANSWER_TIMEOUT, visit(to, &request, &mut buffer)).await {
                        Ok(Ok(())) => times.push(start.elapsed()),
                        Ok(Err(error)) => failures.push(format!("{error:#}")),
                        Err(_) => failures.push(format!("no answer in {ANSWER_TIMEOUT:?}")),
                    }
                }
                (times, failures)
            })
        })
        .collect();
    let (mut times, mut failures) = (Vec::new(), Vec::new());
    for visitor in visitors {
        let (more_times, more_failures) = visitor.await.context("a visitor ended")?;
        times.extend(more_times);
        failures.extend(more_failures);
    }
    Ok(summary(times, failures.len(), 0, failures.pop()))
}

/// One connection: opened, asked once, and closed by us when the answer is whole.
async fn visit(to: SocketAddr, request: &[u8], buffer: &mut [u8]) -> Result<()> {
    let mut stream = tokio::net::TcpStream::connect(to).await.context("connect")?;
    stream.set_nodelay(true)?;
    stream.write_all(request).await.context("send")?;
    let mut answer = Answer::default();
    while !answer.is_whole()? {
        let read = stream.read(buffer).await.context("receive")?;
        ensure!(read > 0, "the connection was closed before the answer was whole");
        answer.take(&buffer[..read]);
    }
    Ok(())
}

/// As much of one answer as has come.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    /// Known once the head is whole.
    missing: Option<usize>,
}

impl Answer {
    fn take(&mut self, bytes: &[u8]) {
        match &mut self.missing {
            Some(missing) => *missing = missing.saturating_sub(bytes.len()),
            None => self.head.extend_from_slice(bytes),
        }
    }

    fn is_whole(&mut self) -> Result<bool> {
        if self.missing.is_none()
            && let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let length = content_length(&self.head[..end])?;
            self.missing = Some(length.saturating_sub(self.head.len() - end - 4));
        }
        Ok(self.missing == Some(0))
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head).context("the answer's head is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        bail!("answered {status:?}");
    }
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().context("an answer without a Content-Length")?;
    length.trim().parse().context("read the Content-Length")
}

fn summary(mut times: Vec<Duration>, failed: usize, late: u32, failure: Option<String>) -> Value {
    times.sort_unstable();
    let percentile_us = |percent: usize| {
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).map(|time| (time.as_secs_f64() * 1e7).round() / 10.0)
    };
    json!({
        "requests": times.len(), "failed": failed, "late": late, "failure": failure,
        "p50_us": percentile_us(50), "p99_us": percentile_us(99),
    })
}
