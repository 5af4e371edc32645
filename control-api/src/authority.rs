//! Our own authority (`--own-ca`): certificates for our ports that nobody has to make, and that everybody in the cluster can check.
//!
//! ```text
//!  Secret laneway-ca ──watch──▶ authorities ──sign──▶ certificate, in memory ──▶ all ports        every replica, for itself
//!        ▲ created once, rotated        └─bundle─▶ ConfigMaps laneway-ca, caBundle of the webhook   the leader
//! ```
//! [`terms`] says when something is done, [`root`] makes keys and certificates, [`stored`] reads and writes the Secret, [`publish`] tells
//! everybody whom to trust. Here is what waits. Keys are in the Secret and in memory, and nowhere else.

mod places;
mod publish;
mod root;
mod stored;
mod terms;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tracing::{info, warn};

use self::root::Root;
use self::stored::ROOTS_MAX;
use self::terms::{Seconds, Step, Term};
use crate::clock::Clock;
use crate::leader::Leader;
use crate::tls::{self, Required, Tls};

#[cfg(test)]
mod tests;

/// Name of the Secret, and of the ConfigMaps.
const NAME: &str = "laneway-ca";
/// Namespaces whose pods are injected.
pub const ENABLED: &str = "laneway.io/inject in (enabled,true)";
/// Pods that were, also in other namespaces.
pub const INJECTED: &str = "laneway.io/injected=true";
/// How often the clock is looked at. Nothing here is about minutes.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Whoever finds another's hand on the Secret looks again; with a handful of replicas the second look is the last.
const TRIES_MAX: usize = 8;
/// Before it is asked again for what it has no room for.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// What it is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of the Secret.
    pub namespace: String,
    /// By which the ports are dialled.
    pub names: Vec<String>,
    /// The MutatingWebhookConfiguration whose `caBundle` is kept.
    pub webhook_config: String,
    /// Selectors of the namespaces, and of the pods in any other, that need a ConfigMap: [`ENABLED`] and [`INJECTED`].
    pub namespaces: String,
    pub pods: String,
}

/// The authorities as this replica knows them, and its certificate.
pub struct Authority {
    client: Client,
    secrets: Api<Secret>,
    config: Config,
    clock: Clock,
    known: Known,
    serving: Serving,
    tls: watch::Sender<Arc<Tls>>,
    bundle: watch::Sender<Arc<str>>,
    /// The problem with the Secret that was told last.
    told: Option<String>,
}

/// A Secret, and what stands in it.
struct Known {
    secret: Secret,
    roots: Vec<Root>,
}

/// Our certificate: who signed it, since when it holds, when the next one is due.
struct Serving {
    root: String,
    from: Seconds,
    renew: Seconds,
}

impl Authority {
    /// Reads the Secret, or makes it, and our first certificate.
    pub async fn open(client: Client, config: Config, clock: Clock) -> anyhow::Result<Authority> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &config.namespace);
        let known = obtain(&secrets, &config.namespace, &clock).await?;
        let (serving, tls) = issue(&known.roots, &config.names, seconds(&clock))?;
        let (tls, bundle) =
            (watch::Sender::new(Arc::new(tls)), watch::Sender::new(stored::bundle(&known.roots).into()));
        Ok(Authority { client, secrets, config, clock, known, serving, tls, bundle, told: None })
    }

    /// What the ports show, always good.
    pub fn tls(&self) -> watch::Receiver<Arc<Tls>> {
        self.tls.subscribe()
    }

    /// Whom to trust, PEM.
    pub fn bundle(&self) -> watch::Receiver<Arc<str>> {
        self.bundle.subscribe()
    }

    /// Keeps all of it in good order, for ever.
    pub async fn run(self, leader: Leader) {
        let (published, heard) = watch::channel(Arc::from(""));
        let publishing =
            publish::run(self.client.clone(), self.config.clone(), leader.clone(), self.bundle(), published);
        tokio::join!(publishing, self.keep(leader, heard));
    }

    async fn keep(mut self, mut leader: Leader, mut published: watch::Receiver<Arc<str>>) {
        let mut seen = pin!(watch_object(self.secrets.clone(), NAME).default_backoff());
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                secret = seen.next() => match secret {
                    Some(Ok(Some(secret))) => self.take(secret),
                    Some(Ok(None)) => self.obtain_anew("it is not there").await,
                    Some(Err(error)) => warn!(%error, "Secret {NAME} cannot be watched"),
                    None => return,
                },
                _ = looks.tick() => {}
                () = leader.changed() => {}
                Ok(()) = published.changed() => {}
            }
            let now = seconds(&self.clock);
            if terms::signer(&self.known.terms(), now).is_none() {
                self.obtain_anew("all authorities in it are over").await;
            }
            self.renew(now);
            if leader.leads() {
                let are_published = **published.borrow_and_update() == *stored::bundle(&self.known.roots);
                if let Err(problem) = self.step(now, are_published).await {
                    warn!(problem = format!("{problem:#}"), "Secret {NAME} cannot be written; it is tried again");
                }
            }
        }
    }

    /// The Secret as it is now. What cannot be read changes nothing.
    fn take(&mut self, secret: Secret) {
        if secret.metadata.resource_version == self.known.secret.metadata.resource_version {
            return;
        }
        match stored::read(&secret) {
            Ok(roots) => self.know(Known { secret, roots }),
            Err(problem) => self.tell(format!("{problem}")),
        }
    }

    async fn obtain_anew(&mut self, why: &str) {
        warn!("Secret {NAME}: {why}; it is made anew");
        match obtain(&self.secrets, &self.config.namespace, &self.clock).await {
            Ok(known) => self.know(known),
            Err(problem) => self.tell(format!("{problem:#}")),
        }
    }

    fn know(&mut self, known: Known) {
        self.told = None;
        self.known = known;
        let bundle = stored::bundle(&self.known.roots);
        self.bundle.send_if_modified(|there| {
            let is_new = **there != *bundle;
            if is_new {
                *there = bundle.into();
            }
            is_new
        });
    }

    /// Once for each problem.
    fn tell(&mut self, problem: String) {
        if self.told.as_ref() != Some(&problem) {
            warn!(%problem, "Secret {NAME} is no good; what was last read from it stays in force");
            self.told = Some(problem);
        }
    }

    /// A certificate that is due, or that nobody could check any more.
    fn renew(&mut self, now: Seconds) {
        let is_known = self.known.roots.iter().any(|root| root.name() == self.serving.root);
        if is_known && (self.serving.from..self.serving.renew).contains(&now) {
            return;
        }
        match issue(&self.known.roots, &self.config.names, now) {
            Ok((serving, tls)) => {
                info!(authority = %serving.root, "a new certificate for our ports");
                self.serving = serving;
                self.tls.send_replace(Arc::new(tls));
            }
            Err(problem) => self.tell(format!("{problem:#}")),
        }
    }

    async fn step(&mut self, now: Seconds, are_published: bool) -> anyhow::Result<()> {
        let step = terms::step(&self.known.terms(), now, are_published);
        if step == Step::Nothing {
            return Ok(());
        }
        let mut roots = stored::read(&self.known.secret)?;
        match step {
            Step::Add => add(&mut roots, now)?,
            Step::Announce => roots.iter_mut().for_each(|root| root.term.announced = root.term.announced.or(Some(now))),
            Step::Forget => roots.retain(|root| !root.term.is_over(now)),
            Step::Nothing => {}
        }
        let mut secret = self.known.secret.clone();
        stored::write(&roots, &mut secret);
        match self.secrets.replace(NAME, &PostParams::default(), &secret).await {
            Ok(secret) => {
                info!(?step, authorities = roots.len(), "the authorities changed");
                self.know(Known { secret, roots });
                Ok(())
            }
            // Somebody was faster; what they wrote is coming.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error).context("replace it"),
        }
    }
}

impl Known {
    fn terms(&self) -> Vec<Term> {
        self.roots.iter().map(|root| root.term).collect()
    }
}

/// What is there and good, or else ours, if nobody was faster.
async fn obtain(secrets: &Api<Secret>, namespace: &str, clock: &Clock) -> anyhow::Result<Known> {
    for attempt in 1..=TRIES_MAX {
        let now = seconds(clock);
        let found = match secrets.get_opt(NAME).await {
            // There is no room for us at the moment.
            Err(kube::Error::Api(status)) if [429, 503].contains(&status.code) && attempt < TRIES_MAX => {
                tokio::time::sleep(ROOM_WAIT).await;
                continue;
            }
            found => found.with_context(|| format!("read Secret {NAME} in {namespace}"))?,
        };
        let (mut secret, mut roots) = match found {
            Some(secret) => {
                let problem = || {
                    format!(
                        "read Secret {NAME} in {namespace}; it is left as it is. Put back what stood there, or delete it: then \
                         a new authority is made, which clients learn of within minutes"
                    )
                };
                let roots = stored::read(&secret).with_context(problem)?;
                (secret, roots)
            }
            None => (empty(), Vec::new()),
        };
        if terms::signer(&roots.iter().map(|root| root.term).collect::<Vec<_>>(), now).is_some() {
            return Ok(Known { secret, roots });
        }
        add(&mut roots, now)?;
        stored::write(&roots, &mut secret);
        let written = match secret.metadata.resource_version {
            None => secrets.create(&PostParams::default(), &secret).await,
            Some(_) => secrets.replace(NAME, &PostParams::default(), &secret).await,
        };
        match written {
            Ok(secret) => {
                info!("Secret {NAME} was made: this control plane has an authority of its own");
                return Ok(Known { secret, roots });
            }
            // It is there by now, or is another one.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("write Secret {NAME} in {namespace}")),
        }
    }
    anyhow::bail!("Secret {NAME} in {namespace} changed at each of {TRIES_MAX} looks")
}

fn empty() -> Secret {
    let labels = [("app.kubernetes.io/managed-by".to_owned(), "laneway-control".to_owned())];
    Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// A new authority, in place of those that are over.
fn add(roots: &mut Vec<Root>, now: Seconds) -> anyhow::Result<()> {
    roots.retain(|root| !root.term.is_over(now));
    if roots.len() >= ROOTS_MAX {
        roots.remove(0);
    }
    roots.push(Root::make(Term::beginning(now)).context("make an authority")?);
    Ok(())
}

fn issue(roots: &[Root], names: &[String], now: Seconds) -> anyhow::Result<(Serving, Tls)> {
    let terms: Vec<Term> = roots.iter().map(|root| root.term).collect();
    let signer = terms::signer(&terms, now).and_then(|at| roots.get(at)).context("no authority is alive")?;
    let validity = signer.term.serving(now);
    let pair = signer.sign(names, validity).context("sign a certificate")?;
    let tls = tls::read(&[pair.certificate.into_bytes(), pair.key.into_bytes()], Required::default())?;
    Ok((Serving { root: signer.name(), from: validity.from, renew: validity.renew }, tls))
}

fn seconds(clock: &Clock) -> Seconds {
    clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
