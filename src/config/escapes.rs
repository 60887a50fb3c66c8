//! Backslashes in double quotes, where TOML begins an escape with them: `"EXAMPLE\ldap"` is none, and `"LAB\reader"` is
//! one that nobody meant.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{KeyPath, Problems};

/// What to do about it.
pub(super) const REMEDY: &str =
    "in double quotes a backslash begins an escape; write the text in single quotes, as in 'EXAMPLE\\reader'";

/// Records each text that holds a control character because of an escape. In a secret one may be meant; of headers it
/// is part.
pub(super) fn check(
    text: &str,
    document: &DeTable<'_>,
    is_secret: &dyn Fn(&KeyPath) -> bool,
    problems: &mut Problems<'_>,
) {
    table(text, document, &KeyPath::root(), &mut |path, control| {
        let control = control.escape_default();
        if !is_secret(path) {
            problems.error(path, format!("holds the control character {control}: {REMEDY}"));
        } else if !path.to_string().ends_with("headers") {
            problems.warning(path, format!("holds the control character {control}: {REMEDY}"));
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
            // Between three quotes lines may end as they are.
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
