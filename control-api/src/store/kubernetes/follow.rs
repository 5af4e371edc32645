//! What was committed after a revision, from a watch on Revisions: each says what it wrote, so nothing is seen half. A watch may be deaf for
//! minutes and nobody tells (a connection that a firewall forgot), so the next Revision is asked for now and then too.

use std::pin::Pin;
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use tokio_stream::{Stream, StreamExt};

use super::super::{Change, Follow, Pending, Store, StoreError};
use super::Kubernetes;
use super::journal::{Head, State, number_of};
use super::settle::SILENT_MAX;
use super::watch::watched;
use crate::crd::REVISION;

#[cfg(test)]
mod tests;

/// How often the next Revision is asked for where the watch tells nothing: so long a switch of another replica may be unheard of.
const ASK_EVERY: Duration = Duration::from_secs(5);

type Events = Pin<Box<dyn Stream<Item = watcher::Result<Event<PartialObjectMeta<DynamicObject>>>> + Send>>;

pub(super) struct Following {
    store: Kubernetes,
    after: i64,
    /// The highest number that was heard to be done.
    done: i64,
    /// One that is not, and when it was heard of last.
    unfinished: Option<Unfinished>,
    /// Lists again by itself when the API server has forgotten where it was.
    events: Option<Events>,
    /// When to ask, if nothing is told before.
    ask_at: Instant,
}

struct Unfinished {
    number: i64,
    head: Head,
    heard: Instant,
}

impl Following {
    pub(super) fn new(store: Kubernetes, after: i64) -> Following {
        Following { store, after, done: 0, unfinished: None, events: None, ask_at: Instant::now() + ASK_EVERY }
    }

    async fn step(&mut self) -> Result<Change, StoreError> {
        loop {
            if self.done > self.after {
                if let Some(change) = self.read().await? {
                    return Ok(change);
                }
                continue;
            }
            let shared = &self.store.shared;
            let events = self.events.get_or_insert_with(|| {
                // Only what they are called and in which state they are.
                let api: Api<PartialObjectMeta<DynamicObject>> =
                    Api::namespaced_with(shared.client.clone(), &shared.journal.namespace, &super::resource(REVISION));
                Box::pin(watched(api))
            });
            let silent = self.unfinished.as_ref().map(|own| own.heard + SILENT_MAX);
            let end = silent.map_or(self.ask_at, |silent| silent.min(self.ask_at));
            let Ok(event) = tokio::time::timeout_at(end.into(), events.next()).await else {
                self.ask().await?;
                continue;
            };
            match event {
                Some(Ok(Event::Apply(found) | Event::InitApply(found))) => {
                    if let Some(number) = number_of(&found.metadata) {
                        self.heard(number, Head::of(&found.metadata));
                    }
                }
                Some(Ok(Event::Delete(found))) => {
                    let gone = number_of(&found.metadata);
                    self.unfinished = self.unfinished.take().filter(|own| Some(own.number) != gone);
                }
                Some(Ok(Event::Init | Event::InitDone)) => {}
                Some(Err(failure)) => return Err(StoreError::Away(format!("follow the Revisions: {failure}"))),
                None => self.events = None,
            }
        }
    }

    /// The watch has told nothing for a while.
    async fn ask(&mut self) -> Result<(), StoreError> {
        if let Some(own) = self.unfinished.as_mut().filter(|own| own.heard.elapsed() >= SILENT_MAX) {
            // Its writer may have died: nobody else need load or commit for it to be carried on.
            own.heard = Instant::now();
            self.store.finish(own.number, &own.head).await?;
        }
        if Instant::now() >= self.ask_at {
            self.ask_at = Instant::now() + ASK_EVERY;
            let next = self.after + 1;
            if let Some(head) = self.store.shared.journal.head(next).await? {
                self.heard(next, head);
            }
        }
        Ok(())
    }

    fn heard(&mut self, number: i64, head: Head) {
        if head.state == State::Done {
            self.done = self.done.max(number);
            self.unfinished = self.unfinished.take().filter(|own| own.number > number);
        } else if number > self.after
            && self.unfinished.as_ref().is_none_or(|own| own.number != number || own.head != head)
        {
            self.unfinished = Some(Unfinished { number, head, heard: Instant::now() });
        }
    }

    /// The next one; the whole where it is no longer held.
    async fn read(&mut self) -> Result<Option<Change>, StoreError> {
        let found = self.store.shared.journal.read(self.after + 1).await?;
        if let Some((object, entry)) = found {
            if Head::of(&object.metadata).state != State::Done {
                // The one that was heard of is another: this one is being done.
                self.done = self.after;
                return Ok(None);
            }
            let (puts, deletes) = entry.puts_and_deletes();
            self.store.remember(entry.number, &puts, &deletes);
            self.after = entry.number;
            return Ok(Some(Change::Commit { revision: entry.number, puts, deletes }));
        }
        let stored = self.store.load().await?;
        if stored.revision <= self.after {
            self.done = self.after;
            return Ok(None);
        }
        self.after = stored.revision;
        Ok(Some(Change::Whole(stored)))
    }
}

impl Follow for Following {
    fn next(&mut self) -> Pending<'_, Change> {
        Box::pin(self.step())
    }
}
