//! From the text of a filter to what it says, without a look at any message. Pure.

use std::cmp::Ordering;

use super::super::field;

/// Longest filter, in bytes.
const BYTES_MAX: usize = 4 << 10;
/// Parentheses and negations within each other.
const DEPTH_MAX: usize = 16;

#[derive(Debug)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Comparison(Comparison),
}

#[derive(Debug)]
pub(super) struct Comparison {
    /// Segments of its path.
    pub(super) field: Vec<String>,
    pub(super) operator: Operator,
    pub(super) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    /// Of what is repeated or a map: one of it is that.
    Has,
}

impl Operator {
    /// The longer ones first.
    const SIGNS: [(&'static str, Operator); 7] = [
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("=", Operator::Equal),
        ("<", Operator::Less),
        (">", Operator::Greater),
        (":", Operator::Has),
    ];

    pub(super) fn is_ordering(self) -> bool {
        matches!(self, Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual)
    }

    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal | Operator::Has => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// None: the text says nothing.
pub(super) fn parse(text: &str) -> Result<Option<Expression>, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("has more than {BYTES_MAX} bytes"));
    }
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    if reader.rest.is_empty() {
        return Ok(None);
    }
    let expression = reader.expression()?;
    match reader.rest {
        "" => Ok(Some(expression)),
        rest => Err(format!("comparisons are joined by AND or OR, not by {:?}", first_word(rest))),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn expression(&mut self) -> Result<Expression, String> {
        let mut factors = vec![self.factor()?];
        while self.takes_word("AND") {
            factors.push(self.factor()?);
        }
        Ok(one_or(factors, Expression::All))
    }

    fn factor(&mut self) -> Result<Expression, String> {
        let mut terms = vec![self.term()?];
        while self.takes_word("OR") {
            terms.push(self.term()?);
        }
        Ok(one_or(terms, Expression::Any))
    }

    fn term(&mut self) -> Result<Expression, String> {
        if self.takes_word("NOT") || self.takes("-") {
            return self.deeper(|reader| Ok(Expression::Not(Box::new(reader.term()?))));
        }
        if self.takes("(") {
            return self.deeper(|reader| {
                let inner = reader.expression()?;
                if reader.takes(")") { Ok(inner) } else { Err("a parenthesis is not closed".to_owned()) }
            });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let start = self.rest;
        let (field, rest) = field::segments(start)?;
        if field.is_empty() || ["AND", "OR", "NOT"].contains(&field[0].as_str()) {
            return Err(format!("a comparison begins with a field, not with {:?}", first_word(start)));
        }
        self.rest = rest.trim_start();
        let found = Operator::SIGNS.iter().find(|(sign, _)| self.takes(sign));
        let Some((_, operator)) = found else {
            return Err(format!("after {} stands one of = != < <= > >= :", field.join(".")));
        };
        let value = self.value()?;
        Ok(Expression::Comparison(Comparison { field, operator: *operator, value }))
    }

    /// In quotes, or up to the next space or parenthesis.
    fn value(&mut self) -> Result<String, String> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find(|letter: char| letter.is_whitespace() || letter == ')');
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            if word.is_empty() {
                return Err("a comparison ends with a value".to_owned());
            }
            if word.contains('(') {
                return Err(format!("there are no functions: {word:?}"));
            }
            self.rest = rest.trim_start();
            return Ok(word.to_owned());
        };
        let (mut value, mut escaped) = (String::new(), false);
        for (at, letter) in quoted.char_indices() {
            match letter {
                _ if escaped => {
                    value.push(letter);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    self.rest = quoted[at + 1..].trim_start();
                    return Ok(value);
                }
                _ => value.push(letter),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        if self.depth == DEPTH_MAX {
            return Err(format!("has more than {DEPTH_MAX} parentheses or negations within each other"));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn takes(&mut self, sign: &str) -> bool {
        let after = self.rest.strip_prefix(sign);
        self.rest = after.map_or(self.rest, str::trim_start);
        after.is_some()
    }

    /// A word of the language: `ANDROID` is none.
    fn takes_word(&mut self, word: &str) -> bool {
        let after = self.rest.strip_prefix(word);
        let after = after.filter(|after| after.starts_with(|next: char| next.is_whitespace() || next == '('));
        self.rest = after.map_or(self.rest, str::trim_start);
        after.is_some()
    }
}

fn one_or(mut parts: Vec<Expression>, join: impl FnOnce(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn first_word(text: &str) -> &str {
    text.split(char::is_whitespace).next().unwrap_or_default()
}
