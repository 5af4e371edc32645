//! The control plane and lanectl.
//!
//! ```text
//!   lanectl ---> api --Edit--> reconcile --> store                    discovery (what runs)
//!                 |               |   ^------------------------------------/
//!                 |               v  watch<Arc<Published>>
//!               fleet <--------- push <===== delta streams =====> sidecars
//! ```
//! Directions: api -> {reconcile, fleet}; reconcile -> {edit, catalog, store}; push -> {reconcile's result, fleet}; store and
//! discovery know nothing of each other. Only `config` reads the environment, only `app` wires, only the mains exit.
//! tonic is named in `push`, `api` and `lanectl/client` alone.

pub mod api;
pub mod app;
pub mod catalog;
pub mod config;
pub mod discovery;
pub mod drain;
pub mod edit;
pub mod fleet;
pub mod json;
pub mod lanectl;
pub mod name;
pub mod push;
pub mod reconcile;
pub mod store;

#[cfg(test)]
mod tests;
