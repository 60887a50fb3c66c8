//! Whether an account is switched off, as far as its directory tells.

use crate::model::Entry;

/// The attributes by which directories tell: Active Directory's, 389-DS's and that of OpenLDAP's ppolicy.
pub const DISABLED_ATTRIBUTES: [&str; 3] = [USER_ACCOUNT_CONTROL, NS_ACCOUNT_LOCK, LOCKED_TIME];

const USER_ACCOUNT_CONTROL: &str = "userAccountControl";
const NS_ACCOUNT_LOCK: &str = "nsAccountLock";
const LOCKED_TIME: &str = "pwdAccountLockedTime";

/// ADS_UF_ACCOUNTDISABLE (MS-ADTS 2.2.16).
const ACCOUNT_DISABLE: i64 = 2;
/// Locked until an administrator unlocks it (draft-behera-ldap-password-policy-10, 5.3.3). Any other time stands for
/// too many wrong passwords and passes.
const FOR_GOOD: &[u8] = b"000001010000Z";

/// Why an account is disabled; `None` where it is not, or the directory does not tell.
pub(super) fn disabled(entry: &Entry) -> Option<String> {
    let control = |value: &[u8]| -> Option<i64> { std::str::from_utf8(value).ok()?.trim().parse().ok() };
    let by = if entry
        .values(USER_ACCOUNT_CONTROL)
        .filter_map(control)
        .any(|control| control & ACCOUNT_DISABLE != 0)
    {
        USER_ACCOUNT_CONTROL
    } else if entry
        .values(NS_ACCOUNT_LOCK)
        .any(|value| value.eq_ignore_ascii_case(b"true"))
    {
        NS_ACCOUNT_LOCK
    } else if entry.values(LOCKED_TIME).any(|value| value == FOR_GOOD) {
        LOCKED_TIME
    } else {
        return None;
    };
    Some(format!("the account is disabled ({by})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, EntryId};

    #[test]
    fn each_directory_tells_in_its_own_way_who_is_disabled() {
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
            let entry = Entry {
                id: EntryId::from_slice(&[1; 16]).unwrap(),
                dn: "cn=ann".into(),
                attributes: vec![Attribute {
                    name: attribute.into(),
                    values: vec![value.into()],
                }],
            };
            assert_eq!(disabled(&entry).is_some(), is_disabled, "{attribute}: {value}");
        }
    }
}
