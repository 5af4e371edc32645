//! What a reader is told of a pod that was injected: what was found and done, or something that may not be meant so. A webhook
//! passes on the second kind alone.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Fact(String),
    Oddity(String),
}

impl Note {
    pub fn is_oddity(&self) -> bool {
        matches!(self, Note::Oddity(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Note::Fact(text) | Note::Oddity(text)) = self;
        f.write_str(text)
    }
}
