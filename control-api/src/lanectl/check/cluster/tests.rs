use std::time::{Duration, UNIX_EPOCH};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};

use super::super::Mark;
use super::*;
use crate::install::{NAMESPACE, Settings, manifests};

fn marks(items: &[Item]) -> Vec<(&str, Mark)> {
    items.iter().map(|item| (item.anchor.as_str(), item.mark)).collect()
}

fn says<'i>(items: &'i [Item], anchor: &str) -> &'i str {
    &items.iter().find(|item| item.anchor == anchor).expect("it was looked at").says
}

/// Good until 2121.
fn authority() -> String {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("good parameters");
    parameters.not_after = rcgen::date_time_ymd(2121, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("signed").pem()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn whole() -> There {
    let authority = authority();
    There {
        replicas: Some((2, 2)),
        image: "laneway/control:1".to_owned(),
        leader: Some(("laneway-control-1".to_owned(), 3)),
        bundles: Some(vec![authority.clone(), authority.clone()]),
        authorities: Some(authority),
        ..There::default()
    }
}

#[test]
fn an_installation_that_is_whole_is_well() {
    let items = judge_there(&whole(), NAMESPACE, now());
    assert!(items.iter().all(|item| item.mark == Mark::Well), "{items:?}");
}

#[test]
fn each_part_that_is_missing_is_named() {
    type Break = fn(&mut There);
    let cases: [(&str, Break); 14] = [
        ("check-owner", |there| there.other = Some(Other::of("shop", true))),
        ("check-owner", |there| there.other = Some(Other::of("gone", false))),
        ("check-kinds", |there| there.missing_kinds.push("lanes.laneway.io".to_owned())),
        ("check-replicas", |there| there.replicas = None),
        ("check-replicas", |there| there.replicas = Some((2, 1))),
        ("check-lease", |there| there.leader = None),
        ("check-lease", |there| there.leader = Some(("gone".to_owned(), 61))),
        ("check-webhook", |there| there.bundles = None),
        ("check-webhook", |there| there.bundles = Some(vec![String::new()])),
        ("check-webhook", |there| there.authorities = None),
        ("check-new-pods", |there| there.new_pods.push(("shop".to_owned(), Fate::Bare))),
        ("check-new-pods", |there| there.new_pods.push(("shop".to_owned(), Fate::Refused("no".to_owned())))),
        ("check-authorities", |there| there.without_authorities.push("shop".to_owned())),
        ("check-webhook", |there| {
            there.authorities = Some("none".to_owned());
            there.bundles = Some(vec!["none".to_owned()]);
        }),
    ];
    for (anchor, spoil) in cases {
        let mut there = whole();
        spoil(&mut there);
        let items = judge_there(&there, NAMESPACE, now());
        let bad: Vec<&str> =
            items.iter().filter(|item| item.mark == Mark::NotWell).map(|item| item.anchor.as_str()).collect();
        assert_eq!(bad, [anchor]);
    }
}

#[test]
fn an_authority_that_is_over_is_not_well() {
    let items = judge_there(&whole(), NAMESPACE, UNIX_EPOCH + Duration::from_secs(5_000_000_000));
    assert_eq!(says(&items, "check-webhook"), "the control plane's authority is over");
}

#[test]
fn pods_without_a_sidecar_are_odd_and_counted() {
    let without_sidecar = (0..7).map(|number| format!("shop/a-{number}")).collect();
    let items = judge_there(&There { without_sidecar, ..whole() }, NAMESPACE, now());
    assert_eq!(
        says(&items, "check-sidecars"),
        "7 pods without a sidecar: shop/a-0, shop/a-1, shop/a-2, shop/a-3, shop/a-4 and 2 more"
    );
}

#[test]
fn the_right_to_write_each_kind_of_an_installation_is_asked_for() {
    let text = manifests(NAMESPACE, &Settings::default());
    let documents: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).expect("they are manifests");
    for types in documents.into_iter().map(|document| document.types.expect("a kind")) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).expect("an apiVersion"));
        let asked = (resource.group.as_str(), resource.plural.as_str());
        assert!(WRITES.contains(&asked), "{asked:?} is not asked for");
    }
}

#[test]
fn before_an_installation_rights_and_what_is_there_are_looked_at() {
    let mut before = Before { version: (1, 29), ..Before::default() };
    assert!(judge_before(&before, NAMESPACE).iter().all(|item| item.mark == Mark::Well));
    before.is_installed = true;
    before.shared.push("shop".to_owned());
    before.version = (1, 28);
    let items = judge_before(&before, NAMESPACE);
    let marked = [
        ("check-api-server", Mark::NotWell),
        ("check-rights", Mark::Well),
        ("check-meshes", Mark::Odd),
        ("check-installed", Mark::Odd),
        ("check-owner", Mark::Well),
    ];
    assert_eq!(marks(&items), marked);
    before.is_installed = false;
    before.release = Some("lw".to_owned());
    before.other = Some(Other::of("gone", false));
    let items = judge_before(&before, NAMESPACE);
    assert!(says(&items, "check-installed").starts_with("Helm's release lw"), "{items:?}");
    assert_eq!(marks(&items).last(), Some(&("check-owner", Mark::Odd)));
    before.other = Some(Other::of("lanes", true));
    let items = judge_before(&before, NAMESPACE);
    assert_eq!(marks(&items).last(), Some(&("check-owner", Mark::NotWell)));
    assert!(says(&items, "check-owner").contains("an installation in namespace lanes"), "{items:?}");
    before.denied.push("create namespaces".to_owned());
    let items = judge_before(&before, NAMESPACE);
    assert_eq!(marks(&items), [("check-api-server", Mark::NotWell), ("check-rights", Mark::NotWell)]);
    assert_eq!(says(&items, "check-rights"), "you may not: create namespaces");
}
