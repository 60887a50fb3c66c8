//! Converts the result of an operation (RFC 4511, 4.1.9) to an error with a remedy.

use ldap3::LdapResult;

use crate::directory::DirectoryError;
use crate::directory::ldap::password_policy::{self, Notice};
use crate::foreign;

/// The number of servers of a referral that a message names.
const REFERRED_TO: usize = 3;

/// The error for a search that ended with this result, which is not success.
pub(crate) fn search_error(server: &str, doing: &'static str, result: &LdapResult) -> DirectoryError {
    let server = server.to_owned();
    let text = one_line(&result.text);
    let limit = |limit, remedy| DirectoryError::Limit {
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
        12 => DirectoryError::Unsupported {
            server,
            cause: "the server does not offer this kind of search here (unavailableCriticalExtension); on OpenLDAP, add `overlay syncprov` to the database, or set `stream = \"poll\"`".into(),
        },
        10 => DirectoryError::Referral { server, doing, to: targets(&result.refs), text },
        1 if text.contains("00002020") => DirectoryError::Bind {
            server,
            who: "nobody".into(),
            cause: "Active Directory answers only after a bind; set `bind_dn` and its password".into(),
            wrong_password: false,
        },
        code => DirectoryError::Refused { server, doing, code, text },
    }
}

/// The error for a bind that was refused, or after which every request would be refused.
pub(crate) fn bind_error(server: &str, who: &str, result: &LdapResult) -> DirectoryError {
    let (code, text) = (result.rc, &*one_line(&result.text));
    if code == 10 {
        return DirectoryError::Referral {
            server: server.to_owned(),
            doing: "the bind",
            to: targets(&result.refs),
            text: text.to_owned(),
        };
    }
    // An expiry in the future is not the cause.
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
            (8 | 13, _) => "the server requires an encrypted connection; use ldaps:// or `starttls = true`",
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
            (53, _) => "the server is unwilling; check whether the account is locked, or the password is missing",
            _ => "the server reports no known cause; see its log",
        }
        .to_owned(),
    };
    // Some servers distinguish an unusable account from a wrong password (525: there is no such user).
    let may_be_wrong = matches!(data_code(text), None | Some("52e" | "525"));
    let wrong_password = code == 49 && !is_noticed && may_be_wrong;
    let text = if text.is_empty() {
        String::new()
    } else {
        format!(", {}", text.replace("; ", ", "))
    };
    // The result is inserted between cause and remedy.
    let cause = match said.split_once("; ") {
        Some((what, remedy)) => format!("{what} (result {code}{text}); {remedy}"),
        None => format!("{said} (result {code}{text})"),
    };
    DirectoryError::Bind {
        server: server.to_owned(),
        who: who.to_owned(),
        cause,
        wrong_password,
    }
}

/// The targets of a referral, for people.
fn targets(urls: &[String]) -> String {
    if urls.is_empty() {
        return "a server that it does not name".into();
    }
    let named: Vec<String> = urls.iter().take(REFERRED_TO).map(|url| one_line(url)).collect();
    named.join(", ")
}

/// A server's text in one line, and otherwise as [`foreign::shown`].
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '\0')
        .filter(|word| !word.is_empty())
        .collect();
    foreign::shown(&words.join(" "))
}

/// A server's text to append to a message, after a colon; empty if there is none.
pub(crate) fn after_colon(text: &str) -> String {
    match &*one_line(text) {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

/// The cause of `invalidCredentials` that Active Directory reports as `data 52e` in its text.
fn data_code(text: &str) -> Option<&str> {
    let rest = text.split("data ").nth(1)?;
    let code = rest.split(|c: char| !c.is_ascii_hexdigit()).next();
    code.filter(|code| !code.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Disposition;

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
        let error = search_error("ldap://a", "the listing", &result(4, "", &[]));
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
        let error = bind_error("ldaps://dc", "ann@lab.test", &result(49, text, &[]));
        assert!(error.to_string().contains("the account is disabled"), "{error}");
    }

    #[test]
    fn a_referral_is_called_one_and_names_where_it_leads_and_what_to_write() {
        let text = "0000202B: RefErr: DSID-0310082F, data 0, 1 access points\n\tref 1: 'other.org'\n\0";
        let answer = result(10, text, &["ldap://other.org/DC=other,DC=org"]);
        for error in [
            search_error("ldap://a", "the base", &answer),
            bind_error("ldap://a", "cn=reader", &answer),
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
        let error = search_error("ldap://a", "the base", &result(10, "", &[]));
        assert!(error.to_string().contains("a server that it does not name"));
    }

    #[test]
    fn a_servers_text_is_one_short_line_without_control_characters() {
        assert_eq!(
            one_line("no\n\t such\x1b[31m  object\0"),
            "no such\\u{1b}[31m object"
        );
        assert_eq!(one_line(" \n"), "");
        assert!(one_line(&"x".repeat(1 << 20)).chars().count() <= foreign::LONGEST);
    }
}
