//! The client: says the requests of a case as bytes, pipelined where the case says so, and reads the answers strictly.
//!
//! It opens another connection only when the last one has ended as HTTP says: after an answer that closes.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::exchange::case::{Case, Expects, Request, Version};
use crate::exchange::origin::id;
use crate::exchange::parse::{DEADLINE, Fault, Message, Wire, said, write_pieces};

/// What the client was told in answer to one request.
pub(super) struct Heard {
    pub(super) interims: Vec<Message>,
    pub(super) last: Message,
    /// Nothing more comes on this connection.
    pub(super) ends_connection: bool,
}

/// What the writer waits for before it goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Nothing,
    /// `100 Continue`, or the final answer without one, to the request of this index.
    GoAhead(usize),
    Answer(usize),
}

/// Bytes that are said one after the other without waiting.
struct Burst {
    after: Wait,
    bytes: Vec<u8>,
}

/// Plays the client of `case` against `to`.
pub(super) fn play(to: SocketAddr, case: &Case, run: u32) -> Result<Vec<Heard>, Fault> {
    let mut heard = Vec::new();
    while heard.len() < case.exchanges.len() {
        let before = heard.len();
        let (bursts, end) = bursts(case, before, run);
        connection(to, case, &bursts, end, &mut heard).map_err(|fault| {
            format!("after {} answers, {before} of them on connections before: {fault}", heard.len())
        })?;
    }
    Ok(heard)
}

/// What one connection says from request `from` on, and the request that it ends before.
fn bursts(case: &Case, from: usize, run: u32) -> (Vec<Burst>, usize) {
    let mut bursts = vec![Burst { after: Wait::Nothing, bytes: Vec::new() }];
    for (index, exchange) in case.exchanges.iter().enumerate().skip(from) {
        let request = &exchange.request;
        if index > from && !request.is_pipelined {
            bursts.push(Burst { after: Wait::Answer(index - 1), bytes: Vec::new() });
        }
        if request.expects == Expects::Waits {
            let last = bursts.last_mut().expect("there is a first one");
            last.bytes.extend(request.head(&id(run, index)));
            bursts.push(Burst { after: Wait::GoAhead(index), bytes: request.content() });
        } else {
            let last = bursts.last_mut().expect("there is a first one");
            last.bytes.extend(request.head(&id(run, index)));
            if request.expects != Expects::IsRefused {
                last.bytes.extend(request.content());
            }
        }
        if request.is_last() {
            return (bursts, index + 1);
        }
    }
    (bursts, case.exchanges.len())
}

/// One connection: a thread writes, this one reads, so that neither side's buffers can stop the other.
fn connection(to: SocketAddr, case: &Case, bursts: &[Burst], end: usize, heard: &mut Vec<Heard>) -> Result<(), Fault> {
    let stream = TcpStream::connect(to).map_err(said("connect"))?;
    let mut writing = stream.try_clone().map_err(said("clone"))?;
    let both = stream.try_clone().map_err(said("clone"))?;
    let mut wire = Wire::new(stream)?;
    wire.deadline()?;
    let (progress, watched) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            for burst in bursts {
                // A connection that is given up is the reader's to judge.
                if !has_come(burst.after, &watched)
                    || write_pieces(&mut writing, &burst.bytes, &case.client_pieces).is_err()
                {
                    return;
                }
            }
        });
        let read = read(&mut wire, case, end, heard, &progress);
        drop(progress);
        let _ = both.shutdown(Shutdown::Both);
        read
    })
}

fn has_come(wait: Wait, watched: &Receiver<Wait>) -> bool {
    let is_enough = |came: Wait| match wait {
        Wait::GoAhead(index) => came == wait || came == Wait::Answer(index),
        _ => came == wait,
    };
    if wait == Wait::Nothing {
        return true;
    }
    while let Ok(came) = watched.recv_timeout(DEADLINE) {
        if is_enough(came) {
            return true;
        }
    }
    false
}

fn read(
    wire: &mut Wire,
    case: &Case,
    end: usize,
    heard: &mut Vec<Heard>,
    progress: &Sender<Wait>,
) -> Result<(), Fault> {
    while heard.len() < end {
        let index = heard.len();
        let request = &case.exchanges[index].request;
        let mut interims = Vec::new();
        let last = loop {
            let answer =
                wire.answer(request.method)?.ok_or("the connection ended, and no answer had said that it would")?;
            if !answer.is_interim() {
                break answer;
            }
            if answer.status() == b"100" {
                let _ = progress.send(Wait::GoAhead(index));
            }
            interims.push(answer);
        };
        let _ = progress.send(Wait::Answer(index));
        let ends_connection = ends_connection(request, &last);
        heard.push(Heard { interims, last, ends_connection });
        if ends_connection || request.closes {
            return wire.expect_end();
        }
    }
    wire.expect_nothing()
}

fn ends_connection(request: &Request, answer: &Message) -> bool {
    // To a client of HTTP/1.0, silence is an end whatever version the server speaks.
    let is_silent = !answer.tokens("connection").iter().any(|token| token == "keep-alive");
    answer.ends_connection() || (request.version == Version::Http10 && is_silent)
}
