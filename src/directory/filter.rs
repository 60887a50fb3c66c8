//! The groups that a filter (RFC 4515) asks for by `memberOf`: pure.

use super::dn;

/// Active Directory's matching rule that follows nested groups (LDAP_MATCHING_RULE_IN_CHAIN).
const IN_CHAIN: &str = ":1.2.840.113556.1.4.1941:";

/// The DNs that `memberOf` terms name, wherever they stand in the filter, each once.
pub(super) fn groups(filter: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for term in terms(filter) {
        let group = unescape(&filter[term.start..term.end]);
        if !groups.iter().any(|known| dn::normal(known) == dn::normal(&group)) {
            groups.push(group);
        }
    }
    groups
}

/// The filter with other DNs in its `memberOf` terms: those that `rename` knows.
pub(super) fn renamed(filter: &str, rename: impl Fn(&str) -> Option<String>) -> String {
    let (mut text, mut done) = (String::with_capacity(filter.len()), 0);
    for term in terms(filter) {
        if let Some(name) = rename(&unescape(&filter[term.start..term.end])) {
            text += &filter[done..term.start];
            text += &escape(&name);
            done = term.end;
        }
    }
    text + &filter[done..]
}

/// A filter that finds everyone whom `filter` finds, whatever groups they are in.
pub(super) fn of_any_group(filter: &str) -> String {
    let (mut text, mut done) = (String::with_capacity(filter.len()), 0);
    for term in terms(filter) {
        // From the parenthesis that opens the term to the one that closes it.
        let start = filter[..term.start].rfind('(').unwrap_or_default();
        let whatever = if is_negated(&filter[..start]) {
            "(!(objectClass=*))"
        } else {
            "(objectClass=*)"
        };
        text += &filter[done..start];
        text += whatever;
        done = (term.end + 1).min(filter.len());
    }
    text + &filter[done..]
}

/// Whether what follows `before` in a filter stands below an odd number of negations.
fn is_negated(before: &str) -> bool {
    let mut open = Vec::new();
    for (at, c) in before.char_indices() {
        match c {
            '(' => open.push(before[at + 1..].starts_with('!')),
            ')' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().filter(|negates| *negates).count() % 2 == 1
}

/// Where the value of each `memberOf` term stands. Parentheses within values are escaped (RFC 4515, 3), so that each
/// item lasts from its opening parenthesis to the next closing one.
fn terms(filter: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for (open, _) in filter.match_indices('(') {
        let item = &filter[open + 1..];
        let item = &item[..item.find([')', '(']).unwrap_or(item.len())];
        let Some((description, value)) = item.split_once('=') else {
            continue;
        };
        let description = description.trim().to_ascii_lowercase();
        let names_a_group = description == "memberof"
            || description
                .strip_prefix("memberof")
                .is_some_and(|rule| rule == IN_CHAIN);
        // A value with an asterisk is a pattern and names nobody.
        if names_a_group && !value.is_empty() && !value.contains('*') {
            let start = open + 1 + item.len() - value.len();
            found.push(start..start + value.len());
        }
    }
    found
}

/// A term that finds the members of a group and of those within it, on Active Directory.
pub(super) fn in_chain(group: &str) -> String {
    format!("(memberOf{IN_CHAIN}={})", escape(group))
}

fn unescape(value: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (mut bytes, mut rest) = (Vec::with_capacity(value.len()), value.as_bytes());
    while let [byte, after @ ..] = rest {
        let escaped = match *rest {
            [b'\\', high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        match escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text as the value of an assertion (RFC 4515, 3).
pub(super) fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '*' => text += "\\2a",
            '(' => text += "\\28",
            ')' => text += "\\29",
            '\\' => text += "\\5c",
            '\0' => text += "\\00",
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_wherever_they_stand_in_the_filter() {
        let filter = "(&(objectClass=person)(|(memberOf=cn=a,dc=x)(!(MEMBEROF:1.2.840.113556.1.4.1941:=cn=b,dc=x)))(memberof=CN=A, dc=x))";
        assert_eq!(groups(filter), ["cn=a,dc=x", "cn=b,dc=x"]);
    }

    #[test]
    fn what_names_no_group_is_left_alone() {
        assert_eq!(
            groups("(&(memberOf=*)(memberOf=cn=a*)(memberOfX=cn=a)(cn=memberOf=b)(description=memberOf))"),
            [""; 0]
        );
        assert_eq!(groups(""), [""; 0]);
        assert_eq!(groups("((((memberOf="), [""; 0]);
    }

    #[test]
    fn escapes_are_read_and_written() {
        let filter = "(memberOf=cn=a \\28b\\29 \\5c, c,dc=x)";
        assert_eq!(groups(filter), ["cn=a (b) \\, c,dc=x"]);
        let rename = |dn: &str| (dn == "cn=a (b) \\, c,dc=x").then(|| "cn=d (e),dc=x".to_owned());
        assert_eq!(renamed(filter, rename), "(memberOf=cn=d \\28e\\29,dc=x)");
    }

    #[test]
    fn a_filter_without_its_groups_finds_no_fewer_people() {
        for (filter, wider) in [
            ("(memberOf=cn=a,dc=x)", "(objectClass=*)"),
            (
                "(&(mail=*)(memberOf:1.2.840.113556.1.4.1941:=cn=a,dc=x)(sn=b))",
                "(&(mail=*)(objectClass=*)(sn=b))",
            ),
            ("(&(a=b)(!(memberOf=cn=a,dc=x)))", "(&(a=b)(!(!(objectClass=*))))"),
            (
                "(!(|(!(memberOf=cn=a,dc=x))(memberOf=cn=b,dc=x)(c=\\28)))",
                "(!(|(!(objectClass=*))(!(objectClass=*))(c=\\28)))",
            ),
            ("(mail=*)", "(mail=*)"),
        ] {
            assert_eq!(of_any_group(filter), wider);
        }
    }

    #[test]
    fn only_the_renamed_group_changes_in_the_filter() {
        let filter = "(|(memberOf=cn=a,dc=x)(memberOf:1.2.840.113556.1.4.1941:=cn=b,dc=x)(cn=cn=b,dc=x))";
        let rename = |dn: &str| (dn == "cn=b,dc=x").then(|| "cn=c,dc=x".to_owned());
        assert_eq!(
            renamed(filter, rename),
            "(|(memberOf=cn=a,dc=x)(memberOf:1.2.840.113556.1.4.1941:=cn=c,dc=x)(cn=cn=b,dc=x))"
        );
    }
}
