//! The words of others, on a terminal of ours.

/// `text` with its control characters escaped as the log does it: a name in a directory neither draws on a terminal
/// nor begins a line of its own.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(
            printable("uid=J\u{f6}rg\x1b[31m\n,dc=x"),
            "uid=J\u{f6}rg\\u{1b}[31m\\u{a},dc=x"
        );
    }
}
