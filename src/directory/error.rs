//! What can go wrong with a directory, and what to do about it.

use std::time::Duration;

use ldap3::LdapResult;

use crate::directory::ldap::password_policy;
use crate::directory::ldap::password_policy::Notice;
use crate::foreign;
use crate::model::Disposition;

/// Servers of a referral that a message names.
const REFERRED_TO: usize = 3;

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

    /// The error for a search that ended with this result, where it is not a success.
    pub(crate) fn from_search_result(server: &str, doing: &'static str, result: &LdapResult) -> Self {
        let server = server.to_owned();
        let text = words(&result.text);
        let limit = |limit, remedy| Self::Limit {
            server: server.clone(),
            limit,
            remedy,
        };
        match result.rc {
            3 => limit(
                "the time limit was reached (timeLimitExceeded)",
                "raise the time limit of the bind account (OpenLDAP: `limits dn.exact=\"<bind DN>\" time=unlimited`)",
            ),
            4 => limit(
                "the size limit was reached (sizeLimitExceeded)",
                "raise the size limit of the bind account (OpenLDAP: `limits dn.exact=\"<bind DN>\" size=unlimited`, and no lower `size.prtotal`; 389-DS: `nsSizeLimit: -1`)",
            ),
            11 => limit(
                "an administrative limit was reached (adminLimitExceeded)",
                "raise the look-through limit of the bind account (389-DS: `nsLookThroughLimit: -1`)",
            ),
            12 => Self::Unsupported {
                server,
                cause: "the server does not offer this kind of search here (unavailableCriticalExtension); on OpenLDAP, add `overlay syncprov` to the database, or set `stream = \"poll\"`".into(),
            },
            10 => Self::Referral { server, doing, to: targets(&result.refs), text },
            1 if text.contains("00002020") => Self::Bind {
                server,
                who: "nobody".into(),
                cause: "Active Directory answers only after a bind; set `bind_dn` and its password".into(),
                wrong_password: false,
            },
            code => Self::Refused { server, doing, code, text },
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

    /// The error for a bind that was refused, or that lets nothing be asked.
    pub(crate) fn from_bind_result(server: &str, who: &str, result: &LdapResult) -> Self {
        let (code, text) = (result.rc, &*words(&result.text));
        if code == 10 {
            return Self::Referral {
                server: server.to_owned(),
                doing: "the bind",
                to: targets(&result.refs),
                text: text.to_owned(),
            };
        }
        // What lies ahead is no cause.
        let notice = password_policy::read(&result.ctrls)
            .filter(|notice| !matches!(notice, Notice::Grace(_) | Notice::Expires(_)));
        let is_noticed = notice.is_some();
        let said = match (code, notice, data_code(text)) {
            (_, Some(notice), _) => notice.words(),
            (49, None, Some("532")) => Notice::Expired.words(),
            (49, None, Some("773")) => Notice::MustChange.words(),
            (49, None, Some("775")) => Notice::Locked.words(),
            (code, None, data) => match (code, data) {
                (7, _) => "the mechanism is not offered here",
                (8 | 13, _) => "the server wants an encrypted connection; use ldaps:// or `starttls = true`",
                (19, _) => "the account is refused for now, as 389-DS does after too many wrong passwords; unlock it",
                (48, _) => "this way to bind is switched off for the account or for anonymous users",
                (49, Some("52e" | "525")) => {
                    "wrong password, or no such user; check `bind_dn` and its password"
                }
                (49, Some("530" | "531")) => {
                    "the account may not log on at this time or from this machine; lift the restriction"
                }
                (49, Some("533")) => "the account is disabled; enable it",
                (49, Some("701")) => "the account has expired; extend it",
                (49, None) => {
                    "wrong bind DN or wrong password; check `bind_dn` and its password, and on OpenLDAP that `userPassword` is open `by anonymous auth`"
                }
                (49, Some(_)) => "the server does not accept the account; see its log",
                (53, _) => "the server is unwilling; is the account locked, or is a password missing?",
                _ => "the server gives no cause that is known; see its log",
            }
            .to_owned(),
        };
        // Some servers tell an account that cannot be used from a wrong password (525 is a name that is not there).
        let may_be_wrong = matches!(data_code(text), None | Some("52e" | "525"));
        let wrong_password = code == 49 && !is_noticed && may_be_wrong;
        let text = if text.is_empty() {
            String::new()
        } else {
            format!(", {}", text.replace("; ", ", "))
        };
        // The result stands between cause and remedy.
        let cause = match said.split_once("; ") {
            Some((what, remedy)) => format!("{what} (result {code}{text}); {remedy}"),
            None => format!("{said} (result {code}{text})"),
        };
        Self::Bind {
            server: server.to_owned(),
            who: who.to_owned(),
            cause,
            wrong_password,
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

/// Where a referral leads, for people.
fn targets(urls: &[String]) -> String {
    if urls.is_empty() {
        return "a server that it does not name".into();
    }
    let named: Vec<String> = urls.iter().take(REFERRED_TO).map(|url| words(url)).collect();
    named.join(", ")
}

/// A server's text as it may stand within a message: in one line, and otherwise as [`foreign::shown`] has it.
pub(crate) fn words(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
        .collect();
    foreign::shown(&words.join(" "))
}

/// The words of a server after what they belong to; nothing where it has none.
pub(crate) fn colon(text: &str) -> String {
    match &*words(text) {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// Active Directory tells the cause of `invalidCredentials` as `data 52e` within its text.
fn data_code(text: &str) -> Option<&str> {
    let rest = text.split("data ").nth(1)?;
    let code = rest.split(|c: char| !c.is_ascii_hexdigit()).next();
    code.filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(rc: u32, text: &str, refs: &[&str]) -> LdapResult {
        LdapResult {
            rc,
            matched: String::new(),
            text: text.into(),
            refs: refs.iter().map(ToString::to_string).collect(),
            ctrls: Vec::new(),
        }
    }

    #[test]
    fn a_size_limit_names_the_server_and_what_to_raise() {
        let error = DirectoryError::from_search_result("ldap://a", "the listing", &result(4, "", &[]));
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
        let error = DirectoryError::from_bind_result("ldaps://dc", "ann@lab.test", &result(49, text, &[]));
        assert!(error.to_string().contains("the account is disabled"), "{error}");
    }

    #[test]
    fn a_referral_is_called_one_and_names_where_it_leads_and_what_to_write() {
        let text = "0000202B: RefErr: DSID-0310082F, data 0, 1 access points\n\tref 1: 'other.org'\n\0";
        let answer = result(10, text, &["ldap://other.org/DC=other,DC=org"]);
        for error in [
            DirectoryError::from_search_result("ldap://a", "the base", &answer),
            DirectoryError::from_bind_result("ldap://a", "cn=reader", &answer),
        ] {
            let said = error.to_string();
            for word in [
                "is a referral (result 10) to ldap://other.org/DC=other,DC=org",
                "`url`",
                "`base_dn`",
                "1 access points ref 1: 'other.org')",
            ] {
                assert!(said.contains(word), "{word} is not in {said}");
            }
            assert!(!said.contains(char::is_control), "{said:?}");
            assert_eq!(error.disposition(), Disposition::Operator);
        }
        let error = DirectoryError::from_search_result("ldap://a", "the base", &result(10, "", &[]));
        assert!(error.to_string().contains("a server that it does not name"));
    }

    #[test]
    fn a_servers_text_is_one_short_line_without_control_characters() {
        assert_eq!(
            words("no\n\t such\x1b[31m  object\0"),
            "no such\\u{1b}[31m object"
        );
        assert_eq!(words(" \n"), "");
        assert!(words(&"x".repeat(1 << 20)).chars().count() <= foreign::LONGEST);
    }
}
