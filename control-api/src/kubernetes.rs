//! The API server of a cluster: how it is reached, and under which names we are known there.
//!
//! Whoever asks it something (a source of endpoints, a store, an authority) has a file of its own in its own folder; what they have in
//! common is here.

use anyhow::Context;
use kube::{Client, Config};

/// API group and version of our objects.
pub const GROUP: &str = crate::crd::GROUP;
pub const VERSION: &str = crate::crd::VERSION;
/// Who wrote a field, in `managedFields`.
pub const FIELD_MANAGER: &str = "laneway-control";

/// A client of the cluster that this runs in, by its ServiceAccount; elsewhere of that which `KUBECONFIG` or `~/.kube/config` names.
/// Nothing is asked yet.
pub async fn connect() -> anyhow::Result<Client> {
    let config =
        Config::infer().await.context("find the API server (a ServiceAccount, KUBECONFIG or ~/.kube/config)")?;
    Client::try_from(config).context("make a client of the API server")
}
