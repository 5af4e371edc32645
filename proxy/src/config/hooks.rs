//! The hooks' flags: what a pod runs beside its sidecar, with the same environment.

use std::net::SocketAddr;

use clap::Subcommand;
use laneway_proto::contract::{PORT_ADMIN, PORT_STATUS};

use super::{Time, any};
use crate::hooks::Hook;

#[derive(Subcommand, Clone, Copy, Debug)]
pub(super) enum HookFlags {
    /// Wait until the sidecar of this pod is ready, for a postStart hook. Ends with 0, or with 1 and the reason.
    Wait {
        /// Its status port.
        #[arg(long, value_name = "ADDRESS", env = "LANEWAY_STATUS", default_value_t = any(PORT_STATUS))]
        status: SocketAddr,
        /// For how long at most.
        #[arg(long, value_name = "TIME", default_value = "30s")]
        timeout: Time,
    },
    /// Tell callers that this pod is about to end, for the preStop hook of a native sidecar: the next answer of each of their connections is
    /// its last, and /ready says 503; all else goes on until the sidecar is drained. Ends with 0, or with 1 and the reason.
    Announce {
        /// Its admin port.
        #[arg(long, value_name = "ADDRESS", env = "LANEWAY_ADMIN", default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT_ADMIN)))]
        admin: SocketAddr,
    },
    /// Drain the sidecar of this pod and wait until it has ended, for a preStop hook. Ends with 0, or with 1 and the reason.
    Drain {
        /// Its admin port.
        #[arg(long, value_name = "ADDRESS", env = "LANEWAY_ADMIN", default_value_t = SocketAddr::from(([127, 0, 0, 1], PORT_ADMIN)))]
        admin: SocketAddr,
        /// For how long at most; more than the sidecar's --drain-max.
        #[arg(long, value_name = "TIME", default_value = "40s")]
        timeout: Time,
    },
}

impl From<HookFlags> for Hook {
    fn from(flags: HookFlags) -> Hook {
        match flags {
            HookFlags::Wait { status, timeout } => Hook::Wait { status, timeout: timeout.0 },
            HookFlags::Announce { admin } => Hook::Announce { admin },
            HookFlags::Drain { admin, timeout } => Hook::Drain { admin, timeout: timeout.0 },
        }
    }
}
