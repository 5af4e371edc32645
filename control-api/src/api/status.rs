//! Who has which configuration.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant, SystemTime};

use laneway_proto::status::{
    GetProxyRequest, GetRolloutRequest, GetServerInfoRequest, ListProxiesRequest, ListProxiesResponse, Proxy,
    ProxyView, Rollout, ServerInfo, WatchProxiesRequest, WatchProxiesResponse, WatchRolloutRequest,
};
use prost::Message;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::filter::Filter;
use super::page::Query;
use super::rollout::{Concerned, Subject};
use super::stream::{End, Events, Outlet};
use super::{Answer, Api, errors, lanes, peers, rollout};

const PROXY: &str = "laneway.status.v1.Proxy";
/// Between two looks at a rollout: at most 10 a second.
const ROLLOUT_PAUSE: Duration = Duration::from_millis(100);
/// Between two looks at all sidecars: some milliseconds of work where there are thousands of them.
const PROXIES_PAUSE: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Between two questions to the other replicas how far a rollout is with them.
const ELSEWHERE_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn list_proxies(api: &Api, request: ListProxiesRequest) -> Result<ListProxiesResponse, Status> {
    let own: Vec<Proxy> = api.fleet.report(false).into_values().collect();
    let (all, unreachable) = if request.local_only {
        (own, Vec::new())
    } else {
        let heard = api.peers.proxies().await;
        (peers::merged_proxies(own, heard.answers), heard.unreachable)
    };
    let query = Query {
        page_size: request.page_size,
        page_token: &request.page_token,
        filter: &request.filter,
        ..Query::default()
    };
    let page = query.page(all, PROXY, |proxy| &proxy.name, api.reconciler.now())?;
    Ok(ListProxiesResponse {
        proxies: page.items,
        next_page_token: page.next_token,
        total_size: page.total,
        unreachable,
    })
}

pub(super) async fn get_proxy(api: &Api, request: GetProxyRequest) -> Result<Proxy, Status> {
    let Some(node) = request.name.strip_prefix("proxies/") else {
        return Err(errors::bad_field("name", "is proxies/{node_id}"));
    };
    let full = request.view() == ProxyView::Full;
    let mut found = api.fleet.report(full).remove(node);
    if !request.local_only {
        let heard = api.peers.proxy(&request).await;
        for other in heard.answers.into_iter().flatten() {
            found = Some(peers::latest(found, other));
        }
    }
    found.ok_or_else(|| errors::missing(&request.name))
}

/// First all that there are, then each as it becomes another.
pub(super) fn watch_proxies(api: &Api, request: &WatchProxiesRequest) -> Answer<Events<WatchProxiesResponse>> {
    let filter = Filter::parse(&request.filter, PROXY)?;
    let api_of_task = api.clone();
    api.stream(move |mut outlet| async move {
        let end = match follow_proxies(&api_of_task, &filter, &mut outlet).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        (outlet, end)
    })
}

async fn follow_proxies(
    api: &Api,
    filter: &Filter,
    outlet: &mut Outlet<WatchProxiesResponse>,
) -> Result<Infallible, End> {
    let (mut events, mut published) = (api.fleet.events(), api.reconciler.published());
    // By name: hash of what was sent last.
    let mut sent = BTreeMap::<String, u64>::new();
    let (mut elsewhere, mut asked) = (Vec::new(), None::<Instant>);
    loop {
        events.borrow_and_update();
        published.borrow_and_update();
        if asked.is_none_or(|asked| asked.elapsed() >= LOOK_EVERY) {
            elsewhere = outlet.until(api.peers.proxies()).await?.answers;
            asked = Some(Instant::now());
        }
        let own = api.fleet.report(false).into_values().collect();
        let proxies = peers::merged_proxies(own, elsewhere.clone());
        let proxies: BTreeMap<_, _> = proxies.into_iter().map(|proxy| (proxy.name.clone(), proxy)).collect();
        sent.retain(|name, _| proxies.contains_key(name));
        for (name, proxy) in proxies {
            let hash = xxh3_64(&proxy.encode_to_vec());
            let was_sent = sent.contains_key(&name);
            // One that the filter does not take any more is told once more: so it leaves.
            if sent.get(&name) == Some(&hash) || !(was_sent || filter.takes(&proxy)) {
                continue;
            }
            if filter.takes(&proxy) {
                sent.insert(name, hash);
            } else {
                sent.remove(&name);
            }
            outlet.send(WatchProxiesResponse { proxy: Some(proxy) }).await?;
        }
        let news = async {
            tokio::select! {
                _ = events.changed() => {}
                _ = published.changed() => {}
                // Time alone changes what is shown: what was sent and is not answered, what other replicas hear.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        };
        outlet.until(news).await?;
        outlet.until(tokio::time::sleep(PROXIES_PAUSE)).await?;
    }
}

pub(super) async fn get_rollout(api: &Api, request: GetRolloutRequest) -> Result<Rollout, Status> {
    if request.revision > 0 {
        // Another replica asks on behalf of whoever has switched something.
        let begun = Instant::now();
        let wait = lanes::wait(request.wait_timeout)?.unwrap_or_default();
        let followed = rollout::follow_here(api, &request.name, request.revision, begun, wait).await;
        return followed.ok_or_else(|| errors::bad_field("name", "is that of a lane group or a lane"));
    }
    let subject = Subject::find(api, &request.name, &request.version)?;
    rollout::settled(api).await;
    let own = subject.look(api, &mut Concerned::new());
    if request.local_only {
        return Ok(own);
    }
    let mut found = peers::merged_rollout(own, api.peers.rollouts(subject.request(), Duration::ZERO).await);
    if !found.done {
        found.elapsed = since(subject.written(api), api.reconciler.now());
    }
    Ok(found)
}

/// The rollout on every change, until it is done.
pub(super) fn watch_rollout(api: &Api, request: &WatchRolloutRequest) -> Answer<Events<Rollout>> {
    let subject = Subject::find(api, &request.name, &request.version)?;
    let api_of_task = api.clone();
    api.stream(move |mut outlet| async move {
        let end = follow_rollout(&api_of_task, &subject, &mut outlet).await.err().unwrap_or(End::Done);
        (outlet, end)
    })
}

async fn follow_rollout(api: &Api, subject: &Subject, outlet: &mut Outlet<Rollout>) -> Result<(), End> {
    rollout::settled(api).await;
    let (mut events, mut published) = (api.fleet.events(), api.reconciler.published());
    let mut concerned = Concerned::new();
    let mut last = None;
    loop {
        events.borrow_and_update();
        published.borrow_and_update();
        let elsewhere = outlet.until(api.peers.rollouts(subject.request(), Duration::ZERO)).await?;
        let found = peers::merged_rollout(subject.look(api, &mut concerned), elsewhere);
        let is_done = found.done;
        if last.as_ref() != Some(&found) {
            last = Some(found.clone());
            let elapsed = since(subject.written(api), api.reconciler.now());
            outlet.send(Rollout { elapsed, ..found }).await?;
        }
        if is_done {
            return Ok(());
        }
        let news = async {
            tokio::select! {
                _ = events.changed() => {}
                _ = published.changed() => {}
                // What the other replicas hear is not told here.
                () = tokio::time::sleep(ELSEWHERE_EVERY) => {}
            }
        };
        outlet.until(news).await?;
        outlet.until(tokio::time::sleep(ROLLOUT_PAUSE)).await?;
    }
}

fn since(time: Option<SystemTime>, now: SystemTime) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(now.duration_since(time?).unwrap_or_default()).ok()
}

pub(super) async fn get_server_info(api: &Api, _request: GetServerInfoRequest) -> Result<ServerInfo, Status> {
    let mut features = vec![api.reconciler.store_name().to_owned(), "discovery.file".to_owned()];
    if !api.discovery.watched(Instant::now()).is_empty() {
        features.push("discovery.kubernetes".to_owned());
    }
    features.extend(api.reconciler.store_lacks());
    Ok(ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        replica: api.peers.own().to_owned(),
        leader: api.leader.leads(),
        revision: api.reconciler.state().revision,
        connected_proxies: u32::try_from(api.fleet.connected_count()).unwrap_or(u32::MAX),
        features,
        start_time: Some(api.started.into()),
    })
}
