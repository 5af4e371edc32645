//! Marks: what is well, odd, and not well.

use std::time::{Duration, SystemTime};

use laneway_proto::admin::{Diagnostic, diagnostic};
use laneway_proto::discovery::{NodeMetadata, ResourceError};
use laneway_proto::status::{ConfigState, Proxy, ServerInfo, TypeStatus};

use super::{Item, Mark, control_plane, lanes, people, sidecars};
use crate::lanectl::arguments::Format;
use crate::lanectl::look::Look;

fn info() -> ServerInfo {
    ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        replica: "one".to_owned(),
        leader: true,
        revision: 3,
        connected_proxies: 1,
        features: vec!["store.sqlite".to_owned(), "discovery.file".to_owned()],
        start_time: None,
    }
}

fn proxy(id: &str, status: TypeStatus) -> Proxy {
    Proxy {
        name: format!("proxies/{id}"),
        node: Some(NodeMetadata { proxy_version: info().version, ..NodeMetadata::default() }),
        state: status.state,
        types: vec![status],
        ..Proxy::default()
    }
}

fn status(state: ConfigState) -> TypeStatus {
    TypeStatus { state: state.into(), ..TypeStatus::default() }
}

fn marked(items: &[Item], anchor: &str) -> (Mark, String) {
    let item = items.iter().find(|item| item.anchor == anchor);
    item.map(|item| (item.mark, item.says.clone())).unwrap_or_else(|| panic!("no {anchor} in {items:?}"))
}

#[test]
fn a_healthy_installation_has_nothing_but_check_marks() {
    let mut items = control_plane("http://here", &info());
    items.extend(sidecars(&[proxy("a-1", status(ConfigState::Synced))], &info(), SystemTime::now()));
    items.extend(lanes(&[]));
    assert!(items.iter().all(|item| item.mark == Mark::Well), "{items:?}");
    let mut told = String::new();
    people(&items, Look::plain(Format::Table), &mut told);
    assert!(told.starts_with("control plane\n✓ http://here answers") && told.ends_with("\nall is well\n"), "{told}");
}

#[test]
fn a_control_plane_that_is_half_there_is_odd() {
    let half = ServerInfo { version: "9.9.9".to_owned(), leader: false, features: Vec::new(), ..info() };
    let items = control_plane("http://here", &half);
    for (anchor, mark) in [
        ("check-version", Mark::Odd),
        ("check-store", Mark::NotWell),
        ("check-discovery", Mark::Odd),
        ("check-leader", Mark::Odd),
    ] {
        assert_eq!(marked(&items, anchor).0, mark, "{anchor}");
    }
}

#[test]
fn a_sidecar_is_stale_only_after_a_while() {
    let now = SystemTime::now();
    for (seconds, expected) in [(1, Mark::Well), (11, Mark::NotWell)] {
        let sent = now - Duration::from_secs(seconds);
        let sent = TypeStatus { last_sent_time: Some(sent.into()), ..status(ConfigState::Stale) };
        let items = sidecars(&[proxy("a-1", sent)], &info(), now);
        assert_eq!(marked(&items, "check-stale").0, expected, "{seconds}");
    }
}

#[test]
fn a_refusal_is_told_by_resource_and_field() {
    let error = ResourceError {
        name: "namespaces/default/laneGroups/shop/lanes/gray".to_owned(),
        field: "rules[0]".to_owned(),
        reason: "REGEX".to_owned(),
        message: "does not compile".to_owned(),
        ..ResourceError::default()
    };
    let refused = TypeStatus { errors: vec![error], ..status(ConfigState::Error) };
    let items = sidecars(&[proxy("a-1", refused)], &info(), SystemTime::now());
    let (mark, says) = marked(&items, "check-refused");
    assert!(mark == Mark::NotWell && says.contains("a-1") && says.contains("rules[0]"), "{says}");
}

#[test]
fn who_left_and_who_is_of_another_version_is_odd() {
    let mut old = proxy("b-1", status(ConfigState::Synced));
    old.node = Some(NodeMetadata { proxy_version: "0.0.1".to_owned(), ..NodeMetadata::default() });
    let items = sidecars(&[proxy("a-1", status(ConfigState::Disconnected)), old], &info(), SystemTime::now());
    assert_eq!(marked(&items, "check-disconnected").0, Mark::Odd);
    assert!(marked(&items, "check-sidecar-versions").1.contains("b-1"));
    assert_eq!(marked(&items, "check-connected").1, "1 sidecar connected");
    let none = sidecars(&[], &info(), SystemTime::now());
    assert_eq!(marked(&none, "check-connected").0, Mark::Odd);
}

#[test]
fn findings_of_the_control_plane_stand_in_place_of_their_check_mark() {
    let finding = Diagnostic {
        severity: diagnostic::Severity::Warning.into(),
        code: "LANE0201".to_owned(),
        resource: "namespaces/default/laneGroups/shop/lanes/gray".to_owned(),
        field: "tag".to_owned(),
        message: "no ready instance".to_owned(),
        help: "start one".to_owned(),
    };
    let items = lanes(&[finding]);
    assert_eq!(marked(&items, "LANE0201"), (Mark::Odd, "lane gray tag: no ready instance".to_owned()));
    assert!(items.iter().all(|item| item.anchor != "check-coverage"));
    assert_eq!(marked(&items, "check-trust").0, Mark::Well);
    let mut told = String::new();
    people(&items, Look::plain(Format::Table), &mut told);
    assert!(told.contains("    start one; see LANE0201 in docs/diagnostics.md\n"), "{told}");
}

#[test]
fn every_anchor_is_in_the_document() {
    let document = include_str!("../../../../docs/lanectl.md");
    let texts = [include_str!("../check.rs"), include_str!("cluster.rs"), include_str!("new_pod.rs")];
    let words = texts.into_iter().flat_map(|text| text.split('"'));
    let anchors: Vec<&str> = words.filter(|word| word.starts_with("check-")).collect();
    assert!(anchors.len() > 8, "{anchors:?}");
    for anchor in anchors {
        assert!(document.contains(&format!("<a id=\"{anchor}\"></a>")), "docs/lanectl.md has no anchor {anchor}");
    }
}
