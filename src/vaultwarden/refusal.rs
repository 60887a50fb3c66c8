//! What Vaultwarden means by the text of a refused invitation. Pure.
//!
//! The admin API answers 500 (400 up to 1.20) to everything from a bad address to a broken mail server; only the
//! text tells them apart. The SMTP texts are those of `send_with_selected_transport` in Vaultwarden's `mail.rs`. Only a
//! reason that is about the recipient quarantines them.

use super::VaultwardenError;
use super::smtp::{self, Trouble, key};
use crate::model::{EmailAddress, Rejection};

/// What precedes Vaultwarden's words in a reason.
const SAYS: &str = "Vaultwarden says: ";

/// Whether the text says that the address has an account.
pub(super) fn has_account(message: &str) -> bool {
    message.eq_ignore_ascii_case("User already exists")
}

/// The error for an invitation that was answered with `status` and `message`.
pub(super) fn classify(url: &str, address: &EmailAddress, status: u16, message: &str) -> VaultwardenError {
    match trouble(address, message) {
        trouble @ (Trouble::Permanent | Trouble::Unclear) => VaultwardenError::Refused {
            address: address.clone(),
            rejection: Rejection {
                reason: format!("{SAYS}{message}"),
                key: (trouble == Trouble::Unclear).then(|| key(address, message)),
            },
        },
        Trouble::Passing if message.is_empty() => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("Vaultwarden answers with status {status}"),
        },
        Trouble::Passing => VaultwardenError::Deferred {
            address: address.clone(),
            reason: format!("{SAYS}{message}"),
        },
        Trouble::Mail => VaultwardenError::Mail {
            url: url.into(),
            message: message.into(),
        },
    }
}

/// The rejection that a stored reason stands for by the rules of today; `None` where it is not the person's at all.
pub fn judge_reason(address: &EmailAddress, reason: &str) -> Option<Rejection> {
    let message = reason.strip_prefix(SAYS).unwrap_or(reason);
    let key = match trouble(address, message) {
        Trouble::Permanent => None,
        Trouble::Unclear => Some(key(address, message)),
        Trouble::Passing | Trouble::Mail => return None,
    };
    let reason = reason.into();
    Some(Rejection { reason, key })
}

fn trouble(address: &EmailAddress, message: &str) -> Trouble {
    let own = [
        "is not a valid email address",
        "Invalid email address",
        "Can't convert email domain",
    ];
    if own.iter().any(|words| message.contains(words)) {
        return Trouble::Permanent;
    }
    // All that is left of the mail library's opinion of an address, be it the recipient's or that in SMTP_FROM.
    if message == "Address" {
        return Trouble::Unclear;
    }
    // Addresses beyond ASCII need RFC 6531 on the mail server, which nobody but its operator can change. Where the
    // recipient's is within ASCII, the sender's is not.
    if message.contains("SMTPUTF8") {
        return if address.as_str().is_ascii() {
            Trouble::Mail
        } else {
            Trouble::Permanent
        };
    }
    if message.starts_with("SMTP 4xx") {
        return smtp::passing(address, message);
    }
    if message.starts_with("SMTP 5xx") {
        return smtp::lasting(address, message);
    }
    if message.starts_with("SMTP") || message.starts_with("Sendmail") {
        return Trouble::Mail;
    }
    Trouble::Passing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Trouble {
        trouble(&ann(), message)
    }

    fn ann() -> EmailAddress {
        EmailAddress::parse(b"ann@example.org").unwrap()
    }

    #[test]
    fn what_vaultwarden_itself_or_its_way_to_the_mail_server_says_is_told_apart() {
        for (message, expected) in [
            (
                "Invitation email ann is not a valid email address",
                Trouble::Permanent,
            ),
            ("Invalid email address (no @)", Trouble::Permanent),
            // That of the recipient, or SMTP_FROM.
            ("Address", Trouble::Unclear),
            ("SMTP timeout error: timed out", Trouble::Mail),
            ("SMTP encryption error: no", Trouble::Mail),
            (
                "SMTP error: Connection error: Connection refused (os error 111)",
                Trouble::Mail,
            ),
            ("Sendmail error: not found", Trouble::Mail),
            ("SMTP IO error: timed out", Trouble::Mail),
            ("Error saving user", Trouble::Passing),
            ("", Trouble::Passing),
        ] {
            assert_eq!(of(message), expected, "{message:?}");
        }
    }

    #[test]
    fn an_address_beyond_ascii_is_the_persons_trouble_unless_theirs_is_within() {
        let message = "SMTP client error: internal client error: Envelope contains non-ascii chars but server does not support SMTPUTF8";
        let joerg = EmailAddress::parse("jörg@example.org".as_bytes()).unwrap();
        assert_eq!(trouble(&joerg, message), Trouble::Permanent);
        assert_eq!(of(message), Trouble::Mail);
        let reply = "SMTP 5xx error: permanent error (550): 5.6.7 Non-ASCII addresses not permitted";
        assert_eq!(trouble(&joerg, reply), Trouble::Permanent);
        assert_eq!(of(reply), Trouble::Mail);
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
