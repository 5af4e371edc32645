//! The control plane and lanectl.
//!
//! ```text
//!   lanectl ---> api --Edit--> reconcile --> store                    discovery (what runs)
//!                 |   expirer,guard-+ ^------------------------------------/
//!                 |               v  watch<Arc<Published>>
//!               fleet <--------- push <===== delta streams =====> sidecars
//! ```
//! Directions: api -> {reconcile, fleet}; expirer -> reconcile; guard -> {reconcile, stats}; reconcile -> {edit, catalog, store}; push -> {reconcile's result, fleet}; store and
//! discovery know nothing of each other. Only `config` reads the environment, only `app` wires, only the mains exit.
//! tonic is named in `push`, `api`, `webhook`, `health`, `reflection`, `listen`, `credentials`, `lanectl/client` and `store/etcd` alone. `listen` tells who is
//! at the other end of a connection, `access` what they may do; `push` and `api` ask it at their doors.

pub mod access;
pub mod api;
pub mod app;
#[cfg(feature = "kubernetes")]
pub mod authority;
pub mod catalog;
pub mod causes;
pub mod changes;
pub mod clock;
pub mod config;
pub mod crd;
pub mod credentials;
pub mod discovery;
pub mod drain;
pub mod edit;
pub mod expirer;
pub mod fleet;
pub mod guard;
pub mod health;
pub mod inject;
pub mod install;
pub mod json;
#[cfg(feature = "kubernetes")]
pub mod kubectl;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod lanectl;
pub mod leader;
pub mod listen;
pub mod name;
pub mod origin;
pub mod push;
pub mod reconcile;
pub mod reflection;
pub mod reload;
pub mod replicas;
pub mod stats;
pub mod store;
pub mod tls;
pub mod webhook;

#[cfg(test)]
mod tests;
