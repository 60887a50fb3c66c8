//! Attribute descriptions (RFC 4512, 2.5): an attribute type, given by a name or its OID, and options.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The attribute types that this program reads, and those that occur in DNs, each with its names and its OID in lower
/// case (RFC 4519, RFC 4524, RFC 2307, RFC 4530, and the schemas of servers). The first name, which is the shortest, is
/// the key.
const TYPES: &[&[&str]] = &[
    &["mail", "rfc822mailbox", "0.9.2342.19200300.100.1.3"],
    &["uid", "userid", "0.9.2342.19200300.100.1.1"],
    &["cn", "commonname", "2.5.4.3"],
    &["sn", "surname", "2.5.4.4"],
    &["gn", "givenname", "2.5.4.42"],
    &["ou", "organizationalunitname", "2.5.4.11"],
    &["o", "organizationname", "2.5.4.10"],
    &["dc", "domaincomponent", "0.9.2342.19200300.100.1.25"],
    &["c", "countryname", "2.5.4.6"],
    &["l", "localityname", "2.5.4.7"],
    &["st", "stateorprovincename", "2.5.4.8"],
    &["street", "2.5.4.9"],
    &["title", "2.5.4.12"],
    &["serialnumber", "2.5.4.5"],
    &["e", "email", "emailaddress", "pkcs9email", "1.2.840.113549.1.9.1"],
    &["uidnumber", "1.3.6.1.1.1.1.0"],
    &["gidnumber", "1.3.6.1.1.1.1.1"],
    &["employeenumber", "2.16.840.1.113730.3.1.3"],
    &["samaccountname", "1.2.840.113556.1.4.221"],
    &["userprincipalname", "1.2.840.113556.1.4.656"],
    &["mailalternateaddress", "2.16.840.1.113730.3.1.13"],
    &["proxyaddresses", "1.2.840.113556.1.2.210"],
    &["objectclass", "2.5.4.0"],
    &["modifytimestamp", "2.5.18.2"],
    &["member", "2.5.4.31"],
    &["uniquemember", "2.5.4.50"],
    &["memberuid", "1.3.6.1.1.1.1.12"],
    &["memberurl", "2.16.840.1.113730.3.1.198"],
    &["memberof", "1.2.840.113556.1.2.102"],
    &["ismemberof", "1.3.6.1.4.1.42.2.27.9.1.792"],
    &["groupmembership", "2.16.840.1.113719.1.1.4.1.25"],
    &["entryuuid", "1.3.6.1.1.16.4"],
    &["nsuniqueid", "2.16.840.1.113730.3.1.542"],
    &["objectguid", "1.2.840.113556.1.4.2"],
    &["guid", "2.16.840.1.113719.1.1.4.1.501"],
    &["useraccountcontrol", "1.2.840.113556.1.4.8"],
    &["accountexpires", "1.2.840.113556.1.4.159"],
    &["nsaccountlock", "2.16.840.1.113730.3.1.610"],
    &["pwdaccountlockedtime", "1.3.6.1.4.1.42.2.27.8.1.17"],
];

/// The keys of the attributes that name the groups of an entry: `memberOf` in Active Directory, OpenLDAP and 389-DS,
/// `isMemberOf` in the servers that derive from Sun's and in PingDirectory, `groupMembership` in eDirectory.
const OF_GROUPS: [&str; 3] = ["memberof", "ismemberof", "groupmembership"];

static KEYS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let names = TYPES
        .iter()
        .flat_map(|names| names.iter().map(|name| (*name, names[0])));
    names.collect()
});

/// The key of an attribute type in the table, by any of its names or its OID, case-insensitive.
pub fn known_key(name: &str) -> Option<&'static str> {
    let key = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        KEYS.get(name.to_ascii_lowercase().as_str())
    } else {
        KEYS.get(name)
    };
    key.copied()
}

/// The key of an attribute type: that of the table, else the name in lower case.
pub fn key(name: &str) -> Cow<'_, str> {
    match known_key(name) {
        Some(key) => Cow::Borrowed(key),
        None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(name.to_ascii_lowercase()),
        None => Cow::Borrowed(name),
    }
}

/// Splits a description at its first semicolon into type and options.
pub fn split(description: &str) -> (&str, &str) {
    description.split_once(';').unwrap_or((description, ""))
}

/// The range option of a description, as in `member;range=0-1499` (MS-ADTS 3.1.1.3.1.3.3).
pub fn range(description: &str) -> Option<&str> {
    let is_range = |option: &&str| {
        let key = option.split_at_checked("range=".len());
        key.is_some_and(|(key, _)| key.eq_ignore_ascii_case("range="))
    };
    split(description).1.split(';').find(is_range)
}

/// The description without its range option.
pub fn without_range(description: &str) -> Cow<'_, str> {
    match range(description) {
        Some(range) => Cow::Owned(description.replace(&format!(";{range}"), "")),
        None => Cow::Borrowed(description),
    }
}

/// Whether this is the key of an attribute that names the groups of an entry.
pub fn names_groups(key: &str) -> bool {
    OF_GROUPS.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_the_oid_of_a_type_have_one_key_in_any_case() {
        for name in ["mail", "Mail", "rfc822Mailbox", "0.9.2342.19200300.100.1.3"] {
            assert_eq!(key(name), "mail", "{name}");
        }
        assert_eq!(key("commonName"), key("2.5.4.3"));
        assert_eq!(key("MailRoutingAddress"), "mailroutingaddress");
        assert_ne!(key("isMemberOf"), key("memberOf"));
        assert!(names_groups(&key("isMemberOf")) && !names_groups(&key("member")));
    }

    #[test]
    fn each_name_is_in_the_table_once_in_lower_case_and_the_key_is_the_shortest() {
        let names: Vec<&str> = TYPES.iter().copied().flatten().copied().collect();
        assert_eq!(names.len(), KEYS.len());
        for names in TYPES {
            let mut others = names[1..].iter().filter(|name| !name.contains('.'));
            assert!(
                others.all(|name| name.len() > 3 && name.len() >= names[0].len()),
                "{names:?}"
            );
            assert!(
                names.iter().all(|name| *name == name.to_ascii_lowercase()),
                "{names:?}"
            );
        }
    }

    #[test]
    fn a_description_is_a_type_and_options() {
        assert_eq!(split("mail"), ("mail", ""));
        assert_eq!(split("mail;lang-de;x-work"), ("mail", "lang-de;x-work"));
        assert_eq!(range("member;x-y;Range=0-1499"), Some("Range=0-1499"));
        assert_eq!(without_range("member;Range=0-1499;x-y"), "member;x-y");
        assert_eq!(range("member;x-range=1"), None);
    }
}
