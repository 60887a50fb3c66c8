//! What the mail server means by its reply, which Vaultwarden hands on in an error. Pure.
//!
//! The reply comes with its lines joined, and without a word on which command it answers. So whether it is the recipient
//! who is refused, or the sender, or Vaultwarden's host, has to be read from the enhanced status code (RFC 3463) and the
//! words.

use crate::model::EmailAddress;

/// Whose trouble a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// This person's, for ever.
    Permanent,
    /// This person's, or everyone's: that shows when others are refused with the same words.
    Unclear,
    /// This person's for a while, or whatever else may pass: who else is concerned shows when it befalls them, too.
    Passing,
    /// Everyone's: no mail goes out.
    Mail,
}

/// The longest key of a [`Rejection`](crate::model::Rejection), in characters.
const LONGEST_KEY: usize = 200;

/// The mail server's reply, as far as it tells whom it is about.
struct SmtpReply {
    code: Option<u16>,
    /// Subject and detail of the enhanced status code.
    status: Option<(u16, u16)>,
    /// It names the recipient's address.
    names_recipient: bool,
    /// It speaks of a recipient.
    of_recipient: bool,
    /// It says that somebody does not exist, or takes no mail.
    of_nobody: bool,
    /// It speaks of the sender.
    of_sender: bool,
    /// It speaks of what the mail server demands of every sender.
    of_rules: bool,
    within_ascii: bool,
}

impl SmtpReply {
    /// Reads `SMTP 5xx error: permanent error (550): 5.1.1 <ann@example.org>: no such user`.
    fn read(address: &EmailAddress, message: &str) -> Self {
        let (code, text) = reply(message).map_or((None, ""), |(code, text)| (Some(code), text));
        let text = text.to_lowercase();
        // An address is no word of the reply's: it may be that of somebody called Sender.
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
            of_recipient: any("recipient mailbox rcpt"),
            of_nobody: any("user unknown account inactive disabled exist unrout") || both("no", "such"),
            of_sender: any("sender sendas submission") || both("send", "as") || both("mail", "from"),
            of_rules: any(
                "relay client helo ehlo ptr auth credential spf dkim dmarc reput polic block black listed",
            ) || any("rbl dnsbl spam content banned throttl")
                || both("too", "many")
                || both("rate", "limit"),
            within_ascii: address.as_str().is_ascii(),
        }
    }

    /// Whether it is plainly about a person, whatever else it says.
    fn is_personal(&self) -> bool {
        self.names_recipient || (self.of_recipient && !self.of_sender)
    }
}

/// The code and the text of the mail server's reply, where the message is one and the version names the code.
fn reply(message: &str) -> Option<(u16, &str)> {
    let (_, rest) = message
        .split_once("error (")
        .filter(|_| message.starts_with("SMTP "))?;
    let (code, text) = rest.split_once(')')?;
    Some((code.parse().ok()?, text.strip_prefix(':').unwrap_or(text).trim()))
}

/// Whose trouble a reply is that may be another one soon (4xx).
pub(super) fn passing(address: &EmailAddress, message: &str) -> Trouble {
    let reply = SmtpReply::read(address, message);
    match (reply.code, reply.status) {
        // RFC 5321, 3.8: the service is closing down. RFC 4954, 6: authentication fails for now.
        (Some(421 | 454), _) => Trouble::Mail,
        // RFC 3463: the mail system, the network, the protocol.
        (_, Some((3..=5, _))) if !reply.is_personal() => Trouble::Mail,
        // Greylisting and full mailboxes, mostly.
        _ => Trouble::Passing,
    }
}

/// Whose trouble a reply is that will stay the same (5xx).
pub(super) fn lasting(address: &EmailAddress, message: &str) -> Trouble {
    let reply = SmtpReply::read(address, message);
    // RFC 4954, 6: the mail server wants another login.
    if let Some(530 | 534 | 535 | 538) = reply.code {
        return Trouble::Mail;
    }
    match reply.status {
        // RFC 3463, 3.2: a bad sender.
        Some((1, 7 | 8)) => of_sender(&reply),
        // The recipient's address or mailbox, by the registered details; other servers use others, and for other things.
        Some((1, 1..=10) | (2, 1..=4)) if reply.of_sender => of_sender(&reply),
        // A full one.
        Some((2, 2)) => Trouble::Passing,
        Some((1, 1..=10) | (2, 1..=4)) => Trouble::Permanent,
        // RFC 6531, 3.5: no mail to addresses beyond ASCII.
        Some((6, 7)) if !reply.within_ascii => Trouble::Permanent,
        // The mail system, the network, the protocol, the content, security and policy.
        Some((3..=7, _)) if reply.is_personal() => Trouble::Unclear,
        Some((3..=7, _)) => Trouble::Mail,
        _ => spoken(&reply),
    }
}

/// A reply that is about the sender, unless it is about the recipient as well.
fn of_sender(reply: &SmtpReply) -> Trouble {
    if reply.names_recipient || reply.of_recipient {
        Trouble::Unclear
    } else {
        Trouble::Mail
    }
}

/// What the words alone tell.
fn spoken(reply: &SmtpReply) -> Trouble {
    if reply.of_sender && !reply.names_recipient {
        return Trouble::Mail;
    }
    if reply.of_rules && !reply.is_personal() && !reply.of_nobody {
        return Trouble::Mail;
    }
    match reply.code {
        // RFC 5321, 4.2.3: not local. RFC 7504: the domain takes no mail.
        Some(551 | 556) if !reply.of_rules => Trouble::Permanent,
        // RFC 5321, 4.2.3: no such mailbox, or its name is not allowed; but also what is refused "for policy reasons".
        Some(550 | 551 | 553 | 556) => {
            if (reply.of_recipient || reply.of_nobody) && !reply.of_rules && !reply.of_sender {
                Trouble::Permanent
            } else {
                Trouble::Unclear
            }
        }
        // A full mailbox, the catch-all for which servers use 554, and versions that do not name the code.
        _ => Trouble::Passing,
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

/// Whether `text` has this address, and not merely a longer one that ends or begins with it.
fn names(text: &str, address: &str) -> bool {
    text.match_indices(address).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + address.len()..].chars();
        // A full stop ends a sentence, if nothing follows.
        let end = match after.next() {
            Some('.') => after.next(),
            next => next,
        };
        !before.is_some_and(|c| c.is_alphanumeric() || "._+-%&@".contains(c))
            && !end.is_some_and(|c| c.is_alphanumeric() || c == '-')
    })
}

/// What remains the same when others are refused for the same reason: the codes, and the words in lower case without the
/// address, its two halves, and whatever has a digit in it (numbers of queues, sessions and hosts). It begins with the
/// mail server's words, so that it outlives other words of Vaultwarden's before them.
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
                Trouble::Permanent,
            ),
            (
                "(550): 5.1.1 The email account that you tried to reach does not exist.",
                Trouble::Permanent,
            ),
            ("(554): 5.1.1 unknown", Trouble::Permanent),
            (
                "(550): sorry, no mailbox here by that name (#5.1.1)",
                Trouble::Permanent,
            ),
            ("(550): 5.2.1 The email account is disabled", Trouble::Permanent),
            ("(501): 5.1.3 Bad recipient address syntax", Trouble::Permanent),
            ("(556): 5.1.10 Recipient address has null MX", Trouble::Permanent),
            ("(550): No such user (really)", Trouble::Permanent),
            (
                "(550): Requested action not taken: mailbox unavailable",
                Trouble::Permanent,
            ),
            ("(550): unknown", Trouble::Permanent),
            ("(550): Unrouteable address", Trouble::Permanent),
            ("(551): User not local", Trouble::Permanent),
            ("(553): Invalid recipient", Trouble::Permanent),
            // The mailbox is full: for now.
            ("(552): 5.2.2 mailbox full", Trouble::Passing),
            ("(550): 5.2.2 mailbox full", Trouble::Passing),
            ("(552): quota exceeded", Trouble::Passing),
            ("(501): syntax", Trouble::Passing),
            // The sender's address.
            (
                "(550): 5.1.8 <vault@example.org>: Sender address rejected: Domain not found",
                Trouble::Mail,
            ),
            (
                "(550): 5.1.0 <vault@example.org>: Sender address rejected: User unknown",
                Trouble::Mail,
            ),
            (
                "(553): 5.7.1 <vault@example.org>: Sender address rejected: not owned by user vault",
                Trouble::Mail,
            ),
            (
                "(554): 5.2.252 SendAsDenied; vault@example.org not allowed to send as it@example.org",
                Trouble::Mail,
            ),
            ("(554): 5.2.2 Submission quota exceeded", Trouble::Mail),
            (
                "(550): mailbox unavailable - Sender address is not allowed",
                Trouble::Mail,
            ),
            ("(550): Sender verify failed", Trouble::Mail),
            // The sender's host, and what is demanded of everyone.
            ("(550): 5.7.1 Relaying denied", Trouble::Mail),
            (
                "(550): 5.7.26 Your email has been blocked because the sender is unauthenticated",
                Trouble::Mail,
            ),
            (
                "(554): 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
                Trouble::Mail,
            ),
            ("(530): 5.7.0 Authentication required", Trouble::Mail),
            ("(535): no - Authentication credentials invalid", Trouble::Mail),
            ("(530): STARTTLS first", Trouble::Mail),
            ("(552): 5.3.4 Message size exceeds fixed limit", Trouble::Mail),
            ("(550): 5.4.6 Hop count exceeded", Trouble::Mail),
            ("(503): 5.5.1 Error: need HELO", Trouble::Mail),
            ("(550): relay not permitted", Trouble::Mail),
            ("(550): SPF check failed", Trouble::Mail),
            ("(554): rejected by DMARC policy", Trouble::Mail),
            ("(550): Spam message rejected", Trouble::Mail),
            ("(550): authentication required", Trouble::Mail),
            ("(550): too many messages", Trouble::Mail),
            // It names the recipient, or speaks of a mailbox, and may be about everyone.
            (
                "(554): 5.7.1 <ann@example.org>: Relay access denied",
                Trouble::Unclear,
            ),
            (
                "(550): 5.7.1 <Ann@Example.org>: Recipient address rejected: Access denied",
                Trouble::Unclear,
            ),
            (
                "(550): 5.4.1 Recipient address rejected: Access denied",
                Trouble::Unclear,
            ),
            (
                "(550): 5.5.0 Requested action not taken: mailbox unavailable",
                Trouble::Unclear,
            ),
            ("(550): mailbox blocked", Trouble::Unclear),
            ("(550): <ann@example.org>: rejected", Trouble::Unclear),
            ("(550): Administrative prohibition", Trouble::Unclear),
            ("(550): ", Trouble::Unclear),
            (
                "(550): 5.1.0 <ann@example.org>: Sender address rejected",
                Trouble::Unclear,
            ),
            (
                "(550): 5.7.1 'ann@example.org' is not wanted here",
                Trouble::Unclear,
            ),
            // Another address that ends or begins with the recipient's.
            ("(550): 5.7.1 joann@example.org may not send", Trouble::Mail),
            ("(550): 5.7.1 ann@example.org.uk may not send", Trouble::Mail),
            // Somebody whose address has a telling word in it.
            (
                "(550): 5.1.1 <sender@relay.example.com>: no such user",
                Trouble::Permanent,
            ),
        ] {
            let message = format!("SMTP 5xx error: permanent error {reply}");
            assert_eq!(lasting(&ann(), &message), expected, "{reply}");
        }
        // Versions that do not name the code.
        let oldest = "SMTP 5xx error: lettre::transport::smtp::Error { kind: Permanent(Code { .. }) }";
        assert_eq!(lasting(&ann(), oldest), Trouble::Passing);
    }

    #[test]
    fn a_passing_refusal_is_the_servers_where_its_system_or_network_is_in_trouble() {
        for (reply, expected) in [
            ("(451): greylisted", Trouble::Passing),
            (
                "(450): 4.2.0 <ann@example.org>: Recipient address rejected: Greylisted",
                Trouble::Passing,
            ),
            ("(451): 4.7.1 Greylisting in action", Trouble::Passing),
            ("(452): 4.2.2 mailbox full", Trouble::Passing),
            (
                "(451): 4.3.0 <ann@example.org>: Temporary lookup failure",
                Trouble::Passing,
            ),
            ("(452): 4.3.1 Insufficient system storage", Trouble::Mail),
            (
                "(451): 4.4.2 connection to the upstream server lost",
                Trouble::Mail,
            ),
            ("(421): closing", Trouble::Mail),
            ("(454): 4.7.0 Temporary authentication failure", Trouble::Mail),
        ] {
            let message = format!("SMTP 4xx error: transient error {reply}");
            assert_eq!(passing(&ann(), &message), expected, "{reply}");
        }
    }
}
