//! What is refused, and what is told.

use laneway_proto::admin::diagnostic::Severity;

use super::check;
use crate::compile::sort;
use crate::document::read;

const BASE: &str = "
kind: Service
name: a
endpoints: [{address: '10.0.0.1:80'}, {address: '10.0.0.2:80', tag: gray}]
---
kind: Service
name: b
endpoints: [{address: '10.0.1.1:80'}]
---
";

/// One instance that has a sidecar.
const MESHED: &str = "{kind: Service, name: c, endpoints: [{address: '10.0.2.1:80', meshed: true}]}";

/// Findings as `CODE resource-id field`.
fn findings(text: &str) -> Vec<(String, String)> {
    let documents = read(&format!("{BASE}{text}")).unwrap_or_else(|errors| panic!("{text}: {errors:#?}"));
    let (objects, catalog, _) = sort(documents).expect("no object is there twice");
    let all = check(&objects, &catalog);
    for finding in &all {
        let warns = finding.code.starts_with("LANE02");
        let severity = if warns { Severity::Warning } else { Severity::Error };
        assert_eq!(finding.severity(), severity, "{finding:?}");
        assert!(!finding.message.is_empty() && !finding.help.is_empty(), "{finding:?}");
        assert!(finding.resource.starts_with("namespaces/default/"), "{finding:?}");
    }
    let short = |d: &laneway_proto::admin::Diagnostic| {
        (format!("{} {}", d.code, crate::name::id_of(&d.resource)), format!("{} | {} | {}", d.field, d.message, d.help))
    };
    all.iter().map(short).collect()
}

/// An entry rule around what is to be judged.
fn rule(inner: &str) -> String {
    format!("{{kind: Lane, name: gray, entry: {{services: [a], rules: [{inner}]}}}}")
}

/// A lane that is watched.
fn guard(inner: &str) -> String {
    format!("{{kind: Lane, name: gray, guard: {{{inner}}}}}")
}

#[test]
fn good_configurations_are_accepted() {
    let cases = [
        "".to_owned(),
        "{kind: LaneGroup, name: default}".to_owned(),
        "{kind: LaneGroup, name: shop}\n---\n{kind: Lane, name: gray, group: shop}".to_owned(),
        "{kind: LaneGroup, name: shop, services: [a], baseline: {tag: base}, fallback: {chain: [gray, base]}}\n---\n\
         {kind: LaneGroup, name: other, services: ['*']}"
            .to_owned(),
        rule("{match: {header: x, in: ['1', '2'], ignoreCase: true}, percent: 100%, sticky: {by: [{cookie: c}]}}"),
        rule("{name: '1', percent: 1%}, {name: two}"),
        "{kind: Lane, name: gray, ttl: 1m}".to_owned(),
        "{kind: Lane, name: gray, ttl: 8760h}".to_owned(),
        guard("maxErrorRateOverBaseline: 0%"),
        guard("window: 1h, minRequests: 1, maxErrorRateOverBaseline: 2%, maxP99Ratio: 1.5, action: warn"),
        // What time it is, is the control plane's question.
        "{kind: Lane, name: gray, expireTime: '1999-12-31T23:59:59Z'}".to_owned(),
        "{kind: ServicePolicy, name: a, timeouts: {connect: 1ms}, rules: [{to: [{tag: gray, weight: 0}, {tag: baseline}]}]}"
            .to_owned(),
        // A share that is not the whole, a key that may be absent, a rule that is asked of tagged requests alone.
        rule(
            "{percent: 99.99%}, {sticky: {by: [{header: x}]}}, {name: all}, \
             {match: {attribute: method, exact: get, ignoreCase: true}, override: true}",
        ),
        "{kind: ServicePolicy, name: a, rules: [{to: [{tag: gray, weight: 1}, {tag: blue, weight: 0}]}]}".to_owned(),
        // Without a lane, tags work as they are; with this mode they are baseline.
        "{kind: LaneGroup, name: default, baseline: {mode: notInEnabledLanes}}\n---\n\
         {kind: Service, name: c, endpoints: [{address: '10.0.2.1:80', tag: blue}]}\n---\n{kind: Lane, name: gray}"
            .to_owned(),
        // Whom nobody enters, and who asks for sidecars.
        format!("{{kind: Lane, name: gray}}\n---\n{MESHED}"),
        format!("{{kind: LaneGroup, name: default, tag: {{trust: none}}}}\n---\n{}\n---\n{MESHED}", rule("{percent: 1%}")),
        // Without redirect, policy and rules go together.
        format!("{}\n---\n{{kind: ServicePolicy, name: a, rules: [{{to: [{{tag: gray}}]}}]}}", rule("{percent: 1%}")),
    ];
    for case in cases {
        assert_eq!(findings(&case), [], "{case}");
    }
}

#[test]
fn bad_configurations_are_refused() {
    let lane = |fields: &str| format!("{{kind: Lane, name: gray, {fields}}}");
    let group = |fields: &str| format!("{{kind: LaneGroup, name: g, services: [a], {fields}}}");
    let policy = |fields: &str| format!("{{kind: ServicePolicy, name: a, {fields}}}");
    let cases: Vec<(String, &str, &str)> = vec![
        (lane("tag: my_gray"), "LANE0101 gray", "tag | `my_gray` is no tag"),
        (lane("tag: my_gray"), "LANE0101 gray", "underscore"),
        (lane("tag: baseline"), "LANE0101 gray", "reserved"),
        (
            "{kind: Lane, name: gray}\n---\n{kind: Lane, name: other, tag: gray}".into(),
            "LANE0102 other",
            "tag | the lane `gray` of this group has the tag `gray` too",
        ),
        (
            "{kind: LaneGroup, name: default, baseline: {tag: base}}\n---\n{kind: Lane, name: base}".into(),
            "LANE0102 base",
            "baseline tag",
        ),
        (
            format!(
                "{}\n---\n{{kind: Lane, name: two, enabled: false, entry: {{services: [b], rules: [{{percent: 1%}}]}}}}",
                rule("{percent: 1%}")
            ),
            "LANE0103 two",
            "priority | the lane `gray` has rules at priority 0 too",
        ),
        (lane("entry: {rules: [{percent: 1%}]}"), "LANE0104 gray", "entry.services | rules without entry services"),
        (lane("entry: {redirect: true}"), "LANE0104 gray", "entry.redirect"),
        (
            "{kind: LaneGroup, name: g, services: [a]}\n---\n{kind: LaneGroup, name: h, services: [b, a]}".into(),
            "LANE0105 h",
            "services[1] | the group `g` has `a` too",
        ),
        (
            "{kind: LaneGroup, name: g}\n---\n{kind: LaneGroup, name: h}".into(),
            "LANE0105 h",
            "services | the group `g`",
        ),
        (
            "{kind: LaneGroup, name: g}\n---\n{kind: LaneGroup, name: h, services: ['*']}".into(),
            "LANE0105 h",
            "services[0]",
        ),
        (lane("group: shop"), "LANE0106 gray", "group | there is no group `shop`"),
        (group("tag: {header: 'x y'}"), "LANE0107 g", "tag.header | `x y` is no HTTP field name"),
        (group("tag: {header: Host}"), "LANE0107 g", "tag.header | `Host` cannot be used"),
        (group("tag: {aliases: [':path']}"), "LANE0107 g", "tag.aliases[0] | `:path` is a pseudo-header"),
        (
            group("propagate: {headers: [Connection]}"),
            "LANE0107 g",
            "propagate.headers[0] | `Connection` cannot be used: it belongs to one connection",
        ),
        (group("propagate: {headers: [baggage]}"), "LANE0107 g", "tracing"),
        (
            group("propagate: {headers: [x-mse-tag]}"),
            "LANE0108 g",
            "propagate.headers[0] | `x-mse-tag` carries the tag",
        ),
        (group("tag: {aliases: [X-MSE-Tag]}"), "LANE0108 g", "tag.aliases[0]"),
        (
            group("tag: {aliases: [x-stain]}, propagate: {headers: [X-Stain]}"),
            "LANE0108 g",
            "propagate.headers[0] | `x-stain` carries the tag",
        ),
        (group("propagate: {headers: [x-a, X-A]}"), "LANE0108 g", "propagate.headers[1] | `x-a` is given twice"),
        (group("tag: {carriers: [header, header]}"), "LANE0122 g", "tag.carriers[1]"),
        (rule("{percent: 101%}"), "LANE0109 gray", "entry.rules[0].percent"),
        (group("fallback: {minHealthyPercent: 101%}"), "LANE0109 g", "fallback.minHealthyPercent"),
        (rule("{match: {}}"), "LANE0110 gray", "entry.rules[0].match | an empty condition"),
        (rule("{match: {header: x}}"), "LANE0110 gray", "a test needs an operator"),
        (rule("{match: {exact: x}}"), "LANE0110 gray", "an operator without a source"),
        (rule("{match: {header: x, exact: a, in: [b]}}"), "LANE0110 gray", "one operator"),
        (
            rule("{match: {all: [{header: x, present: true}], any: [{header: x, present: true}]}}"),
            "LANE0110 gray",
            "more than one of",
        ),
        (rule("{match: {not: {header: x, present: true}, negate: true}}"), "LANE0110 gray", "beside all, any or not"),
        (rule("{match: {header: x, gt: 1, ignoreCase: true}}"), "LANE0110 gray", "ignoreCase"),
        (rule("{match: {header: ':path', exact: /}}"), "LANE0110 gray", "entry.rules[0].match.header"),
        (rule("{match: {attribute: sourceIp, exact: 10.0.0.0/33}}"), "LANE0110 gray", "CIDR"),
        (
            rule("{match: {header: x, mod: {divisor: 1, remainders: [0]}}}"),
            "LANE0110 gray",
            "entry.rules[0].match.mod.divisor",
        ),
        (rule("{match: {all: [{header: x, regex: 'a('}]}}"), "LANE0111 gray", "entry.rules[0].match.all[0].regex"),
        (rule("{match: {header: x, regex: '(?=a)'}}"), "LANE0111 gray", "look-around"),
        (rule("{match: {header: x, regex: '(.{1000}){100}'}}"), "LANE0111 gray", "larger than 1048576 bytes"),
        (rule(&format!("{{match: {{header: x, regex: {}}}}}", "a".repeat(1025))), "LANE0111 gray", "1024 bytes"),
        (
            rule("{match: {not: {not: {not: {not: {not: {not: {not: {not: {header: x, exact: a}}}}}}}}}}"),
            "LANE0112 gray",
            "8 levels",
        ),
        (rule("{sticky: {}, percent: 2%}"), "LANE0113 gray", "entry.rules[0].sticky.by"),
        (
            rule("{sticky: {by: [{header: a}, {header: b}, {header: c}, {header: d}, {header: e}]}}"),
            "LANE0113 gray",
            "1 to 4",
        ),
        (
            rule(&format!("{{sticky: {{by: [{{header: a}}], salt: {}}}}}", "s".repeat(129))),
            "LANE0113 gray",
            "128 bytes",
        ),
        (policy("rules: [{}]"), "LANE0114 a", "rules[0].to"),
        (policy("rules: [{to: [{tag: gray, weight: 0}]}]"), "LANE0114 a", "all weights are 0"),
        (policy("rules: [{to: [{tag: gray, weight: 1000001}]}]"), "LANE0114 a", "rules[0].to[0].weight"),
        (policy("rules: [{to: [{tag: My}]}]"), "LANE0101 a", "rules[0].to[0].tag"),
        (lane("fallback: {mode: strict, chain: [baseline]}"), "LANE0115 gray", "fallback.chain"),
        (lane("fallback: {chain: [baseline, x]}"), "LANE0115 gray", "fallback.chain[1] | `x` comes after baseline"),
        (lane("fallback: {chain: [x, x]}"), "LANE0115 gray", "fallback.chain[1] | `x` stands twice"),
        (lane("fallback: {chain: [gray]}"), "LANE0115 gray", "own tag"),
        (lane("fallback: {chain: [a, b, c, d, e, f, g, h, i]}"), "LANE0115 gray", "fallback.chain | a chain of 9"),
        (
            lane("serviceOverrides: {b: {fallback: {chain: [x_y]}}}"),
            "LANE0101 gray",
            "serviceOverrides.b.fallback.chain[0]",
        ),
        (
            "{kind: Lane, name: gray, entry: {services: [a], redirect: true}}\n---\n\
             {kind: ServicePolicy, name: a, rules: [{to: [{tag: gray}]}]}"
                .into(),
            "LANE0116 gray",
            "entry.redirect | the ServicePolicy `a`",
        ),
        (policy("service: b"), "LANE0117 a", "service"),
        (policy("timeouts: {connect: 100us}"), "LANE0118 a", "timeouts.connect"),
        (policy("timeouts: {connect: 25h}"), "LANE0118 a", "timeouts.connect"),
        (policy("timeouts: {default: 0s}"), "LANE0118 a", "timeouts.default"),
        (policy("timeouts: {idle: 25h}"), "LANE0118 a", "timeouts.idle"),
        (policy("timeouts: {paths: {/a: 25h}}"), "LANE0118 a", "timeouts.paths./a"),
        (policy("timeouts: {paths: {a: 1s}}"), "LANE0123 a", "timeouts.paths.a | `a` names no paths"),
        (policy("timeouts: {paths: {/a*: 1s}}"), "LANE0123 a", "timeouts.paths./a*"),
        (policy("retry: {maxRetries: 6}"), "LANE0120 a", "retry.maxRetries | 6 retries"),
        (policy("retry: {budget: 101%}"), "LANE0109 a", "retry.budget"),
        (policy("retry: {perTryTimeout: 0s}"), "LANE0118 a", "retry.perTryTimeout"),
        (policy("outlierDetection: {baseEjection: 999ms}"), "LANE0118 a", "outlierDetection.baseEjection"),
        (policy("outlierDetection: {maxEjection: 2h}"), "LANE0118 a", "outlierDetection.maxEjection"),
        (policy("outlierDetection: {maxEjected: 101%}"), "LANE0109 a", "outlierDetection.maxEjected"),
        (policy("warmup: {curve: linear}"), "LANE0118 a", "warmup.window | a warm-up has a window"),
        (policy("warmup: {window: 2h}"), "LANE0118 a", "warmup.window"),
        (policy("drain: {grace: 1h1ns, closeStreams: true}"), "LANE0118 a", "drain.grace"),
        (policy("drain: {grace: 1h1ns}"), "LANE0118 a", "drain.grace"),
        ("{kind: Lane, name: gray, ttl: 59.999s}".to_owned(), "LANE0118 gray", "ttl"),
        ("{kind: Lane, name: gray, ttl: 8760h1ns}".to_owned(), "LANE0118 gray", "ttl"),
        (guard("window: 9s, maxP99Ratio: 2"), "LANE0118 gray", "guard.window"),
        (guard("window: 1h1s, maxP99Ratio: 2"), "LANE0118 gray", "guard.window"),
        (guard("window: 10500ms, maxP99Ratio: 2"), "LANE0118 gray", "guard.window"),
        (guard("maxErrorRateOverBaseline: 101%"), "LANE0109 gray", "guard.maxErrorRateOverBaseline"),
        (guard("maxP99Ratio: 1"), "LANE0125 gray", "guard.maxP99Ratio"),
        (guard("maxP99Ratio: -2"), "LANE0125 gray", "guard.maxP99Ratio"),
        (guard("window: 60s, minRequests: 200"), "LANE0125 gray", "guard"),
        (rule("{name: a_b}"), "LANE0119 gray", "entry.rules[0].name"),
        (rule("{name: x}, {name: x}"), "LANE0119 gray", "entry.rules[1].name"),
        // A rule without a name has its position as one.
        (rule("{name: '1'}, {}"), "LANE0119 gray", "entry.rules[1].name"),
        (rule(&vec!["{}"; 257].join(", ")), "LANE0120 gray", "entry.rules"),
        (lane("entry: {services: ['*']}"), "LANE0121 gray", "entry.services[0]"),
        (lane("entry: {services: ['a b']}"), "LANE0121 gray", "entry.services[0]"),
        (lane("serviceOverrides: {'x/y': {}}"), "LANE0121 gray", "serviceOverrides.x/y"),
        ("{kind: Lane, name: red}".into(), "LANE0201 red", "tag | no ready instance"),
        ("{kind: LaneGroup, name: g, services: [z]}".into(), "LANE0202 g", "services[0] | no service"),
        (lane("entry: {services: [z]}"), "LANE0202 gray", "entry.services[0]"),
        ("{kind: ServicePolicy, name: z}".into(), "LANE0202 z", "service"),
        (
            "{kind: LaneGroup, name: g, services: [b]}\n---\n{kind: Lane, name: gray, entry: {services: [b]}}".into(),
            "LANE0203 gray",
            "entry.services[0] | `b` is in the group `g`",
        ),
        (
            "{kind: Service, name: c, endpoints: [{address: '10.0.0.1:80'}]}".into(),
            "LANE0204 c",
            "endpoints[0].address",
        ),
        (
            rule("{match: {all: [{header: x, exact: a}, {header: x, exact: b}]}}"),
            "LANE0205 gray",
            "entry.rules[0] | no request can match: header x",
        ),
        // A rule that is refused does not hide the others.
        (
            rule("{match: {}}, {percent: 0%}"),
            "LANE0205 gray",
            "entry.rules[1] | no request can match: the share is 0 %",
        ),
        (
            rule("{match: {header: x, present: false}, sticky: {by: [{header: X}]}}"),
            "LANE0205 gray",
            "entry.rules[0] | no request can match: header x",
        ),
        (
            policy("rules: [{match: {attribute: sourceTag, exact: Gray}, to: [{tag: gray}]}]"),
            "LANE0205 a",
            "rules[0] | no request can match: source tag",
        ),
        (rule("{name: all}, {match: {header: x, exact: a}}"), "LANE0206 gray", "entry.rules[1] | the rule `all`"),
        (
            rule("{match: {header: X, in: [a, b]}}, {match: {header: x, in: [b, a]}, percent: 1%}"),
            "LANE0206 gray",
            "entry.rules[1] | the rule `0`",
        ),
        (policy("rules: [{to: [{tag: gray}]}, {to: [{tag: baseline}]}]"), "LANE0206 a", "rules[1] | the rule `0`"),
        (
            rule("{match: {not: {attribute: method, in: [GET, post]}}}"),
            "LANE0207 gray",
            "entry.rules[0].match.not | no ordinary request has the value `post`",
        ),
        (
            rule("{match: {any: [{attribute: grpcMethod, exact: /shop.Order/Create}]}}"),
            "LANE0207 gray",
            "entry.rules[0].match.any[0] | no ordinary",
        ),
        ("{kind: Lane, name: grey}".into(), "LANE0208 default", "services | 1 instance has the tag `gray`"),
        (policy("rules: [{to: [{tag: gray}, {tag: blue}]}]"), "LANE0209 a", "rules[0].to[1].tag | no instance of `a`"),
        (
            format!("{}\n---\n{MESHED}", rule("{percent: 1%}")),
            "LANE0210 default",
            "tag.trust | who has no sidecar, such as 10.0.0.1:80 of `a`, can send any tag to the entry services of the lane `gray`",
        ),
    ];
    for (text, what, words) in cases {
        let all = findings(&text);
        let found = all.iter().any(|(code, rest)| code == what && rest.contains(words));
        assert!(found, "{text}: wanted {what} with {words:?}, got {all:#?}");
    }
}

#[test]
fn what_no_sidecar_could_receive_is_refused_with_its_size_and_its_largest_part() {
    let user = |rule: usize| char::from(b'a' + rule as u8).to_string().repeat((4 << 20) - 64 * (4 - rule));
    let lane = |rules: usize| {
        let rules: Vec<String> = (0..rules).map(|n| format!("{{match: {{header: x, in: [{}]}}}}", user(n))).collect();
        rules.join(", ")
    };
    let sizes = |text: &str| {
        let found = findings(text).into_iter();
        found.filter(|(code, _)| code.starts_with("LANE0124")).collect::<Vec<_>>()
    };
    assert_eq!(sizes(&rule(&lane(3))), [], "12 MiB are received");
    let four = lane(4);
    let [(what, told)] = &sizes(&rule(&four))[..] else { panic!("one finding") };
    assert_eq!(what, "LANE0124 gray");
    let (field, rest) = told.split_once(" | ").expect("a field");
    assert_eq!(field, "entry.rules[3]");
    assert!(rest.contains("has 1677") && rest.contains("more than the 15728640"), "{rest}");

    let off = rule(&four).replace("name: gray,", "name: gray, enabled: false,");
    assert_eq!(sizes(&off).len(), 1, "it could not be switched on");
    let policy = format!("{{kind: ServicePolicy, name: a, rules: [{}]}}", four.replace("}}", "}, to: [{tag: gray}]}"));
    assert_eq!(sizes(&policy)[0].0, "LANE0124 a");
}

#[test]
fn a_group_may_be_too_large_by_what_others_take_out_of_it() {
    // Each short name is a whole resource name to a sidecar.
    let services: Vec<String> = (0..450_000).map(|number| format!("s{number}")).collect();
    let group = laneway_proto::admin::LaneGroup { services, ..Default::default() };
    let mut objects = crate::compile::Objects::default();
    objects.groups.insert("namespaces/default/laneGroups/shop".to_owned(), group);
    let found = super::size::too_large(&objects, &Default::default(), &crate::compile::Membership::of(&objects));
    let names: Vec<&str> = found.iter().map(|finding| crate::name::id_of(&finding.resource)).collect();
    assert_eq!(names, ["default", "shop"], "{found:?}");
}

/// But for what does not run, they are as good as they look.
#[test]
fn the_examples_of_the_page_about_rules_are_right() {
    let blocks: Vec<&str> = include_str!("../../../docs/rules.md").split("```yaml\n").skip(1).collect();
    assert_eq!(blocks.len(), 6);
    for block in blocks {
        let text = block.split("```").next().unwrap_or_default();
        let found = findings(text);
        let is_known = |code: &str| ["LANE0201", "LANE0202", "LANE0209"].iter().any(|known| code.starts_with(known));
        assert!(found.iter().all(|(code, _)| is_known(code)), "{text}: {found:#?}");
    }
}

/// Whatever is wrong besides, each finding is told.
#[test]
fn all_findings_are_told_at_once() {
    const WRONG: &str = "
{kind: LaneGroup, name: default, baseline: {tag: base}}
---
kind: LaneGroup
name: g
services: [z, c, '/']
tag: {header: Host, aliases: [x-stain], carriers: [header, header]}
propagate: {headers: [x-stain]}
fallback: {minHealthyPercent: 101%, chain: [baseline, x]}
---
{kind: LaneGroup, name: h, services: [c]}
---
{kind: Lane, name: base, tag: base}
---
{kind: Lane, name: lost, group: nowhere, tag: my_gray, entry: {rules: [{percent: 1%}]}}
---
{kind: Lane, name: two, priority: 7, entry: {services: [b], rules: [{name: a_b}]}}
---
{kind: Lane, name: watched, guard: {maxP99Ratio: 1}}
---
kind: Lane
name: red
priority: 7
entry:
  services: [a, c]
  redirect: true
  rules:
    - {match: {}}
    - {match: {header: x, regex: '('}}
    - {match: {not: {not: {not: {not: {not: {not: {not: {not: {header: x, exact: a}}}}}}}}}}
    - {sticky: {}}
    - {match: {all: [{header: x, exact: a}, {header: x, exact: b}]}}
    - {name: all}
    - {match: {attribute: method, exact: get}}
---
kind: ServicePolicy
name: a
rules: [{to: [{tag: gray}, {tag: blue}]}, {to: []}]
timeouts: {connect: 25h, paths: {a: 1s}}
---
{kind: ServicePolicy, name: d, service: b}
---
kind: Service
name: c
endpoints: [{address: '10.0.0.1:80', meshed: true}]
---
";
    let many = vec!["{}"; 257].join(", ");
    let many = format!("{{kind: Lane, name: many, priority: 1, entry: {{services: [a], rules: [{many}]}}}}");
    let long = "n".repeat(40_000);
    let long = format!("---\n{{kind: Service, name: long, endpoints: [{{address: '10.0.3.1:80', portName: {long}}}]}}");
    let found: std::collections::BTreeSet<String> =
        findings(&format!("{WRONG}{many}\n{long}")).into_iter().map(|(what, _)| what[..8].to_owned()).collect();
    let declared = include_str!("../check.rs").split('"').filter(|text| text.starts_with("LANE") && text.len() == 8);
    let missing: Vec<&str> = declared.filter(|code| !found.contains(*code)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {found:?}");
}
