//! What a request hands on to the calls that it causes: its tag and its pass headers. One thing: unanimity, conflict and the time
//! for which it is remembered are about the whole of it.

use std::sync::Arc;

use laneway_proto::contract::PASS_HEADER_VALUE_BYTES_MAX;

use crate::facts::Headers;
use crate::snapshot::Group;
use crate::tag::RequestTag;

/// Of one request. Never plain: [`Context::of`] has none for a request without tag and pass headers.
#[derive(Debug, PartialEq, Eq)]
pub struct Context {
    pub tag: RequestTag,
    /// In the order of the group's names; of one name, in the order of arrival.
    pub passed: Vec<Passed>,
}

/// One line of a pass header.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    /// Lower case.
    pub name: Box<str>,
    pub value: Box<[u8]>,
}

impl Context {
    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let line = |passed: &Passed| size_of::<Passed>() + passed.name.len() + passed.value.len();
        size_of::<Context>() + self.passed.iter().map(line).sum::<usize>()
    }

    /// Of a request that has this tag; `None`: it has nothing to hand on.
    pub fn of(group: &Group, tag: RequestTag, headers: &dyn Headers) -> Option<Arc<Context>> {
        let mut passed = Vec::new();
        if headers.has_any(group.pass_names) {
            group.pass_headers.iter().for_each(|name| pass(name, headers, &mut passed));
        }
        (tag != RequestTag::None || !passed.is_empty()).then(|| Arc::new(Context { tag, passed }))
    }
}

/// The head of a call with the pass headers of the request that it belongs to: as it will leave, and so as rules see it.
pub(crate) struct WithPassed<'h> {
    pub(crate) headers: &'h dyn Headers,
    pub(crate) context: &'h Context,
}

impl Headers for WithPassed<'_> {
    fn line(&self, name: &str, index: usize) -> Option<&[u8]> {
        match self.headers.line(name, 0) {
            Some(_) => self.headers.line(name, index),
            None => {
                let mut lines = self.context.passed.iter().filter(|passed| *passed.name == *name);
                lines.nth(index).map(|passed| &*passed.value)
            }
        }
    }
}

/// All lines of a header, or none where they are too long together.
fn pass(name: &str, headers: &dyn Headers, passed: &mut Vec<Passed>) {
    let lines = || (0..).map_while(|index| headers.line(name, index));
    if lines().map(<[u8]>::len).sum::<usize>() <= PASS_HEADER_VALUE_BYTES_MAX {
        passed.extend(lines().map(|value| Passed { name: name.into(), value: value.into() }));
    }
}
