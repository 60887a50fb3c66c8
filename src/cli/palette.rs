//! Colours for terminals.

use std::io::IsTerminal;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Palette {
    /// Without colours: files, pipes, and terminals with `$NO_COLOR`.
    Plain,
    /// With colours.
    Coloured,
}

impl Palette {
    /// The palette for a stream; follows <https://no-color.org>.
    pub(super) fn of(stream: &impl IsTerminal) -> Self {
        let disabled = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !disabled {
            Self::Coloured
        } else {
            Self::Plain
        }
    }

    /// Something works: green.
    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something needs attention: yellow.
    pub(super) fn attention(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Something is broken: red.
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
