use std::time::Duration;

use laneway_core::compile::{Catalog, Objects};
use laneway_core::snapshot::{Identity, Snapshot};

use super::Known;

fn snapshot(endpoints: &str, policy: &str) -> Snapshot {
    let text = format!("kind: Service\nname: b\nports: [{{port: 80}}]\nendpoints: [{endpoints}]\n---\n{policy}");
    let documents = laneway_core::document::read(&text).expect("good documents");
    let (objects, catalog, _): (Objects, Catalog, _) = laneway_core::compile::sort(documents).expect("different names");
    let identity = Identity { namespace: "default".into(), ..Identity::default() };
    let mut resources = laneway_core::decode::Resources::default();
    for wire in laneway_core::compile::compile(&objects, &catalog).everything(&identity) {
        let decoded = laneway_core::decode::decode(wire.type_url, &wire.name, &wire.version, &wire.body);
        resources.insert(decoded.expect("accepted"));
    }
    resources.snapshot(&identity, 1)
}

#[test]
fn who_comes_later_warms_up_and_who_was_there_at_first_does_not() {
    const POLICY: &str = "kind: ServicePolicy\nname: b\nwarmup: {window: 60s}\n";
    let (one, two) = ("{address: '10.0.0.1:80'}", "{address: '10.0.0.1:80'}, {address: '10.0.0.2:80'}");
    let mut known = Known::default();
    assert!(known.newcomers(&snapshot(one, POLICY)).is_empty(), "the age of what was there is not known");
    let new = known.newcomers(&snapshot(two, POLICY));
    assert_eq!(new.len(), 1);
    assert_eq!(new[0].0, "10.0.0.2:80".parse().expect("an address"));
    assert_eq!(new[0].1.window, Duration::from_secs(60));
    assert!(known.newcomers(&snapshot(two, POLICY)).is_empty());
    let draining = "{address: '10.0.0.1:80', state: draining}, {address: '10.0.0.2:80'}";
    assert!(known.newcomers(&snapshot(draining, POLICY)).is_empty());
    assert_eq!(known.newcomers(&snapshot(two, POLICY)).len(), 1, "it comes back as a new one");
    let mut known = Known::default();
    assert!(known.newcomers(&snapshot(one, "kind: ServicePolicy\nname: b\n")).is_empty());
    assert!(known.newcomers(&snapshot(two, "kind: ServicePolicy\nname: b\n")).is_empty(), "without a warm-up nobody");
}
