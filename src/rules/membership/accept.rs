//! Decides which addresses may be invited at all (`[accept]`).

use std::fmt;

use crate::model::EmailAddress;

/// A pattern for the domains of addresses: one domain, or all domains below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern(String);

impl DomainPattern {
    /// Reads `example.org`, or `.example.org` for every domain below it. The domain is written as in an address:
    /// capitals do not count, and an internationalised domain is compared in the form in which addresses have it.
    ///
    /// # Errors
    /// What is wrong and what is expected, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim();
        let (below, name) = match name.strip_prefix('.') {
            Some(name) => (".", name),
            None => ("", name),
        };
        // An address has the same normal form, so that both compare as text.
        match EmailAddress::parse(format!("x@{name}").as_bytes()) {
            Ok(address) if !name.contains('@') => Ok(Self(format!("{below}{}", address.domain()))),
            _ => Err(format!(
                "\"{text}\" is not the name of a domain; write it as in \"example.org\", or \".example.org\" for every domain below it"
            )),
        }
    }

    /// Whether the address is in one of these domains.
    pub fn admits(&self, address: &EmailAddress) -> bool {
        let domain = address.domain();
        domain == self.0 || self.0.starts_with('.') && domain.ends_with(&self.0)
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The addresses that may be invited. The default accepts all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// The domains of the addresses that may be invited; if empty, all.
    pub domains: Vec<DomainPattern>,
    /// The exceptions, which are never invited.
    pub deny: Vec<Denied>,
}

/// Who is never invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// This address.
    Address(EmailAddress),
    /// Everyone in these domains.
    Domain(DomainPattern),
}

impl Accept {
    /// Why this address may not be invited, for people; `None` if it may.
    pub fn refusal(&self, address: &EmailAddress) -> Option<String> {
        let denied = self.deny.iter().find_map(|denied| match denied {
            Denied::Address(denied) if denied == address => Some(format!("{address} is in [accept] deny")),
            Denied::Domain(domain) if domain.admits(address) => {
                Some(format!("the domain {} is in [accept] deny", address.domain()))
            }
            _ => None,
        });
        let accepted = self.domains.is_empty() || self.domains.iter().any(|domain| domain.admits(address));
        let outside =
            (!accepted).then(|| format!("the domain {} is not in [accept] domains", address.domain()));
        denied.or(outside)
    }

    /// A text that is different if other addresses are accepted; `None` if all are. The store keeps it, so it must be
    /// the same in every build.
    pub fn fingerprint(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        let accepted = self.domains.iter().map(|domain| format!("accept {domain}"));
        let denied = self.deny.iter().map(|denied| match denied {
            Denied::Address(address) => format!("deny {address}"),
            Denied::Domain(domain) => format!("deny {domain}"),
        });
        Some(accepted.chain(denied).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text.as_bytes()).unwrap()
    }

    fn domain(text: &str) -> DomainPattern {
        DomainPattern::parse(text).unwrap()
    }

    #[test]
    fn a_domain_is_itself_and_one_with_a_dot_before_it_is_everything_below() {
        for (pattern, text, admitted) in [
            ("example.org", "ann@example.org", true),
            ("Example.ORG", "Ann@EXAMPLE.org", true),
            (" example.org ", "ann@example.org", true),
            ("example.org", "ann@mail.example.org", false),
            ("example.org", "ann@badexample.org", false),
            ("example.org", "example.org@example.net", false),
            (".example.org", "ann@mail.example.org", true),
            (".example.org", "ann@a.mail.example.org", true),
            (".example.org", "ann@example.org", false),
            (".example.org", "ann@badexample.org", false),
            ("localhost", "ann@localhost", true),
            ("EXA\u{308}MPLE.org", "ann@exämple.org", true),
        ] {
            assert_eq!(
                domain(pattern).admits(&address(text)),
                admitted,
                "{pattern:?} {text}"
            );
        }
    }

    #[test]
    fn what_is_no_domain_says_how_to_write_one() {
        for wrong in [
            "",
            ".",
            "ann@example.org",
            "@example.org",
            "exa mple.org",
            "example.org example.net",
            "example.org,example.net",
            "*.example.org",
            "..example.org",
            "example..org",
            "https://example.org",
            "a<example.org>",
        ] {
            let problem = DomainPattern::parse(wrong).unwrap_err();
            assert!(
                problem.starts_with(&format!("\"{wrong}\" is not the name of a domain; write")),
                "{problem}"
            );
        }
    }

    #[test]
    fn without_settings_everyone_is_accepted_and_deny_wins_over_domains() {
        let refusal = |accept: &Accept, text| accept.refusal(&address(text));
        assert_eq!(refusal(&Accept::default(), "ann@example.net"), None);
        let accept = Accept {
            domains: vec![domain("example.org"), domain(".example.org")],
            deny: vec![
                Denied::Address(address("Eve@example.org")),
                Denied::Domain(domain("guests.example.org")),
            ],
        };
        for accepted in ["ann@example.org", "ann@it.example.org"] {
            assert_eq!(refusal(&accept, accepted), None, "{accepted}");
        }
        for (refused, why) in [
            (
                "ann@example.net",
                "the domain example.net is not in [accept] domains",
            ),
            ("eve@example.org", "eve@example.org is in [accept] deny"),
            (
                "ann@guests.example.org",
                "the domain guests.example.org is in [accept] deny",
            ),
        ] {
            assert_eq!(refusal(&accept, refused).as_deref(), Some(why));
        }
    }

    #[test]
    fn the_fingerprint_differs_where_other_addresses_are_accepted() {
        assert_eq!(Accept::default().fingerprint(), None);
        let accepts = Accept {
            domains: vec![domain("example.org")],
            ..Accept::default()
        };
        let denies = Accept {
            deny: vec![Denied::Domain(domain("example.org"))],
            ..Accept::default()
        };
        assert_eq!(accepts.fingerprint().as_deref(), Some("accept example.org"));
        assert_eq!(denies.fingerprint().as_deref(), Some("deny example.org"));
    }
}
