//! Parses a term: the text between its parentheses.

use super::tree::{Comparison, Term};

/// What is wrong with a term.
pub(crate) struct Wrong {
    /// The position in bytes of the term.
    pub(crate) at: usize,
    /// The problem, and what to write instead.
    pub(crate) problem: String,
}

/// Parses a term without its parentheses.
pub(crate) fn read(text: &str) -> Result<Term, Wrong> {
    let wrong = |problem: &str| {
        let problem = problem.to_owned();
        Err(Wrong { at: 0, problem })
    };
    let Some((left, value)) = text.split_once('=') else {
        return wrong("compares nothing; write an attribute, `=` and a value, as in (objectClass=person)");
    };
    let (attribute, comparison) = match left.as_bytes().last() {
        Some(b'~') => (&left[..left.len() - 1], Comparison::Approximate),
        Some(b'>') => (&left[..left.len() - 1], Comparison::AtLeast),
        Some(b'<') => (&left[..left.len() - 1], Comparison::AtMost),
        Some(b':') => extensible(&left[..left.len() - 1]),
        _ => (left, Comparison::Equal),
    };
    if attribute != attribute.trim() {
        let operator = &text[attribute.len()..text.len() - value.len()];
        let tidy = format!("({}{operator}{})", attribute.trim(), value.trim());
        return wrong(&format!("a blank stands beside the attribute; write {tidy}"));
    }
    let rule = match &comparison {
        Comparison::Extensible { rule, .. } => rule.as_deref(),
        _ => None,
    };
    if attribute.is_empty() && rule.is_none() {
        return wrong("no attribute stands before the comparison; write one, as in (objectClass=person)");
    }
    if !attribute.is_empty() && !is_description(attribute) {
        return wrong(&format!(
            "`{attribute}` is no attribute: a name has letters, digits and `-` and begins with a letter"
        ));
    }
    if !rule.is_none_or(is_type) {
        return wrong(
            "what stands before `:=` is no matching rule; write it as in (memberOf:1.2.840.113556.1.4.1941:=...)",
        );
    }
    let pieces = unescaped(value).map_err(|(at, problem, instead)| {
        let (before, after) = text.split_at(text.len() - value.len() + at);
        Wrong {
            at: before.len(),
            problem: format!("{problem}; write ({before}{instead}{})", &after[1..]),
        }
    })?;
    if pieces.len() > 1 && comparison != Comparison::Equal {
        return wrong("an asterisk stands for any text with `=` only; write \\2a for an asterisk itself");
    }
    Ok(Term {
        attribute: attribute.to_owned(),
        comparison,
        value: pieces,
    })
}

/// Parses the text before `:=`: the attribute, `:dn`, and the matching rule, each of them optional.
fn extensible(text: &str) -> (&str, Comparison) {
    let (attribute, rest) = match text.split_once(':') {
        Some((attribute, rest)) => (attribute, Some(rest)),
        None => (text, None),
    };
    let (dn, rule) = match rest {
        None => (false, None),
        Some(rest) if rest.eq_ignore_ascii_case("dn") => (true, None),
        Some(rest) => match rest.split_at_checked(3) {
            Some((dn, rule)) if dn.eq_ignore_ascii_case("dn:") => (true, Some(rule)),
            _ => (false, Some(rest)),
        },
    };
    let rule = rule.map(str::to_owned);
    (attribute, Comparison::Extensible { dn, rule })
}

/// Whether this is an attribute description: a type and options (RFC 4512, 2.5).
fn is_description(text: &str) -> bool {
    let mut parts = text.split(';');
    let is_option = |option: &str| !option.is_empty() && option.bytes().all(is_of_name);
    parts.next().is_some_and(is_type) && parts.all(is_option)
}

/// Whether this is a name or an OID (RFC 4512, 1.4).
fn is_type(text: &str) -> bool {
    let is_number = |number: &str| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && (number.len() == 1 || !number.starts_with('0'))
    };
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        text.split('.').all(is_number)
    } else {
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(is_of_name)
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// The value without its escapes, split at its asterisks. An error is the position of the wrong byte, the problem, and what
/// to write in its place. Besides two hexadecimal digits (RFC 4515, 3), the character itself may follow a backslash, as in
/// LDAPv2.
fn unescaped(text: &str) -> Result<Vec<Vec<u8>>, (usize, &'static str, &'static str)> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let bytes = text.as_bytes();
    let (mut pieces, mut piece, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(&byte) = bytes.get(at) {
        let escape = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (byte, bytes.get(at + 1), escape) {
            (b'*', Some(b'*'), _) => return Err((at, "two asterisks stand for no more than one", "")),
            (b'*', ..) => pieces.push(std::mem::take(&mut piece)),
            (b'\\', _, (Some(high), Some(low))) => {
                piece.extend(u8::try_from(high * 16 + low));
                at += 2;
            }
            (b'\\', Some(&character @ (b'(' | b')' | b'*' | b'\\')), _) => {
                piece.push(character);
                at += 1;
            }
            (b'\\', ..) => {
                let problem =
                    "a backslash begins an escape of two hexadecimal digits, and \\5c is a backslash itself";
                return Err((at, problem, "\\5c"));
            }
            _ => piece.push(byte),
        }
        at += 1;
    }
    pieces.push(piece);
    Ok(pieces)
}
