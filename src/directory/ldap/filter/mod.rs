//! Search filters (RFC 4515) as trees: parsed once, combined as trees, and printed in one canonical form. Pure.
//!
//! No other module builds the text of a filter: pieces of text that are joined form a wrong filter if one of them is not
//! written as expected.

mod parse;
mod term;
mod tree;

use std::fmt;
use std::str::FromStr;

use crate::directory::ldap::dn;
use crate::directory::ldap::schema::Schema;

pub use parse::FilterError;
use tree::{Comparison, IN_CHAIN, Node, Term};

/// A search filter. [`str::parse`] reads it and accepts what `ldapsearch` accepts: a term without parentheses, and white
/// space between terms. [`Display`](fmt::Display) prints the form of RFC 4515.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

impl Filter {
    /// Every entry.
    pub(crate) fn everything() -> Self {
        Self::term("objectClass", Comparison::Equal, vec![Vec::new(), Vec::new()])
    }

    /// The entries of which the attribute has this value.
    pub(crate) fn equal(attribute: &str, value: impl AsRef<[u8]>) -> Self {
        Self::term(attribute, Comparison::Equal, vec![value.as_ref().to_vec()])
    }

    /// The entries of which the attribute has this value or a greater one.
    pub(crate) fn at_least(attribute: &str, value: impl AsRef<[u8]>) -> Self {
        Self::term(attribute, Comparison::AtLeast, vec![value.as_ref().to_vec()])
    }

    /// The entries that match this filter and the other one.
    #[must_use]
    pub(crate) fn and(&self, other: Self) -> Self {
        Self(Node::And(vec![self.0.clone(), other.0]))
    }

    /// The entries that match all of these filters. A single filter is returned as it is.
    pub(crate) fn all(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::combined(filters, Node::And)
    }

    /// The entries that match any of these filters. A single filter is returned as it is.
    pub(crate) fn any(filters: impl IntoIterator<Item = Self>) -> Self {
        Self::combined(filters, Node::Or)
    }

    /// The members of a group and of the groups nested in it, on Active Directory.
    pub(crate) fn in_chain(group: &str) -> Self {
        let rule = Comparison::Extensible {
            dn: false,
            rule: Some(IN_CHAIN.to_owned()),
        };
        Self::term("memberOf", rule, vec![group.as_bytes().to_vec()])
    }

    fn combined(filters: impl IntoIterator<Item = Self>, by: fn(Vec<Node>) -> Node) -> Self {
        let mut nodes: Vec<Node> = filters.into_iter().map(|filter| filter.0).collect();
        Self(match nodes.pop() {
            Some(node) if nodes.is_empty() => node,
            last => by(nodes.into_iter().chain(last).collect()),
        })
    }

    fn term(attribute: &str, comparison: Comparison, value: Vec<Vec<u8>>) -> Self {
        Self(Node::Term(Term {
            attribute: attribute.to_owned(),
            comparison,
            value,
        }))
    }

    /// The DNs of all groups that terms on `memberOf` (by any of its names) name, each once.
    pub(crate) fn groups(&self, schema: &Schema) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        self.0.each_term(&mut |term| {
            if let Some(group) = term.group(schema)
                && !groups.iter().any(|known| dn::normal(known) == dn::normal(group))
            {
                groups.push(group.to_owned());
            }
        });
        groups
    }

    /// The filter with the DNs of groups replaced for which `rename` returns another one.
    #[must_use]
    pub(crate) fn renamed(&self, schema: &Schema, rename: impl Fn(&str) -> Option<String>) -> Self {
        let renamed = |term: &Term, _| {
            let name = term.group(schema).and_then(&rename)?;
            Some(Node::Term(Term {
                value: vec![name.into_bytes()],
                ..term.clone()
            }))
        };
        Self(self.0.replaced(false, &renamed))
    }

    /// A filter that matches everyone whom this one matches, regardless of their groups.
    #[must_use]
    pub(crate) fn of_any_group(&self, schema: &Schema) -> Self {
        let widened = |term: &Term, negated| {
            term.group(schema)?;
            let everything = Self::everything().0;
            Some(if negated {
                Node::Not(Box::new(everything))
            } else {
                everything
            })
        };
        Self(self.0.replaced(false, &widened))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::filter(text).map(Self)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn groups(text: &str) -> Vec<String> {
        filter(text).groups(&Schema::default())
    }

    #[test]
    fn groups_are_found_wherever_they_stand_in_the_filter_and_under_each_name_of_the_attribute() {
        let text = "(&(objectClass=person)(|(memberOf=cn=a,dc=x)(!(MEMBEROF:1.2.840.113556.1.4.1941:=cn=b,dc=x)))(memberof=CN=A, dc=x)(isMemberOf=cn=c,dc=x)(groupMembership;x-y=cn=d,dc=x)(1.2.840.113556.1.2.102:distinguishedNameMatch:=cn=e,dc=x))";
        assert_eq!(
            groups(text),
            ["cn=a,dc=x", "cn=b,dc=x", "cn=c,dc=x", "cn=d,dc=x", "cn=e,dc=x"]
        );
        assert_eq!(groups("memberOf=cn=a,dc=x"), ["cn=a,dc=x"]);
    }

    #[test]
    fn what_names_no_group_is_left_alone() {
        for text in [
            "(&(memberOf=*)(memberOf=cn=a*)(memberOfX=cn=a)(cn=memberOf=b)(description=memberOf))",
            "(|(memberOf>=cn=a)(memberOf:dn:=cn=a)(memberOf:2.5.13.5:=cn=a)(memberOf=)(memberOf=\\ff))",
        ] {
            assert_eq!(groups(text), [""; 0]);
            assert_eq!(filter(text).of_any_group(&Schema::default()), filter(text));
        }
    }

    #[test]
    fn only_the_renamed_group_changes_in_the_filter() {
        let text =
            "(|(memberOf=cn=a,dc=x)(memberOf:1.2.840.113556.1.4.1941:=cn=b \\28b\\29,dc=x)(cn=cn=b,dc=x))";
        let rename = |dn: &str| (dn == "cn=b (b),dc=x").then(|| "cn=c*,dc=x".to_owned());
        assert_eq!(
            filter(text).renamed(&Schema::default(), rename).to_string(),
            "(|(memberOf=cn=a,dc=x)(memberOf:1.2.840.113556.1.4.1941:=cn=c\\2a,dc=x)(cn=cn=b,dc=x))"
        );
    }

    #[test]
    fn a_filter_without_its_groups_finds_no_fewer_people() {
        for (text, wider) in [
            ("memberOf=cn=a,dc=x", "(objectClass=*)"),
            (
                "(&(mail=*)(memberOf:1.2.840.113556.1.4.1941:=cn=a,dc=x)(sn=b))",
                "(&(mail=*)(objectClass=*)(sn=b))",
            ),
            (
                "(&(a=b)(!(isMemberOf=cn=a,dc=x)))",
                "(&(a=b)(!(!(objectClass=*))))",
            ),
            (
                "(!(|(!(memberOf=cn=a,dc=x))(memberOf=cn=b,dc=x)(c=\\28)))",
                "(!(|(!(objectClass=*))(!(objectClass=*))(c=\\28)))",
            ),
            ("(mail=*)", "(mail=*)"),
        ] {
            assert_eq!(filter(text).of_any_group(&Schema::default()).to_string(), wider);
        }
    }

    #[test]
    fn filters_are_combined_whatever_their_text_was() {
        let people = filter("objectClass=person");
        let some = Filter::any([
            Filter::equal("uid", "a*"),
            Filter::equal("GUID", [0xff, b'(', b'a']),
        ]);
        assert_eq!(
            people.and(some).to_string(),
            "(&(objectClass=person)(|(uid=a\\2a)(GUID=\\ff\\28\\61)))"
        );
        assert_eq!(Filter::any([people.clone()]), people);
        assert_eq!(
            people.and(Filter::at_least("uSNChanged", "7")).to_string(),
            "(&(objectClass=person)(uSNChanged>=7))"
        );
    }

    fn any_node() -> impl Strategy<Value = Node> {
        let comparison = prop_oneof![
            Just(Comparison::Equal),
            Just(Comparison::Approximate),
            Just(Comparison::AtLeast),
            Just(Comparison::AtMost),
            (any::<bool>(), proptest::option::of("(dn)?[a-z][a-zA-Z0-9-]{0,5}"))
                .prop_map(|(dn, rule)| Comparison::Extensible { dn, rule }),
        ];
        let value = prop_oneof![vec(any::<u8>(), 0..8), "[ -~é]{0,8}".prop_map(String::into_bytes)];
        let equal = ("[a-z][a-z0-9]{0,4}(;[a-z]{1,3})?", comparison, value);
        let pieces = (
            "[1-9](\\.[0-9]){0,2}",
            vec(vec(any::<u8>(), 1..4), 0..4),
            any::<(bool, bool)>(),
        );
        let leaf = prop_oneof![
            equal.prop_map(|(attribute, comparison, value)| Node::Term(Term {
                attribute,
                comparison,
                value: vec![value],
            })),
            pieces.prop_map(|(attribute, mut value, (before, after))| {
                if before || value.len() < 2 {
                    value.insert(0, Vec::new());
                }
                if after || value.len() < 2 {
                    value.push(Vec::new());
                }
                Node::Term(Term {
                    attribute,
                    comparison: Comparison::Equal,
                    value,
                })
            }),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Node::And),
                vec(inner.clone(), 0..4).prop_map(Node::Or),
                inner.prop_map(|node| Node::Not(Box::new(node))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_read_as_the_same_filter_and_is_well_formed_to_the_library(node in any_node()) {
            let printed = Filter(node).to_string();
            prop_assert_eq!(filter(&printed).to_string(), printed.as_str());
            prop_assert!(ldap3::parse_filter(&printed).is_ok(), "{}", printed);
        }

        #[test]
        fn what_the_library_understands_is_understood_in_the_same_way(text in "[(&|!)a=*\\\\2:;.é-]{0,16}") {
            if let Ok(tag) = ldap3::parse_filter(&text) {
                let ours = text.parse::<Filter>().map(|filter| filter.to_string());
                let again = ours.map(|ours| ldap3::parse_filter(ours).unwrap());
                prop_assert_eq!(again.map(|tag| format!("{tag:?}")), Ok(format!("{tag:?}")), "{}", text);
            }
        }
    }
}
