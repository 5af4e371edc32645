use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Leaving, Standing};
use crate::datapath::activity::CoarseClock;
use crate::datapath::connect::From;
use crate::datapath::pool::{Ending, Host, Key, Pool};

const GRACE: Duration = Duration::from_secs(30);
const CLOSES: Standing = Standing::Leaves { closes_after: Some(GRACE) };
const RUNS_ON: Standing = Standing::Leaves { closes_after: None };

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 1, 0, 1], number))
}

/// An instance of `b` on which one request runs.
fn busy(pool: &Pool, number: u16) -> Rc<Host> {
    let host = pool.host(Key { address: address(number), from: From::Any });
    host.is_of(&"b".into());
    host.begin();
    host
}

fn seconds(start: Instant, count: u64) -> Instant {
    start + Duration::from_secs(count)
}

struct World {
    leaving: Leaving,
    host: Rc<Host>,
    start: Instant,
}

impl World {
    /// One instance that was retired.
    fn new() -> World {
        let pool = Pool::new(CoarseClock::default(), 60);
        let host = busy(&pool, 1);
        let mut leaving = Leaving::default();
        leaving.watch(pool.retain(|_| false));
        World { leaving, host, start: Instant::now() }
    }

    /// What a look at this second comes to, and in how many seconds the next one is due.
    fn look(&mut self, second: u64, standing: Standing) -> (Ending, Option<u64>) {
        let now = seconds(self.start, second);
        let look = self.leaving.look(now, |service, at| {
            assert_eq!((service, at), ("b", address(1)));
            standing
        });
        assert_eq!(look.over.len(), usize::from(self.host.ending() == Ending::Over));
        (self.host.ending(), look.next.map(|next| (next - now).as_secs()))
    }
}

#[test]
fn what_runs_is_announced_at_once_and_over_after_the_grace() {
    let mut world = World::new();
    assert_eq!(world.look(0, CLOSES), (Ending::Announced, Some(30)));
    assert_eq!(world.look(29, CLOSES), (Ending::Announced, Some(1)));
    assert_eq!(world.look(30, CLOSES), (Ending::Over, None));
    assert!(world.leaving.0.is_empty(), "it is told once");
}

#[test]
fn without_a_word_of_the_policy_it_runs_on() {
    let mut world = World::new();
    assert_eq!(world.look(0, RUNS_ON), (Ending::None, None));
    assert_eq!(world.look(100_000, RUNS_ON), (Ending::None, None));
}

#[test]
fn an_instance_that_comes_back_ends_nothing_and_has_its_whole_grace_the_next_time() {
    let mut world = World::new();
    assert_eq!(world.look(0, CLOSES), (Ending::Announced, Some(30)));
    assert_eq!(world.look(29, Standing::Stays), (Ending::None, None));
    assert_eq!(world.look(60, CLOSES), (Ending::Announced, Some(30)));
    assert_eq!(world.look(90, CLOSES), (Ending::Over, None));
}

#[test]
fn the_newer_policy_holds_from_when_it_went_away() {
    let mut world = World::new();
    assert_eq!(world.look(0, RUNS_ON), (Ending::None, None));
    assert_eq!(world.look(10, CLOSES), (Ending::Announced, Some(20)));
    assert_eq!(world.look(20, RUNS_ON), (Ending::None, None));
    let shorter = Standing::Leaves { closes_after: Some(Duration::from_secs(5)) };
    assert_eq!(world.look(21, shorter), (Ending::Over, None));
}

#[test]
fn what_has_ended_by_itself_is_forgotten() {
    let mut world = World::new();
    assert_eq!(world.look(0, CLOSES), (Ending::Announced, Some(30)));
    world.host.end();
    let look = world.leaving.look(seconds(world.start, 30), |_, _| CLOSES);
    assert!(look.over.is_empty() && look.next.is_none() && world.leaving.0.is_empty());
}

#[test]
fn only_instances_of_a_service_are_watched_and_the_earliest_is_next() {
    let pool = Pool::new(CoarseClock::default(), 60);
    let _hosts = [busy(&pool, 1), busy(&pool, 2)];
    // One to nowhere of ours, and one on which nothing runs.
    pool.host(Key { address: address(3), from: From::Any }).begin();
    pool.host(Key { address: address(4), from: From::Any }).is_of(&"b".into());
    let mut leaving = Leaving::default();
    leaving.watch(pool.retain(|_| false));
    let start = Instant::now();
    let look = leaving.look(start, |_, at| Standing::Leaves { closes_after: Some(GRACE * u32::from(at.port())) });
    assert_eq!(look.next, Some(start + GRACE));
    assert_eq!(leaving.0.len(), 2);
    // Calls that come later are none of it.
    assert_eq!(busy(&pool, 1).ending(), Ending::None);
}
