//! Makes text from servers (a directory, an entry, Vaultwarden, a proxy) safe to display.
//!
//! The module that receives such text calls [`shown`] at once, so that messages, the log, the state file and pages need
//! not do it.

/// The largest number of characters of foreign text in a message.
pub(crate) const LONGEST: usize = 500;
/// The number of characters that are kept of a longer text; its length follows.
const BEGINNING: usize = 460;

/// Escapes characters that control a terminal, end a line or change the direction of text, so that a name in a directory
/// can neither draw on a terminal nor forge a log line.
pub(crate) fn printable(text: &str) -> String {
    escaped(text.chars())
}

/// As [`printable`], cut at [`LONGEST`] characters. Idempotent.
pub(crate) fn shown(text: &str) -> String {
    if text.len() <= LONGEST && text.chars().all(|character| !is_harmful(character)) {
        return text.to_owned();
    }
    // Later characters would be cut off anyway.
    let escaped = escaped(text.chars().take(LONGEST + 1));
    if text.chars().nth(LONGEST).is_none() && escaped.chars().nth(LONGEST).is_none() {
        return escaped;
    }
    let beginning: String = escaped.chars().take(BEGINNING).collect();
    format!("{beginning}... ({} bytes)", text.len())
}

/// As [`shown`], for bytes that should be UTF-8.
pub(crate) fn shown_bytes(bytes: &[u8]) -> String {
    // A character has at most four bytes.
    match bytes.get(..4 * (LONGEST + 1)) {
        Some(beginning) => {
            let beginning = printable(&String::from_utf8_lossy(beginning));
            let beginning: String = beginning.chars().take(BEGINNING).collect();
            format!("{beginning}... ({} bytes)", bytes.len())
        }
        None => shown(&String::from_utf8_lossy(bytes)),
    }
}

fn escaped(characters: impl Iterator<Item = char>) -> String {
    let mut escaped = String::new();
    for character in characters {
        if is_harmful(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Control characters, line and paragraph separators, and direction marks (UAX #9).
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(
            printable("uid=J\u{f6}rg\x1b[31m\n\u{202e},dc=x"),
            "uid=J\u{f6}rg\\u{1b}[31m\\u{a}\\u{202e},dc=x"
        );
        assert_eq!(shown("a\rb"), "a\\u{d}b");
        assert_eq!(shown("User already exists"), "User already exists");
        assert_eq!(shown_bytes(b"a\xff\n"), "a\u{fffd}\\u{a}");
    }

    #[test]
    fn a_long_text_is_cut_and_ends_with_its_length() {
        let text = shown(&"x".repeat(300_000));
        assert!(
            text.starts_with("xxx") && text.ends_with("... (300000 bytes)"),
            "{text}"
        );
        assert!(text.chars().count() <= LONGEST);
        assert_eq!(shown_bytes(&vec![b'x'; 300_000]), text);
        assert_eq!(shown(&"\u{e4}".repeat(LONGEST)), "\u{e4}".repeat(LONGEST));
        // An escape is longer than its character.
        assert!(shown(&"\n".repeat(LONGEST)).chars().count() <= LONGEST);
    }

    proptest! {
        #[test]
        fn shown_text_is_short_and_harmless_and_shown_is_idempotent(text in "[\\x00-\\x{2070}]{0,1200}") {
            let once = shown(&text);
            prop_assert!(once.chars().count() <= LONGEST);
            prop_assert!(!once.chars().any(is_harmful));
            prop_assert_eq!(shown(&once), once);
        }
    }
}
