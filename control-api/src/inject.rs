//! Puts the sidecar into pods, and takes it out: documents in, documents and reasons out. Pure; knows no cluster.
//!
//! ```text
//!  text ─stream─▶ documents ─workload─▶ pods ─pod─▶ guards ▸ settings ▸ identity ▸ probes ▸ containers ─▶ status ─▶ text
//! ```
//! `lanectl inject` calls [`inject`] with what it read. A webhook has one pod at a time and calls [`inject_pod`], the same
//! function. Documents are values without types, changed where the sidecar needs it and nowhere else; what was changed is noted
//! in the pod ([`status`]), so that [`uninject`] gives back what there was.

use std::fmt;

pub mod containers;
pub(crate) mod identity;
pub mod installed;
pub mod note;
pub mod settings;
pub mod status;
pub mod value;

mod guards;
mod local_volumes;
mod pod;
mod probes;
pub(crate) mod quantity;
mod stream;
mod workload;

#[cfg(test)]
pub(crate) mod tests;

pub use self::note::Note;
pub use self::pod::{Verdict, has_sidecar, inject as inject_pod, uninject as uninject_pod};
pub use self::settings::Settings;
pub use self::stream::join;
pub use self::workload::Subject;

use self::value::{Map, Value};
use self::workload::NoPod;

/// What was done to a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    pub text: String,
    /// One for each pod or template, in order.
    pub told: Vec<Told>,
}

/// What was done to one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub subject: Subject,
    pub deed: Deed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// With notes.
    Injected(Vec<Note>),
    Skipped(String),
    Uninjected,
    /// There was no sidecar of ours.
    HadNone,
}

/// `deployment/a: injected: service a (label app); no tag: baseline`
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.subject)?;
        match &self.deed {
            Deed::Injected(notes) => {
                let notes: Vec<String> = notes.iter().map(Note::to_string).collect();
                write!(f, "injected: {}", notes.join("; "))
            }
            Deed::Skipped(reason) => write!(f, "no sidecar: {reason}"),
            Deed::Uninjected => f.write_str("the sidecar is taken out"),
            Deed::HadNone => f.write_str("had no sidecar of ours"),
        }
    }
}

/// Every pod of a text with its sidecar. Otherwise everything that is wrong with it, a line each.
pub fn inject(text: &str, settings: &Settings) -> Result<Done, Vec<String>> {
    let unknown = Deed::Skipped("its kind is not known here; the webhook injects the pods that it makes".to_owned());
    each(text, &unknown, |pod| {
        pod::inject(pod, settings).map(|verdict| match verdict {
            Verdict::Injected(notes) => Deed::Injected(notes),
            Verdict::Skipped(reason) => Deed::Skipped(reason),
        })
    })
}

/// Every pod of a text without its sidecar.
pub fn uninject(text: &str) -> Result<Done, Vec<String>> {
    each(text, &Deed::HadNone, |pod| match pod::uninject(pod) {
        Ok(true) => Ok(Deed::Uninjected),
        Ok(false) => Ok(Deed::HadNone),
        Err(problem) => Err(vec![problem]),
    })
}

/// `unknown` is what is told of objects whose pods nobody here finds.
fn each(
    text: &str,
    unknown: &Deed,
    mut work: impl FnMut(&mut Map) -> Result<Deed, Vec<String>>,
) -> Result<Done, Vec<String>> {
    let parts = stream::read(text).map_err(|error| vec![error.to_string()])?;
    let mut done = Done { text: String::with_capacity(text.len()), told: Vec::new() };
    let (mut wrong, mut number) = (Vec::new(), 0);
    for part in &parts {
        number += usize::from(part.value.is_some());
        let changed = match part.value.clone() {
            None => None,
            Some(Value::Map(mut object)) => {
                workload::pods(&mut object, &mut |mut subject, pod| {
                    let worked = match pod {
                        Ok(pod) => work(pod),
                        Err(NoPod::Unknown) => Ok(unknown.clone()),
                        Err(NoPod::Wrong(problem)) => Err(vec![problem]),
                    };
                    match worked {
                        Ok(mut deed) => {
                            if let Deed::Injected(notes) = &mut deed {
                                notes.append(&mut subject.idle);
                            }
                            done.told.push(Told { subject, deed });
                        }
                        Err(problems) => wrong.extend(problems.iter().map(|problem| format!("{subject}: {problem}"))),
                    }
                });
                Some(Value::Map(object))
            }
            Some(other) => {
                wrong.push(format!("document {number}: {}, not a map with `apiVersion` and `kind`", other.kind()));
                None
            }
        };
        if let Err(problem) = part.write(changed.as_ref(), &mut done.text) {
            wrong.push(format!("document {number}: {problem}"));
        }
    }
    if wrong.is_empty() { Ok(done) } else { Err(wrong) }
}
