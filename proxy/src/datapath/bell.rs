//! Wakes whoever runs on an instance, so that it looks whether that was told to end. Rung once an instance, so it wakes all: a few
//! thousand polls are cheaper than a list that each request would have to keep in order.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Waker};

/// Clones are the same bell.
#[derive(Clone, Default)]
pub(crate) struct Bell(Rc<RefCell<Places>>);

/// As many as streams have run at a time.
#[derive(Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// One task that hears the bell, from its first [`Listener::listen`] on, until this is dropped.
pub(crate) struct Listener {
    bell: Bell,
    place: Option<usize>,
}

impl Bell {
    pub(crate) fn listener(&self) -> Listener {
        Listener { bell: self.clone(), place: None }
    }

    pub(crate) fn ring(&self) {
        self.0.borrow().wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }
}

impl Listener {
    pub(crate) fn listen(&mut self, cx: &Context<'_>) {
        let mut places = self.bell.0.borrow_mut();
        let Places { wakers, free } = &mut *places;
        let place = *self.place.get_or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        if !wakers[place].as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            wakers[place] = Some(cx.waker().clone());
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut places = self.bell.0.borrow_mut();
            places.wakers[place] = None;
            places.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests;
