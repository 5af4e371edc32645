//! What the tests across crates and the demo stand on: applications, an unmeshed entry, and meshes of real processes.
//!
//! Nothing here is part of the product, and nothing here looks inside it: every part is started as its own process and
//! spoken to over the wire, as a user would. Only `sidecars` plays a part itself, by the product's own rules (`core`).
//!
//! ```text
//!  curl -> entry (no sidecar) -> [ sidecar | echo A ] -> [ sidecar | echo B ] -> [ sidecar | echo C ]
//!                                      \________________ laneway-control ________________/
//! ```

pub mod application;
pub mod client;
pub mod conformance;
pub mod control;
pub mod echo;
pub mod entry;
pub mod fault_relay;
pub mod grpc;
pub mod load;
pub mod mesh;
pub mod outages;
pub mod process;
pub mod propagation;
pub mod releases;
pub mod sidecars;
pub mod switches;
pub mod usage;
pub mod witness;
