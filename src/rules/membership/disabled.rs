//! Detects accounts that are disabled or have expired.
//!
//! Only attributes with which the directory itself refuses a login count. Attributes for other programs, such as
//! `shadowExpire`, are ignored.

use crate::clock::Timestamp;
use crate::model::Entry;

/// The attributes that mark disabled and expired accounts in Active Directory, 389-DS, FreeIPA and OpenLDAP (ppolicy).
pub const DISABLED_ATTRIBUTES: [&str; 6] = [
    USER_ACCOUNT_CONTROL,
    ACCOUNT_EXPIRES,
    NS_ACCOUNT_LOCK,
    PRINCIPAL_EXPIRATION,
    LOCKED_TIME,
    END_TIME,
];

const USER_ACCOUNT_CONTROL: &str = "userAccountControl";
const ACCOUNT_EXPIRES: &str = "accountExpires";
const NS_ACCOUNT_LOCK: &str = "nsAccountLock";
const PRINCIPAL_EXPIRATION: &str = "krbPrincipalExpiration";
const LOCKED_TIME: &str = "pwdAccountLockedTime";
const END_TIME: &str = "pwdEndTime";

/// ADS_UF_ACCOUNTDISABLE (MS-ADTS 2.2.16).
const ACCOUNT_DISABLE: i64 = 2;
/// Locked until an administrator unlocks it (draft-behera-ldap-password-policy-10, 5.3.3). Any other time means a temporary
/// lock after too many wrong passwords.
const PERMANENTLY: &[u8] = b"000001010000Z";

/// Why an account is disabled or has expired at this time; `None` if it is neither or the entry does not say.
pub(super) fn disabled(entry: &Entry, now: Timestamp) -> Option<String> {
    let has = |attribute, is_so: &dyn Fn(&[u8]) -> bool| entry.values(attribute).any(is_so);
    let (what, by) = if has(USER_ACCOUNT_CONTROL, &|value| {
        number(value).is_some_and(|control| control & ACCOUNT_DISABLE != 0)
    }) {
        ("is disabled", USER_ACCOUNT_CONTROL)
    } else if has(NS_ACCOUNT_LOCK, &|value| value.eq_ignore_ascii_case(b"true")) {
        ("is disabled", NS_ACCOUNT_LOCK)
    } else if has(LOCKED_TIME, &|value| value == PERMANENTLY) {
        ("is disabled", LOCKED_TIME)
    } else if has(ACCOUNT_EXPIRES, &|value| {
        file_time(value).is_some_and(|time| time <= now)
    }) {
        ("has expired", ACCOUNT_EXPIRES)
    } else if has(PRINCIPAL_EXPIRATION, &|value| is_past(value, now)) {
        ("has expired", PRINCIPAL_EXPIRATION)
    } else if has(END_TIME, &|value| is_past(value, now)) {
        ("has expired", END_TIME)
    } else {
        return None;
    };
    Some(format!("the account {what} ({by})"))
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// A time in units of 100 ns since 1601 (MS-ADTS 2.3.1.1, `accountExpires`); `None` for the values that mean never.
fn file_time(value: &[u8]) -> Option<Timestamp> {
    const UNITS_PER_MILLISECOND: i64 = 10_000;
    const MILLISECONDS_FROM_1601_TO_1970: i64 = 11_644_473_600_000;
    match number(value)? {
        0 | i64::MAX => None,
        time => Some(Timestamp(
            time / UNITS_PER_MILLISECOND - MILLISECONDS_FROM_1601_TO_1970,
        )),
    }
}

/// Whether a GeneralizedTime in UTC (RFC 4517, 3.3.13), as servers write it, is past. Compares the digits to the second as
/// text: they are those of RFC 3339.
fn is_past(value: &[u8], now: Timestamp) -> bool {
    let now: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let digits = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.strip_suffix('Z')?.split(['.', ',']).next());
    digits.is_some_and(|digits| {
        digits.len() == now.len() && digits.bytes().all(|byte| byte.is_ascii_digit()) && digits <= &*now
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, EntryId};

    fn with(attribute: &str, value: &str) -> Entry {
        Entry {
            id: EntryId::from_slice(&[1; 16]).unwrap(),
            dn: "cn=ann".into(),
            attributes: vec![Attribute {
                name: attribute.into(),
                values: vec![value.into()],
            }],
        }
    }

    /// 2026-11-23T23:04:10Z
    const NOW: Timestamp = Timestamp(1_795_475_050_000);

    #[test]
    fn each_kind_of_directory_marks_disabled_accounts_in_its_own_way() {
        for (attribute, value, is_disabled) in [
            ("userAccountControl", "514", true),
            ("USERACCOUNTCONTROL", "66050", true),
            ("userAccountControl", "512", false),
            ("userAccountControl", "8388608", false),
            ("userAccountControl", "-2147483646", true),
            ("userAccountControl", "two", false),
            ("nsAccountLock", "TRUE", true),
            ("nsAccountLock", "true", true),
            ("nsaccountlock", "false", false),
            ("pwdAccountLockedTime", "000001010000Z", true),
            ("pwdAccountLockedTime", "20261123230410Z", false),
            ("mail", "514", false),
        ] {
            let entry = with(attribute, value);
            assert_eq!(
                disabled(&entry, NOW).is_some(),
                is_disabled,
                "{attribute}: {value}"
            );
        }
    }

    #[test]
    fn an_account_expires_at_its_time_and_not_before() {
        for (attribute, value) in [
            ("accountExpires", "134399486500000000"),
            ("krbPrincipalExpiration", "20261123230410Z"),
            ("pwdEndTime", "20261123230410.5Z"),
        ] {
            let entry = with(attribute, value);
            let why = format!("the account has expired ({attribute})");
            assert_eq!(disabled(&entry, NOW), Some(why), "{value}");
            assert_eq!(disabled(&entry, Timestamp(NOW.0 - 1)), None, "{attribute}");
        }
    }

    #[test]
    fn values_that_mean_never_or_are_no_time_expire_no_account() {
        // 9999-12-31T23:59:59Z
        let end_of_time = Timestamp(253_402_300_799_000);
        for (attribute, value) in [
            ("accountExpires", "0"),
            ("accountExpires", "9223372036854775807"),
            ("accountExpires", ""),
            ("krbPrincipalExpiration", "20261123"),
            ("krbPrincipalExpiration", "2026112323041\u{e9}Z"),
            ("pwdEndTime", "20261123230410+0100"),
            ("shadowExpire", "1"),
        ] {
            assert_eq!(
                disabled(&with(attribute, value), end_of_time),
                None,
                "{attribute}: {value}"
            );
        }
    }
}
