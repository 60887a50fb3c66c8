//! Checks the keys that name people by their addresses: `[accept]`, `[protect]` and `administrators`.

use super::super::problem::{KeyPath, Problems};
use super::super::schema::File;
use super::element;
use crate::model::EmailAddress;
use crate::rules::Protect;
use crate::rules::membership::{Accept, Denied, DomainPattern};

/// Reads `[accept]`.
pub(super) fn accept(file: &File, problems: &mut Problems<'_>) -> Accept {
    let at = KeyPath::root().key("accept");
    Accept {
        domains: each(
            &file.accept.domains,
            &at.key("domains"),
            problems,
            DomainPattern::parse,
        ),
        deny: each(&file.accept.deny, &at.key("deny"), problems, denied),
    }
}

/// Reads `[protect]`, and `administrators` of `[vaultwarden]`.
pub(super) fn protect(file: &File, problems: &mut Problems<'_>) -> Protect {
    let at = KeyPath::root().key("protect");
    let administrators = KeyPath::root().key("vaultwarden").key("administrators");
    Protect {
        addresses: each(&file.protect.addresses, &at.key("addresses"), problems, address),
        domains: each(
            &file.protect.domains,
            &at.key("domains"),
            problems,
            DomainPattern::parse,
        ),
        administrators: each(
            &file.vaultwarden.administrators,
            &administrators,
            problems,
            address,
        ),
    }
}

/// Reads each text, and reports those that cannot be read.
fn each<T>(
    texts: &[String],
    at: &KeyPath,
    problems: &mut Problems<'_>,
    read: fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match read(text) {
            Ok(value) => values.push(value),
            Err(problem) => problems.error(&element(at, index, texts), problem),
        }
    }
    values
}

fn address(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::parse(text.as_bytes())
        .map_err(|problem| format!("\"{text}\" {problem}; write it as in \"ann@example.org\""))
}

fn denied(text: &str) -> Result<Denied, String> {
    if text.contains('@') {
        address(text).map(Denied::Address)
    } else {
        DomainPattern::parse(text).map(Denied::Domain)
    }
}
