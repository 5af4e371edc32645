use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Wake, Waker};

use super::Bell;

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn everybody_who_listens_is_woken_and_nobody_who_has_gone() {
    let bell = Bell::default();
    let counts: Vec<_> = (0..3).map(|_| Arc::<Count>::default()).collect();
    let wakers: Vec<Waker> = counts.iter().map(|count| Waker::from(Arc::clone(count))).collect();
    let woken = || counts.iter().map(|count| count.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
    let mut listeners: Vec<_> = (0..3).map(|_| bell.listener()).collect();
    bell.ring();
    assert_eq!(woken(), [0, 0, 0], "nobody listens yet");
    for (listener, waker) in listeners.iter_mut().zip(&wakers) {
        listener.listen(&Context::from_waker(waker));
        listener.listen(&Context::from_waker(waker));
    }
    bell.ring();
    assert_eq!(woken(), [1, 1, 1]);
    listeners.remove(1);
    bell.ring();
    assert_eq!(woken(), [2, 1, 2]);
    // Another one takes the place that is free.
    let mut late = bell.listener();
    late.listen(&Context::from_waker(&wakers[1]));
    assert_eq!(bell.0.borrow().wakers.len(), 3);
    bell.ring();
    assert_eq!(woken(), [3, 2, 3]);
}

#[test]
fn a_task_that_moved_on_is_woken_where_it_is_now() {
    let bell = Bell::default();
    let (before, now) = (Arc::<Count>::default(), Arc::<Count>::default());
    let mut listener = bell.listener();
    listener.listen(&Context::from_waker(&Waker::from(Arc::clone(&before))));
    listener.listen(&Context::from_waker(&Waker::from(Arc::clone(&now))));
    bell.ring();
    assert_eq!((before.0.load(Ordering::Relaxed), now.0.load(Ordering::Relaxed)), (0, 1));
}
