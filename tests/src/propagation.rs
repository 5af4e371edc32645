//! How well a lane is carried through applications that nobody changed: every call of a load is right, wrong or unknown.
//!
//! ```text
//!  driver --lane, order--> [ sidecar | A ] -> [ sidecar | B, B-gray ] -> [ sidecar | C, C-gray, C-blue ]
//! ```
//! A call is one hop from an application to the next service. Which instance answered says which lane the caller's sidecar
//! believed the call to belong to; its counters say from which source.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::application::{Application, Forwards, Propagation, Runtime};
use crate::mesh::{Mesh, Plan};

pub mod counters;
pub mod drive;
pub mod judge;

use counters::Counters;
use drive::Drive;
use judge::Tally;

/// Calls that a request makes: A calls B, B calls C.
const CALLS_PER_REQUEST: u64 = 2;
/// Requests before the first that counts: connections are open, programs are warm, and every instance has answered.
const WARM_UP_REQUESTS: u64 = 60;
/// Longest wait for the first answer through a chain of programs that have just started.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Whose sidecars decide the calls that are counted.
const CALLERS: [&str; 3] = ["a-base", "b-base", "b-gray"];

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    pub application: Application,
    /// `infer: unanimous`.
    pub infer: bool,
    /// Requests in flight.
    pub concurrency: u32,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Row {
    pub case: Case,
    pub tally: Tally,
    /// Outbound requests by the source of their lane, over all callers.
    pub sources: BTreeMap<String, u64>,
    /// Calls whose lane the sidecars said to be in doubt.
    pub ambiguous: u64,
    /// Connections that the applications opened while it ran.
    pub connections: u64,
}

/// The lines of one runtime: what the suite runs, and beyond it what only the long run does.
pub fn cases(runtime: Runtime, long: bool) -> Vec<Case> {
    let mut forwards = vec![Forwards::TraceId, Forwards::Baggage, Forwards::Nothing];
    if runtime == Runtime::Echo {
        forwards.insert(0, Forwards::Tag);
    }
    if long {
        forwards.insert(forwards.len() - 1, Forwards::B3);
    }
    let mut cases = Vec::new();
    for forwards in forwards {
        let application = Application { runtime, forwards };
        for infer in [false, true] {
            if infer && forwards != Forwards::Nothing {
                continue;
            }
            cases.extend([1, 32].map(|concurrency| Case { application, infer, concurrency }));
        }
    }
    cases
}

/// A mesh in which a case can be run.
pub fn plan(label: &str, redirect: bool) -> Plan {
    Plan::chain(label, redirect, &[("a", &[""]), ("b", &["", "gray"]), ("c", &["", "gray", "blue"])])
}

/// Brings the mesh into the state of a case. C ends the chain and carries nothing on, so it stays echo.
pub fn arrange(mesh: &mut Mesh, case: Case) -> Result<()> {
    for caller in CALLERS {
        mesh.change_application(caller, |pod| case.application.dress(pod))?;
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("propagation/lanes.yaml");
    let documents = Propagation::for_application(case.application.forwards, case.infer).in_documents(&file)?;
    let written = mesh.directory().join("propagation.yaml");
    std::fs::write(&written, documents).context("write the documents of the case")?;
    mesh.apply(&written)?;
    Ok(())
}

/// Sends `calls` calls as the case says, and counts. The mesh is arranged for the case.
pub fn measure(mesh: &Mesh, case: Case, calls: u64) -> Result<Row> {
    let drive = |first: u64, requests: u64| Drive {
        namespace: mesh.network().namespace("entry"),
        to: mesh.socket("a-base").expect("the plan has the pod"),
        b3: case.application.forwards == Forwards::B3,
        concurrency: case.concurrency,
        first,
        requests,
    };
    drive(0, 1).await_answer(FIRST_ANSWER_TIMEOUT).with_context(|| case.title())?;
    drive(0, WARM_UP_REQUESTS).run().with_context(|| case.title())?;
    let before = Counters::settled(mesh, &CALLERS)?;
    let requests = calls.div_ceil(CALLS_PER_REQUEST);
    let tally = drive(WARM_UP_REQUESTS, requests).run().with_context(|| case.title())?;
    let counted = Counters::settled(mesh, &CALLERS)?.since(&before);
    let Counters { sources, ambiguous, connections } = counted;
    Ok(Row { case, tally, sources, ambiguous, connections })
}

impl Case {
    pub fn title(&self) -> String {
        format!(
            "{}, forwards {}, inference {}, {} at once",
            self.application.name(),
            self.forwards(),
            if self.infer { "on" } else { "off" },
            self.concurrency
        )
    }

    fn forwards(&self) -> &'static str {
        match self.application.forwards {
            Forwards::Tag => "the tag",
            Forwards::TraceId => "a trace id",
            Forwards::B3 => "a B3 trace id",
            Forwards::Baggage => "trace and baggage",
            Forwards::Nothing => "nothing",
        }
    }

    /// Whether every call must be right: the application carries on what names the lane, or there is one request alone.
    fn is_exact(&self) -> bool {
        self.application.forwards != Forwards::Nothing || (self.infer && self.concurrency == 1)
    }
}

impl Row {
    /// The table's head, for rows as [`Self::line`] writes them.
    pub const HEAD: &str = "| application | forwards | inference | at once | calls | right | wrong | unknown | ambiguous | lane known from |\n\
                            | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |";

    pub fn line(&self) -> String {
        let (case, tally) = (&self.case, &self.tally);
        let sources: Vec<_> = self.sources.iter().map(|(source, count)| format!("{source} {count}")).collect();
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            case.application.name(),
            case.forwards(),
            if case.infer { "on" } else { "off" },
            case.concurrency,
            tally.calls(),
            tally.right,
            tally.wrong,
            tally.unknown,
            self.ambiguous,
            sources.join(", ")
        )
    }

    /// Whether the row is as it must be; what the sidecars counted must agree with what the answers showed.
    pub fn check(&self) -> Result<()> {
        let (case, tally) = (&self.case, &self.tally);
        ensure!(tally.wrong == 0, "{}: {} calls in a lane that was not the request's", case.title(), tally.wrong);
        if case.is_exact() {
            ensure!(tally.unknown == 0, "{}: {} calls without their lane", case.title(), tally.unknown);
        }
        // A connection on which the application says nothing for a while is decided too, once and without a source.
        let decided: u64 = self.sources.values().sum();
        ensure!(
            (tally.calls()..=tally.calls() + self.connections).contains(&decided),
            "{}: {} calls were answered, {decided} were decided, on {} new connections",
            case.title(),
            tally.calls(),
            self.connections
        );
        // Who does not know a lane says so: a call that missed its lane is counted as a call without a source, and no other
        // call is but those of requests without a lane.
        let silent = self.sources.get("none").copied().unwrap_or(0);
        let least = tally.unknown;
        let most = least + tally.untagged + (decided - tally.calls()) + if case.is_exact() { 0 } else { tally.unseen };
        ensure!(
            (least..=most).contains(&silent),
            "{}: {least} to {most} calls may go without a source, {silent} did",
            case.title()
        );
        Ok(())
    }
}
