//! Time for the workers, kept by the main thread's runtime. A worker's runtime has no clock of its own: it would read it before and
//! after every wait for I/O, a twentieth of what a request costs.
//!
//! A timer that is due wakes its worker across threads; timers are for what seldom comes due.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::error::Elapsed;

/// Waits by the clock of the runtime that it was made in, from any other.
#[derive(Clone, Debug)]
pub struct Timer(Handle);

impl Timer {
    /// Of the runtime that is running now, which must have a clock, and must run for as long as anybody waits.
    pub fn current() -> Timer {
        Timer(Handle::current())
    }

    pub async fn sleep(&self, duration: Duration) {
        let sleep = {
            let _entered = self.0.enter();
            tokio::time::sleep(duration)
        };
        sleep.await;
    }

    /// What `work` returns, or an error after `duration`.
    pub async fn timeout<F: Future>(&self, duration: Duration, work: F) -> Result<F::Output, Elapsed> {
        let timeout = {
            let _entered = self.0.enter();
            tokio::time::timeout(duration, work)
        };
        timeout.await
    }
}
