//! Answers that go on: one task for each, which ends with its client, with the drain, or when the client does not keep up.
//!
//! ```text
//!   task --send--> [ a few messages ] --> connection        the last place is kept for the word that it ends with
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::{Answer, Api, errors};
use crate::drain::Draining;

/// Messages between a task and its connection.
const QUEUED_MAX: usize = 16;
/// A client that takes nothing for so long is let go.
const SEND_MAX: Duration = Duration::from_secs(30);
/// Answers of this kind at a time.
const STREAMS_MAX: usize = 1_000;

pub(super) type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// How many there are.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// The task's end.
pub(super) struct Outlet<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    /// So that there is always room for it.
    goodbye: OwnedPermit<Result<T, Status>>,
    draining: Draining,
    _place: Place,
}

/// Given up when dropped.
struct Place(Arc<AtomicUsize>);

/// Why a stream ends.
pub(super) enum End {
    /// All was said.
    Done,
    Because(Status),
    /// Nobody listens any more.
    Gone,
}

impl From<Status> for End {
    fn from(status: Status) -> End {
        End::Because(status)
    }
}

impl Api {
    /// Answers with what `work` sends, until it returns.
    pub(super) fn stream<T, W, F>(&self, work: W) -> Answer<Events<T>>
    where
        T: Send + 'static,
        W: FnOnce(Outlet<T>) -> F,
        F: Future<Output = (Outlet<T>, End)> + Send + 'static,
    {
        let place = self.streams.take()?;
        let (messages, stream) = mpsc::channel(QUEUED_MAX + 1);
        let goodbye = messages.clone().try_reserve_owned().map_err(|_| Status::internal("a new queue has room"))?;
        let work = work(Outlet { messages, goodbye, draining: self.draining.clone(), _place: place });
        tokio::spawn(async move {
            let (outlet, end) = work.await;
            if let End::Because(status) = end {
                outlet.goodbye.send(Err(status));
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl<T> Outlet<T> {
    /// Sends one message, and waits for a client that reads slowly, for a while.
    pub(super) async fn send(&mut self, message: T) -> Result<(), End> {
        let messages = self.messages.clone();
        let room = tokio::time::timeout(SEND_MAX, messages.reserve());
        match self.until(room).await? {
            Ok(Ok(room)) => {
                room.send(Ok(message));
                Ok(())
            }
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Because(errors::too_slow(format!(
                "nothing was read for {} s; resume after the last event that came",
                SEND_MAX.as_secs()
            )))),
        }
    }

    /// Waits for `event`, unless the stream has to end before it.
    pub(super) async fn until<E>(&mut self, event: impl Future<Output = E>) -> Result<E, End> {
        tokio::select! {
            event = event => Ok(event),
            () = self.messages.closed() => Err(End::Gone),
            () = self.draining.started() => Err(End::Because(errors::going_away())),
        }
    }
}

impl Streams {
    fn take(&self) -> Result<Place, Status> {
        let place = Place(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
            return Err(errors::exhausted(format!("{STREAMS_MAX} streams are open already")));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
