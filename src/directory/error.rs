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
    #[error(
        "{server}: the base {base} does not exist or may not be read by this account; check `base_dn` and the server's access rules"
    )]
    NoBase {
        /// The server's URL.
        server: String,
        /// The base DN.
        base: String,
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
            | Self::NoGroup { .. }
            | Self::Limit { .. }
            | Self::Unsupported { .. }
            | Self::Settings(_) => Disposition::Operator,
        }
    }

    /// The error for a search that ended with this result code, where it is not a success.
    pub(super) fn from_search_result(server: &str, doing: &'static str, code: u32, text: &str) -> Self {
        let server = server.to_owned();
        let limit = |limit, remedy| Self::Limit {
            server: server.clone(),
            limit,
            remedy,
        };
        match code {
            3 => limit(
                "the time limit was reached (timeLimitExceeded)",
                "raise the time limit of the bind account (OpenLDAP: `limits dn.exact=\"<bind DN>\" time=unlimited`)",
            ),
            4 => limit(
                "the size limit was reached (sizeLimitExceeded)",
                "raise the size limit of the bind account (OpenLDAP: `limits dn.exact=\"<bind DN>\" size=unlimited`; 389-DS: `nsSizeLimit: -1`)",
            ),
            11 => limit(
                "an administrative limit was reached (adminLimitExceeded)",
                "raise the look-through limit of the bind account (389-DS: `nsLookThroughLimit: -1`)",
            ),
            12 => Self::Unsupported {
                server,
                cause: "the server does not offer this kind of search here (unavailableCriticalExtension); on OpenLDAP, add `overlay syncprov` to the database, or set `stream = \"poll\"`".into(),
            },
            1 if text.contains("00002020") => Self::Bind {
                server,
                who: "nobody".into(),
                cause: "Active Directory answers only after a bind; set `bind_dn` and its password".into(),
            },
            _ => Self::Refused { server, doing, code, text: text.to_owned() },
        }
    }

    /// The error for a bind that was refused.
    pub(super) fn from_bind_result(server: &str, who: &str, code: u32, text: &str) -> Self {
        let what = match code {
            7 => "the mechanism is not offered here",
            8 | 13 => "the server wants an encrypted connection; use ldaps:// or `starttls = true`",
            48 => "this way to bind is switched off for the account or for anonymous users",
            49 => match data_code(text) {
                Some("52e") => "wrong password, or no such user",
                Some("532") => "the account's password has expired",
                Some("533") => "the account is disabled",
                Some("701") => "the account has expired",
                Some("773") => "the account must change its password first",
                Some("775") => "the account is locked",
                _ => "wrong bind DN or wrong password",
            },
            53 => "the server is unwilling; is the account locked, or is a password missing?",
            _ => "see the server's log",
        };
        let remedy = match (code, data_code(text)) {
            (49, None) => {
                "; check `bind_dn` and its password, and on OpenLDAP that `userPassword` is open `by anonymous auth`"
            }
            (49, Some("52e")) => "; check `bind_dn` and its password",
            _ => "",
        };
        let text = if text.is_empty() {
            String::new()
        } else {
            format!(", {text}")
        };
        Self::Bind {
            server: server.to_owned(),
            who: who.to_owned(),
            cause: format!("{what} (result {code}{text}){remedy}"),
        }
    }
}

/// Active Directory tells the cause of `invalidCredentials` as `data 52e` within its text.
fn data_code(text: &str) -> Option<&str> {
    let rest = text.split("data ").nth(1)?;
    rest.split(|c: char| !c.is_ascii_hexdigit()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_limit_names_the_server_and_what_to_raise() {
        let error = DirectoryError::from_search_result("ldap://a", "the listing", 4, "");
        assert_eq!(error.disposition(), Disposition::Operator);
        let text = error.to_string();
        assert!(
            text.starts_with("ldap://a: the size limit was reached") && text.contains("size=unlimited"),
            "{text}"
        );
    }

    #[test]
    fn the_data_code_of_active_directory_becomes_words() {
        let text = "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 533, v1db1";
        let error = DirectoryError::from_bind_result("ldaps://dc", "ann@lab.test", 49, text);
        assert!(error.to_string().contains("the account is disabled"), "{error}");
    }
}
