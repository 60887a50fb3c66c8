//! Keys whose value is one of a few words.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::reference::nearest;

/// Declares an enum that is read from and written as a word.
macro_rules! choices {
    (
        $(#[$meta:meta])* $vis:vis $name:ident, $what:literal;
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// The word for it, as in the configuration.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                match word.as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(de::Error::custom(unknown($what, &word, &[$($word),+]))),
                }
            }
        }
    };
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("unknown {what} \"{word}\"; did you mean \"{meant}\"?"),
        None => format!(
            "unknown {what} \"{word}\"; use one of \"{}\"",
            known.join("\", \"")
        ),
    }
}

choices! {
    /// How a directory's changes are learned.
    pub(super) Stream, "stream";
    /// The best that the root DSE announces.
    Auto = "auto",
    /// RFC 4533, refreshAndPersist.
    Syncrepl = "syncrepl",
    /// draft-ietf-ldapext-psearch-03.
    PersistentSearch = "persistent-search",
    /// Active Directory's change notification.
    ActiveDirectory = "active-directory",
    /// A full listing at intervals.
    Poll = "poll",
}

choices! {
    /// A SASL mechanism (RFC 4422).
    pub(super) Sasl, "mechanism";
    /// The operating system tells the server who asks, over ldapi://.
    External = "external",
}

choices! {
    /// What accounts that are disabled are.
    pub DisabledAccounts, "word";
    /// No members, where the directory tells who is disabled.
    Auto = "auto",
    /// Members like anyone else whom the filter finds.
    Ignore = "ignore",
}

choices! {
    /// What to do when a person who was invited has another address.
    pub OnAddressChange, "policy";
    /// Record and log it.
    Report = "report",
    /// Invite the new address as well.
    Invite = "invite",
}

choices! {
    /// The least important events that are logged.
    pub Level, "level";
    /// Failures that need someone.
    Error = "error",
    /// What someone should look at.
    Warn = "warn",
    /// What happened to people and connections.
    Info = "info",
    /// Each step.
    Debug = "debug",
    /// Each message.
    Trace = "trace",
}

choices! {
    /// How a log line looks.
    pub Format, "format";
    /// For people.
    Text = "text",
    /// One JSON object a line.
    Json = "json",
}
