//! Interprets the reply of the mail server, which Vaultwarden passes on in its error. Pure.
//!
//! The reply arrives as one line and does not say which command it answers. So the enhanced status code (RFC 3463) and
//! the words decide whether the mail server refuses the recipient, the sender, or Vaultwarden's host.

use crate::model::EmailAddress;

/// Whom a refusal concerns, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// This person, permanently.
    Permanent,
    /// This person or everyone. It is everyone if other people are refused with the same text.
    Unclear,
    /// This person, for a while.
    Temporary,
    /// Everyone: Vaultwarden cannot send mail.
    Mail,
}

/// The longest key of a [`Rejection`](crate::model::Rejection), in characters.
const LONGEST_KEY: usize = 200;

/// The parts of the mail server's reply that show whom it concerns.
struct SmtpReply {
    code: Option<u16>,
    /// Subject and detail of the enhanced status code.
    status: Option<(u16, u16)>,
    /// It contains the recipient's address.
    names_recipient: bool,
    /// It mentions a recipient or a mailbox.
    mentions_recipient: bool,
    /// It says that a user does not exist or takes no mail.
    says_unknown: bool,
    /// It mentions the sender.
    mentions_sender: bool,
    /// It mentions a policy that applies to every sender.
    mentions_policy: bool,
    /// The recipient's address is ASCII.
    is_ascii: bool,
}

impl SmtpReply {
    /// Parses `SMTP 5xx error: permanent error (550): 5.1.1 <ann@example.org>: no such user`.
    fn read(address: &EmailAddress, message: &str) -> Self {
        let (code, text) = reply(message).map_or((None, ""), |(code, text)| (Some(code), text));
        let text = text.to_lowercase();
        // Addresses are left out, because a local part may be a word such as "sender".
        let words: Vec<&str> = text
            .split_whitespace()
            .filter(|word| !word.contains('@'))
            .flat_map(|word| word.split(|c: char| !c.is_alphanumeric()))
            .filter(|word| !word.is_empty())
            .collect();
        let any = |stems: &str| {
            let mut stems = stems.split(' ');
            stems.any(|stem| words.iter().any(|word| word.starts_with(stem)))
        };
        let both = |one: &str, other: &str| words.windows(2).any(|pair| pair == [one, other]);
        Self {
            code,
            status: text.split_whitespace().find_map(enhanced_status),
            names_recipient: names(&text, address.as_str()),
            mentions_recipient: any("recipient mailbox rcpt"),
            says_unknown: any("user unknown account inactive disabled exist unrout") || both("no", "such"),
            mentions_sender: any("sender sendas submission") || both("send", "as") || both("mail", "from"),
            mentions_policy: any(
                "relay client helo ehlo ptr auth credential spf dkim dmarc reput polic block black listed",
            ) || any("rbl dnsbl spam content banned throttl")
                || both("too", "many")
                || both("rate", "limit"),
            is_ascii: address.as_str().is_ascii(),
        }
    }

    /// Whether it certainly concerns a person.
    fn is_personal(&self) -> bool {
        self.names_recipient || (self.mentions_recipient && !self.mentions_sender)
    }
}

/// The code and the text of the mail server's reply. `None` if the message is not one, or the version omits the code.
fn reply(message: &str) -> Option<(u16, &str)> {
    let (_, rest) = message
        .split_once("error (")
        .filter(|_| message.starts_with("SMTP "))?;
    let (code, text) = rest.split_once(')')?;
    Some((code.parse().ok()?, text.strip_prefix(':').unwrap_or(text).trim()))
}

/// Classifies a temporary reply (4xx).
pub(super) fn classify_temporary(address: &EmailAddress, message: &str) -> Refusal {
    let reply = SmtpReply::read(address, message);
    match (reply.code, reply.status) {
        // RFC 5321, 3.8: the service is closing down. RFC 4954, 6: authentication fails temporarily.
        (Some(421 | 454), _) => Refusal::Mail,
        // RFC 3463: the mail system, the network, the protocol.
        (_, Some((3..=5, _))) if !reply.is_personal() => Refusal::Mail,
        // Usually greylisting or a full mailbox.
        _ => Refusal::Temporary,
    }
}

/// Classifies a permanent reply (5xx).
pub(super) fn classify_permanent(address: &EmailAddress, message: &str) -> Refusal {
    let reply = SmtpReply::read(address, message);
    // RFC 4954, 6: the mail server requires another login.
    if let Some(530 | 534 | 535 | 538) = reply.code {
        return Refusal::Mail;
    }
    match reply.status {
        // RFC 3463, 3.2: the sender's address is refused.
        Some((1, 7 | 8)) => classify_sender(&reply),
        // The recipient's address or mailbox. Only the registered details: servers use others for other purposes.
        Some((1, 1..=10) | (2, 1..=4)) if reply.mentions_sender => classify_sender(&reply),
        // A full mailbox.
        Some((2, 2)) => Refusal::Temporary,
        Some((1, 1..=10) | (2, 1..=4)) => Refusal::Permanent,
        // RFC 6531, 3.5: the mail server supports ASCII addresses only.
        Some((6, 7)) if !reply.is_ascii => Refusal::Permanent,
        // The mail system, the network, the protocol, the content, security and policy.
        Some((3..=7, _)) if reply.is_personal() => Refusal::Unclear,
        Some((3..=7, _)) => Refusal::Mail,
        _ => classify_by_words(&reply),
    }
}

/// Classifies a reply about the sender, which may concern the recipient as well.
fn classify_sender(reply: &SmtpReply) -> Refusal {
    if reply.names_recipient || reply.mentions_recipient {
        Refusal::Unclear
    } else {
        Refusal::Mail
    }
}

/// Classifies a reply without a usable status code, by its words alone.
fn classify_by_words(reply: &SmtpReply) -> Refusal {
    if reply.mentions_sender && !reply.names_recipient {
        return Refusal::Mail;
    }
    if reply.mentions_policy && !reply.is_personal() && !reply.says_unknown {
        return Refusal::Mail;
    }
    match reply.code {
        // RFC 5321, 4.2.3: the user is not local. RFC 7504: the domain takes no mail.
        Some(551 | 556) if !reply.mentions_policy => Refusal::Permanent,
        // RFC 5321, 4.2.3: no such mailbox, or its name is not allowed; but servers also use these codes for policies.
        Some(550 | 551 | 553 | 556) => {
            if (reply.mentions_recipient || reply.says_unknown)
                && !reply.mentions_policy
                && !reply.mentions_sender
            {
                Refusal::Permanent
            } else {
                Refusal::Unclear
            }
        }
        // A full mailbox, 554, which servers use for anything, and versions of Vaultwarden that omit the code.
        _ => Refusal::Temporary,
    }
}

/// The subject and the detail in `5.1.1`, `#5.1.1` or `(5.1.1)`.
fn enhanced_status(word: &str) -> Option<(u16, u16)> {
    let word = word.trim_matches(|c: char| !c.is_ascii_digit());
    let mut numbers = word.split('.');
    let mut next = |digits: usize| {
        let number = numbers.next()?;
        (number.len() <= digits).then(|| number.parse::<u16>().ok())?
    };
    let (class, subject, detail) = (next(1)?, next(3)?, next(3)?);
    (matches!(class, 4 | 5) && numbers.next().is_none()).then_some((subject, detail))
}

/// Whether `text` contains this address, and not only as a part of a longer one.
fn names(text: &str, address: &str) -> bool {
    text.match_indices(address).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + address.len()..].chars();
        // A full stop may end the sentence.
        let end = match after.next() {
            Some('.') => after.next(),
            next => next,
        };
        !before.is_some_and(|c| c.is_alphanumeric() || "._+-%&@".contains(c))
            && !end.is_some_and(|c| c.is_alphanumeric() || c == '-')
    })
}

/// The part of a reply that is equal for all people who are refused for the same reason: the codes and the words in
/// lower case, without the address, its local part, its domain, and words with a digit (queue ids, session ids, hosts).
/// It leaves out Vaultwarden's own text, so that it stays the same in later versions.
pub(super) fn key(address: &EmailAddress, message: &str) -> String {
    let (code, text) = reply(message).map_or((None, message), |(code, text)| (Some(code), text));
    let (local, domain) = address
        .as_str()
        .rsplit_once('@')
        .unwrap_or((address.as_str(), ""));
    let text = text.to_lowercase();
    let words = text.split_whitespace().map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        if enhanced_status(word).is_some() {
            word.to_owned()
        } else if names(word, address.as_str()) {
            word.replace(address.as_str(), "*")
        } else if bare == local || bare == domain {
            word.replace(bare, "*")
        } else if bare.contains(|c: char| c.is_ascii_digit()) {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    });
    let words: Vec<String> = code
        .map(|code| code.to_string())
        .into_iter()
        .chain(words)
        .collect();
    words.join(" ").chars().take(LONGEST_KEY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> EmailAddress {
        EmailAddress::parse(b"ann@example.org").unwrap()
    }

    #[test]
    fn a_lasting_refusal_is_the_recipients_only_where_it_is_about_the_recipient() {
        for (reply, expected) in [
            // The recipient's address or mailbox.
            (
                "(550): 5.1.1 <ann@example.org>: Recipient address rejected: User unknown",
                Refusal::Permanent,
            ),
            (
                "(550): 5.1.1 The email account that you tried to reach does not exist.",
                Refusal::Permanent,
            ),
            ("(554): 5.1.1 unknown", Refusal::Permanent),
            (
                "(550): sorry, no mailbox here by that name (#5.1.1)",
                Refusal::Permanent,
            ),
            ("(550): 5.2.1 The email account is disabled", Refusal::Permanent),
            ("(501): 5.1.3 Bad recipient address syntax", Refusal::Permanent),
            ("(556): 5.1.10 Recipient address has null MX", Refusal::Permanent),
            ("(550): No such user (really)", Refusal::Permanent),
            (
                "(550): Requested action not taken: mailbox unavailable",
                Refusal::Permanent,
            ),
            ("(550): unknown", Refusal::Permanent),
            ("(550): Unrouteable address", Refusal::Permanent),
            ("(551): User not local", Refusal::Permanent),
            ("(553): Invalid recipient", Refusal::Permanent),
            // A full mailbox is temporary.
            ("(552): 5.2.2 mailbox full", Refusal::Temporary),
            ("(550): 5.2.2 mailbox full", Refusal::Temporary),
            ("(552): quota exceeded", Refusal::Temporary),
            ("(501): syntax", Refusal::Temporary),
            // The sender's address.
            (
                "(550): 5.1.8 <vault@example.org>: Sender address rejected: Domain not found",
                Refusal::Mail,
            ),
            (
                "(550): 5.1.0 <vault@example.org>: Sender address rejected: User unknown",
                Refusal::Mail,
            ),
            (
                "(553): 5.7.1 <vault@example.org>: Sender address rejected: not owned by user vault",
                Refusal::Mail,
            ),
            (
                "(554): 5.2.252 SendAsDenied; vault@example.org not allowed to send as it@example.org",
                Refusal::Mail,
            ),
            ("(554): 5.2.2 Submission quota exceeded", Refusal::Mail),
            (
                "(550): mailbox unavailable - Sender address is not allowed",
                Refusal::Mail,
            ),
            ("(550): Sender verify failed", Refusal::Mail),
            // The sender's host, and policies for everyone.
            ("(550): 5.7.1 Relaying denied", Refusal::Mail),
            (
                "(550): 5.7.26 Your email has been blocked because the sender is unauthenticated",
                Refusal::Mail,
            ),
            (
                "(554): 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
                Refusal::Mail,
            ),
            ("(530): 5.7.0 Authentication required", Refusal::Mail),
            ("(535): no - Authentication credentials invalid", Refusal::Mail),
            ("(530): STARTTLS first", Refusal::Mail),
            ("(552): 5.3.4 Message size exceeds fixed limit", Refusal::Mail),
            ("(550): 5.4.6 Hop count exceeded", Refusal::Mail),
            ("(503): 5.5.1 Error: need HELO", Refusal::Mail),
            ("(550): relay not permitted", Refusal::Mail),
            ("(550): SPF check failed", Refusal::Mail),
            ("(554): rejected by DMARC policy", Refusal::Mail),
            ("(550): Spam message rejected", Refusal::Mail),
            ("(550): authentication required", Refusal::Mail),
            ("(550): too many messages", Refusal::Mail),
            // It names the recipient or a mailbox, and may concern everyone.
            (
                "(554): 5.7.1 <ann@example.org>: Relay access denied",
                Refusal::Unclear,
            ),
            (
                "(550): 5.7.1 <Ann@Example.org>: Recipient address rejected: Access denied",
                Refusal::Unclear,
            ),
            (
                "(550): 5.4.1 Recipient address rejected: Access denied",
                Refusal::Unclear,
            ),
            (
                "(550): 5.5.0 Requested action not taken: mailbox unavailable",
                Refusal::Unclear,
            ),
            ("(550): mailbox blocked", Refusal::Unclear),
            ("(550): <ann@example.org>: rejected", Refusal::Unclear),
            ("(550): Administrative prohibition", Refusal::Unclear),
            ("(550): ", Refusal::Unclear),
            (
                "(550): 5.1.0 <ann@example.org>: Sender address rejected",
                Refusal::Unclear,
            ),
            (
                "(550): 5.7.1 'ann@example.org' is not wanted here",
                Refusal::Unclear,
            ),
            // A longer address that contains the recipient's.
            ("(550): 5.7.1 joann@example.org may not send", Refusal::Mail),
            ("(550): 5.7.1 ann@example.org.uk may not send", Refusal::Mail),
            // An address that contains one of the words.
            (
                "(550): 5.1.1 <sender@relay.example.com>: no such user",
                Refusal::Permanent,
            ),
        ] {
            let message = format!("SMTP 5xx error: permanent error {reply}");
            assert_eq!(classify_permanent(&ann(), &message), expected, "{reply}");
        }
        // Versions that omit the code.
        let oldest = "SMTP 5xx error: lettre::transport::smtp::Error { kind: Permanent(Code { .. }) }";
        assert_eq!(classify_permanent(&ann(), oldest), Refusal::Temporary);
    }

    #[test]
    fn a_passing_refusal_is_the_servers_where_its_system_or_network_is_in_trouble() {
        for (reply, expected) in [
            ("(451): greylisted", Refusal::Temporary),
            (
                "(450): 4.2.0 <ann@example.org>: Recipient address rejected: Greylisted",
                Refusal::Temporary,
            ),
            ("(451): 4.7.1 Greylisting in action", Refusal::Temporary),
            ("(452): 4.2.2 mailbox full", Refusal::Temporary),
            (
                "(451): 4.3.0 <ann@example.org>: Temporary lookup failure",
                Refusal::Temporary,
            ),
            ("(452): 4.3.1 Insufficient system storage", Refusal::Mail),
            (
                "(451): 4.4.2 connection to the upstream server lost",
                Refusal::Mail,
            ),
            ("(421): closing", Refusal::Mail),
            ("(454): 4.7.0 Temporary authentication failure", Refusal::Mail),
        ] {
            let message = format!("SMTP 4xx error: transient error {reply}");
            assert_eq!(classify_temporary(&ann(), &message), expected, "{reply}");
        }
    }
}
