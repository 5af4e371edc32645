//! Documents: read, refused, written.

use laneway_proto::admin;
use laneway_proto::routing::{BaselineMode, StampPodTag, condition};
use serde_json::json;

use super::{Direction, Document, read, write_group, write_lane, write_policy};

fn good(text: &str) -> Vec<Document> {
    read(text).unwrap_or_else(|errors| panic!("refused: {errors:#?}"))
}

fn lane(text: &str) -> admin::Lane {
    match good(text).remove(0) {
        Document::Lane(lane) => lane,
        other => panic!("no lane: {other:?}"),
    }
}

const EXAMPLE_1: &str = "
kind: LaneGroup
name: shop
tag: {header: x-mse-tag, trust: any}
propagate: {stampPodTag: entry}
---
kind: Lane
name: gray
group: shop
entry: {services: [spring-cloud-a]}      # A-gray stamps; no rules needed
";

const EXAMPLE_2: &str = r#"
kind: Lane
name: gray
group: shop
priority: 100
entry:
  services: [spring-cloud-a]
  redirect: true
  rules:
    - name: tagged
      match: {header: x-mse-tag, exact: gray}
      override: true
    - name: testers
      match: {all: [{attribute: host, exact: www.demo.com}, {header: x-user-id, in: ["100", "120"]}]}
    - name: vip-or-param
      match: {any: [{cookie: vip, exact: "1"}, {query: name, exact: xiaoming}]}
    - name: two-percent
      match: {attribute: path, prefix: /a}
      percent: 2%
      sticky: {by: [{header: x-user-id}]}
"#;

const EXAMPLE_3: &str = r#"
kind: LaneGroup
name: shop
propagate: {headers: [x-user-id], stampPodTag: never}
---
kind: ServicePolicy
service: spring-cloud-b
rules:
  - match: {header: x-user-id, exact: "100"}
    to: [{tag: gray}]
"#;

const SERVICE: &str = "
kind: Service
name: b
hosts: [SC-b]
visibleTo: [shop]
addresses: [10.96.0.12, 'fd00::12']
ports: [{port: 80, name: http, protocol: detect}]
endpoints: [{address: '10.1.0.12:20002', portName: http, tag: gray, weight: 1, state: ready, meshed: true}, {address: 10.1.0.13}]
---
kind: Proxy
service: a
tag: ''
listeners: [{address: '127.0.0.1:8000', direction: outbound, defaultService: b}, {address: '[::1]:8001', direction: inbound, forwardTo: '127.0.0.1:80'}]
";

#[test]
fn examples_are_read() {
    let documents = good(EXAMPLE_1);
    let [Document::LaneGroup(group), Document::Lane(lane)] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(group.name, "namespaces/default/laneGroups/shop");
    assert_eq!(group.propagate.as_ref().map(|p| p.stamp_pod_tag()), Some(StampPodTag::Entry));
    assert_eq!(lane.name, "namespaces/default/laneGroups/shop/lanes/gray");

    let lane = self::lane(EXAMPLE_2);
    let entry = lane.entry.expect("it has an entry");
    assert_eq!(entry.rules.len(), 4);
    assert_eq!(entry.rules[3].percent.map(|p| p.basis_points), Some(200));
    let all = &entry.rules[1].r#match.as_ref().expect("it has a condition").all;
    assert_eq!(all[1].r#in, ["100", "120"]);
    assert_eq!(all[1].source, Some(condition::Source::Header("x-user-id".into())));

    let documents = good(EXAMPLE_3);
    let [Document::LaneGroup(_), Document::ServicePolicy(policy)] = documents.as_slice() else {
        panic!("{documents:?}")
    };
    assert_eq!(policy.name, "namespaces/default/servicePolicies/spring-cloud-b");

    let documents = good(SERVICE);
    let [Document::Service(service), Document::Proxy(proxy)] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(service.hosts, ["sc-b"]);
    assert_eq!(service.visible_to, ["shop"]);
    assert_eq!(service.endpoints[0].tag.map(|t| t.to_string()).as_deref(), Some("gray"));
    assert_eq!((service.endpoints[1].address.port(), service.endpoints[1].port_name.as_str()), (0, "http"));
    assert_eq!(proxy.listeners[0].direction, Direction::Outbound);
    assert_eq!(proxy.listeners[0].default_service.as_deref(), Some("namespaces/default/services/b"));
    assert_eq!(proxy.listeners[1].forward_to, "127.0.0.1:80".parse().ok());
}

#[test]
fn other_forms_mean_the_same() {
    let plain = lane(EXAMPLE_2);
    let fields: String = EXAMPLE_2.lines().skip(4).map(|line| format!("  {line}\n")).collect();
    let kubernetes = format!(
        "apiVersion: laneway.io/v1alpha1\nkind: Lane\nmetadata: {{name: gray, uid: x}}\nspec:\n  group: shop\n{fields}"
    );
    assert_eq!(lane(&kubernetes), plain);
    // Names of objects are unique in their namespace, those of lanes in their group.
    let with_group = kubernetes.replace("name: gray", "name: shop.gray");
    assert_eq!(lane(&with_group), plain);
    assert_eq!(lane(&with_group.replace("  group: shop\n", "")), plain);
    let wrong = read(&with_group.replace("group: shop", "group: cart")).expect_err("two groups");
    assert!(wrong.iter().any(|finding| finding.field == "group"), "{wrong:?}");
    let policy = "{apiVersion: laneway.io/v1alpha1, kind: ServicePolicy, metadata: {name: policy-1, annotations: {laneway.io/id: Cart_1}}}";
    let documents = good(policy);
    let [Document::ServicePolicy(policy)] = documents.as_slice() else { panic!("{documents:?}") };
    assert_eq!(policy.name, "namespaces/default/servicePolicies/Cart_1");
    let json = serde_json::to_string_pretty(&write_lane(&plain)).expect("it is JSON");
    assert_eq!(lane(&json), plain);
    let full = json!({"kind": "Lane", "name": plain.name, "priority": 100, "entry": write_lane(&plain)["entry"]});
    assert_eq!(lane(&full.to_string()), plain);
    assert!(good("---\n---\n").is_empty());
    assert_eq!(good("{\"kind\": \"Lane\", \"name\": \"a\"}"), good("- {kind: Lane, name: a}"));
}

#[test]
fn short_forms() {
    let documents = good(
        "{kind: LaneGroup, name: g, baseline: {mode: notInEnabledLanes}, fallback: {minHealthyPercent: 0.01%, noBaseline: any}}\n---\n\
         {kind: ServicePolicy, name: b, timeouts: {connect: 500ms}}",
    );
    let [Document::LaneGroup(group), Document::ServicePolicy(policy)] = documents.as_slice() else {
        panic!("{documents:?}")
    };
    assert_eq!(group.baseline.as_ref().map(|b| b.mode()), Some(BaselineMode::NotInEnabledLanes));
    let fallback = group.fallback.as_ref().expect("it is given");
    assert_eq!(fallback.min_healthy_percent.map(|p| p.basis_points), Some(1));
    assert_eq!(fallback.no_baseline(), admin::NoBaseline::Any);
    let connect = policy.timeouts.as_ref().and_then(|t| t.connect).expect("it is given");
    assert_eq!((connect.seconds, connect.nanos), (0, 500_000_000));
}

/// Text, then code, field, and words of message and help.
const REFUSED: [(&str, &str, &str, &str); 34] = [
    ("kind: Lane\nname: [", "LANE0001", "", "neither YAML nor JSON"),
    ("kind: Lane\nname: a\nname: b", "LANE0001", "", "name"),
    ("name: gray", "LANE0004", "kind", "has no `kind`"),
    ("kind: lane", "LANE0004", "kind", "did you mean `Lane`"),
    ("a word", "LANE0003", "", "a string where a document"),
    ("kind: Lane", "LANE0005", "name", "a Lane needs a name"),
    ("{kind: Lane, name: my_lane}", "LANE0005", "name", "underscore"),
    ("{kind: Lane, name: a, group: B}", "LANE0005", "group", "`B` cannot be a group"),
    ("{kind: Lane, name: a, namespace: X}", "LANE0005", "namespace", "`X`"),
    ("{kind: Lane, name: namespaces/a/laneGroups/b/lanes/c, group: d}", "LANE0005", "group", "differs"),
    (
        "{kind: Lane, name: a, prority: 1}",
        "LANE0002",
        "prority",
        "did you mean `priority`? allowed: kind, namespace, group, name",
    ),
    ("{kind: Lane, name: a, entry: {rules: [{mach: {}}]}}", "LANE0002", "entry.rules[0].mach", "did you mean `match`"),
    ("{kind: LaneGroup, name: a, group: b}", "LANE0002", "group", "unknown field `group`"),
    ("{kind: Lane, name: a, priority: high}", "LANE0003", "priority", "a string where a whole number"),
    ("{kind: Lane, name: a, priority: 3000000000}", "LANE0003", "priority", "out of range"),
    ("{kind: Lane, name: a, enabled: 'yes'}", "LANE0003", "enabled", "true or false"),
    ("{kind: Lane, name: a, description: 1}", "LANE0003", "description", "put it in quotes"),
    ("{kind: Lane, name: a, entry: {rules: [{match: }]}}", "LANE0003", "entry.rules[0].match", "nothing where a map"),
    ("{kind: Lane, name: a, entry: {rules: {}}}", "LANE0003", "entry.rules", "a map where a list"),
    (
        "{kind: Lane, name: a, entry: {rules: [{match: {header: a, cookie: b, exact: c}}]}}",
        "LANE0003",
        "entry.rules[0].match.header",
        "exclude each other",
    ),
    (
        "{kind: Lane, name: a, entry: {rules: [{percent: 0.001%}]}}",
        "LANE0003",
        "entry.rules[0].percent",
        "two decimals",
    ),
    ("{kind: ServicePolicy, name: a, timeouts: {connect: 5}}", "LANE0003", "timeouts.connect", "a duration such as"),
    ("{kind: ServicePolicy, name: a, timeouts: {connect: 5x}}", "LANE0003", "timeouts.connect", "`5x` is no duration"),
    (
        "{kind: LaneGroup, name: a, tag: {trust: msh}}",
        "LANE0003",
        "tag.trust",
        "did you mean `mesh`? one of: any, mesh, none",
    ),
    (
        "{kind: Lane, name: a}\n---\n{kind: Lane, name: a}",
        "LANE0006",
        "name",
        "document 2, Lane a: this object is given twice",
    ),
    ("{kind: Lane, name: a, ttl: 2d}", "LANE0003", "ttl", "`2d` is no duration"),
    ("{kind: Lane, name: a, ttl: 48h, expireTime: '2030-01-01T00:00:00Z'}", "LANE0003", "ttl", "exclude each other"),
    ("{kind: Lane, name: a, expireTime: 2030}", "LANE0003", "expireTime", "2030-01-01T00:00:00Z"),
    ("{kind: Lane, name: a, expireTime: tomorrow}", "LANE0003", "expireTime", "2030-01-01T00:00:00Z"),
    ("{kind: Lane, name: a, messages: {}}", "LANE0900", "messages", "not supported yet"),
    ("{kind: Lane, name: a, guard: {maxP99Ratio: much}}", "LANE0003", "guard.maxP99Ratio", "number"),
    (
        "{kind: Lane, name: a, entry: {rules: [{match: {not: {all: [{dubboArgument: {index: 0}, exact: jim}]}}}]}}",
        "LANE0900",
        "entry.rules[0].match.not.all[0].dubboArgument",
        "not supported yet",
    ),
    (
        "{kind: Service, name: b, endpoints: [{address: '10.0.0.1:80', tag: my_tag}]}",
        "LANE0003",
        "endpoints[0].tag",
        "underscore",
    ),
    (
        "{kind: Proxy, listeners: [{address: '10.0.0.1:80', direktion: inbound}]}",
        "LANE0002",
        "listeners[0].direktion",
        "direction",
    ),
];

#[test]
fn bad_documents_are_refused_by_name() {
    for (text, code, field, words) in REFUSED {
        let errors = read(text).expect_err(text);
        let found = errors.iter().any(|e| {
            e.code == code
                && e.field == field
                && format!("{} {}", e.message, e.help).contains(words)
                && !e.help.is_empty()
        });
        assert!(found, "{text}: wanted {code} at {field:?} with {words:?}, got {errors:#?}");
    }
}

#[test]
fn all_errors_are_found() {
    let errors =
        read("{kind: Lane, name: a, x: 1, priority: z}\n---\n{kind: LaneGroup, name: b, y: 1}").expect_err("bad");
    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert_eq!(errors[2].resource, "namespaces/default/laneGroups/b");
    assert!(errors[2].message.starts_with("document 2, LaneGroup b: "));
}

#[test]
fn what_is_written_is_read_back() {
    let full = "
kind: LaneGroup
name: shop
namespace: trade
description: the web shop
owner: trade-team
labels: {stage: production}
services: ['*']
baseline: {tag: base, mode: untagged}
tag: {header: x-tag, aliases: [x-old], carriers: [header, baggage, tracestate], trust: mesh}
propagate: {headers: [x-user-id], headersFromRules: false, correlate: [auto], infer: never, newTrace: unsampled}
fallback: {mode: permissive, chain: [baseline], minHealthyPercent: 0%, minHealthy: 1, noBaseline: fail}
pathHeader: never
---
kind: Lane
name: gray
group: shop
namespace: trade
enabled: false
dryRun: true
priority: -3
expireTime: 2030-01-01T00:00:00Z
entry: {services: [a], rules: [{match: {header: x, between: {min: -1, max: 9}, negate: true}, percent: 12.34%, sticky: {by: [{attribute: sourceIp}], salt: s}}]}
fallback: {mode: strict}
serviceOverrides: {payment: {fallback: {mode: strict}}}
---
{kind: ServicePolicy, name: b, enabled: true, reselect: never, timeouts: {connect: 90s}, rules: [{to: [{tag: gray, weight: 0}, {tag: baseline}]}]}
";
    let documents: Vec<Document> = [full, EXAMPLE_1, EXAMPLE_2, EXAMPLE_3].into_iter().flat_map(good).collect();
    for document in documents {
        let written = match &document {
            Document::LaneGroup(group) => write_group(group),
            Document::Lane(lane) => write_lane(lane),
            Document::ServicePolicy(policy) => write_policy(policy),
            Document::Service(_) | Document::Proxy(_) => continue,
        };
        let yaml = serde_saphyr::to_string(&written).expect("it can be written");
        assert_eq!(good(&yaml), std::slice::from_ref(&document), "{yaml}");
        assert_eq!(good(&written.to_string()), [document], "{written}");
    }
    let Document::LaneGroup(group) = &good(full)[0] else { panic!("a group comes first") };
    let written = write_group(group);
    assert_eq!(written["fallback"]["minHealthyPercent"], "0%");
    assert_eq!(written["propagate"]["newTrace"], "unsampled");
}

#[test]
fn long_lists_are_read() {
    use std::fmt::Write;

    let mut text =
        "kind: Lane\nname: gray\nentry:\n  services: [a]\n  rules:\n  - match:\n      header: x-user-id\n      in:\n"
            .to_owned();
    for user in 0..100_000 {
        writeln!(text, "      - \"{user}\"").expect("a string takes it");
    }
    let entry = lane(&text).entry.expect("it is given");
    assert_eq!(entry.rules[0].r#match.as_ref().map(|m| m.r#in.len()), Some(100_000));
    // As one line of JSON too.
    let one_line = write_lane(&lane(&text)).to_string();
    assert_eq!(lane(&one_line), lane(&text));

    let mut text = "kind: Service\nname: big\nendpoints:\n".to_owned();
    for n in 0..30_000 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n);
        writeln!(text, "- {{address: '{address}:80', tag: gray, weight: 1, meshed: true}}").expect("a string takes it");
    }
    assert_eq!(good(&text).len(), 1);
}

#[test]
fn words_stay_words() {
    for word in ["on", "off", "yes", "no", "y", "0x1g", "1.2.3", "1e", "~a"] {
        let lane = lane(&format!("{{kind: Lane, name: a, description: {word}}}"));
        assert_eq!(lane.description, word);
    }
}
