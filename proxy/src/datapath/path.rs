//! `x-laneway-path` in answers: which instances a request visited, for people who look at a lane behind applications that nobody
//! changed. Written where the group asks for it (`pathHeader`); a hint, never believed by a decision.
//!
//! ```text
//!  x-laneway-path: a;tag=gray;source=rule, b;why=fallback_absent, c;tag=gray;why=hit
//! ```
//! The sidecar of a pod names the pod itself first, and how the request got its lane; then the calls that belong to the request,
//! each as the caller's sidecar chose it, and what that answer said of its own calls. A call belongs to a request by its trace or
//! request id, or because no other request is in flight; one that cannot be told is left out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use laneway_core::tag::Tag;
use laneway_core::trace::Id;
use laneway_core::why::{TagSource, Why, source_label, why_label};
use laneway_proto::contract::PATH_HEADER;

use crate::h1::fields::is_same_name;

/// Of one answer. What is more is cut off between two hops, and said.
const PATH_BYTES_MAX: usize = 4 << 10;
const CUT: &[u8] = b", ...";

/// The calls of one inbound request, in the order of their answers.
#[derive(Default)]
pub(crate) struct Trail(Mutex<Vec<u8>>);

impl Trail {
    /// Hops, separated by commas.
    fn add(&self, hops: &[u8]) {
        let mut trail = lock(&self.0);
        if trail.ends_with(CUT) {
            return;
        }
        if trail.len() + hops.len() + CUT.len() > PATH_BYTES_MAX {
            trail.extend_from_slice(CUT);
            return;
        }
        trail.extend_from_slice(b", ");
        trail.extend_from_slice(hops);
    }
}

/// The trails of the requests in flight. Empty where no group asks for paths.
#[derive(Default)]
pub(crate) struct Trails(Mutex<Running>);

#[derive(Default)]
struct Running {
    all: Vec<Arc<Trail>>,
    of_id: HashMap<Id, Vec<Arc<Trail>>, foldhash::fast::RandomState>,
}

impl Trails {
    pub(crate) fn begin(&self, ids: &[Id]) -> Arc<Trail> {
        let trail = Arc::new(Trail::default());
        let mut running = lock(&self.0);
        running.all.push(Arc::clone(&trail));
        for id in ids {
            running.of_id.entry(*id).or_default().push(Arc::clone(&trail));
        }
        trail
    }

    pub(crate) fn end(&self, trail: &Arc<Trail>, ids: &[Id]) {
        let mut running = lock(&self.0);
        running.all.retain(|other| !Arc::ptr_eq(other, trail));
        for id in ids {
            if let Some(trails) = running.of_id.get_mut(id) {
                trails.retain(|other| !Arc::ptr_eq(other, trail));
                if trails.is_empty() {
                    running.of_id.remove(id);
                }
            }
        }
    }

    /// That of the request which a call with these ids belongs to; `in_flight`: requests in the pod.
    pub(crate) fn find(&self, ids: impl Iterator<Item = Id>, in_flight: u32) -> Option<Arc<Trail>> {
        let running = lock(&self.0);
        for id in ids {
            match running.of_id.get(&id).map(Vec::as_slice) {
                Some([one]) => return Some(Arc::clone(one)),
                // One id, several requests: their calls cannot be told apart.
                Some(_) => return None,
                None => {}
            }
        }
        match running.all.as_slice() {
            [one] if in_flight == 1 => Some(Arc::clone(one)),
            _ => None,
        }
    }
}

/// What is to become of the header in one answer.
pub(crate) struct Path {
    part: Part,
    /// May who gets the answer see it?
    is_shown: bool,
}

/// What is done with the header in the head of one answer.
pub(crate) enum Line {
    AsItCame,
    /// All that it says goes, and this stands there instead.
    Instead(Option<Vec<u8>>),
}

impl Line {
    /// Does the line of this name stay?
    #[inline]
    pub(crate) fn keeps(&self, name: &[u8]) -> bool {
        matches!(self, Line::AsItCame) || !is_same_name(name, PATH_HEADER)
    }

    /// To be added.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        match self {
            Line::AsItCame | Line::Instead(None) => None,
            Line::Instead(Some(value)) => Some(value),
        }
    }
}

enum Part {
    /// An answer of this pod's application: the pod, and then its trail. What the application says itself is not ours.
    Own { pod: Vec<u8>, trail: Arc<Trail> },
    /// An answer to this pod's application: the hop, and then what it says of its own calls.
    Call { hop: Vec<u8>, trail: Option<Arc<Trail>> },
    /// An answer of another pod of this service, which has named itself.
    HandedOver,
}

impl Path {
    pub(crate) fn own(service: &str, tag: Option<Tag>, source: TagSource, trail: Arc<Trail>, is_shown: bool) -> Path {
        let pod = hop(service, tag, "source", source_label(source));
        Path { part: Part::Own { pod, trail }, is_shown }
    }

    pub(crate) fn call(service: &str, tag: Option<Tag>, why: Why, trail: Option<Arc<Trail>>, is_shown: bool) -> Path {
        Path { part: Part::Call { hop: hop(service, tag, "why", why_label(why)), trail }, is_shown }
    }

    /// The call goes to another instance than was chosen first.
    pub(crate) fn turned(&self, service: &str, tag: Option<Tag>, why: Why) -> Path {
        let trail = match &self.part {
            Part::Call { trail, .. } => trail.clone(),
            Part::Own { .. } | Part::HandedOver => None,
        };
        Path::call(service, tag, why, trail, self.is_shown)
    }

    pub(crate) fn handed_over(is_shown: bool) -> Path {
        Path { part: Part::HandedOver, is_shown }
    }

    /// There is no answer: the sidecar refuses the call itself.
    pub(crate) fn refused(&self) {
        self.value(None);
    }

    /// What an answer is to say, of which `theirs` is the first line that it says.
    pub(crate) fn line(path: Option<&Path>, theirs: impl FnOnce() -> Option<Vec<u8>>) -> Line {
        path.map_or(Line::AsItCame, |path| Line::Instead(path.value(theirs().as_deref())))
    }

    fn value(&self, theirs: Option<&[u8]>) -> Option<Vec<u8>> {
        let theirs =
            theirs.map(|theirs| theirs.get(..PATH_BYTES_MAX).unwrap_or(theirs)).filter(|path| !path.is_empty());
        let value = match &self.part {
            Part::Own { pod, trail } => [pod.as_slice(), &lock(&trail.0)].concat(),
            Part::Call { hop, trail } => {
                // The pod that answered comes first, and says nothing that is not said here, but how it got its lane.
                let rest = theirs.and_then(|theirs| theirs.splitn(2, |&byte| byte == b',').nth(1));
                let hops = match rest {
                    Some(rest) => [hop.as_slice(), b", ", rest.trim_ascii()].concat(),
                    None => hop.clone(),
                };
                if let Some(trail) = trail {
                    trail.add(&hops);
                }
                hops
            }
            Part::HandedOver => theirs?.to_vec(),
        };
        self.is_shown.then_some(value)
    }
}

/// `service;tag=gray;key=word`
fn hop(service: &str, tag: Option<Tag>, key: &str, word: &str) -> Vec<u8> {
    let tag = tag.map_or_else(String::new, |tag| format!(";tag={tag}"));
    format!("{service}{tag};{key}={word}").into_bytes()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
