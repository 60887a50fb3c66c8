//! What can go wrong with a directory, and what to do about it.

use std::time::Duration;

use crate::model::Disposition;

/// Why a session with a directory failed. The text names the server, the cause and, where it is known, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No connection came about: name resolution, refused, unreachable.
    #[error("{server}: no connection: {cause}")]
    Connect {
        /// The server's URL.
        server: String,
        /// The cause.
        cause: String,
    },
    /// TLS was not agreed on.
    #[error("{server}: TLS failed: {cause}")]
    Tls {
        /// The server's URL.
        server: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// The server did not accept who we are.
    #[error("{server}: the bind as {who} was refused: {cause}")]
    Bind {
        /// The server's URL.
        server: String,
        /// The bind DN, or the mechanism.
        who: String,
        /// The result and the remedy.
        cause: String,
        /// It may be the password, so that the same one is not to be offered again.
        wrong_password: bool,
    },
    /// This server lacks changes that another one had told, and no other one lets us in.
    #[error(
        "{server}: the server is behind the others ({why}) and is not asked; of those, the last one: {others}. If they are gone for good, take them out of `url`"
    )]
    Behind {
        /// The server's URL.
        server: String,
        /// In what it is behind.
        why: String,
        /// Why another one is not asked.
        others: String,
    },
    /// The connection ended, or what came over it was not LDAP.
    #[error("{server}: the server {cause}")]
    Broken {
        /// The server's URL.
        server: String,
        /// What the server did.
        cause: String,
    },
    /// The server says nothing any more.
    #[error("{server}: no answer for {} s while {doing}", .waited.as_secs())]
    Silent {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// How long.
        waited: Duration,
    },
    /// An answer is larger than anything that was asked for, or has no end.
    #[error("{server}: the answer has no end while {doing}: {came}")]
    Endless {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// How much came, and in what time.
        came: String,
    },
    /// So much comes for another search that the answer to this one is behind it.
    #[error("{server}: no answer while {doing}, because the server sends more changes than can be taken")]
    Busy {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The search base is not there, or may not be seen.
    #[error("{server}: {}", no_base(.base))]
    NoBase {
        /// The server's URL.
        server: String,
        /// The base DN.
        base: String,
    },
    /// The search base is an alias entry (RFC 4512, 2.6), below which no search finds anybody.
    #[error(
        "{server}: the base {base} is an alias, which no search here follows; write `base_dn = \"{target}\"`"
    )]
    AliasBase {
        /// The server's URL.
        server: String,
        /// The base DN.
        base: String,
        /// The DN that it stands for.
        target: String,
    },
    /// The server says that another one is to be asked (RFC 4511, 4.1.10).
    #[error(
        "{server}: the answer to {doing} is a referral (result 10) to {to}: what is asked for is not on this server; write the server that holds it into `url`, or correct `base_dn`{}",
        if .text.is_empty() { String::new() } else { format!(" (the server's words: {text})") }
    )]
    Referral {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// The URLs of the answer, for people.
        to: String,
        /// The diagnostic message.
        text: String,
    },
    /// A group on which membership depends is not there, or may not be seen.
    #[error(
        "{server}: the group {group} does not exist or may not be read by this account; correct `filter` or `groups`, or the server's access rules. Until then nobody is taken to have left"
    )]
    NoGroup {
        /// The server's URL.
        server: String,
        /// The group's DN in the configuration.
        group: String,
    },
    /// A group has another name since the session began.
    #[error("{server}: the group {group} was renamed to {now}; it is looked for under that name")]
    GroupRenamed {
        /// The server's URL.
        server: String,
        /// The DN before.
        group: String,
        /// The DN now.
        now: String,
    },
    /// A limit of the server cut a search short.
    #[error("{server}: {limit}, so the answer is not complete; {remedy}")]
    Limit {
        /// The server's URL.
        server: String,
        /// Which limit it was.
        limit: &'static str,
        /// What to raise, where.
        remedy: &'static str,
    },
    /// The cursor was refused: everything has to be listed again.
    #[error("{server}: the resume point was refused ({cause})")]
    CursorRefused {
        /// The server's URL.
        server: String,
        /// The server's words.
        cause: String,
    },
    /// The server cannot do what this stream needs.
    #[error("{server}: {cause}")]
    Unsupported {
        /// The server's URL.
        server: String,
        /// What, and the remedy.
        cause: String,
    },
    /// Any other result that is no success.
    #[error("{server}: the server refused {doing}: result {code}{}{text}", if .text.is_empty() { "" } else { ": " })]
    Refused {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// The result code (RFC 4511, appendix A).
        code: u32,
        /// The diagnostic message.
        text: String,
    },
    /// An entry or a control that cannot be understood.
    #[error("{server}: {what} that {cause}")]
    Malformed {
        /// The server's URL.
        server: String,
        /// What was sent.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The configuration cannot work.
    #[error("{0}")]
    Settings(String),
}

impl DirectoryError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Connect { .. }
            | Self::Behind { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Endless { .. }
            | Self::Busy { .. }
            | Self::Malformed { .. } => Disposition::Outage,
            Self::Refused { .. } | Self::GroupRenamed { .. } => Disposition::Retry,
            Self::CursorRefused { .. } => Disposition::Relist,
            Self::Tls { .. }
            | Self::Bind { .. }
            | Self::NoBase { .. }
            | Self::AliasBase { .. }
            | Self::Referral { .. }
            | Self::NoGroup { .. }
            | Self::Limit { .. }
            | Self::Unsupported { .. }
            | Self::Settings(_) => Disposition::Operator,
        }
    }

    /// Whether the server does not do what it was asked for, so that it is worthwhile to ask it in another way.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            // busy and unavailable: at another time it may do.
            Self::Refused { code, .. } => !matches!(code, 51 | 52),
            Self::NoBase { .. } | Self::Referral { .. } | Self::Unsupported { .. } => true,
            _ => false,
        }
    }
}

fn no_base(base: &str) -> String {
    if base.is_empty() {
        "nobody can be looked for below the empty base of this server; write into `base_dn` where people are, each place \
         as a [[directory]] of its own (the suffixes of the server are the `namingContexts` of its root DSE; in Active \
         Directory the Global Catalog, port 3269 or 3268, answers to an empty base)"
            .into()
    } else {
        format!(
            "the base {base} does not exist or may not be read by this account; check `base_dn` and the server's access rules"
        )
    }
}
