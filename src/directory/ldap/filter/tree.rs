//! The parts of a filter as data, and their printed form (RFC 4515).

use std::fmt;

use ldap3::ldap_escape;

use crate::directory::ldap::schema::Schema;

/// Active Directory's matching rule that follows groups within groups (LDAP_MATCHING_RULE_IN_CHAIN).
pub(super) const IN_CHAIN: &str = "1.2.840.113556.1.4.1941";
/// The matching rules that compare a DN with those of an entry's groups: that one, and the attribute's own by both of its
/// names.
const GROUP_RULES: [&str; 3] = [IN_CHAIN, "2.5.13.1", "distinguishedNameMatch"];

/// A filter or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Term(Term),
}

/// The comparison of an attribute with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    /// The attribute description as written. Empty if only a matching rule decides.
    pub(super) attribute: String,
    pub(super) comparison: Comparison,
    /// The value, split at its asterisks.
    pub(super) value: Vec<Vec<u8>>,
}

/// How an attribute is compared with the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Approximate,
    AtLeast,
    AtMost,
    Extensible { dn: bool, rule: Option<String> },
}

impl Node {
    /// Calls `look` with each term.
    pub(super) fn each_term<'a>(&'a self, look: &mut impl FnMut(&'a Term)) {
        match self {
            Self::And(nodes) | Self::Or(nodes) => nodes.iter().for_each(|node| node.each_term(look)),
            Self::Not(node) => node.each_term(look),
            Self::Term(term) => look(term),
        }
    }

    /// The tree with each term replaced for which `by` returns another node. `by` also gets whether the term is below an
    /// odd number of negations.
    pub(super) fn replaced(&self, negated: bool, by: &impl Fn(&Term, bool) -> Option<Node>) -> Self {
        let all = |nodes: &[Self]| nodes.iter().map(|node| node.replaced(negated, by)).collect();
        match self {
            Self::And(nodes) => Self::And(all(nodes)),
            Self::Or(nodes) => Self::Or(all(nodes)),
            Self::Not(node) => Self::Not(Box::new(node.replaced(!negated, by))),
            Self::Term(term) => by(term, negated).unwrap_or_else(|| self.clone()),
        }
    }
}

impl Term {
    /// The DN of the group whose members the term selects. A value with an asterisk is a pattern and names no group.
    pub(super) fn group(&self, schema: &Schema) -> Option<&str> {
        let [value] = self.value.as_slice() else {
            return None;
        };
        let by_name = match &self.comparison {
            Comparison::Equal => true,
            Comparison::Extensible { dn: false, rule } => rule.as_ref().is_none_or(|rule| {
                let mut rules = GROUP_RULES.iter();
                rules.any(|known| known.eq_ignore_ascii_case(rule))
            }),
            _ => false,
        };
        let group = std::str::from_utf8(value).ok().filter(|group| !group.is_empty());
        group.filter(|_| by_name && schema.names_groups(&self.attribute))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        match self {
            Self::And(nodes) => {
                f.write_str("&")?;
                nodes.iter().try_for_each(|node| node.fmt(f))?;
            }
            Self::Or(nodes) => {
                f.write_str("|")?;
                nodes.iter().try_for_each(|node| node.fmt(f))?;
            }
            Self::Not(node) => write!(f, "!{node}")?,
            Self::Term(term) => term.fmt(f)?,
        }
        f.write_str(")")
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.attribute)?;
        match &self.comparison {
            Comparison::Equal => f.write_str("=")?,
            Comparison::Approximate => f.write_str("~=")?,
            Comparison::AtLeast => f.write_str(">=")?,
            Comparison::AtMost => f.write_str("<=")?,
            Comparison::Extensible { dn, rule } => {
                if *dn {
                    f.write_str(":dn")?;
                }
                // `ldap3` takes the beginning of `dnSubtreeMatch` for the flag above, but heeds case; names do not.
                match rule.as_ref().map(|rule| (rule.as_str(), rule.strip_prefix("dn"))) {
                    Some((_, Some(rest))) => write!(f, ":DN{rest}")?,
                    Some((rule, None)) => write!(f, ":{rule}")?,
                    None => {}
                }
                f.write_str(":=")?;
            }
        }
        for (at, piece) in self.value.iter().enumerate() {
            if at > 0 {
                f.write_str("*")?;
            }
            match std::str::from_utf8(piece) {
                Ok(text) if !text.contains(char::is_control) => f.write_str(&ldap_escape(text))?,
                _ => piece.iter().try_for_each(|byte| write!(f, "\\{byte:02x}"))?,
            }
        }
        Ok(())
    }
}
