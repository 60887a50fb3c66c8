//! Decodes Vaultwarden's answers. Pure, and total: any bytes give a value or an error, never a panic.
//!
//! Keys are matched case-insensitively, because 1.31 changed them from `PascalCase` to `camelCase`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{Account, Configuration, ServerInfo, SignUps, SingleSignOn};
use crate::foreign;

/// The largest account that is read, in bytes. Each organization adds to an account, but real ones stay far smaller.
const LARGEST_ACCOUNT: usize = 1024 * 1024;

/// The longest plausible duration, in seconds.
const A_CENTURY: u64 = 100 * 365 * 24 * 3600;

/// The account in one JSON object. `None` if it is not an object or has no address.
pub(super) fn account(json: &[u8]) -> Option<Account> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    Some(Account {
        id: get(&object, "id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into(),
        email: get(&object, "email")?.as_str()?.to_lowercase(),
        invited: get(&object, "_status").and_then(Value::as_i64) == Some(1),
        enabled: get(&object, "userEnabled").and_then(Value::as_bool),
    })
}

/// Whether a page has a login form with a field for a one-time code.
pub(super) fn asks_for_code(page: &[u8]) -> bool {
    const FIELD: &[u8] = b"name=\"totp\"";
    page.windows(FIELD.len()).any(|part| part == FIELD)
}

/// The text of Vaultwarden's error object: its `message`, or up to 1.20 the one in its `ErrorModel`. `None` for errors
/// of the web framework (unknown route, malformed JSON) and for pages of a proxy.
pub(super) fn message(json: &[u8]) -> Option<String> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    // Proxies have error objects with a message as well.
    if get(&object, "object")?.as_str() != Some("error") {
        return None;
    }
    let outer = get(&object, "message")?.as_str()?;
    let inner = || get(get(&object, "errorModel")?.as_object()?, "message")?.as_str();
    let text = if outer.is_empty() { inner() } else { Some(outer) };
    text.map(Into::into)
}

/// The version in the answer of `/api/version`, as a string and as (major, minor). `None` if it is empty, as in builds
/// from outside the git repository.
pub(super) fn version(json: &[u8]) -> Option<(String, (u32, u32))> {
    let text: String = serde_json::from_slice(json).ok()?;
    let mut numbers = text.split(['.', '-', '+']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((text, (major, minor))),
        _ => None,
    }
}

/// The answer of `/api/config`. `None` if it is not an object.
pub(super) fn server_info(json: &[u8]) -> Option<ServerInfo> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let inner = |table, key| get(get(&object, table)?.as_object()?, key);
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(foreign::shown);
    Some(ServerInfo {
        server: text(inner("server", "name")),
        domain: text(inner("environment", "vault")),
        sign_up_hidden: inner("settings", "disableUserRegistration").and_then(Value::as_bool) == Some(true),
    })
}

/// The answer of `/admin/diagnostics/config`. `None` if it is not an object or has none of the keys. Strings in it are
/// masked (`***`). Implausible numbers count as missing.
pub(super) fn configuration(json: &[u8]) -> Option<Configuration> {
    let object: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let flag = |key| match get(&object, key)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let number = |key| match get(&object, key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let duration = |key, unit: u64| {
        let length = number(key)?.checked_mul(unit)?;
        (1..=A_CENTURY)
            .contains(&length)
            .then(|| Duration::from_secs(length))
    };
    let has_text = |key| Some(get(&object, key)?.as_str().is_some_and(|text| !text.is_empty()));
    let transport = match (has_text("smtp_host"), flag("use_sendmail")) {
        (None, None) => None,
        (host, sendmail) => Some(host == Some(true) || sendmail == Some(true)),
    };
    let configuration = Configuration {
        mail: transport.map(|transport| transport && flag("_enable_smtp") != Some(false)),
        smtp_timeout: duration("smtp_timeout", 1),
        link_lifetime: duration("invitation_expiration_hours", 3600),
        login_burst: number("admin_ratelimit_max_burst")
            .and_then(|burst| burst.try_into().ok())
            .filter(|burst| *burst > 0),
        login_period: duration("admin_ratelimit_seconds", 1),
        session_lifetime: duration("admin_session_lifetime", 60),
        invitations_allowed: flag("invitations_allowed"),
        sign_ups: flag("signups_allowed").map(|open| match has_text("signups_domains_whitelist") {
            Some(true) => SignUps::ForDomains,
            _ if open => SignUps::Open,
            _ => SignUps::Closed,
        }),
        single_sign_on: flag("sso_enabled").map(|enabled| match (enabled, flag("sso_only")) {
            (false, _) => SingleSignOn::Off,
            (true, Some(true)) => SingleSignOn::Only,
            (true, _) => SingleSignOn::Offered,
        }),
    };
    (configuration != Configuration::default()).then_some(configuration)
}

/// Whether this is a JSON string, as `/alive` answers.
pub(super) fn is_text(json: &[u8]) -> bool {
    serde_json::from_slice::<String>(json).is_ok()
}

/// Whether this is a JSON object, as an invitation is answered.
pub(super) fn is_object(json: &[u8]) -> bool {
    serde_json::from_slice::<Map<String, Value>>(json).is_ok()
}

fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let (_, value) = object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

/// Why a list of accounts cannot be read; completes the message "answers with ..".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Splits a JSON array of objects while it arrives. Holds only the object that is not complete yet.
///
/// Finds the start and the end of each object (braces outside strings) and leaves their content to the JSON parser.
#[derive(Debug, Default)]
pub(super) struct Objects {
    place: Place,
    object: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the array.
    #[default]
    Before,
    /// In the array, between objects.
    Between,
    /// In an object, at this depth of braces.
    Within(usize),
    /// In a string of an object; the flag says that the next character is escaped.
    Text(usize, bool),
    /// After the array.
    After,
}

impl Objects {
    /// The objects that this piece completes.
    ///
    /// # Errors
    /// This is not an array of objects, or an object is too large.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        let mut complete = Vec::new();
        for &byte in piece {
            let was = self.place;
            self.place = step(was, byte)?;
            if matches!(was, Place::Within(_) | Place::Text(..)) || matches!(self.place, Place::Within(_)) {
                self.object.push(byte);
                if self.object.len() > LARGEST_ACCOUNT {
                    return Err(Malformed("an account larger than 1 MiB"));
                }
            }
            if was == Place::Within(1) && self.place == Place::Between {
                complete.push(std::mem::take(&mut self.object));
            }
        }
        Ok(complete)
    }

    /// Checks that the array is complete.
    ///
    /// # Errors
    /// The array was cut short.
    pub(super) fn finish(self) -> Result<(), Malformed> {
        if self.place == Place::After {
            Ok(())
        } else {
            Err(Malformed("a list of accounts that is cut short"))
        }
    }
}

fn step(place: Place, byte: u8) -> Result<Place, Malformed> {
    Ok(match (place, byte) {
        (Place::Before | Place::Between | Place::After, b' ' | b'\t' | b'\r' | b'\n') => place,
        (Place::Before, b'[') => Place::Between,
        (Place::Between, b',') => Place::Between,
        (Place::Between, b'{') => Place::Within(1),
        (Place::Between, b']') => Place::After,
        (Place::Before | Place::Between | Place::After, _) => {
            return Err(Malformed("something that is not a list of accounts"));
        }
        (Place::Within(depth), b'{') => Place::Within(depth + 1),
        (Place::Within(1), b'}') => Place::Between,
        (Place::Within(depth), b'}') => Place::Within(depth - 1),
        (Place::Within(depth), b'"') => Place::Text(depth, false),
        (Place::Within(_), _) => place,
        (Place::Text(depth, true), _) => Place::Text(depth, false),
        (Place::Text(depth, false), b'\\') => Place::Text(depth, true),
        (Place::Text(depth, false), b'"') => Place::Within(depth),
        (Place::Text(..), _) => place,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a whole list in pieces of `size` bytes.
    fn list(json: &[u8], size: usize) -> Result<Vec<Account>, Malformed> {
        let mut objects = Objects::default();
        let mut accounts = Vec::new();
        for piece in json.chunks(size) {
            accounts.extend(objects.push(piece)?.iter().filter_map(|object| account(object)));
        }
        objects.finish().map(|()| accounts)
    }

    #[test]
    fn an_account_reads_the_same_from_every_version() {
        let expected = Account {
            id: "63ef".into(),
            email: "ann@example.org".into(),
            invited: true,
            enabled: Some(true),
        };
        let camel = br#"{"_status":1,"id":"63ef","email":"Ann@example.org","userEnabled":true,"organizations":[{"id":"x"}],
            "creationDate":"2026-01-02T03:04:05.000000Z","createdAt":"2026-01-02 04:04:05 CET"}"#;
        let pascal = br#"{"_Status":1,"Id":"63ef","Email":"ann@example.org","UserEnabled":true,"CreatedAt":"2026-01-02 03:04:05 +00:00"}"#;
        let oldest = br#"{"_Status":1,"Id":"63ef","Email":"ann@example.org"}"#;
        assert_eq!(account(camel).as_ref(), Some(&expected));
        assert_eq!(account(pascal).as_ref(), Some(&expected));
        assert_eq!(account(oldest).unwrap().enabled, None);
    }

    #[test]
    fn what_is_no_account_is_none() {
        for json in [&b""[..], b"[]", b"{}", br#"{"email":3}"#, b"<html>", b"\xff"] {
            assert_eq!(account(json), None, "{json:?}");
        }
    }

    #[test]
    fn only_vaultwardens_own_errors_have_a_message() {
        assert_eq!(
            message(br#"{"message":"User doesn't exist","object":"error"}"#).as_deref(),
            Some("User doesn't exist")
        );
        assert_eq!(
            message(br#"{"Message":"","ErrorModel":{"Message":"User already exists"},"Object":"error"}"#)
                .as_deref(),
            Some("User already exists")
        );
        assert_eq!(message(br#"{"error":{"code":404,"reason":"Not Found"}}"#), None);
        assert_eq!(
            message(br#"{"message":"no Route matched with those values"}"#),
            None
        );
        assert_eq!(message(b"<!DOCTYPE html>"), None);
    }

    #[test]
    fn a_version_is_read_where_there_is_one() {
        assert_eq!(version(br#""1.37.2""#), Some(("1.37.2".into(), (1, 37))));
        assert_eq!(version(br#""1.26.0-beta""#).map(|v| v.1), Some((1, 26)));
        assert_eq!(version(br#""""#), None);
        assert_eq!(version(b"<html>"), None);
    }

    #[test]
    fn what_vaultwarden_tells_of_itself_is_read_as_far_as_it_goes() {
        let json = br#"{"version":"2025.12.0","server":{"name":"Vaultwarden"},"settings":{"disableUserRegistration":true},
            "environment":{"vault":"https://vault.example.org"}}"#;
        let expected = ServerInfo {
            server: Some("Vaultwarden".into()),
            domain: Some("https://vault.example.org".into()),
            sign_up_hidden: true,
        };
        assert_eq!(server_info(json), Some(expected));
        assert_eq!(
            server_info(br#"{"server":null,"environment":[]}"#),
            Some(ServerInfo::default())
        );
        assert_eq!(server_info(b"<html>"), None);
    }

    #[test]
    fn the_configuration_is_read_from_every_version_as_far_as_it_tells() {
        let newest = br#"{"_enable_smtp":true,"smtp_host":"****","use_sendmail":false,"smtp_timeout":15,
            "invitation_expiration_hours":120,"admin_ratelimit_seconds":300,"admin_ratelimit_max_burst":3,
            "admin_session_lifetime":20,"invitations_allowed":true,"signups_allowed":false,
            "signups_domains_whitelist":"","sso_enabled":true,"sso_only":true,"admin_token":"***"}"#;
        let expected = Configuration {
            mail: Some(true),
            smtp_timeout: Some(Duration::from_secs(15)),
            link_lifetime: Some(Duration::from_secs(120 * 3600)),
            login_burst: Some(3),
            login_period: Some(Duration::from_secs(300)),
            session_lifetime: Some(Duration::from_secs(1200)),
            invitations_allowed: Some(true),
            sign_ups: Some(SignUps::Closed),
            single_sign_on: Some(SingleSignOn::Only),
        };
        assert_eq!(configuration(newest), Some(expected));
        let oldest = br#"{"_enable_smtp":true,"smtp_host":null,"signups_allowed":true}"#;
        let expected = Configuration {
            mail: Some(false),
            sign_ups: Some(SignUps::Open),
            ..Configuration::default()
        };
        assert_eq!(configuration(oldest), Some(expected));
        assert_eq!(configuration(b"{}"), None);
        assert_eq!(configuration(br#"{"error":{"code":404}}"#), None);
        assert_eq!(configuration(b"<html>"), None);
    }

    #[test]
    fn mail_is_on_where_there_is_a_way_and_it_is_not_switched_off() {
        for (json, expected) in [
            (&br#"{"smtp_host":"*","_enable_smtp":true}"#[..], true),
            (br#"{"smtp_host":"*","_enable_smtp":false}"#, false),
            (br#"{"smtp_host":null,"use_sendmail":true}"#, true),
            (br#"{"smtp_host":null,"use_sendmail":false}"#, false),
            (br#"{"smtp_host":""}"#, false),
        ] {
            assert_eq!(configuration(json).unwrap().mail, Some(expected), "{json:?}");
        }
    }

    #[test]
    fn meaningless_numbers_in_the_configuration_are_none() {
        let json = br#"{"admin_ratelimit_seconds":0,"admin_ratelimit_max_burst":0,"smtp_timeout":-1,
            "admin_session_lifetime":18446744073709551615,"invitation_expiration_hours":1e300}"#;
        assert_eq!(configuration(json), None);
    }

    #[test]
    fn braces_and_quotes_in_names_do_not_confuse_the_list() {
        let json = br#" [ {"email":"a@x.org","name":"}\\\"{]"} ,
            {"email":"b@x.org","organizations":[{"name":"{"},{}]}] "#;
        for size in 1..json.len() {
            let emails: Vec<_> = list(json, size).unwrap().into_iter().map(|a| a.email).collect();
            assert_eq!(emails, ["a@x.org", "b@x.org"], "in pieces of {size}");
        }
        assert_eq!(list(b"[]", 1), Ok(vec![]));
    }

    #[test]
    fn a_list_that_is_cut_short_or_is_none_at_all_is_an_error() {
        for json in [
            &b""[..],
            b"[",
            b"[{}",
            br#"[{"email":"a]"#,
            b"<html>",
            b"{}",
            b"[1]",
            b"[]]",
        ] {
            assert!(list(json, 3).is_err(), "{json:?}");
        }
    }

    #[test]
    fn an_endless_object_does_not_eat_the_memory() {
        let mut objects = Objects::default();
        objects.push(b"[{\"name\":\"").unwrap();
        let failed = (0..3000).find_map(|_| objects.push(&[b'a'; 1024]).err());
        assert_eq!(failed, Some(Malformed("an account larger than 1 MiB")));
        assert!(objects.object.len() <= LARGEST_ACCOUNT + 1);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, size in 1usize..20) {
            let _ = list(&bytes, size);
            let _ = (account(&bytes), message(&bytes), version(&bytes), server_info(&bytes), configuration(&bytes), is_object(&bytes));
        }

        #[test]
        fn any_list_comes_out_whole_however_it_is_cut(names: Vec<String>, size in 1usize..50) {
            let json = serde_json::to_vec(
                &names.iter().map(|n| serde_json::json!({"email": n})).collect::<Vec<_>>()
            ).unwrap();
            let emails: Vec<_> = list(&json, size).unwrap().into_iter().map(|a| a.email).collect();
            let expected: Vec<_> = names.iter().map(|n| n.to_lowercase()).collect();
            prop_assert_eq!(emails, expected);
        }
    }
}
