//! How answers look: what was asked for with `-o`, and what the terminal can show. Decided once, at the start.

use std::io::IsTerminal;

use super::arguments::Format;

#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) format: Format,
    /// Whoever reads stdout sees colours. <https://no-color.org>
    pub(super) is_coloured: bool,
    /// Stdout is a screen that can be written over.
    pub(super) is_screen: bool,
    /// Somebody looks at stderr: a line of progress may stand there.
    pub(super) has_progress: bool,
}

/// What a word means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Good,
    Odd,
    Bad,
    /// Of less weight than what stands around it.
    Faint,
}

impl Look {
    /// Of this process.
    pub(super) fn of(format: Format) -> Look {
        let is_screen = std::io::stdout().is_terminal();
        let forbids = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Look {
            format,
            is_coloured: is_screen && !forbids && !is_dumb,
            is_screen: is_screen && !is_dumb,
            has_progress: std::io::stderr().is_terminal() && !is_dumb,
        }
    }

    #[cfg(test)]
    pub(super) fn plain(format: Format) -> Look {
        Look { format, is_coloured: false, is_screen: false, has_progress: false }
    }

    /// For people, not for programs.
    pub(super) fn is_table(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    pub(super) fn is_wide(self) -> bool {
        self.format == Format::Wide
    }

    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.is_coloured || text.is_empty() {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Good => "32",
            Colour::Odd => "33",
            Colour::Bad => "31",
            Colour::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
