//! Counts continuation references (RFC 4511, 4.5.3), which are not followed.

use crate::directory::ldap::result::one_line;

/// The largest number of references in one search, far more than there are parts of a directory.
pub(crate) const MAX_REFERENCES: u64 = 65_536;

/// The references of a search that may lead to people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct References {
    /// The number of them.
    pub count: u64,
    /// The URL of the first one.
    pub first: Option<String>,
    /// The number of all references, including those that lead to no people.
    total: u64,
}

/// The partitions without people to which each domain of an Active Directory refers.
const WITHOUT_PEOPLE: [&str; 4] = [
    "/CN=Configuration,",
    "/CN=Schema,",
    "/DC=DomainDnsZones,",
    "/DC=ForestDnsZones,",
];

impl References {
    /// Records a reference. Returns false if there are too many.
    pub(crate) fn record(&mut self, url: &str) -> bool {
        self.total += 1;
        let url = one_line(url);
        let folded = url.to_ascii_lowercase();
        if !WITHOUT_PEOPLE
            .iter()
            .any(|place| folded.contains(&place.to_ascii_lowercase()))
        {
            self.count += 1;
            self.first.get_or_insert(url);
        }
        self.total <= MAX_REFERENCES
    }

    /// Adds the references of another search.
    pub(crate) fn add(&mut self, others: &Self) {
        self.count += others.count;
        self.total += others.total;
        self.first = self.first.take().or_else(|| others.first.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_except_those_to_partitions_without_people() {
        let mut references = References::default();
        for url in [
            "ldap://lab.test/CN=Configuration,DC=lab,DC=test",
            "ldap://DomainDnsZones.lab.test/dc=DomainDnsZones,DC=lab,DC=test",
            "ldap://child.lab.test/DC=child,DC=lab,DC=test",
            "ldap://other\x1b[31m",
        ] {
            assert!(references.record(url));
        }
        let first = references.first.as_deref();
        assert_eq!(first, Some("ldap://child.lab.test/DC=child,DC=lab,DC=test"));
        assert_eq!(references.count, 2);
        references.total = MAX_REFERENCES;
        assert!(!references.record("ldap://one-too-many"));
    }
}
