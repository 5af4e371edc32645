//! The API server of a cluster: how it is reached, and under which names we are known there.
//!
//! Whoever asks it something (a source of endpoints, a store, an authority) has a file of its own in its own folder; what they have in
//! common is here.

use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};

/// API group and version of our objects.
pub const GROUP: &str = crate::crd::GROUP;
pub const VERSION: &str = crate::crd::VERSION;
/// Who wrote a field, in `managedFields`.
pub const FIELD_MANAGER: &str = "laneway-control";

/// An answer that goes on for long may be silent for so long, for those whose watches are as kube opens them: they end after 290 s.
pub const SILENT_MAX: Duration = Duration::from_secs(310);

/// A client for one command: of the cluster that this runs in, by its ServiceAccount; elsewhere of that which `KUBECONFIG` or
/// `~/.kube/config` names. Nothing is asked yet. What is refused for lack of room (429, 503) is asked again, for minutes if need be:
/// a command has nobody else who would.
pub async fn connect() -> anyhow::Result<Client> {
    client(config().await?)
}

/// A client for a program that runs for years, whose parts try again by themselves, and tell of what fails. An answer of which nothing
/// was heard for `silent_max` is broken off.
pub async fn connect_for_long(silent_max: Duration) -> anyhow::Result<Client> {
    client(for_long(config().await?, silent_max))
}

/// What kube does by default is not for us: it hides 429, 503 and 504 from whoever asks, for minutes and longer by each, and waits for an
/// answer without end. A connection that is gone without a word would hold a list up for ever.
pub(crate) fn for_long(mut config: Config, silent_max: Duration) -> Config {
    config.default_retry = false;
    config.read_timeout = Some(silent_max);
    // Else the time for which a connection was not needed counts as silence of the answer after it.
    config.reset_reader_on_write = true;
    config
}

async fn config() -> anyhow::Result<Config> {
    Config::infer().await.context("find the API server (a ServiceAccount, KUBECONFIG or ~/.kube/config)")
}

fn client(config: Config) -> anyhow::Result<Client> {
    Client::try_from(config).context("make a client of the API server")
}
