//! Many sidecars in one process: the protocol of the real one (`core::delta`) and its pauses (`core::back_off`), each on a
//! connection of its own; without a data path.
//!
//! ```text
//!  Herd::start(url, ..) --> a task each: connect -> stream -> receive, decode, answer -> lost: pause -> connect ..
//!                             '--> Record: who is connected, when each came back; and whatever the watcher looks for
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use laneway_core::back_off::{BackOff, Ended, Spread};
use laneway_core::delta::Session;
use laneway_core::snapshot::Identity;
use laneway_proto::contract::DISCOVERY_MESSAGE_BYTES_MAX;
use laneway_proto::xds::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use laneway_proto::xds::{DeltaDiscoveryResponse, Node};
use prost_types::{Struct, Value, value::Kind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages of one sidecar that wait to be sent.
const SEND_QUEUE: usize = 64;

/// One that is simulated.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// Its own service.
    pub service: String,
    /// Destinations that it asks for, as `host/cart`.
    pub keys: Vec<String>,
}

impl Simulated {
    /// One that calls nobody.
    pub fn of(service: &str) -> Simulated {
        Simulated { service: service.to_owned(), keys: Vec::new() }
    }
}

/// Looks at each response before it is acknowledged: which sidecar, and what it was sent.
pub type Watcher = Arc<dyn Fn(usize, &DeltaDiscoveryResponse) + Send + Sync>;

/// What happened to all of them.
#[derive(Default)]
pub struct Record {
    connected: AtomicUsize,
    refused: AtomicUsize,
    /// Those that know over what time so many come back.
    told: AtomicUsize,
    /// When a stream had its first response.
    opened: Mutex<Vec<Instant>>,
}

/// Sidecars that run until this is dropped.
pub struct Herd {
    count: usize,
    record: Arc<Record>,
    // Ends them when it is dropped.
    _tasks: JoinSet<()>,
}

impl Herd {
    /// Starts them on the current runtime. `url`: `http://HOST:PORT` of the discovery port.
    pub fn start(url: &str, sidecars: impl IntoIterator<Item = Simulated>, watcher: &Watcher) -> Herd {
        let record = Arc::new(Record::default());
        let mut tasks = JoinSet::new();
        let sidecars: Vec<Simulated> = sidecars.into_iter().collect();
        let count = sidecars.len();
        for (number, simulated) in sidecars.into_iter().enumerate() {
            let sidecar = Sidecar {
                number,
                url: url.to_owned(),
                session: session(simulated),
                together: Spread::of(count),
                is_told: false,
                record: Arc::clone(&record),
                watcher: Arc::clone(watcher),
            };
            tasks.spawn(sidecar.follow());
        }
        Herd { count, record, _tasks: tasks }
    }

    /// Streams that have had a response and are open.
    pub fn connected(&self) -> usize {
        self.record.connected.load(Ordering::Acquire)
    }

    /// Responses that were refused: a herd of ours takes all that a server of ours sends.
    pub fn refused(&self) -> usize {
        self.record.refused.load(Ordering::Acquire)
    }

    /// When streams were opened, in order, since the last call.
    pub fn take_opened(&self) -> Vec<Instant> {
        let mut opened = std::mem::take(&mut *self.record.opened());
        opened.sort_unstable();
        opened
    }

    /// Waits until so many are connected.
    pub async fn await_connected(&self, count: usize, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        while self.connected() != count {
            anyhow::ensure!(Instant::now() < end, "{} of {count} sidecars connected in {deadline:?}", self.connected());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until each knows over what time all of them come back, if they lose their streams now.
    pub async fn await_told(&self, deadline: Duration) -> Result<()> {
        let end = Instant::now() + deadline;
        let told = || self.record.told.load(Ordering::Acquire);
        while told() != self.count {
            anyhow::ensure!(Instant::now() < end, "{} of {} sidecars are told in {deadline:?}", told(), self.count);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Record {
    fn opened(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for nothing.
pub fn nobody() -> Watcher {
    Arc::new(|_, _| {})
}

fn session(simulated: Simulated) -> Session {
    let Simulated { service, keys } = simulated;
    let mut session = Session::new(Identity { namespace: "default".to_owned(), service, tag: None });
    for key in keys {
        // Opened with it.
        drop(session.want(&Arc::from(key.as_str())));
    }
    session
}

struct Sidecar {
    number: usize,
    url: String,
    session: Session,
    /// What is told to as many as there are.
    together: Spread,
    is_told: bool,
    record: Arc<Record>,
    watcher: Watcher,
}

impl Sidecar {
    async fn follow(mut self) {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), self.number);
        let mut back_off = BackOff::new(seed);
        loop {
            let begun = Instant::now();
            let how = self.stream(back_off.connect_timeout()).await.unwrap_or(Ended::Unopened);
            let told = self.session.resources().return_spread();
            tokio::time::sleep(back_off.pause(how, begun.elapsed(), told)).await;
        }
    }

    /// One stream, to its end. An error: it was never open.
    async fn stream(&mut self, connect_timeout: Duration) -> Result<Ended> {
        let endpoint = Endpoint::from_shared(self.url.clone())?
            .connect_timeout(connect_timeout)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        let mut client = AggregatedDiscoveryServiceClient::new(endpoint.connect().await?)
            .max_decoding_message_size(DISCOVERY_MESSAGE_BYTES_MAX);
        let first = self.session.open();
        let (requests, outgoing) = mpsc::channel(first.len().max(SEND_QUEUE));
        let mut node = Some(self.node());
        for mut message in first {
            message.node = node.take();
            requests.send(message).await.context("the stream ended at once")?;
        }
        let opening = client.delta_aggregated_resources(ReceiverStream::new(outgoing));
        let mut responses = match tokio::time::timeout(ANSWER_TIMEOUT, opening).await? {
            Ok(opened) => opened.into_inner(),
            Err(status) => return Ok(Ended::before_open(status.code().into())),
        };
        let mut open: Option<Connected> = None;
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(Ended::with_code(0)),
                Err(status) => return Ok(Ended::with_code(status.code().into())),
            };
            open.get_or_insert_with(|| Connected::new(&self.record));
            (self.watcher)(self.number, &response);
            let reply = self.session.receive(response);
            self.note_told();
            self.record.refused.fetch_add(usize::from(reply.refused.is_some()), Ordering::AcqRel);
            if requests.send(reply.message).await.is_err() {
                return Ok(Ended::Lost);
            }
        }
    }

    fn note_told(&mut self) {
        let is_told = self.session.resources().return_spread() >= Some(self.together);
        let was_told = std::mem::replace(&mut self.is_told, is_told);
        self.record.told.fetch_add(usize::from(is_told && !was_told), Ordering::AcqRel);
        self.record.told.fetch_sub(usize::from(was_told && !is_told), Ordering::AcqRel);
    }

    fn node(&self) -> Node {
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let identity = &self.session.identity;
        let pod = format!("{}-{}", identity.service, self.number);
        let fields = BTreeMap::from([
            ("namespace".to_owned(), text(&identity.namespace)),
            ("service".to_owned(), text(&identity.service)),
            ("podName".to_owned(), text(&pod)),
            ("mode".to_owned(), text("PROXY_MODE_SIDECAR")),
        ]);
        Node {
            id: format!("sidecar~127.0.0.1~{pod}.{}~", identity.namespace),
            cluster: identity.service.clone(),
            metadata: Some(Struct { fields }),
            user_agent_name: "laneway-simulator".to_owned(),
            ..Node::default()
        }
    }
}

/// Counted as connected for as long as it lives.
struct Connected(Arc<Record>);

impl Connected {
    fn new(record: &Arc<Record>) -> Connected {
        record.connected.fetch_add(1, Ordering::AcqRel);
        record.opened().push(Instant::now());
        Connected(Arc::clone(record))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::AcqRel);
    }
}
