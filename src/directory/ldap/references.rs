//! Continuation references (RFC 4511, 4.5.3), which are counted and not followed.

use crate::directory::ldap::result::one_line;

/// References that one search may meet; nobody splits a directory into as many parts.
pub(crate) const MOST: u64 = 65_536;

/// Continuation references (RFC 4511, 4.5.3) to where people may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// How many.
    pub count: u64,
    /// Where the first of them leads, for people.
    pub first: Option<String>,
    /// How many there were, those to where nobody is included.
    met: u64,
}

/// The partitions to which each domain of an Active Directory refers, and in which nobody is.
const WITHOUT_PEOPLE: [&str; 4] = [
    "/CN=Configuration,",
    "/CN=Schema,",
    "/DC=DomainDnsZones,",
    "/DC=ForestDnsZones,",
];

impl References {
    /// Takes one; says whether there are not too many.
    pub(crate) fn meet(&mut self, url: &str) -> bool {
        self.met += 1;
        let url = one_line(url);
        let folded = url.to_ascii_lowercase();
        if !WITHOUT_PEOPLE
            .iter()
            .any(|place| folded.contains(&place.to_ascii_lowercase()))
        {
            self.count += 1;
            self.first.get_or_insert(url);
        }
        self.met <= MOST
    }

    /// Takes others.
    pub(crate) fn add(&mut self, others: &Self) {
        self.count += others.count;
        self.met += others.met;
        self.first = self.first.take().or_else(|| others.first.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_but_for_those_to_where_nobody_is() {
        let mut references = References::default();
        for url in [
            "ldap://lab.test/CN=Configuration,DC=lab,DC=test",
            "ldap://DomainDnsZones.lab.test/dc=DomainDnsZones,DC=lab,DC=test",
            "ldap://child.lab.test/DC=child,DC=lab,DC=test",
            "ldap://other\x1b[31m",
        ] {
            assert!(references.meet(url));
        }
        let first = references.first.as_deref();
        assert_eq!(first, Some("ldap://child.lab.test/DC=child,DC=lab,DC=test"));
        assert_eq!(references.count, 2);
        references.met = MOST;
        assert!(!references.meet("ldap://one-too-many"));
    }
}
