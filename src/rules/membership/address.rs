//! Finds the usable addresses in an entry.

use super::Accept;
use crate::model::{EmailAddress, Entry, description};

/// The key of Exchange's attribute, which contains addresses of all kinds, each with a prefix.
const PROXY_ADDRESSES: &str = "proxyaddresses";
/// The prefix of the primary address. Aliases have the prefix `smtp:`.
const PRIMARY: &[u8] = b"SMTP:";

/// The usable and accepted addresses in the first attribute, in the configured order, that has any. Each address appears
/// once, in the entry's order. Servers may return the values in any order (RFC 4512, 2.2), so a person's known address counts wherever
/// it appears.
///
/// # Errors
/// Why there is none, for people: which attributes are empty, or what is wrong with the first value. That the first usable
/// address is not accepted comes before that.
pub(super) fn usable_addresses(
    entry: &Entry,
    mail_attributes: &[String],
    accept: &Accept,
) -> Result<Vec<EmailAddress>, String> {
    let (mut first_refusal, mut first_problem) = (None, None);
    for attribute in mail_attributes {
        let mut usable = Vec::new();
        for value in entry
            .values(attribute)
            .filter_map(|value| candidate(attribute, value))
        {
            match EmailAddress::parse(value) {
                Ok(address) if usable.contains(&address) => {}
                Ok(address) => match accept.refusal(&address) {
                    None => usable.push(address),
                    Some(why) => {
                        first_refusal.get_or_insert(why);
                    }
                },
                Err(problem) => {
                    first_problem.get_or_insert_with(|| {
                        format!("the value {:?} of {attribute} {problem}", shown(value))
                    });
                }
            }
        }
        if !usable.is_empty() {
            return Ok(usable);
        }
    }
    Err(first_refusal
        .or(first_problem)
        .unwrap_or_else(|| format!("has no {}", mail_attributes.join(", "))))
}

/// The address in a value; in `proxyAddresses`, only the primary address counts.
fn candidate<'a>(attribute: &str, value: &'a [u8]) -> Option<&'a [u8]> {
    if description::key(description::split(attribute).0) == PROXY_ADDRESSES {
        value.strip_prefix(PRIMARY)
    } else {
        Some(value)
    }
}

/// At most 80 characters of a value, for logs and the store.
fn shown(value: &[u8]) -> String {
    const CHARACTERS: usize = 80;
    let beginning = value.get(..4 * CHARACTERS).unwrap_or(value);
    String::from_utf8_lossy(beginning)
        .chars()
        .take(CHARACTERS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Denied, DomainPattern};
    use super::*;
    use crate::model::{Attribute, EntryId};

    fn address(attributes: &[(&str, &[&[u8]])]) -> Result<String, String> {
        address_in(["mail", "mailAlternateAddress", "proxyAddresses"], attributes)
    }

    /// As [`address`], with the given configured attributes.
    fn address_in(order: [&str; 3], attributes: &[(&str, &[&[u8]])]) -> Result<String, String> {
        accepted_address(&Accept::default(), order, attributes)
    }

    /// As [`address_in`], with the addresses that are accepted.
    fn accepted_address(
        accept: &Accept,
        order: [&str; 3],
        attributes: &[(&str, &[&[u8]])],
    ) -> Result<String, String> {
        let attributes = attributes
            .iter()
            .map(|(name, values)| Attribute {
                name: (*name).into(),
                values: values.iter().map(|v| v.to_vec()).collect(),
            })
            .collect();
        let entry = Entry {
            id: EntryId::from_slice(&[1; 16]).unwrap(),
            dn: "cn=a".into(),
            attributes,
        };
        usable_addresses(&entry, &order.map(str::to_owned), accept).map(|usable| usable[0].to_string())
    }

    #[test]
    fn the_first_usable_value_of_the_first_attribute_that_has_one_wins() {
        let both: &[(&str, &[&[u8]])] = &[
            ("mailalternateaddress", &[b"alt@x.org"]),
            ("MAIL", &[b"no address", b"Ann@x.org"]),
        ];
        assert_eq!(address(both).as_deref(), Ok("ann@x.org"));
        let alternate: &[(&str, &[&[u8]])] = &[("mail", &[b""]), ("mailAlternateAddress", &[b"alt@x.org"])];
        assert_eq!(address(alternate).as_deref(), Ok("alt@x.org"));
    }

    #[test]
    fn of_proxy_addresses_only_the_primary_counts() {
        let proxies: &[&[u8]] = &[
            b"smtp:alias@x.org",
            b"X500:/o=Org/cn=ann",
            b"SIP:ann@x.org",
            b"SMTP:Ann@x.org",
        ];
        assert_eq!(
            address(&[("proxyaddresses", proxies)]).as_deref(),
            Ok("ann@x.org")
        );
        assert_eq!(
            address(&[("mail", &[b"m@x.org"]), ("proxyAddresses", proxies)]).as_deref(),
            Ok("m@x.org")
        );
        for name in ["1.2.840.113556.1.2.210", "PROXYADDRESSES;x-work"] {
            let found = address_in(["mail", "cn", name], &[(name, proxies)]);
            assert_eq!(found.as_deref(), Ok("ann@x.org"), "{name}");
        }
        let aliases: &[&[u8]] = &[b"smtp:alias@x.org"];
        assert!(
            address(&[("proxyAddresses", aliases)])
                .unwrap_err()
                .starts_with("has no mail")
        );
    }

    #[test]
    fn without_one_the_reason_names_the_attributes_or_the_first_bad_value() {
        assert_eq!(
            address(&[]).unwrap_err(),
            "has no mail, mailAlternateAddress, proxyAddresses"
        );
        let bad = address(&[("mail", &[b"\xffann"])]).unwrap_err();
        assert_eq!(bad, "the value \"\u{fffd}ann\" of mail is not UTF-8 text");
    }

    #[test]
    fn the_first_accepted_address_is_chosen_and_without_one_the_reason_is_why_the_first_is_not() {
        let accept = Accept {
            domains: vec![DomainPattern::parse("x.org").unwrap()],
            deny: vec![Denied::Address(EmailAddress::parse(b"eve@x.org").unwrap())],
        };
        let order = ["mail", "mailAlternateAddress", "proxyAddresses"];
        let chosen = |attributes: &[(&str, &[&[u8]])]| accepted_address(&accept, order, attributes);
        let second: &[(&str, &[&[u8]])] = &[("mail", &[b"ann@y.org", b"eve@x.org", b"ann@x.org"])];
        assert_eq!(chosen(second).as_deref(), Ok("ann@x.org"));
        let alternate: &[(&str, &[&[u8]])] = &[
            ("mail", &[b"ann@y.org"]),
            ("mailAlternateAddress", &[b"ann@x.org"]),
        ];
        assert_eq!(chosen(alternate).as_deref(), Ok("ann@x.org"));
        let none: &[(&str, &[&[u8]])] = &[("mail", &[b"ann", b"ann@y.org", b"eve@x.org"])];
        assert_eq!(
            chosen(none).unwrap_err(),
            "the domain y.org is not in [accept] domains"
        );
        let denied: &[(&str, &[&[u8]])] = &[("mail", &[b"eve@x.org"])];
        assert_eq!(chosen(denied).unwrap_err(), "eve@x.org is in [accept] deny");
    }
}
