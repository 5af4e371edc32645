//! Holds our engine against the oracle and against hyper, for one input. Panics where they differ in what they must not.

use crate::h1::Reason;

use super::engine::{self, Taken};
use super::message::{Field, Framing, Message, Role, Start};
use super::oracle::{self, Tolerance};
use super::peer;

/// What became of one input.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Did hyper read a whole message from the same bytes?
    pub(crate) hyper_takes: bool,
    /// Did the oracle?
    pub(crate) rfc_takes: bool,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    Taken(Vec<Tolerance>),
    Refused(Reason),
}

/// `cuts`: where to split the bytes; splitting anywhere changes nothing.
pub(crate) fn check(role: Role, bytes: &[u8], cuts: impl Iterator<Item = usize> + Clone) -> Outcome {
    let taken = engine::take(role, &[bytes]);
    engine::check_prefixes(role, bytes, cuts.clone());
    for cut in cuts.filter(|cut| *cut <= bytes.len()) {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(engine::take(role, &[first, second]), taken, "split at {cut}");
    }
    let read = oracle::read(role, bytes);
    let rfc_takes = read.is_ok();
    let hyper = hyper(role, bytes);
    let hyper_takes = hyper.is_ok();
    let verdict = match taken {
        Err(reason) => Verdict::Refused(reason),
        Ok(taken) => {
            let read = read.unwrap_or_else(|refusal| panic!("the oracle refuses what we take: {refusal:?}"));
            same_as_oracle(&read.message, &taken.message);
            if let Ok(seen) = hyper {
                same_as_hyper("from the same bytes", &taken.message, seen, Bytes::AsReceived);
            }
            forwarded_is_read_alike(role, &taken, &read.tolerated);
            Verdict::Taken(read.tolerated)
        }
    };
    Outcome { verdict, hyper_takes, rfc_takes }
}

fn hyper(role: Role, bytes: &[u8]) -> Result<Message, String> {
    match role {
        Role::Request => {
            let mut served = peer::serve(bytes, true);
            if served.requests.is_empty() {
                return Err(served.error.unwrap_or_else(|| "no request".to_owned()));
            }
            Ok(served.requests.swap_remove(0))
        }
        _ => peer::answer(role, bytes),
    }
}

fn same_as_oracle(read: &Message, taken: &Message) {
    let mut read = read.clone();
    read.trailers.retain(|trailer| !taken_out(trailer, taken));
    assert_eq!(*taken, read, "the oracle reads it otherwise (left: ours)");
}

/// RFC 9110 section 6.5.1 with RFC 7230 section 4.1.2, which named them: what frames, routes, modifies, authenticates or says how
/// a body is to be read must not count behind it. Those must go; others may not.
fn taken_out(trailer: &Field, taken: &Message) -> bool {
    let name = trailer.0.replace('_', "-");
    let must_go = matches!(
        name.as_str(),
        "content-length"
            | "transfer-encoding"
            | "host"
            | "te"
            | "trailer"
            | "connection"
            | "upgrade"
            | "authorization"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "www-authenticate"
            | "cookie"
            | "set-cookie"
            | "content-encoding"
            | "content-type"
            | "content-range"
            | "expect"
            | "max-forwards"
            | "range"
            | "cache-control"
            | "keep-alive"
            | "proxy-connection"
    );
    assert!(!must_go || !taken.trailers.contains(trailer), "goes on behind the body: {}", trailer.0);
    must_go
}

/// Whose bytes hyper was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    AsReceived,
    Forwarded,
}

fn same_as_hyper(what: &str, ours: &Message, mut seen: Message, bytes: Bytes) {
    let mut ours = ours.clone();
    seen.used = ours.used;
    if bytes == Bytes::AsReceived {
        // hyper leaves the hop's own fields to its caller; the oracle has compared which are left out.
        let is_ours = |field: &Field| ours.fields.contains(field);
        seen.fields.retain(is_ours);
        seen.trailers.retain(|trailer| !taken_out(trailer, &ours));
        // Section 3.2.4 is the proxy's to do.
        if let Start::Request { method, target } = &mut ours.start
            && method == "OPTIONS"
            && target == "*"
            && !seen.authority.is_empty()
        {
            *target = "/".to_owned();
        }
    } else if let Start::Request { .. } = ours.start {
        let hosts: Vec<_> = seen.fields.extract_if(.., |field| field.0 == "host").collect();
        assert_eq!(hosts, [("host".to_owned(), ours.authority.clone().into_bytes())], "{what}");
    }
    ours.authority.clear();
    seen.authority.clear();
    // A body of no bytes is a body of length 0 to hyper, and to us none.
    if ours.framing == Framing::Exact(0) {
        ours.framing = Framing::None;
    }
    assert_eq!(ours.grouped(), seen.grouped(), "hyper reads it otherwise {what} (left: ours)");
}

/// What we send is one message to the oracle and to hyper, and it is the message that we took.
fn forwarded_is_read_alike(role: Role, taken: &Taken, tolerated: &[Tolerance]) {
    let Taken { message, forwarded } = taken;
    let shown = forwarded.escape_ascii();
    let again = oracle::read(role, forwarded)
        .unwrap_or_else(|refusal| panic!("the oracle refuses what we forward: {refusal:?}: {shown}"));
    assert_eq!(again.message.used, forwarded.len(), "more than one message: {shown}");
    let expected = Message { used: forwarded.len(), ..message.clone() };
    assert_eq!(again.message, expected, "the oracle reads otherwise what we forward (right: taken): {shown}");
    // hyper refuses some bytes in a target that the grammar has not; that is no second meaning.
    let is_odd = tolerated.contains(&Tolerance::TargetByte) || is_encoded_connect(message);
    let seen = match role {
        Role::Request => {
            let served = peer::serve(forwarded, false);
            if is_odd && served.requests.is_empty() {
                return;
            }
            assert!(served.error.is_none() && served.requests.len() == 1, "hyper sees {served:?} in {shown}");
            served.requests.into_iter().next().expect("it is one")
        }
        _ => peer::answer(role, forwarded).unwrap_or_else(|error| panic!("hyper: {error}: {shown}")),
    };
    same_as_hyper("in what we forward", message, seen, Bytes::Forwarded);
}

/// hyper's URI has no percent encoding in a host.
fn is_encoded_connect(message: &Message) -> bool {
    matches!(&message.start, Start::Request { method, target } if method == "CONNECT" && target.contains('%'))
}
