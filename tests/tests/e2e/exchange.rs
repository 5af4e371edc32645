//! HTTP/1.1 through two sidecars is the direct exchange: random valid cases, played directly and through an outbound and an
//! inbound sidecar, and compared as the client and the origin see them.
//!
//! ```text
//! client ──────────────────────────────────────────────> origin     what must come out
//! client ──> sidecar 1 (outbound) ──> sidecar 2 (inbound) ──> origin
//! ```
//!
//! The cases follow from a seed, so that every run plays the same. `LANEWAY_CASES` is how many (a quarter of it where
//! every byte is split off), `LANEWAY_SEED` (a number) plays others.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use laneway_tests::process::{Process, Scratch, program, tail, wait_for};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

mod case;
mod client;
mod compare;
mod generate;
mod origin;
mod parse;
mod render;

use crate::alone::free;
use case::Case;
use compare::Played;
use origin::Origin;
use parse::{DEADLINE, Fault};

const CASES: u32 = 200;
/// More than the buffers of a sidecar and of a socket hold.
const BODY_BYTES_MAX: usize = 300_000;
/// Where every byte comes by itself.
const SPLIT_BODY_BYTES_MAX: usize = 100;
/// Bounded by time in practice: a failed read costs a deadline, so not all that could be made smaller is tried.
const SHRINK_STEPS_MAX: u32 = 100_000;
const SHRINK_TIME_MAX_MS: u32 = 60_000;

/// The origin, and the two sidecars before it.
struct Street {
    origin: Origin,
    entrance: SocketAddr,
    sidecars: [Process; 2],
    _scratch: Scratch,
}

impl Street {
    fn start(label: &str) -> Street {
        let scratch = Scratch::new(label).expect("a directory");
        let origin = Origin::start();
        let (entrance, inbound) = (free(), free());
        let callee = format!(
            "kind: Proxy\nservice: b\n\
             listeners: [{{address: '{inbound}', direction: inbound, forwardTo: '{}'}}]\n",
            origin.address
        );
        let caller = format!(
            "kind: Service\nname: b\nports: [{{port: 80}}]\nendpoints: [{{address: '{inbound}'}}]\n---\n\
             kind: Proxy\nservice: a\n\
             listeners: [{{address: '{entrance}', direction: outbound, defaultService: b}}]\n"
        );
        let sidecars =
            [sidecar(scratch.path(), "callee", &callee, inbound), sidecar(scratch.path(), "caller", &caller, entrance)];
        Street { origin, entrance, sidecars, _scratch: scratch }
    }

    /// Plays a case against `to`; `run` tells it from all others.
    fn play(&self, to: SocketAddr, case: &Case, run: u32) -> Result<Played, Fault> {
        self.origin.rehearse(case, run);
        let heard = client::play(to, case, run);
        let (seen, faults) = self.origin.saw(run, case.exchanges.len());
        let faults = if faults.is_empty() { String::new() } else { format!("\nthe origin: {}", faults.join("; ")) };
        match heard {
            Ok(heard) if faults.is_empty() => Ok(Played { heard, seen }),
            Ok(_) => Err(faults),
            Err(fault) => Err(format!("{fault}{faults}")),
        }
    }

    /// Every case of a strategy, until one differs; then the smallest that does.
    fn holds_for(&self, count: u32, cases: &impl Strategy<Value = Case>) {
        let config = Config {
            cases: count,
            failure_persistence: None,
            max_shrink_iters: SHRINK_STEPS_MAX,
            max_shrink_time: SHRINK_TIME_MAX_MS,
            ..Config::default()
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&setting::<u64>("LANEWAY_SEED", 0).to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let run = std::cell::Cell::new(0);
        let played = runner.run(cases, |case| {
            run.set(run.get() + 2);
            let direct = self.play(self.origin.address, &case, run.get());
            let direct = direct.map_err(|fault| TestCaseError::fail(format!("directly, {fault}")))?;
            let through = self.play(self.entrance, &case, run.get() + 1);
            let through = through.map_err(|fault| TestCaseError::fail(format!("through sidecars, {fault}")))?;
            compare::compare(&case, &direct, &through).map_err(TestCaseError::fail)
        });
        let logs = self.sidecars.each_ref().map(Process::log);
        if let Err(error) = played {
            panic!("{error}\ncaller:\n{}\ncallee:\n{}", tail(&logs[1]), tail(&logs[0]));
        }
        let is_calm = |log: &String| !log.contains("WARN") && !log.contains("ERROR") && !log.contains("panicked");
        assert!(logs.iter().all(is_calm), "caller:\n{}\ncallee:\n{}", logs[1], logs[0]);
    }
}

fn sidecar(directory: &Path, name: &str, documents: &str, listens: SocketAddr) -> Process {
    let file = directory.join(format!("{name}.yaml"));
    std::fs::write(&file, documents).expect("the directory is ours");
    let mut command = Command::new(program("laneway-proxy").expect("it is built"));
    command.arg("--resources").arg(&file);
    command.args(["--status", &free().to_string(), "--admin", &free().to_string()]);
    let proxy = Process::start(name, command, &directory.join(format!("{name}.log"))).expect("it starts");
    let up = wait_for(DEADLINE, || TcpStream::connect(listens).ok());
    assert!(up.is_some(), "{}", proxy.log());
    proxy
}

fn setting<T: FromStr>(name: &str, otherwise: T) -> T {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
}

#[test]
fn exchanges_through_two_sidecars_equal_the_direct_ones() {
    let street = Street::start("exchange");
    street.holds_for(setting("LANEWAY_CASES", CASES), &generate::case(BODY_BYTES_MAX));
}

#[test]
fn exchanges_split_at_every_byte_equal_the_direct_ones() {
    let street = Street::start("split");
    let split = generate::case(SPLIT_BODY_BYTES_MAX).prop_map(|case| Case {
        client_pieces: vec![1],
        origin_pieces: vec![1],
        ..case
    });
    street.holds_for(setting("LANEWAY_CASES", CASES).div_ceil(4), &split);
}
