//! Distinguished names compared as servers compare them (RFC 4514 for the text, RFC 4517 `distinguishedNameMatch`).
//!
//! Values are taken to be case-insensitive and their spaces insignificant, which holds for every attribute that
//! directories name people and groups by.

use std::borrow::Cow;

/// The form in which two texts of one DN are equal; the text itself where it has that form, as most have that servers
/// send. What is no DN comes back in lower case.
pub(super) fn normal(dn: &str) -> Cow<'_, str> {
    if !is_plain(dn) {
        Cow::Owned(normalised(dn))
    } else if dn.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(dn.to_ascii_lowercase())
    } else {
        Cow::Borrowed(dn)
    }
}

/// Whether the normal form differs in its case only: printable ASCII in which nothing is escaped, quoted or to be
/// escaped, and no space is more than one between two words.
fn is_plain(dn: &str) -> bool {
    let mut before = b',';
    let mut in_value = false;
    let plain = dn.bytes().all(|byte| {
        let fits = match byte {
            b' ' => !matches!(before, b' ' | b',' | b'='),
            b',' => before != b' ',
            b'=' => before != b' ' && !in_value,
            b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'#' => false,
            _ => byte.is_ascii_graphic(),
        };
        in_value = byte == b'=' || in_value && byte != b',';
        before = byte;
        fits
    });
    plain && before != b' '
}

fn normalised(dn: &str) -> String {
    let mut rdns = Vec::new();
    for rdn in split(dn, &[',', ';']) {
        let mut parts: Vec<String> = split(rdn, &['+']).into_iter().map(attribute_and_value).collect();
        // The parts of a multi-valued RDN are a set.
        parts.sort_unstable();
        rdns.push(parts.join("+"));
    }
    rdns.join(",")
}

/// The DN without its first RDN; `None` where there is only one.
pub(super) fn parent(dn: &str) -> Option<&str> {
    let first = split(dn, &[',', ';'])[0];
    dn.get(first.len() + 1..)
        .map(str::trim_start)
        .filter(|rest| !rest.is_empty())
}

/// Whether `dn` is `ancestor` or below it.
pub(super) fn is_within(dn: &str, ancestor: &str) -> bool {
    let (dn, ancestor) = (normal(dn), normal(ancestor));
    ancestor.is_empty()
        || dn
            .strip_suffix(&*ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(','))
}

/// Splits at separators that are neither escaped nor quoted; quotes begin where a value does (RFC 2253, 4).
fn split<'a>(text: &'a str, separators: &[char]) -> Vec<&'a str> {
    let (mut parts, mut start, mut escaped, mut quoted) = (Vec::new(), 0, false, false);
    let mut before = None;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' if quoted || before == Some('=') => quoted = !quoted,
            c if !quoted && separators.contains(&c) => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
        if !c.is_whitespace() {
            before = Some(c);
        }
    }
    parts.push(&text[start..]);
    parts
}

fn attribute_and_value(part: &str) -> String {
    let Some((attribute, value)) = part.split_once('=') else {
        return part.trim().to_lowercase();
    };
    format!("{}={}", attribute.trim().to_lowercase(), plain(value))
}

/// The value in lower case, with each run of spaces as one, and with special characters escaped in one way only.
fn plain(value: &str) -> String {
    let value = unescape(value.trim()).to_lowercase();
    let words: Vec<&str> = value.trim().split(' ').filter(|word| !word.is_empty()).collect();
    let mut text = String::with_capacity(value.len());
    for c in words.join(" ").chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The value without its escapes; bytes that are not UTF-8 become the replacement character.
fn unescape(value: &str) -> String {
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    let bytes = value.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let hex = |at: usize| u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(at + 1)) {
            (b'\\', Some(escaped)) => {
                plain.push(escaped);
                at += 3;
            }
            (b'\\', None) => {
                plain.extend(bytes.get(at + 1));
                at += 2;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for (one, other) in [
            (
                "UID=Ann, OU=People,DC=example,DC=org",
                "uid=ann,ou=people,dc=example,dc=org",
            ),
            ("cn=Doe\\, Ann,dc=x", "CN=doe\\2C  ann,DC=X"),
            ("cn=a+uid=b,dc=x", "uid=B+cn=A,dc=x"),
            ("cn=J\\C3\\BCrgen,dc=x", "cn=jürgen,dc=x"),
            ("cn=\"Doe, Ann\",dc=x", "cn=Doe\\, Ann,dc=x"),
            ("cn= \"Doe+Ann\",dc=x", "cn=Doe\\+Ann,dc=x"),
            ("cn=a ;dc=x", "cn=a,dc=x"),
        ] {
            assert_eq!(normal(one), normal(other));
        }
    }

    #[test]
    fn different_names_differ() {
        for (one, other) in [
            ("cn=a,dc=x", "cn=a,dc=y"),
            ("cn=a\\,dc=x", "cn=a,dc=x"),
            ("cn=a+b=c,dc=x", "cn=a\\+b=c,dc=x"),
            ("cn=ab,dc=x", "cn=a b,dc=x"),
        ] {
            assert_ne!(normal(one), normal(other));
        }
    }

    #[test]
    fn a_name_lies_within_its_ancestors_only() {
        assert!(is_within("uid=a,OU=People, dc=x", "ou=people,dc=x"));
        assert!(is_within("dc=x", "dc=x"));
        assert!(is_within("dc=x", ""));
        assert!(!is_within("dc=yx", "dc=x"));
        assert!(!is_within("uid=a\\,dc=x", "dc=x"));
        assert_eq!(parent("cn=a\\,b, ou=c,dc=x"), Some("ou=c,dc=x"));
        assert_eq!(parent("dc=x"), None);
    }

    #[test]
    fn a_quote_within_a_name_quotes_nothing() {
        for text in ["a+\"=", "a+\"b\"=c", "a=b\"+c=d\"", "a=\"b,c"] {
            let once = normal(text);
            assert_eq!(normal(&once), once);
        }
    }

    #[test]
    fn what_is_in_its_normal_form_is_not_copied() {
        let text = "uid=a.b@c,ou=two words,dc=x";
        assert!(matches!(normal(text), Cow::Borrowed(same) if same == text));
    }

    proptest! {
        #[test]
        fn any_text_has_a_normal_form_that_is_its_own(text in "\\PC*") {
            let once = normal(&text);
            prop_assert_eq!(&normal(&once), &once);
        }

        #[test]
        fn the_short_way_to_the_normal_form_leads_where_the_long_one_does(text in "[aB.é ,;=+#<\"\\\\]{0,12}") {
            prop_assert_eq!(normal(&text), normalised(&text));
        }
    }
}
