//! What time it is, for people: the one place where the control plane's rules look at a clock. Tests tell the time
//! themselves.

use std::sync::Arc;
use std::time::SystemTime;

/// A wall clock. It may jump, either way.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// That of the machine.
    pub fn system() -> Clock {
        Clock::new(SystemTime::now)
    }

    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}
