//! The redirect: how the connections of a pod come to its sidecar without a word to the application.
//!
//! ```text
//!  peer ──► prerouting ── not lo, not excluded ──────────────► 15406 inbound ─┐ dials the pod address from 127.0.0.6 / ::6
//!                                                                             ▼
//!                                                                        application
//!                                                                             │ dials anything that is not lo
//!  peer ◄── as it is ◄── uid 2337, not to lo ◄── outbound 15401 ◄── output ◄──┘ and not excluded
//!                              │
//!                              └ uid 2337 to an own address over lo, not from 127.0.0.6: the application called itself
//!                                through its service's address, so it passes inbound like any other caller ──► 15406
//! ```
//!
//! Three steps, and only the last touches the machine: [`Plan`] (from options, cannot be wrong) → [`render_nft`] or
//! [`render_iptables`] (text) → [`apply`] (spawns `nft -f -`, or `iptables-restore --noflush` for each family).
//! A rule set is one transaction. It can be applied again and again, and taken away, from any state an earlier run left
//! behind, and it never touches what others have put there.
//!
//! What it does not do: UDP is never captured, so HTTP/3 and DNS go their own way; connections that were open before the
//! rules stay direct; a port that is dialled at 15401 or 15406 itself comes to inbound with that port as its original
//! destination, and the proxy refuses it. Without its sidecar a redirected pod fails closed.

pub mod cidr;
pub mod ports;

pub mod plan;

pub mod render;

pub mod host;

pub mod steps;

pub mod apply;

pub mod validate;

pub use plan::{Options, Plan, PlanError};
pub use render::{render_iptables, render_iptables_undo, render_nft, render_nft_undo};
