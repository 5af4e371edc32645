//! The first request of a stream, which says who speaks. Whoever opens a stream and says nothing would have been let in long ago when
//! it does.

use std::time::Duration;

use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

#[cfg(test)]
pub(super) mod tests;

/// It is sent with the call; this is for ways that are slow.
const WITHIN: Duration = Duration::from_secs(10);

/// Nothing: the stream ended before it.
pub(super) async fn first<T>(requests: &mut Streaming<T>) -> Result<Option<T>, Status> {
    match tokio::time::timeout(WITHIN, requests.next()).await {
        Ok(first) => first.transpose(),
        Err(_) => {
            let words = format!("the first request did not come within {} s", WITHIN.as_secs());
            Err(Status::deadline_exceeded(words))
        }
    }
}
