//! What a schema says beside types: how much of something there may be, and in CEL what excludes what. Pure.
//!
//! The bounds are those of the contract. Every list around a rule has one, or the API server would refuse the rule as too dear.

use laneway_proto::contract::{
    BASELINE, CHAIN_MAX, CONDITION_TESTS_MAX, CORRELATE_HEADERS_MAX, IN_VALUES_MAX, PASS_HEADERS_MAX, REGEX_BYTES_MAX,
    RULES_MAX, SALT_BYTES_MAX, STICKY_KEYS_MAX, TAG_BYTES_MAX, WEIGHT_MAX, WEIGHTED_TAGS_MAX,
};
use prost_reflect::{FieldDescriptor, MessageDescriptor};
use serde_json::{Value, json};

use super::schema::{CONDITION_LEVELS_RULED, id};

/// Texts for people.
const DESCRIPTION_CHARS_MAX: usize = 1024;
/// Services that a group or an entry names, and services of which a lane says more. More than a group has.
const SERVICES_MAX: usize = 1024;
const OVERRIDES_MAX: usize = 256;
/// Paths that have a time of their own.
const PATHS_MAX: usize = 50_000;
/// Further names of one header, and carriers of a tag.
const ALIASES_MAX: usize = 32;
const CARRIERS_MAX: usize = 8;
const CAUSES_MAX: usize = 8;
const RETRIES_MAX: u32 = 5;
const REMAINDERS_MAX: usize = 4096;
const DIVISOR_MAX: u32 = 1_000_000;

/// Adds what the contract says of a field.
pub(super) fn bound(schema: &mut Value, full_name: &str) {
    let name = full_name.strip_prefix("laneway.").unwrap_or(full_name);
    let mut add = |key: &str, value: Value| schema[key] = value;
    match name {
        "admin.v1.Lane.tag" | "admin.v1.Lane.group" => id().into_iter().for_each(|(key, value)| add(key, value)),
        // Empty: the position of the rule.
        "routing.v1.EntryRule.name" | "routing.v1.PolicyRule.name" => add("maxLength", TAG_BYTES_MAX.into()),
        "admin.v1.Lane.description"
        | "admin.v1.LaneGroup.description"
        | "admin.v1.ServicePolicy.description"
        | "admin.v1.Lane.owner"
        | "admin.v1.LaneGroup.owner"
        | "admin.v1.ServicePolicy.owner" => add("maxLength", DESCRIPTION_CHARS_MAX.into()),
        "admin.v1.LaneGroup.services" | "routing.v1.Entry.services" => {
            add("maxItems", SERVICES_MAX.into());
            add("x-kubernetes-list-type", "set".into());
        }
        "admin.v1.ServicePolicy.service" => add("maxLength", (253 * 3).into()),
        "admin.v1.Lane.service_overrides" => {
            add("maxProperties", OVERRIDES_MAX.into());
        }
        "admin.v1.Fallback.chain" => {
            add("maxItems", CHAIN_MAX.into());
            add("x-kubernetes-list-type", "set".into());
        }
        "admin.v1.TagTransport.aliases" => add("maxItems", ALIASES_MAX.into()),
        "admin.v1.TagTransport.carriers" => {
            add("maxItems", CARRIERS_MAX.into());
            add("x-kubernetes-list-type", "set".into());
        }
        "admin.v1.Propagation.headers" => add("maxItems", PASS_HEADERS_MAX.into()),
        "admin.v1.Propagation.correlate" => add("maxItems", CORRELATE_HEADERS_MAX.into()),
        "admin.v1.Guard.max_p99_ratio" => add("minimum", 0.into()),
        "routing.v1.Entry.rules" | "admin.v1.ServicePolicy.rules" => add("maxItems", RULES_MAX.into()),
        "routing.v1.PolicyRule.to" => {
            add("maxItems", WEIGHTED_TAGS_MAX.into());
            add("minItems", 1.into());
        }
        "routing.v1.WeightedTag.weight" => add("maximum", WEIGHT_MAX.into()),
        "routing.v1.Sticky.by" => {
            add("maxItems", STICKY_KEYS_MAX.into());
            add("minItems", 1.into());
        }
        "routing.v1.Sticky.salt" => add("maxLength", SALT_BYTES_MAX.into()),
        "routing.v1.Condition.all" | "routing.v1.Condition.any" => add("maxItems", CONDITION_TESTS_MAX.into()),
        "routing.v1.Condition.in" => add("maxItems", IN_VALUES_MAX.into()),
        "routing.v1.Condition.regex" => add("maxLength", REGEX_BYTES_MAX.into()),
        "routing.v1.Modulo.divisor" => {
            add("minimum", 2.into());
            add("maximum", DIVISOR_MAX.into());
        }
        "routing.v1.Modulo.remainders" => add("maxItems", REMAINDERS_MAX.into()),
        "routing.v1.Retry.max_retries" => add("maximum", RETRIES_MAX.into()),
        "routing.v1.Retry.causes" => add("maxItems", CAUSES_MAX.into()),
        "routing.v1.Timeouts.paths" => add("maxProperties", PATHS_MAX.into()),
        _ => {}
    }
}

/// What holds of an object as a whole.
pub(super) fn of_object(kind: &str) -> Vec<Value> {
    const ID: &str = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
    match kind {
        "LaneGroup" => vec![rule(
            &format!("self.metadata.name.matches('^{ID}$') && self.metadata.name != '{BASELINE}'"),
            "the name of a group is 1 to 63 of a-z, 0-9 and '-', and not `baseline`",
        )],
        "Lane" => vec![
            rule(
                &format!("self.metadata.name.matches('^({ID}[.])?{ID}$') && self.metadata.name != '{BASELINE}'"),
                "the name of a lane is 1 to 63 of a-z, 0-9 and '-', and not `baseline`; before it may stand its group and a dot",
            ),
            rule(
                "!self.metadata.name.contains('.') || (has(self.spec) && has(self.spec.group) && \
                 self.metadata.name.startsWith(self.spec.group + '.'))",
                "before the dot in the name of a lane stands its group, as in spec.group",
            ),
            rule(
                "(has(self.spec) && has(self.spec.group) ? self.spec.group : 'default') == \
                 (has(oldSelf.spec) && has(oldSelf.spec.group) ? oldSelf.spec.group : 'default')",
                "the group of a lane cannot be changed: delete the lane and create it in the other group",
            ),
        ],
        _ => Vec::new(),
    }
}

/// What holds of one message. `level` counts the conditions around what is in it.
pub(super) fn of_message(desc: &MessageDescriptor, level: usize) -> Vec<Value> {
    match desc.full_name() {
        "laneway.routing.v1.Condition" => return of_condition(desc, level),
        "laneway.admin.v1.Lane" => {
            return vec![
                one_at_most(&["expireTime", "ttl"]),
                immutable("tag"),
                rule(&format!("!has(self.tag) || self.tag != '{BASELINE}'"), "`baseline` is the tag of no lane"),
            ];
        }
        "laneway.admin.v1.ServicePolicy" => return vec![immutable("service")],
        "laneway.routing.v1.Entry" => {
            return vec![rule(
                "!has(self.rules) || size(self.rules) == 0 || (has(self.services) && size(self.services) > 0)",
                "rules need `services`: where they are evaluated",
            )];
        }
        "laneway.admin.v1.Guard" => {
            return vec![
                rule(
                    "has(self.maxErrorRateOverBaseline) || (has(self.maxP99Ratio) && self.maxP99Ratio > 0.0)",
                    "give maxErrorRateOverBaseline, maxP99Ratio, or both",
                ),
                rule(
                    "!has(self.maxP99Ratio) || self.maxP99Ratio == 0.0 || self.maxP99Ratio > 1.0",
                    "maxP99Ratio is above 1",
                ),
            ];
        }
        _ => {}
    }
    let oneofs = desc.oneofs().filter(|oneof| !oneof.is_synthetic());
    let of_oneof = oneofs.map(|oneof| {
        let fields: Vec<FieldDescriptor> = oneof.fields().collect();
        one_at_most(&fields.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>())
    });
    of_oneof.collect()
}

/// A source with one operator; or `all`, `any` or `not`.
fn of_condition(desc: &MessageDescriptor, level: usize) -> Vec<Value> {
    if level > CONDITION_LEVELS_RULED {
        return Vec::new();
    }
    let of_oneof = |name: &str| -> Vec<FieldDescriptor> {
        desc.oneofs()
            .filter(|oneof| oneof.name() == name)
            .flat_map(|oneof| oneof.fields().collect::<Vec<_>>())
            .collect()
    };
    let (sources, operators) = (of_oneof("source"), of_oneof("operator"));
    let operators: Vec<&str> = operators.iter().map(FieldDescriptor::json_name).chain(["in"]).collect();
    let sources: Vec<&str> = sources.iter().map(FieldDescriptor::json_name).collect();
    let heads: Vec<&str> = ["all", "any", "not"].into_iter().chain(sources.iter().copied()).collect();
    vec![
        rule(&format!("{} == 1", count(&heads)), &format!("give exactly one of {}", heads.join(", "))),
        rule(
            &format!("{} == (has(self.all) || has(self.any) || has(self.not) ? 0 : 1)", count(&operators)),
            &format!("a value has exactly one operator, and all, any and not have none: {}", operators.join(", ")),
        ),
    ]
}

fn one_at_most(fields: &[&str]) -> Value {
    rule(&format!("{} <= 1", count(fields)), &format!("{} exclude each other", fields.join(", ")))
}

fn immutable(field: &str) -> Value {
    let expression = format!("!has(self.{field}) || !has(oldSelf.{field}) || self.{field} == oldSelf.{field}");
    rule(&expression, &format!("{field} of an object that is there cannot be changed: make one of another name"))
}

/// How many of these fields are given.
fn count(fields: &[&str]) -> String {
    // A word of CEL's own is written with underscores around it. A sum is the cheapest way to count, as costs are estimated.
    let given = fields.iter().map(|field| match *field {
        "in" => "(has(self.__in__) ? 1 : 0)".to_owned(),
        field => format!("(has(self.{field}) ? 1 : 0)"),
    });
    given.collect::<Vec<_>>().join(" + ")
}

fn rule(expression: &str, message: &str) -> Value {
    json!({"rule": expression, "message": message})
}
