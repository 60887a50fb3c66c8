//! Enums for keys whose value is one of a few fixed words.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::reference::nearest;

/// Declares an enum that serialises as one word. An unknown word is an error that suggests the nearest known one.
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
            /// The word that the configuration uses.
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

/// The error for an unknown word: the nearest known one, or all of them.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
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
    /// The best stream that the root DSE announces.
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
    /// The operating system (over ldapi://) or the client certificate (over TLS) tells the server who the client is.
    External = "external",
    /// A ticket of Kerberos (over TLS).
    Gssapi = "gssapi",
}

choices! {
    /// How accounts that the directory calls disabled are treated.
    pub DisabledAccounts, "word";
    /// They are not members, where the directory says who is disabled.
    Auto = "auto",
    /// They are members like every other match of the filter.
    Ignore = "ignore",
}

choices! {
    /// What to do when the address of an invited person changes.
    pub OnAddressChange, "policy";
    /// Record and log it.
    Report = "report",
    /// Invite the new address as well.
    Invite = "invite",
}

choices! {
    /// Whose invitations wait for an administrator.
    pub HoldInvitations, "word";
    /// Those that exceed a limit.
    None = "none",
    /// Everyone's.
    All = "all",
}

choices! {
    /// What to do when an administrator of Vaultwarden deleted the account of somebody who was invited.
    pub OnDeleted, "policy";
    /// The person is not invited again.
    Respect = "respect",
    /// The person is invited again.
    Invite = "invite",
}

choices! {
    /// What happens to the account of somebody who has left.
    pub LeaveAction, "action";
    /// Nothing.
    None = "none",
    /// All its sessions end. The person can log in again.
    Deauthorize = "deauthorize",
    /// Nobody can log in until the account is enabled again.
    Disable = "disable",
    /// The account and its vault are deleted for good.
    Delete = "delete",
}

choices! {
    /// The least severe level that is logged.
    pub Level, "level";
    /// Failures that an administrator must fix.
    Error = "error",
    /// Conditions that an administrator should look at.
    Warn = "warn",
    /// Events about people and connections.
    Info = "info",
    /// Each step.
    Debug = "debug",
    /// Each message.
    Trace = "trace",
}

choices! {
    /// The format of log lines.
    pub Format, "format";
    /// Plain text for people.
    Text = "text",
    /// One JSON object per line.
    Json = "json",
}
