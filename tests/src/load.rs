//! A steady load from one place of the mesh, and when each answer came from where.
//!
//! Requests are sent at a fixed rate whatever the answers do, over a fixed number of kept connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::client::{Client, Speech};
use crate::process::confine;

/// What is sent, how often, from where.
#[derive(Clone, Debug)]
pub struct Load {
    /// The namespace it is sent from; none: here.
    pub namespace: Option<String>,
    pub to: SocketAddr,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub connections: u32,
    pub requests_per_second: u32,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Sample {
    pub sent: Instant,
    pub answered: Instant,
    /// The body of a 200, or what went wrong.
    pub answer: Result<String, String>,
}

/// A load that runs until it is stopped.
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Load {
    pub fn start(self) -> Running {
        let (stop, samples) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = std::thread::spawn({
            let (stop, samples) = (Arc::clone(&stop), Arc::clone(&samples));
            move || {
                if let Some(namespace) = &self.namespace {
                    confine::enter_namespace(namespace).context("enter the namespace")?;
                }
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(self.send(&stop, &samples))
            }
        });
        Running { stop, thread: Some(thread), samples }
    }

    async fn send(self, stop: &AtomicBool, samples: &Arc<Mutex<Vec<Sample>>>) -> Result<()> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.parse::<HeaderName>()?, value.parse()?);
        }
        let uri: hyper::Uri = format!("http://{}{}", self.to, self.path).parse()?;
        let connections: Vec<_> = (0..self.connections.max(1)).map(|_| Arc::new(Client::default())).collect();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.requests_per_second.max(1));
        let mut running = tokio::task::JoinSet::new();
        for connection in connections.iter().cycle() {
            tick.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let (client, uri, headers, samples) =
                (Arc::clone(connection), uri.clone(), headers.clone(), Arc::clone(samples));
            running.spawn(async move {
                let sent = Instant::now();
                let answer = client.send(Speech::Http1, "GET", &uri, headers, Bytes::new()).await;
                let answer = match answer {
                    Ok(answer) if answer.status == 200 => Ok(answer.text()),
                    Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                    Err(error) => Err(format!("{error:#}")),
                };
                samples.lock().expect("no panic holds it").push(Sample { sent, answered: Instant::now(), answer });
            });
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }
}

impl Running {
    /// Answers so far.
    pub fn count(&self) -> usize {
        self.samples.lock().expect("no panic holds it").len()
    }

    /// The last answer, and how long ago it came.
    fn last(&self) -> Option<(Duration, Result<String, String>)> {
        let samples = self.samples.lock().expect("no panic holds it");
        samples.last().map(|sample| (sample.answered.elapsed(), sample.answer.clone()))
    }

    /// Waits until `more` further answers came.
    pub fn await_answers(&self, more: usize, deadline: Duration) -> Result<()> {
        let wanted = self.count() + more;
        crate::process::wait_for(deadline, || (self.count() >= wanted).then_some(()))
            .with_context(|| format!("no {more} answers in {deadline:?}, {} so far: {:?}", self.count(), self.last()))
    }

    /// Stops sending, waits for the last answers, and hands over every sample in the order of sending.
    pub fn stop(mut self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().map_err(|_| anyhow!("the load panicked"))??;
        let mut samples = std::mem::take(&mut *self.samples.lock().expect("no panic holds it"));
        samples.sort_by_key(|sample| sample.sent);
        Ok(samples)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
