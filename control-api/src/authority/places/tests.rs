//! What watches tell in which order, and what is then to be written.

use super::*;

const OLD: u64 = 1;
const NEW: u64 = 2;

fn label(namespace: &str) -> impl Fn(&&str) -> (String, Option<()>) {
    let going = namespace.to_owned();
    move |name: &&str| ((*name).to_owned(), (**name != going).then_some(()))
}

fn map(map: &(&str, u64)) -> (String, Option<u64>) {
    (map.0.to_owned(), Some(map.1))
}

fn pod(namespace: &&str) -> String {
    (*namespace).to_owned()
}

/// `mesh` is our own namespace, `shop` and `bank` have the label, a pod of `bar` says it for itself; `shop` has its ConfigMap.
fn places() -> Places {
    let mut places = Places::new("mesh".to_owned());
    for event in
        [Event::Init, Event::InitApply("shop"), Event::InitApply("bank"), Event::InitApply("old"), Event::InitDone]
    {
        places.namespaces.see(event, label("old"));
    }
    for event in [Event::Init, Event::InitApply("bar"), Event::InitApply("shop"), Event::InitDone] {
        places.see_pod(event, pod);
    }
    for event in [Event::Init, Event::InitApply(("shop", NEW)), Event::InitApply(("other", OLD)), Event::InitDone] {
        places.held.see(event, map);
    }
    places
}

#[test]
fn nothing_is_written_before_everything_was_looked_at() {
    let mut places = places();
    assert!(!places.are_whole());
    assert!(places.see_webhooks(Vec::new()) && places.are_whole());
    assert_eq!(
        (places.wanting(NEW), places.wanting_webhooks(NEW)),
        (vec!["bank".into(), "bar".into(), "mesh".into()], None)
    );
    assert_eq!(places.wanting(OLD), ["bank", "bar", "mesh", "shop"]);
}

#[test]
fn what_is_deleted_or_changed_is_written_again() {
    let mut places = places();
    for namespace in ["bank", "bar", "mesh"] {
        places.hold(namespace.to_owned(), NEW);
    }
    assert!(places.wanting(NEW).is_empty());
    assert!(!places.held.see(Event::Apply(("bank", NEW)), map), "it is as we wrote it");
    assert!(places.held.see(Event::Delete(("bank", NEW)), map));
    assert!(places.held.see(Event::Apply(("shop", OLD)), map));
    assert_eq!(places.wanting(NEW), ["bank", "shop"]);
    // A list that begins anew, after the watch was cut off, is what counts.
    for event in [Event::Init, Event::InitApply(("shop", NEW)), Event::InitApply(("bank", NEW))] {
        assert!(!places.held.see(event, map));
    }
    assert_eq!(places.wanting(NEW), ["bank", "shop"], "it is not whole yet");
    assert!(places.held.see(Event::InitDone, map));
    assert_eq!(places.wanting(NEW), ["bar", "mesh"]);
}

#[test]
fn a_namespace_comes_and_goes() {
    let mut places = places();
    assert!(places.namespaces.see(Event::Apply("new"), label("")));
    assert!(!places.namespaces.see(Event::Apply("new"), label("")), "as before");
    assert!(places.see_pod(Event::Apply("late"), pod) && !places.see_pod(Event::Apply("late"), pod));
    assert_eq!(places.wanting(NEW), ["bank", "bar", "late", "mesh", "new"]);
    assert!(places.namespaces.see(Event::Apply("new"), label("new")), "it is going");
    assert!(places.namespaces.see(Event::Delete("bank"), label("")), "it lost the label");
    places.forget("late");
    assert_eq!(places.wanting(NEW), ["bar", "mesh"]);
}

#[test]
fn all_webhooks_are_written_when_one_lacks_the_bundle() {
    let mut places = places();
    let webhooks = |bundle| vec![("namespace".to_owned(), NEW), ("pod".to_owned(), bundle)];
    assert!(places.see_webhooks(webhooks(OLD)) && !places.see_webhooks(webhooks(OLD)));
    assert_eq!(places.wanting_webhooks(NEW), Some(vec!["namespace".to_owned(), "pod".to_owned()]));
    assert!(places.see_webhooks(webhooks(NEW)));
    assert_eq!(places.wanting_webhooks(NEW), None);
}
