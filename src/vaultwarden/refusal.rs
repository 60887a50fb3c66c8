//! What Vaultwarden means by the text of a refused invitation. Pure.
//!
//! The admin API answers 500 (400 up to 1.20) to everything from a bad address to a broken mail server; only the
//! text tells them apart. The SMTP texts are those of `send_with_selected_transport` in Vaultwarden's `mail.rs`.

use super::VaultwardenError;
use crate::model::EmailAddress;

/// Whose trouble a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// This person's, for ever.
    Permanent,
    /// This person's for a while, or whatever else may pass: who else is concerned shows when it befalls them, too.
    Passing,
    /// Everyone's: no mail goes out.
    Mail,
}

/// Whether the text says that the address has an account.
pub(super) fn has_account(message: &str) -> bool {
    message.eq_ignore_ascii_case("User already exists")
}

/// The error for an invitation that was answered with `status` and `message`.
pub(super) fn classify(url: &str, address: &EmailAddress, status: u16, message: &str) -> VaultwardenError {
    match trouble(message) {
        Trouble::Permanent => VaultwardenError::Refused {
            address: address.clone(),
            reason: format!("Vaultwarden says: {message}"),
        },
        Trouble::Passing if message.is_empty() => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("Vaultwarden answers with status {status}"),
        },
        Trouble::Passing => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("Vaultwarden says: {message}"),
        },
        Trouble::Mail => VaultwardenError::Mail {
            url: url.into(),
            message: message.into(),
        },
    }
}

fn trouble(message: &str) -> Trouble {
    // "Address" is all that is left of the mail library's opinion of an address; the others are Vaultwarden's own.
    let address = [
        "is not a valid email address",
        "Invalid email address",
        "Can't convert email domain",
    ];
    if message == "Address" || address.iter().any(|words| message.contains(words)) {
        return Trouble::Permanent;
    }
    // Addresses beyond ASCII need RFC 6531 on the mail server, which nobody but its operator can change.
    if message.contains("SMTPUTF8") {
        return Trouble::Permanent;
    }
    if message.starts_with("SMTP 4xx") {
        return match reply_code(message) {
            // RFC 5321, 3.8: the service is closing down. RFC 4954, 6: authentication fails for now.
            Some(421 | 454) => Trouble::Mail,
            _ => Trouble::Passing,
        };
    }
    if message.starts_with("SMTP 5xx") {
        return match reply_code(message) {
            // RFC 5321, 4.2.3: no such mailbox, not local, name not allowed. RFC 7504: the domain takes no mail.
            Some(550 | 551 | 553 | 556) => Trouble::Permanent,
            // RFC 4954, 6: the mail server wants another login.
            Some(530 | 534 | 535 | 538) => Trouble::Mail,
            // A full mailbox, the catch-all for which servers use 554, and versions that do not name the code.
            _ => Trouble::Passing,
        };
    }
    if message.starts_with("SMTP") || message.starts_with("Sendmail") {
        return Trouble::Mail;
    }
    Trouble::Passing
}

/// The SMTP reply code in `SMTP 5xx error: permanent error (550): no such user`.
fn reply_code(message: &str) -> Option<u16> {
    let (_, rest) = message.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_one_persons_fault_is_told_from_one_that_is_everybodys() {
        for (message, expected) in [
            (
                "Invitation email ann is not a valid email address",
                Trouble::Permanent,
            ),
            ("Address", Trouble::Permanent),
            (
                "SMTP 5xx error: permanent error (550): No such user (really)",
                Trouble::Permanent,
            ),
            (
                "SMTP 5xx error: permanent error (551): User not local",
                Trouble::Permanent,
            ),
            (
                "SMTP 5xx error: permanent error (553): bad name",
                Trouble::Permanent,
            ),
            (
                "SMTP client error: Envelope contains non-ascii chars but server does not support SMTPUTF8",
                Trouble::Permanent,
            ),
            ("Invalid email address (no @)", Trouble::Permanent),
            (
                "SMTP 5xx error: lettre::transport::smtp::Error { kind: Permanent(Code { .. }) }",
                Trouble::Passing,
            ),
            (
                "SMTP 4xx error: transient error (451): greylisted",
                Trouble::Passing,
            ),
            (
                "SMTP 5xx error: permanent error (552): quota exceeded",
                Trouble::Passing,
            ),
            ("SMTP 4xx error: transient error (421): closing", Trouble::Mail),
            (
                "SMTP 5xx error: permanent error (535): no - Authentication credentials invalid",
                Trouble::Mail,
            ),
            (
                "SMTP 5xx error: permanent error (530): STARTTLS first",
                Trouble::Mail,
            ),
            ("SMTP timeout error: timed out", Trouble::Mail),
            ("SMTP encryption error: no", Trouble::Mail),
            (
                "SMTP error: Connection error: Connection refused (os error 111)",
                Trouble::Mail,
            ),
            ("Sendmail error: not found", Trouble::Mail),
            ("SMTP IO error: timed out", Trouble::Mail),
            ("SMTP 5xx error: permanent error (501): syntax", Trouble::Passing),
            ("Error saving user", Trouble::Passing),
            ("", Trouble::Passing),
        ] {
            assert_eq!(trouble(message), expected, "{message:?}");
        }
    }

    #[test]
    fn an_existing_account_is_recognised_whatever_the_case() {
        assert!(has_account("User already exists"));
        assert!(has_account("user already exists"));
        assert!(!has_account("User doesn't exist"));
    }
}
