//! The origin: a server of bytes that answers each exchange of the current case as its script says, and keeps what it saw.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::exchange::case::{Answer, Case, Exchange, Expects};
use crate::exchange::parse::{Fault, Message, Wire};
use crate::exchange::render::ID;

#[derive(Clone)]
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    stage: Arc<Mutex<Stage>>,
}

/// What is played now.
#[derive(Default)]
struct Stage {
    scripts: HashMap<String, Script>,
    seen: HashMap<String, Vec<Message>>,
    faults: Vec<Fault>,
}

#[derive(Clone)]
struct Script {
    answer: Answer,
    reads_body: bool,
    pieces: Vec<usize>,
}

/// How a request names its exchange: `run` is another one each time that a case is played.
pub(super) fn id(run: u32, index: usize) -> String {
    format!("{run}.{index}")
}

impl Origin {
    pub(super) fn start() -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let origin = Origin { address, stage: Arc::default() };
        let serving = origin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let origin = serving.clone();
                thread::spawn(move || {
                    if let Err(fault) = origin.converse(stream) {
                        origin.stage().faults.push(fault);
                    }
                });
            }
        });
        origin
    }

    /// Forgets what was played before, and learns this.
    pub(super) fn rehearse(&self, case: &Case, run: u32) {
        let script = |(index, exchange): (usize, &Exchange)| {
            let reads_body = exchange.request.expects != Expects::IsRefused;
            (id(run, index), Script { answer: exchange.answer.clone(), reads_body, pieces: case.origin_pieces.clone() })
        };
        let scripts = case.exchanges.iter().enumerate().map(script).collect();
        *self.stage() = Stage { scripts, ..Stage::default() };
    }

    /// The requests of each exchange of the run, and what was wrong with any.
    pub(super) fn saw(&self, run: u32, count: usize) -> (Vec<Vec<Message>>, Vec<Fault>) {
        let mut stage = self.stage();
        let seen = (0..count).map(|index| stage.seen.remove(&id(run, index)).unwrap_or_default()).collect();
        (seen, std::mem::take(&mut stage.faults))
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, request after request.
    fn converse(&self, stream: TcpStream) -> Result<(), Fault> {
        let mut wire = Wire::new(stream)?;
        // A connection that ends or is cut between two requests is nobody's fault.
        while wire.wait().is_ok() {
            let Some(request) = wire.request_head()? else { break };
            let id = request.values(ID).next().map(|id| String::from_utf8_lossy(id).into_owned()).unwrap_or_default();
            let script = self.stage().scripts.get(&id).cloned();
            let script = script.ok_or_else(|| format!("out of the blue: {request:?}"))?;
            match self.answer(&mut wire, &id, request, &script) {
                Ok(true) => {
                    wire.linger();
                    break;
                }
                Ok(false) => {}
                // What was given up with a run that is over is not to be told of the next.
                Err(_) if !self.stage().scripts.contains_key(&id) => break,
                Err(fault) => return Err(format!("request {id}: {fault}")),
            }
        }
        Ok(())
    }

    /// Whether the connection ends with this answer.
    fn answer(&self, wire: &mut Wire, id: &str, mut request: Message, script: &Script) -> Result<bool, Fault> {
        let Script { answer, reads_body, pieces } = script;
        wire.write(&answer.interims(&request, true), pieces)?;
        if *reads_body {
            wire.body(&mut request)?;
        }
        let (last, closes) = answer.render(&request);
        let bytes = [answer.interims(&request, false), last].concat();
        // Before the client can know of it.
        self.stage().seen.entry(id.to_owned()).or_default().push(request);
        wire.write(&bytes, pieces)?;
        Ok(closes)
    }
}
