//! Puts the control plane together, runs it, and takes it down. Imported by `main` alone.
//!
//! Start: store, discovery, first compile, the seat among the replicas, lanes that ended meanwhile, then the ports are served, so that the first
//! sidecar finds everything. End: SIGTERM or SIGINT; for `drain_min` it serves on and says that it leaves, then
//! streams are closed with a word and calls in progress finish; at most `drain_max` in all. Where a port or discovery ends by
//! itself it ends in the same way, with an error.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use laneway_core::document::ServiceDocument;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tracing::{error, info, warn};

#[cfg(feature = "kubernetes")]
use crate::access::kubernetes::ApiServer;
use crate::access::review::{Authority, ServiceOf};
use crate::access::{self, Access, Door, Rules};
use crate::api::{Api, Given};
#[cfg(feature = "kubernetes")]
use crate::authority;
use crate::clock::Clock;
use crate::config::{Advertised, Config, LogFormat, StorePlace};
use crate::discovery::file::Files;
#[cfg(feature = "kubernetes")]
use crate::discovery::kubernetes::{self as cluster, Cluster};
#[cfg(feature = "kubernetes")]
use crate::discovery::merge::Merge;
use crate::discovery::standing::Standing;
use crate::discovery::{PodService, PodTag, TagOf};
use crate::drain;
use crate::expirer::Expirer;
use crate::fleet::Fleet;
use crate::guard::{Deeds, Guard};
#[cfg(feature = "kubernetes")]
use crate::kubectl::{Kubectl, Progress};
#[cfg(feature = "kubernetes")]
use crate::kubernetes;
use crate::leader::Leader;
use crate::listen::{self, Bounds};
use crate::push::Push;
use crate::reconcile::Reconciler;
use crate::reload;
use crate::replicas::{Replica, Replicas};
use crate::stats::Stats;
use crate::store::Store;
use crate::store::etcd::session::Session;
use crate::store::etcd::{self, Address, Etcd};
#[cfg(feature = "kubernetes")]
use crate::store::kubernetes::Kubernetes;
use crate::store::sqlite::Sqlite;
use crate::tls::{self, Tls};
use crate::webhook;

/// Connections of a port at a time; more wait to be taken. A sidecar has one. Both may stand behind a proxy, by which all come from one
/// address, so an address may have all but a few.
const DISCOVERY_CONNECTIONS: Bounds = Bounds::shared(50_000);
const API_CONNECTIONS: Bounds = Bounds::shared(4_096);

/// Runs until it is told to end.
pub fn run(config: Config) -> anyhow::Result<()> {
    // The one provider, before anything could ask for another.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Held as long as the process runs: every answer in JSON goes by them.
    let _descriptors = laneway_proto::descriptors();
    let log = tracing_subscriber::fmt().with_env_filter(config.log.clone()).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let done = runtime.block_on(serve(config));
    // What still blocks (a look at a file) is not waited for.
    runtime.shutdown_background();
    done
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let (store, shared) = open_store(&config).await.context("open the store (--store)")?;
    // A cluster may take a while to answer.
    let found = tokio::select! {
        found = discover(&config) => found.context("read what runs (--discovery)")?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let Discovery { services, discovered, mut following, service_of, tag_of, standing } = found;
    let reconciler = Reconciler::start(store, services, Clock::system()).await.context("load the store (--store)")?;
    let reconciling = tokio::spawn(reconciler.clone().run(discovered));
    let adopting = tokio::spawn(reconciler.clone().follow());
    let recording = tokio::spawn(reconciler.clone().keep_audit());
    #[cfg(feature = "kubernetes")]
    let authority = open_authority(&config).await.context("--own-ca")?;
    #[cfg(feature = "kubernetes")]
    let own = authority.as_ref().map(|authority| (authority.tls(), authority.bundle()));
    #[cfg(not(feature = "kubernetes"))]
    let own = None;
    let (own_tls, own_bundle) = own.unzip();
    let Security { tls, rules, following: mut securing } = secure(&config, own_tls, service_of).await?;
    let discovery = bind(config.discovery_listen).await.context("--discovery-listen")?;
    let api = bind(config.api_listen).await.context("--api-listen")?;
    let webhook = match &config.webhook {
        Some(port) => Some(bind(port.listen).await.context("--webhook-listen")?),
        None => None,
    };
    let (discovery_address, api_address) = (discovery.local_addr()?, api.local_addr()?);
    let mut addresses = vec![("discovery", discovery_address), ("api", api_address)];
    if let Some(webhook) = &webhook {
        addresses.push(("webhook", webhook.local_addr()?));
    }

    let (leave, left) = oneshot::channel();
    #[cfg(feature = "kubernetes")]
    let mut followed = None;
    let (leader, replicas, seated) = match shared {
        Shared::Alone => (Leader::sole(), Replicas::alone(config.replica.clone()), None),
        Shared::Etcd(etcd) => {
            let (session, leader, replicas) =
                Session::join(etcd, own_replica(&config, api_address)).await.context("join the other replicas")?;
            (leader, replicas, Some(tokio::spawn(session.run(left))))
        }
        #[cfg(feature = "kubernetes")]
        Shared::Kubernetes(store) => {
            let joined = store.join(own_replica(&config, api_address)).await;
            let (session, leader, replicas) = joined.context("join the other replicas")?;
            followed = Some(store);
            (leader, replicas, Some(tokio::spawn(session.run(left))))
        }
    };
    #[cfg(feature = "kubernetes")]
    securing.extend(authority.map(|authority| tokio::spawn(authority.run(leader.clone()))));
    let mut expirer = Expirer::new(reconciler.clone(), leader.clone());
    expirer.catch_up().await;
    let expiring = tokio::spawn(expirer.run());

    let fleet = Fleet::new();
    let (trigger, draining) = drain::channel();
    let port = |port: fn(&Tls) -> &Arc<ServerConfig>| tls.clone().map(|current| (current, port));
    let discovery = listen::connections(discovery, port(|tls| &tls.discovery), DISCOVERY_CONNECTIONS);
    let api = listen::connections(api, port(|tls| &tls.api), API_CONNECTIONS);

    let stats = Stats::new(Clock::system());
    let tidying = tokio::spawn(stats.clone().run());
    let push = Push::new(reconciler.published(), fleet.clone(), draining.clone(), replicas.clone(), stats.clone());
    let doors = ["discovery", "api"].map(|port| Door::new(port, rules.clone()));
    let [of_discovery, of_api] = doors.clone();
    let mut pushing = tokio::spawn(push.serve(discovery, of_discovery, draining.clone()));
    let mut peers = config.peers.clone();
    if let Some(own) = &config.own_ca {
        // Whatever address a replica is dialled at, its certificate has the names that were given.
        (peers.authorities, peers.server_name) = (own_bundle, own.names.first().cloned());
    }
    let writes_per_second = config.writes_per_second;
    let (deeds, asked) = (Deeds::default(), webhook::Counts::default());
    let given = Given {
        reconciler: reconciler.clone(),
        fleet,
        leader: leader.clone(),
        replicas,
        credentials: peers,
        stats: stats.clone(),
        deeds: deeds.clone(),
        doors,
        webhook: asked.clone(),
        discovery: standing,
        tag_of,
        draining: draining.clone(),
        writes_per_second,
    };
    let answering = Api::new(given);
    let guarding = Guard::new(reconciler.clone(), leader.clone(), stats, answering.observe(), deeds);
    let guarding = tokio::spawn(guarding.run());
    #[cfg(feature = "kubernetes")]
    let kubectl = followed.map(|store| tokio::spawn(kubectl(&reconciler, store, leader, &answering).run()));
    let mut answering = tokio::spawn(answering.serve(api, of_api));

    let mut injecting = match (webhook, &config.webhook) {
        (Some(listener), Some(config)) => {
            info!(webhook = %listener.local_addr()?, "listening for the API server of a cluster");
            let connections = listen::connections(listener, port(|tls| &tls.webhook), webhook::CONNECTIONS);
            tokio::spawn(webhook::serve(connections, config.settings.clone(), asked, draining))
        }
        _ => tokio::spawn(async move {
            draining.clone().started().await;
            Ok(())
        }),
    };

    say_what_is_open(&config, [discovery_address, api_address]);
    info!(discovery = %discovery_address, api = %api_address, "listening");
    tell_ready(&addresses, config.ready_file.as_deref())?;

    let told = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        ended = &mut pushing => Err(anyhow::anyhow!("the discovery port ended: {}", reason(ended))),
        ended = &mut answering => Err(anyhow::anyhow!("the API port ended: {}", reason(ended))),
        ended = &mut injecting => Err(anyhow::anyhow!("the webhook's port ended: {}", reason(ended))),
        // A new process reads everything anew; this one would tell for ever of what ran now.
        Some(ended) = following.join_next() => {
            let why = ended.err().map_or("it is over".to_owned(), |error| error.to_string());
            Err(anyhow::anyhow!("discovery ended: {why}"))
        }
    };
    // Whatever the reason, who is connected is told, and our seat is given up.
    match &told {
        Ok(signal) => info!(drain_min = ?config.drain_min, "{signal}: leaving"),
        Err(reason) => error!(drain_min = ?config.drain_min, "{reason}, which is a bug of ours: leaving"),
    }
    let end = Instant::now() + config.drain_max;
    trigger.leave();
    // Who sends to us hears a while later that we leave. A second word of whoever ends us cuts that short.
    tokio::select! {
        () = tokio::time::sleep(config.drain_min) => {}
        _ = terminate.recv() => info!("SIGTERM again"),
        _ = interrupt.recv() => info!("SIGINT again"),
    }
    info!("draining");
    trigger.start();
    let drained = tokio::time::timeout_at(end, async {
        tokio::join!(over(pushing), over(answering), over(injecting));
        // The others need not wait until our lease is over.
        let _ = leave.send(());
        if let Some(seated) = seated {
            let _ = seated.await;
        }
    });
    if drained.await.is_err() {
        warn!("cut what was still running");
    }
    following.abort_all();
    expiring.abort();
    guarding.abort();
    tidying.abort();
    adopting.abort();
    #[cfg(feature = "kubernetes")]
    kubectl.into_iter().for_each(|task| task.abort());
    reconciling.abort();
    recording.abort();
    securing.into_iter().for_each(|task| task.abort());
    if !reconciler.flush_audit().await {
        warn!("the store is away: the last refused calls are not recorded");
    }
    info!("ended");
    told.map(drop)
}

/// Waits for a task whose end may have been taken already.
async fn over<T>(task: JoinHandle<T>) {
    if !task.is_finished() {
        let _ = task.await;
    }
}

/// What runs, as it was found, and the tasks that follow it.
struct Discovery {
    services: Vec<ServiceDocument>,
    discovered: watch::Receiver<Vec<ServiceDocument>>,
    /// None of them ends by itself.
    following: JoinSet<()>,
    /// Of a pod, where the cluster is read.
    service_of: ServiceOf,
    tag_of: TagOf,
    standing: Standing,
}

async fn discover(config: &Config) -> anyhow::Result<Discovery> {
    let (files, services) = Files::open(config.discovery.clone())?;
    if config.discovery.is_empty() && config.discovery_cluster.is_none() {
        warn!("no --discovery: nothing is known to run, sidecars pass everything through");
    }
    let nobody: ServiceOf = Arc::new(|_| PodService::Unread);
    let no_tags: TagOf = Arc::new(|_, _, _| PodTag::Unknown);
    let (found, discovered) = watch::channel(services.clone());
    let (mut following, standing) = (JoinSet::new(), Standing::default());
    following.spawn(files.follow(found));
    #[cfg(feature = "kubernetes")]
    if let Some(namespaces) = &config.discovery_cluster {
        let client = kubernetes::connect_for_long(cluster::SILENT_MAX).await?;
        let (cluster, services) = Cluster::open(&client, namespaces, standing.clone()).await?;
        let pods = cluster.pods();
        let asked = pods.clone();
        let tag_of: TagOf = Arc::new(move |namespace, pod, uid| asked.tag_of(namespace, pod, uid));
        let service_of: ServiceOf = Arc::new(move |pod| pods.service_of(&pod.namespace, &pod.name, &pod.uid));
        let (found, of_cluster) = watch::channel(services);
        following.spawn(cluster.follow(found));
        let mut merge = Merge::new(discovered, of_cluster);
        let services = merge.whole();
        let (found, discovered) = watch::channel(services.clone());
        following.spawn(merge.follow(found));
        return Ok(Discovery { services, discovered, following, service_of, tag_of, standing });
    }
    Ok(Discovery { services, discovered, following, service_of: nobody, tag_of: no_tags, standing })
}

/// What replicas share beside the store.
enum Shared {
    /// There can be no other replica.
    Alone,
    Etcd(Etcd),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Kubernetes),
}

/// The store, and the same once more where replicas share it.
async fn open_store(config: &Config) -> anyhow::Result<(Box<dyn Store>, Shared)> {
    Ok(match &config.store {
        StorePlace::Sqlite(path) => (Box::new(Sqlite::open(path)?), Shared::Alone),
        StorePlace::Etcd { endpoints, prefix, is_tls } => {
            let access = etcd::access::Access {
                is_tls: *is_tls,
                credentials: config.store_credentials.clone(),
                user_file: config.store_user_file.clone(),
            };
            let etcd = Etcd::new(&Address { endpoints: endpoints.clone(), prefix: prefix.clone(), access })?;
            (Box::new(etcd.clone()), Shared::Etcd(etcd))
        }
        #[cfg(feature = "kubernetes")]
        StorePlace::Kubernetes => {
            let store = Kubernetes::new(long_client().await?, &config.kubernetes_namespace);
            (Box::new(store.clone()), Shared::Kubernetes(store))
        }
        #[cfg(not(feature = "kubernetes"))]
        StorePlace::Kubernetes => anyhow::bail!("this program was built without the feature `kubernetes`"),
    })
}

/// This replica, as the others reach it.
fn own_replica(config: &Config, api_address: SocketAddr) -> Replica {
    let scheme = if config.has_tls() { "https" } else { "http" };
    let own = Advertised::Address(api_address.ip());
    let advertised = config.api_advertise.as_ref().unwrap_or(&own);
    Replica { name: config.replica.clone(), api: advertised.url(scheme, api_address.port()) }
}

/// Takes up what people write with kubectl.
#[cfg(feature = "kubernetes")]
fn kubectl(reconciler: &Reconciler, store: Kubernetes, leader: Leader, api: &Api) -> Kubectl {
    let api = api.clone();
    let progress: Progress = Box::new(move |name| {
        let api = api.clone();
        Box::pin(async move { api.progress(&name).await })
    });
    Kubectl::new(reconciler.clone(), store, leader, progress)
}

/// What both ports ask and show, and the tasks that keep it as the files say.
struct Security {
    tls: Option<watch::Receiver<Arc<Tls>>>,
    rules: Rules,
    following: Vec<JoinHandle<()>>,
}

/// Our own authority, if we are to have one.
#[cfg(feature = "kubernetes")]
async fn open_authority(config: &Config) -> anyhow::Result<Option<authority::Authority>> {
    let Some(own) = &config.own_ca else { return Ok(None) };
    let config = authority::Config {
        namespace: config.kubernetes_namespace.clone(),
        names: own.names.clone(),
        webhook_config: own.webhook_config.clone(),
        namespaces: authority::ENABLED.to_owned(),
        pods: authority::INJECTED.to_owned(),
    };
    authority::Authority::open(long_client().await?, config, Clock::system()).await.map(Some)
}

/// `own` is what our own authority gives, in place of files.
async fn secure(
    config: &Config,
    own: Option<watch::Receiver<Arc<Tls>>>,
    service_of: ServiceOf,
) -> anyhow::Result<Security> {
    let mut following = Vec::new();
    let tls = match &config.tls {
        Some(files) => {
            let required = files.required;
            let make = move |contents: &[Vec<u8>]| tls::read(contents, required);
            let paths = [&files.cert, &files.key].into_iter().chain(&files.client_ca).cloned().collect();
            let (files, first) = reload::Files::open("TLS configuration", paths, tls::FILE_BYTES_MAX, make)?;
            let (current, followed) = watch::channel(Arc::new(first));
            following.push(tokio::spawn(files.follow(current, make)));
            Some(followed)
        }
        None => own,
    };
    let access = match &config.access_file {
        Some(path) => {
            let make = |contents: &[Vec<u8>]| Access::parse(&contents.concat());
            let paths = vec![path.clone()];
            let (files, first) = reload::Files::open("access file", paths, access::FILE_BYTES_MAX, make)?;
            let (current, followed) = watch::channel(Arc::new(first));
            following.push(tokio::spawn(files.follow(current, make)));
            Some(followed)
        }
        None => None,
    };
    let cluster = match &config.access_cluster {
        Some(audience) => Some(authority(audience.clone(), service_of).await.context("--access kubernetes")?),
        None => None,
    };
    Ok(Security { tls, rules: Rules { access, cluster }, following })
}

/// Of the cluster, for parts whose watches are as kube opens them, or that have a limit for each answer.
#[cfg(feature = "kubernetes")]
async fn long_client() -> anyhow::Result<kube::Client> {
    kubernetes::connect_for_long(kubernetes::SILENT_MAX).await
}

/// The cluster, asked about tokens.
#[cfg(feature = "kubernetes")]
async fn authority(audience: String, service_of: ServiceOf) -> anyhow::Result<Arc<Authority>> {
    let reviewer = ApiServer::new(long_client().await?);
    Ok(Arc::new(Authority::new(Box::new(reviewer), audience, service_of)))
}

#[cfg(not(feature = "kubernetes"))]
async fn authority(_: String, _: ServiceOf) -> anyhow::Result<Arc<Authority>> {
    anyhow::bail!("this program was built without the feature kubernetes")
}

/// Nobody has to guess how well a port is kept.
fn say_what_is_open(config: &Config, addresses: [SocketAddr; 2]) {
    if let Some(told) = config.webhook.as_ref().filter(|webhook| webhook.settings.control.starts_with("http://")) {
        let control = told.settings.control.as_str();
        warn!(%control, "sidecars are told to come without TLS, which this port does not take: --inject control=https://… names it");
    }
    let tls = if config.has_tls() { "TLS" } else { "no TLS" };
    let who = match (&config.access_file, &config.access_cluster) {
        (Some(_), Some(_)) => "only those named in the access file or known to the cluster",
        (Some(_), None) => "only those named in the access file",
        (None, Some(_)) => "only those known to the cluster",
        (None, None) => "no authentication",
    };
    let has_access = config.access_file.is_some() || config.access_cluster.is_some();
    let is_kept = config.has_tls() && has_access;
    if is_kept {
        info!("{tls}, {who}");
    } else if addresses.iter().all(|address| address.ip().is_loopback()) {
        info!("{tls}, {who}: loopback only");
    } else if !has_access {
        warn!("{tls}, {who}, on addresses beyond loopback: whoever reaches a port can change the mesh");
    } else {
        warn!("{tls}, {who}, on addresses beyond loopback: whoever listens on the way learns tokens");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// Whoever started the process reads where it listens: the one line on stdout, and the file if one was asked for.
fn tell_ready(addresses: &[(&str, SocketAddr)], file: Option<&Path>) -> anyhow::Result<()> {
    #[allow(clippy::print_stdout, reason = "the line that scripts wait for")]
    {
        let told: String = addresses.iter().map(|(port, address)| format!(" {port}={address}")).collect();
        println!("laneway-control ready{told}");
    }
    let Some(path) = file else { return Ok(()) };
    let text: serde_json::Map<_, _> =
        addresses.iter().map(|(port, address)| ((*port).to_owned(), address.to_string().into())).collect();
    let text = serde_json::Value::Object(text).to_string();
    // Under its name only when it is whole.
    let part = path.with_extension("part");
    std::fs::write(&part, text + "\n")
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("write --ready-file {}", path.display()))
}

fn reason(ended: Result<Result<(), impl std::error::Error>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "it was closed".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
