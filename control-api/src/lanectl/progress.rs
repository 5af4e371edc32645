//! Waiting for sidecars: `--wait`, with a line on the terminal that says how far it is.

use std::io::Write;
use std::time::Duration;

use laneway_proto::status::Rollout;
use tokio::time::{Instant, timeout_at};

use super::client::{Cause, Client, Failure};
use super::look::Look;
use crate::name;

/// Between two looks at a rollout, where the control plane does not tell of itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Letters of the line: what fits into a narrow terminal.
const LINE_MAX: usize = 76;

/// A line on stderr that is written over and goes away.
struct Line {
    is_shown: bool,
}

/// Follows an object until every sidecar has answered to `revision` of it, or the time is over: how far it got.
pub(super) async fn follow(
    client: &mut Client,
    name: &str,
    revision: i64,
    deadline: Instant,
    look: Look,
) -> Result<Rollout, Failure> {
    let mut line = Line { is_shown: look.has_progress };
    let mut last = Rollout { name: name.to_owned(), revision, ..Rollout::default() };
    let mut is_streamed = true;
    loop {
        let step = step(client, name, revision, deadline, &mut is_streamed, &mut line);
        match timeout_at(deadline, step).await {
            Ok(seen) => last = seen?,
            Err(_) => last = client.rollout(name).await.unwrap_or(last),
        }
        if is_over(&last, revision) || Instant::now() >= deadline {
            return Ok(last);
        }
        tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_EVERY)).await;
    }
}

/// What one stream, or one look, came to.
async fn step(
    client: &mut Client,
    name: &str,
    revision: i64,
    deadline: Instant,
    is_streamed: &mut bool,
    line: &mut Line,
) -> Result<Rollout, Failure> {
    if !*is_streamed {
        let rollout = client.rollout(name).await?;
        line.show(&rollout, deadline);
        return Ok(rollout);
    }
    let mut stream = match client.watch_rollout(name).await {
        Ok(stream) => stream,
        // An older control plane.
        Err(failure) if failure.cause == Cause::Unsupported => {
            *is_streamed = false;
            return client.rollout(name).await;
        }
        Err(failure) => return Err(failure),
    };
    let mut last = Rollout { name: name.to_owned(), revision, ..Rollout::default() };
    while let Some(rollout) = stream.next().await? {
        line.show(&rollout, deadline);
        last = rollout;
        if is_over(&last, revision) {
            break;
        }
    }
    Ok(last)
}

fn is_over(rollout: &Rollout, revision: i64) -> bool {
    rollout.done && rollout.revision >= revision
}

/// `3 of 6 sidecars have lanes/gray, 4s left, waiting for a-1, b-2`
fn text(rollout: &Rollout, left: Duration) -> String {
    let kind = rollout.name.rsplit('/').nth(1).unwrap_or_default();
    let (answered, all) = (rollout.acked_count + rollout.nacked_count, rollout.target_count);
    let mut text =
        format!("{answered} of {all} sidecars have {kind}/{}, {}s left", name::id(&rollout.name), left.as_secs());
    let waiting: Vec<&str> = rollout.pending_proxies.iter().map(|proxy| name::id(proxy)).collect();
    if !waiting.is_empty() {
        text.push_str(&format!(", waiting for {}", waiting.join(", ")));
    }
    match text.char_indices().nth(LINE_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

impl Line {
    fn show(&mut self, rollout: &Rollout, deadline: Instant) {
        if self.is_shown {
            let left = deadline.saturating_duration_since(Instant::now());
            self.write(&format!("\r\x1b[K{}", text(rollout, left)));
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = std::io::stderr();
        // Whoever closed the terminal sees no progress.
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_shown {
            self.write("\r\x1b[K");
        }
    }
}
