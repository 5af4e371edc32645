//! End to end: real processes, a real redirect in network namespaces, real peers.
//!
//! Every test builds the mesh it needs and takes it down. Tests that need root say so and are skipped aloud without it; in
//! CI nothing is skipped.

mod alone;
mod bundles;
mod cache;
mod closing;
mod compare;
mod conformance;
mod connections;
mod control;
mod deploy;
mod dialled;
mod drain;
mod exchange;
mod expiry;
mod explain;
mod faults;
mod fleet;
mod floods;
mod frames;
mod guard;
mod h2spec;
mod injected;
mod injection;
mod instance;
mod lifecycle;
mod lists;
mod metrics;
mod network;
mod path;
mod probes;
mod prometheus;
mod propagation;
mod redirect;
mod refusals;
mod releases;
mod repeats;
mod resilience;
mod rules;
mod scenarios;
mod secured;
mod sidecar;
mod streams;
mod strict;
mod support;
mod tricks;
mod trust;
mod unprocessed;
mod wire;
