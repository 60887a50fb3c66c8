//! Interprets the text of a refused invitation, or of a refused change of an account. Pure.
//!
//! The admin API answers 500 (400 up to 1.20) to everything from an invalid address to a broken mail server; only the
//! text differs. The SMTP texts are those of `send_with_selected_transport` in Vaultwarden's `mail.rs`. Only a reason
//! that concerns the recipient leads to quarantine.

use super::VaultwardenError;
use super::smtp::{self, Refusal, key};
use crate::model::{EmailAddress, Rejection};

/// The prefix of Vaultwarden's text in a stored reason.
const SAYS: &str = "Vaultwarden says: ";

/// Whether the text says that the address already has an account.
pub(super) fn has_account(message: &str) -> bool {
    message.eq_ignore_ascii_case("User already exists")
}

/// Why Vaultwarden will never make a change that it refused with this text, as what follows "the account".
pub(super) fn declined(message: &str) -> Option<&'static str> {
    let is_owner = message.eq_ignore_ascii_case("Can't delete last owner");
    is_owner
        .then_some("is the last owner of an organization in Vaultwarden; make someone else an owner first")
}

/// The error for an invitation that was answered with `status` and `message`.
pub(super) fn classify(url: &str, address: &EmailAddress, status: u16, message: &str) -> VaultwardenError {
    match refusal(address, message) {
        refusal @ (Refusal::Permanent | Refusal::Unclear) => VaultwardenError::Refused {
            address: address.clone(),
            rejection: Rejection {
                reason: format!("{SAYS}{message}"),
                key: (refusal == Refusal::Unclear).then(|| key(address, message)),
            },
        },
        Refusal::Temporary if message.is_empty() => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("Vaultwarden answers with status {status}"),
        },
        Refusal::Temporary => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("{SAYS}{message}"),
        },
        Refusal::Mail => VaultwardenError::Mail {
            url: url.into(),
            message: message.into(),
        },
    }
}

/// Classifies a stored reason by today's rules. `None` if it does not concern the person.
pub fn judge_reason(address: &EmailAddress, reason: &str) -> Option<Rejection> {
    let message = reason.strip_prefix(SAYS).unwrap_or(reason);
    let key = match refusal(address, message) {
        Refusal::Permanent => None,
        Refusal::Unclear => Some(key(address, message)),
        Refusal::Temporary | Refusal::Mail => return None,
    };
    let reason = reason.into();
    Some(Rejection { reason, key })
}

fn refusal(address: &EmailAddress, message: &str) -> Refusal {
    let own = [
        "is not a valid email address",
        "Invalid email address",
        "Can't convert email domain",
    ];
    if own.iter().any(|words| message.contains(words)) {
        return Refusal::Permanent;
    }
    // Vaultwarden passes on only this word when the mail library rejects an address: the recipient's or SMTP_FROM.
    if message == "Address" {
        return Refusal::Unclear;
    }
    // An address with characters outside ASCII needs a mail server with RFC 6531. If the recipient's address is ASCII,
    // the sender's is not.
    if message.contains("SMTPUTF8") {
        return if address.as_str().is_ascii() {
            Refusal::Mail
        } else {
            Refusal::Permanent
        };
    }
    if message.starts_with("SMTP 4xx") {
        return smtp::classify_temporary(address, message);
    }
    if message.starts_with("SMTP 5xx") {
        return smtp::classify_permanent(address, message);
    }
    if message.starts_with("SMTP") || message.starts_with("Sendmail") {
        return Refusal::Mail;
    }
    Refusal::Temporary
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Refusal {
        refusal(&ann(), message)
    }

    fn ann() -> EmailAddress {
        EmailAddress::parse(b"ann@example.org").unwrap()
    }

    #[test]
    fn what_vaultwarden_itself_or_its_way_to_the_mail_server_says_is_told_apart() {
        for (message, expected) in [
            (
                "Invitation email ann is not a valid email address",
                Refusal::Permanent,
            ),
            ("Invalid email address (no @)", Refusal::Permanent),
            // The address of the recipient or SMTP_FROM.
            ("Address", Refusal::Unclear),
            ("SMTP timeout error: timed out", Refusal::Mail),
            ("SMTP encryption error: no", Refusal::Mail),
            (
                "SMTP error: Connection error: Connection refused (os error 111)",
                Refusal::Mail,
            ),
            ("Sendmail error: not found", Refusal::Mail),
            ("SMTP IO error: timed out", Refusal::Mail),
            ("Error saving user", Refusal::Temporary),
            ("", Refusal::Temporary),
        ] {
            assert_eq!(of(message), expected, "{message:?}");
        }
    }

    #[test]
    fn an_address_beyond_ascii_is_the_persons_trouble_unless_theirs_is_within() {
        let message = "SMTP client error: internal client error: Envelope contains non-ascii chars but server does not support SMTPUTF8";
        let joerg = EmailAddress::parse("jörg@example.org".as_bytes()).unwrap();
        assert_eq!(refusal(&joerg, message), Refusal::Permanent);
        assert_eq!(of(message), Refusal::Mail);
        let reply = "SMTP 5xx error: permanent error (550): 5.6.7 Non-ASCII addresses not permitted";
        assert_eq!(refusal(&joerg, reply), Refusal::Permanent);
        assert_eq!(of(reply), Refusal::Mail);
    }

    #[test]
    fn the_key_of_an_unclear_refusal_is_the_same_for_everyone_and_another_for_another_reason() {
        let key = |address: &str, reply: &str| {
            let address = EmailAddress::parse(address.as_bytes()).unwrap();
            let message = format!("SMTP 5xx error: permanent error {reply}");
            match classify("http://vault", &address, 500, &message) {
                VaultwardenError::Refused { rejection, .. } => rejection.key,
                other => panic!("{other}"),
            }
        };
        let expected = "554 5.7.1 <*>: relay access denied # -";
        for (address, reply) in [
            (
                "ann@example.org",
                "(554): 5.7.1 <ann@example.org>: Relay access denied k12si345 -",
            ),
            (
                "Bob@example.com",
                "(554): 5.7.1 <bob@Example.com>: Relay access denied q99zz1 -",
            ),
        ] {
            assert_eq!(key(address, reply).as_deref(), Some(expected));
        }
        assert_ne!(
            key("ann@example.org", "(550): 5.4.1 Recipient address rejected").as_deref(),
            Some(expected)
        );
        assert_eq!(key("ann@example.org", "(550): 5.1.1 no such user"), None);
    }

    #[test]
    fn a_reason_that_was_stored_is_judged_as_if_it_came_today() {
        let judge = |reason: &str| judge_reason(&ann(), reason);
        let permanent = "Vaultwarden says: SMTP 5xx error: permanent error (550): 5.1.1 no such user";
        let expected = Rejection {
            reason: permanent.into(),
            key: None,
        };
        assert_eq!(judge(permanent), Some(expected));
        let unclear = "Vaultwarden says: SMTP 5xx error: permanent error (550): go away";
        assert_eq!(judge(unclear).unwrap().key.as_deref(), Some("550 go away"));
        assert_eq!(
            judge("Vaultwarden says: SMTP 5xx error: permanent error (550): 5.7.1 Sender denied"),
            None
        );
    }

    #[test]
    fn an_existing_account_is_recognised_whatever_the_case() {
        assert!(has_account("User already exists"));
        assert!(has_account("user already exists"));
        assert!(!has_account("User doesn't exist"));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text: String, reply: String) {
            let ann = ann();
            for message in [text, format!("SMTP 5xx error: permanent error (550): {reply}")] {
                let _ = classify("http://vault", &ann, 500, &message);
                let _ = judge_reason(&ann, &message);
            }
        }
    }
}
