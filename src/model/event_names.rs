//! The names of the kinds of events, read from the code that serde derives, so that a new kind needs no list.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, value::MapDeserializer};

use super::What;

impl What {
    /// The names of all kinds, as in the journal.
    pub fn names() -> &'static [&'static str] {
        // No kind has this name, so the error names those that exist.
        let unknown = MapDeserializer::new([("event", "")].into_iter());
        match Self::deserialize(unknown) {
            Err(Names(names)) => names,
            Ok(_) => &[],
        }
    }

    /// The name of this kind, as in the journal.
    pub fn name(&self) -> &'static str {
        let json = serde_json::to_value(self).unwrap_or_default();
        let name = json["event"].as_str();
        let names = Self::names().iter();
        names
            .copied()
            .find(|known| Some(*known) == name)
            .unwrap_or_default()
    }
}

/// The error of an unknown kind: the names of those that exist.
#[derive(Debug)]
struct Names(&'static [&'static str]);

impl de::Error for Names {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl std::error::Error for Names {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hold;

    #[test]
    fn every_kind_has_the_name_that_the_journal_uses() {
        let names = What::names();
        for (what, name) in [
            (What::Joined, "joined"),
            (What::Left { reason: None }, "left"),
            (
                What::Held {
                    by: Hold::Hour,
                    action: crate::model::ActionKind::Invite,
                },
                "held",
            ),
            (What::HadAccount, "had-account"),
        ] {
            assert_eq!(what.name(), name);
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.len() >= 18, "{names:?}");
    }
}
