//! Normalises text for comparison.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

/// Normalises a value by the string preparation of RFC 4518: Unicode NFKC, folded case, one space between words and none
/// at the ends. Two values that a server matches case-insensitively have the same form.
///
/// Characters that RFC 4518 prohibits are kept, so that values which differ in them stay different. Idempotent.
pub fn prepared(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_control()) {
        return with_significant_spaces(text.to_ascii_lowercase().into());
    }
    of_any_script(text).into()
}

fn of_any_script(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let mut text: String = text.chars().filter_map(mapped).collect();
    // Decomposing may yield capitals, and small letters may compose. Three rounds are enough; a test proves it for every
    // character.
    for _ in 0..3 {
        text = nfkc.normalize(&text).chars().flat_map(folded).collect();
    }
    with_significant_spaces(nfkc.normalize(&text)).into_owned()
}

/// The text in Unicode NFC, as mail must be sent (RFC 6532, 3.1).
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

/// Maps a character as RFC 4518, 2.2 does, except for its case. `None` if it is removed.
fn mapped(c: char) -> Option<char> {
    match c {
        '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' => Some(' '),
        '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' => None,
        '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2063}' | '\u{206a}'..='\u{206f}' => None,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}' | '\u{e0001}' => None,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0020}'..='\u{e007f}' => None,
        c if c.is_control() => None,
        c if c.is_whitespace() => Some(' '),
        c => Some(c),
    }
}

/// Folds the case of a character as RFC 3454, B.2 does, except where that yields several letters: slapd distinguishes `ß`
/// from `ss`, and both occur in names.
fn folded(c: char) -> impl Iterator<Item = char> {
    let c = if c == 'ς' { 'σ' } else { c };
    c.to_lowercase()
}

/// Keeps one space between words and none at the ends (RFC 4518, 2.6.1).
fn with_significant_spaces(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_insignificant = |(before, after): (u8, u8)| before == b' ' && after == b' ';
    let bytes = text.as_bytes();
    let spaces = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !spaces
        && !bytes
            .iter()
            .copied()
            .zip(bytes.iter().copied().skip(1))
            .any(is_insignificant)
    {
        return text;
    }
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    Cow::Owned(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_differ_only_in_encoding_case_or_spaces_are_equal() {
        for (one, other) in [
            ("J\u{fc}rgen", "ju\u{308}rgen"),
            ("\u{212b}ngstr\u{f6}m", "A\u{30a}NGSTRO\u{308}M"),
            ("\u{ff21}\u{ff4e}\u{ff4e}", "ann"),
            ("\u{fb01}n", "FIN"),
            (
                "\u{d55c}\u{ad6d}",
                "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}",
            ),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("Ann\u{a0}\u{3000}Doe ", " ann\tdoe"),
            ("an\u{ad}n\u{200b}", "ann"),
            ("\u{1d400}nn", "ann"),
        ] {
            assert_eq!(prepared(one), prepared(other), "{one} {other}");
        }
    }

    #[test]
    fn other_differences_are_kept() {
        for (one, other) in [
            ("jürgen", "jurgen"),
            ("weiß", "weiss"),
            ("ı", "i"),
            ("ann", "a nn"),
        ] {
            assert_ne!(prepared(one), prepared(other), "{one} {other}");
        }
    }

    #[test]
    fn preparing_a_prepared_character_changes_nothing() {
        // There are no letters above these.
        for c in '\0'..='\u{1ffff}' {
            let once = prepared(&format!("a{c}b")).into_owned();
            assert_eq!(prepared(&once), once, "{}", c.escape_unicode());
        }
    }

    proptest! {
        #[test]
        fn preparing_a_prepared_text_changes_nothing(text in any::<String>()) {
            let once = prepared(&text).into_owned();
            prop_assert_eq!(&*prepared(&once), &once);
        }

        #[test]
        fn the_fast_path_for_ascii_gives_the_same_result(text in "[ -~]{0,20}") {
            prop_assert_eq!(prepared(&text), of_any_script(&text));
        }
    }
}
