//! The load: so many requests at once, each in a lane of its own, each answer matched to its order.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Uri};

use super::judge::{Tally, lane_of, scramble};
use crate::client::{Client, Speech};
use crate::process::{confine, wait_for};

/// What is sent.
#[derive(Clone, Debug)]
pub struct Drive {
    /// The namespace it is sent from; none: here.
    pub namespace: Option<String>,
    pub to: SocketAddr,
    /// The client begins B3 traces, not W3C ones.
    pub b3: bool,
    pub concurrency: u32,
    /// The first order; the next ones follow it.
    pub first: u64,
    pub requests: u64,
}

impl Drive {
    /// Sends everything and counts. One request without a whole answer fails all: the load is no test of losses, and a lost
    /// call would be missing from the sums.
    pub fn run(self) -> Result<Tally> {
        let sending = std::thread::spawn(move || {
            if let Some(namespace) = &self.namespace {
                confine::enter_namespace(namespace).context("enter the namespace")?;
            }
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.send())
        });
        sending.join().map_err(|_| anyhow!("the load panicked"))?
    }

    /// Sends it again and again until it is answered: a sidecar learns of the services that it calls at their first call.
    pub fn await_answer(self, deadline: Duration) -> Result<()> {
        let mut last = Ok(Tally::default());
        let answered = wait_for(deadline, || {
            last = self.clone().run();
            last.is_ok().then_some(())
        });
        if answered.is_none() {
            last.with_context(|| format!("no answer in {deadline:?}"))?;
        }
        Ok(())
    }

    async fn send(self) -> Result<Tally> {
        let (next, tally) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Tally::default())));
        let (drive, client) = (Arc::new(self), Arc::new(Client::default()));
        let mut senders = tokio::task::JoinSet::<Result<()>>::new();
        for _ in 0..drive.concurrency {
            let (next, tally) = (Arc::clone(&next), Arc::clone(&tally));
            let (drive, client) = (Arc::clone(&drive), Arc::clone(&client));
            senders.spawn(async move {
                loop {
                    let sent = next.fetch_add(1, Ordering::Relaxed);
                    if sent >= drive.requests {
                        return Ok(());
                    }
                    let answer = drive.request(&client, drive.first + sent).await?;
                    tally.lock().expect("no panic holds it").add(answer);
                }
            });
        }
        while let Some(ended) = senders.join_next().await {
            ended.context("a sender panicked")??;
        }
        let tally = *tally.lock().expect("no panic holds it");
        Ok(tally)
    }

    async fn request(&self, client: &Client, order: u64) -> Result<Tally> {
        let uri: Uri = format!("http://{}/a?order={order}", self.to).parse()?;
        let answer = client
            .send(Speech::Http1, "GET", &uri, self.headers(order)?, Bytes::new())
            .await
            .with_context(|| format!("send order {order}"))?;
        ensure!(answer.status == 200, "order {order}: {} {}", answer.status, answer.text());
        Tally::of_answer(&answer.text(), order)
    }

    /// The lane, and a trace as clients have them: a third sampled, a third not sampled, a third none.
    fn headers(&self, order: u64) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let lane = lane_of(order);
        if !lane.is_empty() {
            headers.insert("x-mse-tag", lane.parse()?);
        }
        let (high, low) = (scramble(order ^ (1 << 40)), scramble(order ^ (1 << 41)) | 1);
        let sampled = scramble(order ^ (1 << 42)) % 3;
        if self.b3 {
            // Every request has one: what the sidecar adds to one without is W3C, which such applications do not read.
            let fields = [
                ("x-b3-traceid", format!("{high:016x}{low:016x}")),
                ("x-b3-spanid", format!("{low:016x}")),
                ("x-b3-sampled", (sampled % 2).to_string()),
            ];
            for (name, value) in fields {
                headers.insert(HeaderName::from_static(name), value.parse()?);
            }
        } else if sampled < 2 {
            headers.insert("traceparent", format!("00-{high:016x}{low:016x}-{low:016x}-0{sampled}").parse()?);
        }
        Ok(headers)
    }
}
