//! Opens connections to the instances that an earlier process called, before requests need them: as soon as the configuration has them,
//! and before this worker says that it decides by that configuration, which readiness waits for.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use laneway_core::snapshot::Protocol;
use tokio::task::JoinSet;

use super::connect::From;
use super::pool::Key;
use super::route::Target;
use super::worker::Worker;
use crate::habits::Instance;

/// Connections of HTTP/1.1 to each instance; all requests by HTTP/2 share one.
const HTTP1_CONNECTIONS: usize = 2;
/// So long they are waited for at a time: a round trip within a cluster many times over, and short enough for a start from the disk. What
/// is slower comes later.
const WAIT: Duration = Duration::from_millis(200);
/// After this what is left is given up: requests have opened what they need.
const SECONDS_MAX: u32 = 10;

/// What one worker has opened of it.
#[derive(Default)]
pub(crate) struct Warming {
    done: HashSet<Instance>,
}

impl Warming {
    /// Opens what can be called by now.
    pub(crate) async fn proceed(&mut self, worker: &Rc<Worker>) {
        if worker.clock.seconds() > SECONDS_MAX {
            return;
        }
        let mut due = worker.habits.former_instances();
        let snapshot = worker.reader.load();
        due.retain(|instance| worker.may_be_called(&snapshot, key(instance)) && self.done.insert(*instance));
        drop(snapshot);
        let mut opening = JoinSet::new();
        for instance in due {
            let count = if instance.is_http2 { 1 } else { HTTP1_CONNECTIONS };
            for _ in 0..count {
                opening.spawn_local(open(Rc::clone(worker), instance));
            }
        }
        if opening.is_empty() {
            return;
        }
        let all = async { while opening.join_next().await.is_some() {} };
        let _ = worker.timer.timeout(WAIT, all).await;
        opening.detach_all();
    }
}

fn key(instance: &Instance) -> Key {
    Key { address: instance.address, from: from(instance) }
}

fn from(instance: &Instance) -> From {
    if instance.is_application { From::Marker } else { From::Any }
}

/// One connection, into the pool. Whoever does not take it is called by the request that needs it, and blamed by that.
async fn open(worker: Rc<Worker>, instance: Instance) {
    let protocol = if instance.is_http2 { Protocol::Http2 } else { Protocol::Http1 };
    let connect_timeout = worker.config.timeouts.connect;
    let target = Target { address: instance.address, from: from(&instance), protocol, connect_timeout };
    let claim = worker.upstream.claim(target);
    let opened = match protocol {
        Protocol::Http2 => worker.upstream.http2(&claim).await.map(drop),
        Protocol::Http1 | Protocol::Detect | Protocol::Opaque => {
            worker.upstream.open_http1(&claim).await.map(|conn| claim.host.put_idle(conn))
        }
    };
    if let Err(failure) = opened {
        tracing::debug!(to = %instance.address, reason = failure.label(), "not warm");
    }
}
