//! What a tag is, and how a request carries one. Bytes become a [`Tag`] here and nowhere else.

use std::fmt;
use std::hash::{Hash, Hasher};

use laneway_proto::contract::TAG_BYTES_MAX;

/// A tag: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`. Inline and `Copy`, so that a decision allocates nothing.
///
/// The reserved word `baseline` is no tag: see [`RequestTag`].
#[derive(Clone, Copy)]
pub struct Tag {
    length: u8,
    // ASCII of the grammar in the first `length` bytes, zeros after.
    bytes: [u8; TAG_BYTES_MAX],
}

/// Why a value is no tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    #[error("a tag is not empty")]
    Empty,
    #[error("a tag has at most {TAG_BYTES_MAX} bytes")]
    TooLong,
    #[error("a tag holds only a-z, 0-9 and '-', and begins and ends with a letter or digit")]
    Character,
    #[error("'baseline' is reserved for instances without a tag")]
    Reserved,
}

impl Tag {
    /// Reads a tag; every other value is an error.
    pub fn parse(value: &[u8]) -> Result<Tag, TagError> {
        if value.is_empty() {
            return Err(TagError::Empty);
        }
        if value.len() > TAG_BYTES_MAX {
            return Err(TagError::TooLong);
        }
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !value.iter().all(|&b| alphanumeric(b) || b == b'-')
            || !alphanumeric(value[0])
            || !alphanumeric(value[value.len() - 1])
        {
            return Err(TagError::Character);
        }
        if value == laneway_proto::contract::BASELINE.as_bytes() {
            return Err(TagError::Reserved);
        }
        let mut bytes = [0; TAG_BYTES_MAX];
        bytes[..value.len()].copy_from_slice(value);
        Ok(Tag { length: value.len() as u8, bytes })
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a tag is ASCII")
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Tag) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Tag {}

impl Hash for Tag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Tag {
    fn partial_cmp(&self, other: &Tag) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Tag {
    fn cmp(&self, other: &Tag) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What a request says about its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequestTag {
    /// Nothing.
    #[default]
    None,
    /// The value `baseline`, or its group's baseline tag: no lane, and do not colour me. Carried on.
    Baseline,
    /// A lane, existing or not.
    Lane(Tag),
}

impl RequestTag {
    /// The value that stands on the wire; `None` writes nothing.
    pub fn wire(&self) -> Option<&str> {
        match self {
            RequestTag::None => None,
            RequestTag::Baseline => Some(laneway_proto::contract::BASELINE),
            RequestTag::Lane(tag) => Some(tag.as_str()),
        }
    }
}
