//! Colour, for a person at a terminal.

use std::io::IsTerminal;

/// How what is printed may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    /// For files and pipes, and for those who want no colour.
    Plain,
    /// For a terminal.
    Coloured,
}

impl Palette {
    /// What suits a stream. <https://no-color.org>
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !unwanted {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// What is well.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What waits for a person, or deserves a look.
    pub(super) fn wait(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is broken.
    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}
