//! From one value to another, as the operations of a JSON Patch (RFC 6902): `add`, `remove` and `replace`. Pure.
//!
//! Lists whose items have names, as most in a pod, are compared by these, so that a container put first is one `add` and the
//! patch can be read in an audit log; other lists are replaced whole where they differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::inject::value::{Map, Value};

/// Nothing where both are alike.
pub(super) fn between(before: &Map, after: &Map) -> Vec<Value> {
    let mut operations = Vec::new();
    maps("", before, after, &mut operations);
    operations
}

fn maps(path: &str, before: &Map, after: &Map, operations: &mut Vec<Value>) {
    // Not by the map's own search, which looks at each key: somebody else wrote these.
    let old: BTreeMap<&str, &Value> = before.iter().collect();
    let new: BTreeMap<&str, &Value> = after.iter().collect();
    for (key, value) in after.iter() {
        let path = below(path, key);
        match old.get(key) {
            Some(old) => values(&path, old, value, operations),
            None => operations.push(operation("add", &path, Some(value))),
        }
    }
    for (key, _) in before.iter().filter(|(key, _)| !new.contains_key(key)) {
        operations.push(operation("remove", &below(path, key), None));
    }
}

fn values(path: &str, before: &Value, after: &Value, operations: &mut Vec<Value>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Value::Map(before), Value::Map(after)) => maps(path, before, after, operations),
        (Value::List(before), Value::List(after)) => {
            let known = operations.len();
            if named(path, before, after, operations).is_none() {
                operations.truncate(known);
                operations.push(operation("replace", path, Some(&Value::List(after.clone()))));
            }
        }
        (_, after) => operations.push(operation("replace", path, Some(after))),
    }
}

/// Item by item. Nothing where they have no names, or come in another order.
fn named(path: &str, before: &[Value], after: &[Value], operations: &mut Vec<Value>) -> Option<()> {
    let (old, new) = (names(before)?, names(after)?);
    let name = |item: &Value| item.as_map().and_then(|item| item.text("name")).map(str::to_owned);
    let mut rest = before.iter().peekable();
    // Each place is one in the list as the operations before have made it.
    for (at, item) in after.iter().enumerate() {
        let path = below(path, &at.to_string());
        while rest.next_if(|gone| name(gone).is_none_or(|name| !new.contains(name.as_str()))).is_some() {
            operations.push(operation("remove", &path, None));
        }
        let own = name(item)?;
        match rest.next_if(|there| name(there).as_ref() == Some(&own)) {
            Some(there) => values(&path, there, item, operations),
            None if old.contains(own.as_str()) => return None,
            None => operations.push(operation("add", &path, Some(item))),
        }
    }
    let end = below(path, &after.len().to_string());
    operations.extend(rest.map(|_| operation("remove", &end, None)));
    Some(())
}

/// Of all items. Nothing where one has none, or two have the same.
fn names(list: &[Value]) -> Option<BTreeSet<&str>> {
    let names: Option<BTreeSet<&str>> = list.iter().map(|item| item.as_map()?.text("name")).collect();
    names.filter(|names| names.len() == list.len())
}

fn operation(what: &str, path: &str, value: Option<&Value>) -> Value {
    match value {
        Some(value) => [("op", what.into()), ("path", path.into()), ("value", value.clone())].into(),
        None => [("op", what.into()), ("path", path.into())].into(),
    }
}

/// A pointer (RFC 6901) to what is one step further.
fn below(path: &str, key: &str) -> String {
    format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"))
}
