//! How the demo looks. Colour only where a terminal shows it.

use std::io::{self, IsTerminal, Write};

/// The terminal, or whatever standard output is.
pub(crate) struct Screen {
    colour: bool,
}

impl Screen {
    /// Standard output, as it is.
    pub(crate) fn new() -> Self {
        // https://no-color.org
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colour: io::stdout().is_terminal() && !no_colour,
        }
    }

    /// A line of its own, or several.
    pub(crate) fn say(&self, text: &str) {
        // Nobody is left to be told of a standard output that is closed.
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// A new chapter.
    pub(crate) fn heading(&self, text: &str) {
        self.say(&format!("\n{}", self.bold(text)));
    }

    /// What somebody else printed or wrote, set off from the demo's own words.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.say(format!("    {line}").trim_end());
        }
    }

    /// Something that worked.
    pub(crate) fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something that matters.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What kept the demo from its end.
    pub(crate) fn fail(&self, text: &str) {
        let _ = io::stdout().flush();
        let word = match io::stderr().is_terminal() && self.colour {
            true => "\x1b[31merror\x1b[0m",
            false => "error",
        };
        let _ = writeln!(io::stderr(), "\n{word}: {text}");
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
