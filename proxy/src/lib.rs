//! The sidecar: takes the traffic of one pod, and decides for each request which instance of which lane it goes to.
//!
//! ```text
//!  app pod | accept -> original destination -> detect -> head (h1 | h2) -> inbound | outbound -> decide -> exchange -> peer
//!          |                                     \-> opaque                               ^ Reader
//!  control |  client <-> session -> decode -> Publisher -> [ current: Arc<Snapshot> ] ----+
//! ```
//! `control` and `datapath` never import each other; they meet in `current`. With control gone the data path serves the last
//! snapshot. `app` wires everything and is imported by nobody but `main`; only `config` knows the environment.

pub mod admin;
pub mod app;
pub mod app_health;
pub mod config;
pub mod control;
pub mod current;
pub mod datapath;
pub mod drain;
#[cfg(test)]
#[path = "../../core/tests/hostile/draw.rs"]
mod draw;
pub mod h1;
pub mod habits;
pub mod handover;
pub mod hooks;
pub mod journal;
pub mod logging;
pub mod pages;
pub mod pressure;
pub mod resources;
pub mod status;
pub mod telemetry;
pub mod timer;
