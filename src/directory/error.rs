//! Errors of a session with a directory, and what to do about them.

use std::time::Duration;

use crate::model::Disposition;

/// Why a session with a directory failed. The text names the server, the cause and, if known, the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no connection: the name is not resolved, or the server refuses it or is unreachable.
    #[error("{server}: no connection: {cause}")]
    Connect {
        /// The server's URL.
        server: String,
        /// The cause.
        cause: String,
    },
    /// StartTLS or the TLS handshake failed.
    #[error("{server}: TLS failed: {cause}")]
    Tls {
        /// The server's URL.
        server: String,
        /// The cause and the remedy.
        cause: String,
    },
    /// The server refused the bind.
    #[error("{server}: the bind as {who} was refused: {cause}")]
    Bind {
        /// The server's URL.
        server: String,
        /// The bind DN, or the mechanism.
        who: String,
        /// The result and the remedy.
        cause: String,
        /// Whether the password may be wrong, so that it must not be sent again.
        wrong_password: bool,
    },
    /// This server lacks changes that another one reported, and no other one accepts a connection.
    #[error(
        "{server}: the server is behind the others ({why}) and is not used; the error of the last of those: {others}. If they are gone for good, remove them from `url`"
    )]
    Behind {
        /// The server's URL.
        server: String,
        /// What it lacks.
        why: String,
        /// The error of another one.
        others: String,
    },
    /// The connection ended, or the server sent something other than LDAP.
    #[error("{server}: the server {cause}")]
    Broken {
        /// The server's URL.
        server: String,
        /// What the server did.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("{server}: no answer for {} s while {doing}", .waited.as_secs())]
    Silent {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// How long.
        waited: Duration,
    },
    /// An answer is larger than any sensible one, or does not end.
    #[error("{server}: the answer has no end while {doing}: {received}")]
    Endless {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// How much was received, and in what time.
        received: String,
    },
    /// The server sends so much for another search that the answer to this one has to wait.
    #[error(
        "{server}: no answer while {doing}, because the server sends changes faster than they are processed"
    )]
    Busy {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
    },
    /// The search base does not exist, or the account may not read it.
    #[error("{server}: {}", no_base(.base))]
    NoBase {
        /// The server's URL.
        server: String,
        /// The base DN.
        base: String,
    },
    /// The search base is an alias entry (RFC 4512, 2.6), below which no search finds anyone.
    #[error(
        "{server}: the base {base} is an alias, and aliases are not followed; write `base_dn = \"{target}\"`"
    )]
    AliasBase {
        /// The server's URL.
        server: String,
        /// The base DN.
        base: String,
        /// The DN to which it points.
        target: String,
    },
    /// The server refers to another one (RFC 4511, 4.1.10).
    #[error(
        "{server}: the answer to {doing} is a referral (result 10) to {to}: this server does not hold the entries; name the server that holds them in `url`, or correct `base_dn`{}",
        if .text.is_empty() { String::new() } else { format!(" (the server's words: {text})") }
    )]
    Referral {
        /// The server's URL.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// The URLs in the answer.
        to: String,
        /// The diagnostic message.
        text: String,
    },
    /// A configured group does not exist, or the account may not read it.
    #[error(
        "{server}: the group {group} does not exist or may not be read by this account; correct `filter` or `groups`, or the server's access rules. Until then no one is treated as having left"
    )]
    NoGroup {
        /// The server's URL.
        server: String,
        /// The group's DN in the configuration.
        group: String,
    },
    /// A group was renamed since the session began.
    #[error("{server}: the group {group} was renamed to {now}; the next session uses that name")]
    GroupRenamed {
        /// The server's URL.
        server: String,
        /// The DN before.
        group: String,
        /// The DN now.
        now: String,
    },
    /// A limit of the server ended a search early.
    #[error("{server}: {limit}, so the answer is not complete; {remedy}")]
    Limit {
        /// The server's URL.
        server: String,
        /// The limit.
        limit: &'static str,
        /// What to raise, where.
        remedy: &'static str,
    },
    /// The resume point was refused: everyone has to be listed again.
    #[error("{server}: the resume point was refused ({cause})")]
    CursorRefused {
        /// The server's URL.
        server: String,
        /// The reason.
        cause: String,
    },
    /// The server lacks what this kind of stream needs.
    #[error("{server}: {cause}")]
    Unsupported {
        /// The server's URL.
        server: String,
        /// What, and the remedy.
        cause: String,
    },
    /// Any other result than success.
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
    /// The server sent a malformed entry or control.
    #[error("{server}: {what} that {cause}")]
    Malformed {
        /// The server's URL.
        server: String,
        /// What was sent.
        what: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The settings cannot be used.
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

    /// Whether the server refused the request for good, so that another kind of request may work.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            // busy and unavailable: it may work at another time.
            Self::Refused { code, .. } => !matches!(code, 51 | 52),
            Self::NoBase { .. } | Self::Referral { .. } | Self::Unsupported { .. } => true,
            _ => false,
        }
    }
}

fn no_base(base: &str) -> String {
    if base.is_empty() {
        "this server does not search below the empty base; write the base of the people into `base_dn`, and give each further base \
         a [[directory]] of its own (the suffixes of the server are the `namingContexts` of its root DSE; in Active \
         Directory the Global Catalog, port 3269 or 3268, answers to an empty base)"
            .into()
    } else {
        format!(
            "the base {base} does not exist or may not be read by this account; check `base_dn` and the server's access rules"
        )
    }
}
