//! Detects backslashes within double quotes that TOML reads as an escape: `"LAB\reader"` holds a carriage return, and
//! `"EXAMPLE\ldap"` is a syntax error.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ESCAPE_REMEDY, KeyPath, Problems};

/// Records each string in which an escape makes a control character. That is an error, but in a secret only a warning,
/// because it may be intended. Headers are separated by line ends and are not checked.
pub(super) fn check(
    text: &str,
    document: &DeTable<'_>,
    is_secret: &dyn Fn(&KeyPath) -> bool,
    problems: &mut Problems<'_>,
) {
    table(text, document, &KeyPath::root(), &mut |path, control| {
        let control = control.escape_default();
        if !is_secret(path) {
            problems.error(
                path,
                format!("holds the control character {control}: {ESCAPE_REMEDY}"),
            );
        } else if !path.to_string().ends_with("headers") {
            problems.warning(
                path,
                format!("holds the control character {control}: {ESCAPE_REMEDY}"),
            );
        }
    });
}

fn table(text: &str, table: &DeTable<'_>, at: &KeyPath, found: &mut dyn FnMut(&KeyPath, char)) {
    for (key, inner) in table {
        value(text, inner, &at.key(key.get_ref()), found);
    }
}

fn value(text: &str, spanned: &Spanned<DeValue<'_>>, at: &KeyPath, found: &mut dyn FnMut(&KeyPath, char)) {
    match spanned.get_ref() {
        DeValue::String(string) => {
            // A string between triple quotes may hold line ends without an escape.
            let written = text.get(spanned.span()).unwrap_or_default();
            let escapes = written.starts_with('"') && !written.starts_with("\"\"\"");
            if escapes && let Some(control) = string.chars().find(|c| c.is_control()) {
                found(at, control);
            }
        }
        DeValue::Array(array) => {
            for (index, inner) in array.iter().enumerate() {
                value(text, inner, &at.index(index), found);
            }
        }
        DeValue::Table(inner) => table(text, inner, at, found),
        _ => {}
    }
}
