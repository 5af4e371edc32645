//! A document taken apart: prose, files, and commands with what they print.

/// A piece of the document; put together again they are the document.
pub(crate) enum Block {
    Text(String),
    File { name: String, text: String, whole: String },
    Console(Vec<Run>),
}

/// One command.
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) output: String,
}

impl Block {
    pub(crate) fn runs(self) -> Vec<Run> {
        match self {
            Block::Console(runs) => runs,
            Block::Text(_) | Block::File { .. } => Vec::new(),
        }
    }
}

pub(crate) fn parts(text: &str) -> Vec<Block> {
    let mut blocks = vec![];
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let fence = line.trim_end();
        if fence != "```console" && fence != "```yaml" {
            match blocks.last_mut() {
                Some(Block::Text(text)) => text.push_str(line),
                _ => blocks.push(Block::Text(line.to_owned())),
            }
            continue;
        }
        let inner: String = lines.by_ref().take_while(|line| line.trim_end() != "```").collect();
        if fence == "```console" {
            blocks.push(Block::Console(runs(&inner)));
            continue;
        }
        let whole = format!("{line}{inner}```\n");
        let name = inner.lines().next().and_then(|first| first.strip_prefix("# "));
        match name.filter(|name| name.ends_with(".yaml")) {
            Some(name) => blocks.push(Block::File { name: name.to_owned(), text: inner.clone(), whole }),
            None => blocks.push(Block::Text(whole)),
        }
    }
    blocks
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("$ "), runs.last_mut()) {
            (Some(command), _) => runs.push(Run { command: command.trim_end().to_owned(), output: String::new() }),
            (None, Some(run)) => run.output.push_str(line),
            (None, None) => panic!("a console block begins with {line:?}, not with `$ `"),
        }
    }
    runs
}
