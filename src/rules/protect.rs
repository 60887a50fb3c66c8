//! Names the accounts that are never deauthorized, disabled or deleted (`[protect]`, `administrators`).

use std::fmt;

use super::membership::DomainPattern;
use crate::model::EmailAddress;

/// The protected accounts. The default protects nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protect {
    /// The addresses of protected accounts.
    pub addresses: Vec<EmailAddress>,
    /// The domains of protected accounts.
    pub domains: Vec<DomainPattern>,
    /// The addresses of the people who administer Vaultwarden.
    pub administrators: Vec<EmailAddress>,
}

/// Why an account is protected; completes the sentence "the account ...".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untouchable {
    /// It belongs to somebody who administers Vaultwarden.
    Administrator,
    /// Its address is protected.
    Address,
    /// Its domain is protected by this pattern.
    Domain(DomainPattern),
}

impl fmt::Display for Untouchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrator => f.write_str("is in [vaultwarden] administrators"),
            Self::Address => f.write_str("is in [protect] addresses"),
            Self::Domain(domain) => write!(f, "is in {domain} of [protect] domains"),
        }
    }
}

impl Protect {
    /// Why the account with this address is protected; `None` if it is not.
    pub fn reason(&self, address: &EmailAddress) -> Option<Untouchable> {
        if self.administrators.contains(address) {
            return Some(Untouchable::Administrator);
        }
        if self.addresses.contains(address) {
            return Some(Untouchable::Address);
        }
        let domain = self.domains.iter().find(|domain| domain.admits(address))?;
        Some(Untouchable::Domain(domain.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_account_is_protected_for_the_first_reason_that_is_true_and_otherwise_not() {
        let protect = Protect {
            addresses: vec![address("Boss@example.net"), address("root@admins.example.org")],
            domains: vec![DomainPattern::parse(".example.org").unwrap()],
            administrators: vec![address("root@admins.example.org")],
        };
        for (text, why) in [
            (
                "ROOT@admins.example.org",
                Some("is in [vaultwarden] administrators"),
            ),
            ("boss@example.net", Some("is in [protect] addresses")),
            (
                "ann@hr.example.org",
                Some("is in .example.org of [protect] domains"),
            ),
            ("ann@example.org", None),
            ("ann@example.net", None),
        ] {
            let reason = protect.reason(&address(text)).map(|reason| reason.to_string());
            assert_eq!(reason.as_deref(), why, "{text}");
        }
        assert_eq!(Protect::default().reason(&address("ann@example.org")), None);
    }
}
