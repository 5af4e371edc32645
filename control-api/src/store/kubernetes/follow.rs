//! What was committed after a revision, from a watch on Revisions: each says what it wrote, so nothing is seen half.

use std::pin::Pin;
use std::time::Instant;

use kube::api::{Api, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event, watcher};
use tokio_stream::{Stream, StreamExt};

use super::super::{Change, Follow, Pending, Store, StoreError};
use super::Kubernetes;
use super::journal::{Head, State, number_of};
use super::settle::SILENT_MAX;
use crate::crd::REVISION;

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
}

struct Unfinished {
    number: i64,
    head: Head,
    heard: Instant,
}

impl Following {
    pub(super) fn new(store: Kubernetes, after: i64) -> Following {
        Following { store, after, done: 0, unfinished: None, events: None }
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
                Box::pin(watcher(api, watcher::Config::default()))
            });
            let event = match &mut self.unfinished {
                None => events.next().await,
                Some(own) => match tokio::time::timeout_at((own.heard + SILENT_MAX).into(), events.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        // Its writer may have died: nobody else need load or commit for it to be carried on.
                        own.heard = Instant::now();
                        self.store.finish(own.number, &own.head).await?;
                        continue;
                    }
                },
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

    fn heard(&mut self, number: i64, head: Head) {
        if head.state == State::Done {
            self.done = self.done.max(number);
            self.unfinished = self.unfinished.take().filter(|own| own.number > number);
        } else if number > self.after {
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
