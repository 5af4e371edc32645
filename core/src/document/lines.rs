//! Where in a text a field of a document stands, for people who are told of a finding. Pure, and asked for only when there
//! is one: the text is read a second time, with the lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

#[cfg(test)]
mod tests;

/// The lines of the documents of one text.
#[derive(Debug, Default)]
pub struct Lines {
    /// In the order, and with the numbers, of [`super::read_each`].
    documents: Vec<Node>,
    /// Where the text stops to be YAML.
    broken: Option<usize>,
}

/// One value, and the line it begins at.
#[derive(Debug)]
struct Node {
    line: usize,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    /// Each with the line of its key.
    Map(Vec<(String, usize, Node)>),
}

/// A step into a value.
enum Step {
    Key(String),
    Item(usize),
}

impl Lines {
    pub fn of(text: &str) -> Lines {
        match serde_saphyr::from_multiple_with_options::<Node>(text, super::yaml()) {
            Ok(documents) => Lines { documents: documents.into_iter().flat_map(items).collect(), broken: None },
            Err(error) => {
                let line = error.location().map(|location| line_of(location.line()));
                Lines { documents: Vec::new(), broken: line }
            }
        }
    }

    /// Line of a field of a document, or of what of its path is there; both count from 1. Of a text that is no YAML: where
    /// it stops to be.
    pub fn line(&self, document: usize, field: &str) -> Option<usize> {
        if self.broken.is_some() {
            return self.broken;
        }
        let root = self.documents.get(document.checked_sub(1)?)?;
        let steps = steps(field);
        // The form of a Kubernetes object has the fields of ours one level down.
        let inner = ["spec", "metadata"].iter().filter_map(|key| root.entry(key).map(|(_, node)| node));
        let found = std::iter::once(root).chain(inner).map(|from| from.follow(&steps));
        let (_, line) = found.max_by_key(|(depth, _)| *depth)?;
        Some(line.unwrap_or(root.line))
    }
}

impl Node {
    fn entry(&self, key: &str) -> Option<(usize, &Node)> {
        let Form::Map(entries) = &self.form else { return None };
        entries.iter().find(|(own, _, _)| own == key).map(|(_, line, node)| (*line, node))
    }

    /// How many steps could be gone, and the line of the last.
    fn follow(&self, steps: &[Step]) -> (usize, Option<usize>) {
        let (mut node, mut line) = (self, None);
        for (depth, step) in steps.iter().enumerate() {
            let next = match (step, &node.form) {
                (Step::Key(key), _) => node.entry(key),
                (Step::Item(at), Form::List(items)) => items.get(*at).map(|item| (item.line, item)),
                (Step::Item(_), _) => None,
            };
            let Some((own, inner)) = next else { return (depth, line) };
            (node, line) = (inner, Some(own));
        }
        (steps.len(), line)
    }
}

/// As [`super::items`]: the documents of one value.
fn items(node: Node) -> Vec<Node> {
    let is_list = matches!(node.entry("kind"), Some((_, Node { form: Form::Scalar(kind), .. })) if kind == "List");
    match node.form {
        Form::Nothing => Vec::new(),
        Form::List(items) => items,
        Form::Map(mut entries) if is_list => {
            let at = entries.iter().position(|(key, _, node)| key == "items" && matches!(node.form, Form::List(_)));
            match at.map(|at| entries.swap_remove(at).2.form) {
                Some(Form::List(items)) => items,
                _ => vec![Node { line: node.line, form: Form::Map(entries) }],
            }
        }
        form => vec![Node { line: node.line, form }],
    }
}

/// `entry.rules[0].match`, `labels["a b"]`
fn steps(field: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = field;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("[\"") {
            let end = inner.find("\"]").unwrap_or(inner.len());
            steps.push(Step::Key(inner[..end].to_owned()));
            rest = inner.get(end + 2..).unwrap_or_default();
        } else if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            let Ok(at) = inner[..end].parse() else { return steps };
            steps.push(Step::Item(at));
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let own = rest.strip_prefix('.').unwrap_or(rest);
            let end = own.find(['.', '[']).unwrap_or(own.len());
            if end > 0 {
                steps.push(Step::Key(own[..end].to_owned()));
            }
            rest = &own[end..];
            // A path that goes on in a way that is not ours.
            if end == 0 && !rest.starts_with('[') {
                return steps;
            }
        }
    }
    steps
}

fn line_of(line: u64) -> usize {
    usize::try_from(line).unwrap_or(usize::MAX)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Form>::deserialize(deserializer)?;
        Ok(Node { line: line_of(spanned.referenced.line()), form: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(FormVisitor)
    }
}

struct FormVisitor;

impl<'de> Visitor<'de> for FormVisitor {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Form, E> {
        Ok(Form::Nothing)
    }

    fn visit_none<E>(self) -> Result<Form, E> {
        Ok(Form::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        Form::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Form, E> {
        Ok(Form::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Form, E> {
        Ok(Form::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Form, E> {
        Ok(Form::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Form, E> {
        Ok(Form::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Form, E> {
        Ok(Form::Scalar(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Form, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Form::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key.value, line_of(key.referenced.line()), map.next_value()?));
        }
        Ok(Form::Map(entries))
    }
}
