//! The decision: pure. No tokio, no sockets, no clock, no random source, no lock, and no allocation in `decide`.
//!
//! ```text
//!  documents --read--> admin objects --compile--> wire resources --decode--> Resources --build--> Snapshot
//!                                                                                                    |
//!                                        Facts (one request) ---------------------> decide <---------+
//!                                                                                      |
//!                                                              Decision { tag, source, why, endpoint }
//! ```
//! The sidecar, the control plane's Explain and the scenario tests all run this same code.

pub mod back_off;
pub mod base64url;
pub mod carry;
pub mod context;
pub mod correlation;
pub mod duration;
pub mod facts;
pub mod hop;
pub mod name;
pub mod tag;
pub mod trace;
pub mod why;

pub mod condition;
pub mod conduct;
pub mod in_flight;
mod ladder;
mod lane;
mod mark;
mod pattern;
mod policy;
mod rule;
pub mod share;
mod table;
mod witness;

pub mod check;
pub mod compile;
pub mod decide;
pub mod decode;
pub mod delta;
pub mod document;
pub mod explain;
pub mod inventory;
pub mod snapshot;
