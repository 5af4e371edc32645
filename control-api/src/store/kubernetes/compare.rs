//! What is in force by the Revisions, where an object alone cannot say. Pure.
//!
//! An object says with which revision it was accepted, and people can copy that: of before it was changed or deleted, or from another
//! cluster. Where nobody has reported on it yet, the Revisions from that one on decide.

use std::collections::BTreeMap;

use super::super::Record;
use super::journal::Entry;

#[cfg(test)]
mod tests;

/// What the objects say, by name.
#[derive(Default)]
pub(super) struct Found {
    pub(super) records: BTreeMap<String, Record>,
    pub(super) unproven: BTreeMap<String, Unproven>,
}

/// A record that nobody has reported on.
pub(super) struct Unproven {
    /// With which revision it says to have come.
    of: i64,
    /// Somebody judged what the object says, and refused it.
    is_refused: bool,
    is_proven: bool,
}

impl Unproven {
    pub(super) fn new(of: i64, is_refused: bool) -> Unproven {
        Unproven { of, is_refused, is_proven: false }
    }
}

impl Found {
    /// Does that Revision say anything of them?
    pub(super) fn asks(&self, number: i64) -> bool {
        self.unproven.values().any(|own| own.of <= number)
    }

    /// Takes in a Revision that is held, in the order of numbers. `known`: what this process knows to be in force.
    pub(super) fn compare(&mut self, entry: &Entry, known: &BTreeMap<String, Record>) {
        let number = entry.number;
        let (puts, deletes) = entry.puts_and_deletes();
        for (name, own) in self.unproven.iter_mut().filter(|(_, own)| own.of <= number) {
            let put = puts.iter().find(|record| record.name == *name);
            let latest = match put {
                Some(_) if own.of == number => self.records.get(name),
                Some(record) => Some(record),
                // That revision is of something else: somebody brought the note from elsewhere.
                None if own.of == number => known.get(name),
                None if deletes.contains(name) => None,
                None => continue,
            };
            own.is_proven = true;
            match latest.cloned() {
                Some(record) => self.records.insert(name.clone(), record),
                None => self.records.remove(name),
            };
        }
    }

    /// What is in force, `newest` being the last Revision. Where none is held that could tell, what an object says is taken, unless it was
    /// refused, or says to be of a revision that there has not been.
    pub(super) fn into_records(self, newest: i64, known: &BTreeMap<String, Record>) -> BTreeMap<String, Record> {
        let Found { mut records, unproven } = self;
        for (name, own) in unproven.into_iter().filter(|(_, own)| !own.is_proven) {
            if own.is_refused || own.of > newest {
                match known.get(&name) {
                    Some(record) => records.insert(name, record.clone()),
                    None => records.remove(&name),
                };
            }
        }
        records
    }
}
