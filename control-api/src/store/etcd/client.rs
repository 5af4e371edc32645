//! Calls to etcd: over one of its members at a time, the next one after a failure.
//!
//! What matters of a failure is whether etcd may have done what was asked. Knows nothing of what is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status, Streaming};

use super::access::{Access, Token, Tokens};
use super::wire::kv_client::KvClient;
use super::wire::lease_client::LeaseClient;
use super::wire::watch_client::WatchClient;
use super::wire::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse, watch_request,
};
use crate::store::StoreError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for one answer; an election of etcd's takes about as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// A member that is gone without a word is noticed after the sum of both.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_ANSWER: Duration = Duration::from_secs(3);
/// A page of objects, or what one transaction changed.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Shared by all that call.
#[derive(Clone)]
pub(super) struct Client {
    members: Arc<[Member]>,
    current: Arc<AtomicUsize>,
    tokens: Tokens,
}

/// A connection that says with each call who calls.
type Known = InterceptedService<Channel, Shown>;

/// What goes with each call.
#[derive(Clone)]
struct Shown(Option<Token>);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        // A member that has lost its cluster shall say so, not wait.
        request.metadata_mut().insert("hasleader", Token::from_static("true"));
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

struct Member {
    name: String,
    channel: Channel,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// It never left.
    Unsent(String),
    /// It may have been done.
    Lost(String),
    /// etcd says no.
    Refused(Status),
    /// What was answered is no use.
    Unusable(StoreError),
}

impl CallError {
    /// For a call that changes nothing, or whose caller knows what has.
    pub(super) fn into_error(self, doing: &'static str) -> StoreError {
        match self {
            CallError::Unsent(why) | CallError::Lost(why) => StoreError::Away(why),
            CallError::Refused(status) => StoreError::Failed { doing, source: describe(&status).into() },
            CallError::Unusable(error) => error,
        }
    }
}

/// An open watch; it ends with its handle.
pub(super) struct Watching {
    responses: Streaming<WatchResponse>,
    member: usize,
    client: Client,
    /// etcd takes the end of the requests for the end of the watch.
    _requests: mpsc::Sender<WatchRequest>,
}

impl Client {
    /// The error names the endpoint and what is wrong with it.
    pub(super) fn new(endpoints: &[String], access: &Access) -> Result<Client, String> {
        let scheme = if access.is_tls { "https" } else { "http" };
        let members = endpoints.iter().map(|name| {
            let endpoint = Endpoint::from_shared(format!("{scheme}://{name}"))
                .map_err(|source| format!("--store: {name:?} is no host:port ({source})"))?;
            let endpoint = access.credentials.secured(endpoint).map_err(|why| format!("--store: {why}"))?;
            let channel = endpoint
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_ANSWER)
                .keep_alive_while_idle(true)
                .connect_lazy();
            Ok(Member { name: name.clone(), channel })
        });
        let members: Vec<Member> = members.collect::<Result<_, String>>()?;
        if members.is_empty() {
            return Err("--store: etcd:// names no host:port".to_owned());
        }
        let tokens = Tokens::new(access.user_file.clone());
        Ok(Client { members: members.into(), current: Arc::default(), tokens })
    }

    pub(super) fn endpoints_count(&self) -> usize {
        self.members.len()
    }

    /// Reads; each member is asked before it fails, an only one twice.
    pub(super) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, CallError> {
        // A connection that died while nobody looked costs the first attempt.
        let mut left = self.members.len().max(2);
        loop {
            let range = |known| {
                let request = request.clone();
                async move { kv(known).range(request).await }
            };
            left -= 1;
            match self.call(range).await {
                Err(CallError::Unsent(_) | CallError::Lost(_)) if left > 0 => {}
                done => return done,
            }
        }
    }

    /// Once: only the caller knows whether it may be sent again.
    pub(super) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, CallError> {
        self.call(|known| {
            let request = request.clone();
            async move { kv(known).txn(request).await }
        })
        .await
    }

    #[cfg(test)]
    pub(super) async fn compact(&self, revision: i64) -> Result<(), CallError> {
        let request = super::wire::CompactionRequest { revision };
        self.call(|known| async move { kv(known).compact(request).await }).await.map(drop)
    }

    pub(super) async fn watch(&self, create: WatchCreateRequest) -> Result<Watching, CallError> {
        let create = watch_request::RequestUnion::CreateRequest(create);
        let request = WatchRequest { request_union: Some(create) };
        let member = self.current.load(Ordering::Relaxed);
        let open = |known: Known| {
            let request = request.clone();
            async move {
                let (requests, stream) = mpsc::channel(1);
                // There is room for one.
                let _ = requests.try_send(request);
                let mut client = WatchClient::new(known).max_decoding_message_size(ANSWER_BYTES_MAX);
                let opened = client.watch(ReceiverStream::new(stream)).await?;
                Ok(opened.map(|responses| (responses, requests)))
            }
        };
        let (responses, requests) = self.call(open).await?;
        Ok(Watching { responses, member, client: self.clone(), _requests: requests })
    }

    /// A lease of so many seconds: its id.
    pub(super) async fn grant(&self, seconds: i64) -> Result<i64, CallError> {
        let request = LeaseGrantRequest { ttl: seconds };
        self.call(|known| async move { LeaseClient::new(known).lease_grant(request).await })
            .await
            .map(|granted| granted.id)
    }

    /// Makes a lease last its time from now; false when it is gone.
    pub(super) async fn keep_alive(&self, id: i64) -> Result<bool, CallError> {
        let request = LeaseKeepAliveRequest { id };
        let keep = |known| async move {
            let once = tokio_stream::once(request);
            let mut answers = LeaseClient::new(known).lease_keep_alive(once).await?;
            let answer = answers.get_mut().message().await?;
            answer.map(tonic::Response::new).ok_or_else(|| Status::unavailable("the lease's stream ended"))
        };
        self.call(keep).await.map(|answer| answer.ttl > 0)
    }

    pub(super) async fn revoke(&self, id: i64) -> Result<(), CallError> {
        let request = LeaseRevokeRequest { id };
        self.call(|known| async move { LeaseClient::new(known).lease_revoke(request).await }).await.map(drop)
    }

    /// Over the member of now. `call` is made again where etcd did not take our token: then nothing was done.
    async fn call<T, F>(&self, call: impl Fn(Known) -> F) -> Result<T, CallError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let at = self.current.load(Ordering::Relaxed) % self.members.len();
        let member = &self.members[at];
        let tries = async {
            let mut is_second = false;
            loop {
                let token = self.tokens.token(&member.channel).await;
                let token = token.map_err(|status| unknown(&member.name, status))?;
                let known = InterceptedService::new(member.channel.clone(), Shown(token.clone()));
                match call(known).await {
                    Err(status) if !is_second && self.tokens.refused(token.as_ref(), &status) => is_second = true,
                    done => return done.map_err(|status| classify(&member.name, status)),
                }
            }
        };
        let failure = match tokio::time::timeout(CALL_TIMEOUT, tries).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(failure)) => failure,
            Err(_) => CallError::Lost(format!("etcd at {}: no answer in {} s", member.name, CALL_TIMEOUT.as_secs())),
        };
        if matches!(failure, CallError::Unsent(_) | CallError::Lost(_)) {
            self.leave(at);
        }
        Err(failure)
    }

    /// The next calls go to the next member, unless others have gone there already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.members.len();
        let _ = self.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Watching {
    pub(super) async fn next(&mut self) -> Result<WatchResponse, CallError> {
        let name = &self.client.members[self.member].name;
        let failure = match self.responses.message().await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => CallError::Lost(format!("etcd at {name}: the watch ended")),
            Err(status) => classify(name, status),
        };
        self.client.leave(self.member);
        Err(failure)
    }
}

fn kv(known: Known) -> KvClient<Known> {
    KvClient::new(known).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// No token was to be had, so nothing else was asked.
fn unknown(member: &str, status: Status) -> CallError {
    match classify(member, status) {
        CallError::Lost(why) => CallError::Unsent(why),
        other => other,
    }
}

fn classify(member: &str, status: Status) -> CallError {
    let why = format!("etcd at {member}: {}", describe(&status));
    if has_not_connected(&status) {
        return CallError::Unsent(why);
    }
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss => CallError::Lost(why),
        _ => CallError::Refused(status),
    }
}

fn has_not_connected(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// What went wrong, in the words of whoever knows most.
fn describe(status: &Status) -> String {
    let mut deepest = None;
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        deepest = Some(error.to_string());
        source = error.source();
    }
    deepest.unwrap_or_else(|| status.message().to_owned())
}
