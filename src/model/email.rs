//! E-mail addresses, validated as Vaultwarden does.

use std::fmt;
use std::str::FromStr;

use super::text::composed;

/// An address that Vaultwarden accepts: trimmed, without display name or `mailto:`, in lower case (as Vaultwarden
/// stores it) and in Unicode NFC (RFC 6532, 3.1), so that different encodings of an address are equal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress(String);

/// Why a value is not a usable address; completes the sentence "the value ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressProblem {
    /// The bytes are not UTF-8.
    #[error("is not UTF-8 text")]
    NotText,
    /// Nothing is left after trimming.
    #[error("is empty")]
    Empty,
    /// Longer than SMTP allows (RFC 5321, 4.5.3.1.3).
    #[error("is longer than 254 bytes")]
    TooLong,
    /// Control characters, including line breaks.
    #[error("contains control characters")]
    ControlCharacters,
    /// Anything else that Vaultwarden refuses.
    #[error("is not an e-mail address: {0}")]
    Invalid(String),
}

impl EmailAddress {
    /// Parses one value of a mail attribute.
    ///
    /// White space around it, `mailto:` before it (RFC 6068) and a display name (`Ann <ann@example.org>`,
    /// RFC 5322) are stripped; what remains must satisfy the `email_address` crate and have a domain that parses
    /// as the host of a URL, which is `is_valid_email` of Vaultwarden 1.33 and later. Vaultwarden itself would
    /// take a display name as part of the address and create an account that nobody can use.
    ///
    /// # Errors
    /// The value is not a usable address.
    pub fn parse(value: &[u8]) -> Result<Self, AddressProblem> {
        let text = std::str::from_utf8(value)
            .map_err(|_| AddressProblem::NotText)?
            .trim();
        let text = composed(strip_display_name(strip_mailto(text)).trim());
        if text.is_empty() {
            return Err(AddressProblem::Empty);
        }
        if text.len() > 254 {
            return Err(AddressProblem::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(AddressProblem::ControlCharacters);
        }
        let address = email_address::EmailAddress::from_str(&text)
            .map_err(|error| AddressProblem::Invalid(clause(&error.to_string())))?;
        if !is_host(address.domain()) {
            return Err(AddressProblem::Invalid("its domain is not a host name".into()));
        }
        Ok(Self(text.to_lowercase()))
    }

    /// An address from the store, which [`EmailAddress::parse`] accepted earlier. It is not validated again, because
    /// stricter rules of a later version must not make the store unreadable.
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// Turns a sentence into a clause: without capital letter and full stop.
fn clause(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let (first, rest) = sentence.split_at(sentence.chars().next().map_or(0, char::len_utf8));
    first.to_lowercase() + rest
}

fn strip_mailto(text: &str) -> &str {
    match text.split_at_checked("mailto:".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto:") => rest,
        _ => text,
    }
}

fn strip_display_name(text: &str) -> &str {
    match text.strip_suffix('>').and_then(|t| t.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text,
    }
}

fn is_host(domain: &str) -> bool {
    is_plain_host(domain) || is_host_of_url(domain)
}

/// Most domains need no parser: ASCII labels, of which the last is no number and none is Punycode.
fn is_plain_host(domain: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(plain)
            && label.as_bytes().get(2..4).is_none_or(|at| at != b"--")
    };
    domain.split('.').all(label)
        && domain
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|first: char| first.is_ascii_alphabetic()))
}

fn is_host_of_url(domain: &str) -> bool {
    url::Url::parse(&format!("https://{domain}"))
        .is_ok_and(|url| url.path() == "/" && url.domain().is_some() && url.query().is_none())
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_problem_reads_as_the_end_of_a_sentence() {
        let problem = EmailAddress::parse(b"nobody").unwrap_err().to_string();
        assert_eq!(
            problem,
            "is not an e-mail address: missing separator character '@'"
        );
    }

    fn parse(value: &str) -> Result<String, AddressProblem> {
        EmailAddress::parse(value.as_bytes()).map(|a| a.to_string())
    }

    proptest::proptest! {
        #[test]
        fn what_is_taken_for_a_host_without_the_parser_is_one_for_the_parser(domain in "[a-zA-Z0-9.x-]{1,20}") {
            proptest::prop_assert!(!is_plain_host(&domain) || is_host_of_url(&domain), "{domain}");
        }
    }

    #[test]
    fn usable_addresses_come_out_trimmed_and_in_lower_case() {
        for (value, address) in [
            ("ann@example.org", "ann@example.org"),
            ("  Ann.Bee@Example.ORG\n", "ann.bee@example.org"),
            ("mailto:ann@example.org", "ann@example.org"),
            ("MailTo: ann@example.org", "ann@example.org"),
            ("Ann Bee <ann@example.org>", "ann@example.org"),
            ("\"Bee, Ann\" < ann@example.org >", "ann@example.org"),
            ("bob@localhost", "bob@localhost"),
            ("jörg@exämple.org", "jörg@exämple.org"),
            ("jo\u{308}rg@exa\u{308}mple.org", "jörg@exämple.org"),
            ("ann+vault@example.org", "ann+vault@example.org"),
        ] {
            assert_eq!(parse(value).as_deref(), Ok(address), "{value:?}");
        }
    }

    #[test]
    fn what_vaultwarden_would_refuse_or_misread_is_refused_with_its_reason() {
        assert_eq!(parse(" "), Err(AddressProblem::Empty));
        assert_eq!(parse("Ann <>"), Err(AddressProblem::Empty));
        assert_eq!(
            EmailAddress::parse(b"\xff\xfe@example.org"),
            Err(AddressProblem::NotText)
        );
        assert_eq!(
            parse("ann@example.org\r\nBcc: x@y.z"),
            Err(AddressProblem::ControlCharacters)
        );
        assert_eq!(
            parse(&format!("{}@example.org", "a".repeat(250))),
            Err(AddressProblem::TooLong)
        );
        for value in [
            "ann",
            "@example.org",
            "ann@",
            "ann@exa mple.org",
            "ann@[127.0.0.1]",
            "ann@example.org/x",
            "a b@x.org",
        ] {
            assert!(
                matches!(parse(value), Err(AddressProblem::Invalid(_))),
                "{value:?}: {:?}",
                parse(value)
            );
        }
    }
}
