//! Distinguished names compared as servers compare them (RFC 4514 for the text, RFC 4517 `distinguishedNameMatch`).
//!
//! Values are compared as RFC 4518 prepares them, without regard to case and insignificant spaces. This is right for every
//! attribute by which directories name people and groups. All names of an attribute type are equal: `userid=` is `uid=`.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::ber::{self, Reader};
use crate::directory::ldap::schema::Schema;
use crate::model::prepared;

/// The attribute types of the standards.
static STANDARD: LazyLock<Schema> = LazyLock::new(Schema::default);

/// The normal form of a DN, which is the same for all its texts. Borrows a text in normal form, as most servers send it. A
/// text that is no DN is returned in lower case.
pub(crate) fn normal(dn: &str) -> Cow<'_, str> {
    normal_in(dn, &STANDARD)
}

/// As [`normal`], with the names of types in the schema of the server.
pub(crate) fn normal_in<'a>(dn: &'a str, schema: &Schema) -> Cow<'a, str> {
    if !is_plain(dn, schema) {
        Cow::Owned(normalised(dn, schema))
    } else if dn.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(dn.to_ascii_lowercase())
    } else {
        Cow::Borrowed(dn)
    }
}

/// Whether the normal form differs at most in case: printable ASCII without escapes, quotes or characters to escape, with
/// single spaces between words only, and each type named by its key.
fn is_plain(dn: &str, schema: &Schema) -> bool {
    let mut before = b',';
    let mut in_value = false;
    let mut begin = 0;
    let plain = dn.bytes().enumerate().all(|(at, byte)| {
        let fits = match byte {
            b' ' => !matches!(before, b' ' | b',' | b'='),
            b',' => {
                begin = at + 1;
                before != b' '
            }
            b'=' => before != b' ' && !in_value && is_key(&dn[begin..at], schema),
            b'+' | b'"' | b'\\' | b'<' | b'>' | b';' | b'#' => false,
            _ => byte.is_ascii_graphic(),
        };
        in_value = byte == b'=' || in_value && byte != b',';
        before = byte;
        fits
    });
    plain && before != b' '
}

/// Whether this name of a type is its key.
fn is_key(name: &str, schema: &Schema) -> bool {
    /// The most common keys.
    const USUAL: [&str; 7] = ["dc", "ou", "uid", "cn", "o", "c", "l"];
    USUAL.iter().any(|usual| usual.eq_ignore_ascii_case(name))
        || !name.contains('.') && schema.key(name).eq_ignore_ascii_case(name)
}

fn normalised(dn: &str, schema: &Schema) -> String {
    let mut rdns = Vec::new();
    for rdn in split(dn, &[',', ';']) {
        let mut parts: Vec<String> = split(rdn, &['+'])
            .into_iter()
            .map(|part| attribute_and_value(part, schema))
            .collect();
        // The parts of a multi-valued RDN are a set.
        parts.sort_unstable();
        rdns.push(parts.join("+"));
    }
    rdns.join(",")
}

/// The DN without its first RDN; `None` if there is only one.
pub(crate) fn parent(dn: &str) -> Option<&str> {
    let first = split(dn, &[',', ';'])[0];
    dn.get(first.len() + 1..)
        .map(str::trim_start)
        .filter(|rest| !rest.is_empty())
}

/// Whether `dn` is `ancestor` or below it.
pub(crate) fn is_within(dn: &str, ancestor: &str) -> bool {
    is_within_in(dn, ancestor, &STANDARD)
}

/// As [`is_within`], with the names of types in the schema of the server.
pub(crate) fn is_within_in(dn: &str, ancestor: &str, schema: &Schema) -> bool {
    let (dn, ancestor) = (normal_in(dn, schema), normal_in(ancestor, schema));
    ancestor.is_empty()
        || dn
            .strip_suffix(&*ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with(','))
}

/// Splits at separators that are neither escaped nor quoted. Quotes begin at the beginning of a value (RFC 2253, 4).
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

fn attribute_and_value(part: &str, schema: &Schema) -> String {
    let Some((attribute, value)) = part.split_once('=') else {
        return part.trim().to_lowercase();
    };
    let attribute = attribute.trim().to_lowercase();
    // RFC 1779 writes `OID.` before an OID.
    let attribute = attribute.strip_prefix("oid.").unwrap_or(&attribute);
    format!("{}={}", schema.key(attribute), plain(value.trim()))
}

/// The value as RFC 4518 prepares it, with special characters escaped in one way only.
fn plain(value: &str) -> String {
    let value = encoded(value).unwrap_or_else(|| unescape(value));
    let value = prepared(&value);
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' | '#') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

/// The text of a value that is written as the hexadecimal digits of its BER encoding (RFC 4514, 2.4), as after an OID.
fn encoded(value: &str) -> Option<String> {
    const TEXTS: [u8; 4] = [
        ber::OCTET_STRING,
        ber::UTF8_STRING,
        ber::PRINTABLE_STRING,
        ber::IA5_STRING,
    ];
    let digits = value.strip_prefix('#')?.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let digits = digits.chunks_exact(2);
    if !digits.remainder().is_empty() {
        return None;
    }
    let bytes: Vec<u8> = digits.map(byte).collect::<Option<_>>()?;
    let mut reader = Reader::new(&bytes);
    let (tag, contents) = reader.next().ok()??;
    if !reader.is_empty() || !TEXTS.contains(&tag) {
        return None;
    }
    String::from_utf8(contents.to_vec()).ok()
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
            ("cn=Ju\u{308}rgen,dc=x", "cn=j\u{fc}rgen,dc=x"),
            ("cn=J\\75\\CC\\88rgen,dc=x", "cn=j\u{fc}rgen,dc=x"),
            ("cn=\u{ff21}nn\u{a0} Doe,dc=x", "cn=ann doe,dc=x"),
            ("cn=a\u{ff0c}b,dc=x", "cn=a\\,b,dc=x"),
            (
                "userid=ann,organizationalUnitName=people,domainComponent=x",
                "uid=ann,ou=people,dc=x",
            ),
            (
                "0.9.2342.19200300.100.1.1=ann,OID.2.5.4.11=people,DC=x",
                "uid=Ann,ou=people,dc=x",
            ),
            ("2.5.4.3=#0403416E6e,dc=x", "cn=ann,dc=x"),
            ("commonName=a+userid=b,dc=x", "uid=b+cn=a,dc=x"),
        ] {
            assert_eq!(normal(one), normal(other));
        }
    }

    #[test]
    fn types_are_called_as_the_server_says() {
        let definition = b"( 1.9.1 NAME ( 'employeeKey' 'ek' 'eky' ) )";
        let schema = Schema::read([&definition[..]]);
        let spellings = ["EK=a,dc=x", "employeeKey=A,dc=x", "eky=a, dc=x", "1.9.1=a,dc=x"];
        for spelling in spellings {
            assert_eq!(normal_in(spelling, &schema), "ek=a,dc=x");
        }
        assert_ne!(normal("employeeKey=a,dc=x"), normal("ek=a,dc=x"));
    }

    #[test]
    fn different_names_differ() {
        for (one, other) in [
            ("cn=a,dc=x", "cn=a,dc=y"),
            ("cn=a\\,dc=x", "cn=a,dc=x"),
            ("cn=a+b=c,dc=x", "cn=a\\+b=c,dc=x"),
            ("cn=ab,dc=x", "cn=a b,dc=x"),
            ("cn=jurgen,dc=x", "cn=j\u{fc}rgen,dc=x"),
            ("uid=a,dc=x", "uidNumber=a,dc=x"),
            ("cn=\\#0403416e6e,dc=x", "cn=ann,dc=x"),
            ("2.5.4.3=#020101,dc=x", "cn=\u{1},dc=x"),
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
        fn the_short_way_to_the_normal_form_leads_where_the_long_one_does(text in "([aB.é ,;=+#<\"\\\\]|cn|CN=|userid=|,uid=|2.5.4.3=|,Employeenumber=){0,12}") {
            prop_assert_eq!(normal(&text), normalised(&text, &STANDARD));
        }
    }
}
