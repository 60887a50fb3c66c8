//! What a server reports about the password besides the result of a bind: on request by the control of
//! draft-behera-ldap-password-policy-10 (OpenLDAP, 389-DS, ApacheDS and others), or without a request by those of
//! draft-vchu-ldap-pwd-policy-00 (389-DS, Oracle). Active Directory reports it in the text of the result.

use std::time::Duration;

use ldap3::controls::{Control, RawControl};

use crate::ber::{self, Reader};

const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
const EXPIRED: &str = "2.16.840.1.113730.3.4.4";
const EXPIRING: &str = "2.16.840.1.113730.3.4.5";

/// The state of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It has expired.
    Expired,
    /// It must be changed before the server answers any other request.
    MustChange,
    /// The account is locked.
    Locked,
    /// It has expired, and so many more binds are allowed.
    Grace(i64),
    /// It expires in this time.
    Expires(Duration),
    /// It has expired or must be changed; the server does not report which.
    ExpiredOrMustChange,
}

impl Notice {
    /// The cause and, after a semicolon, the remedy.
    pub(crate) fn words(self) -> String {
        const RENEW: &str = "set a new one, preferably one that does not expire, and write it where `bind_password` comes from";
        match self {
            Self::Expired => format!("the account's password has expired; {RENEW}"),
            Self::MustChange => {
                "the account must change its password first; log in as that account and change it, or remove this requirement"
                    .into()
            }
            Self::Locked => "the account is locked; unlock it".into(),
            Self::Grace(left) => {
                format!("the account's password has expired, and {left} more binds are allowed; {RENEW}")
            }
            Self::Expires(time) => {
                let time = humantime::format_duration(Duration::from_secs(time.as_secs() / 60 * 60));
                format!("the account's password expires in {time}; {RENEW}")
            }
            Self::ExpiredOrMustChange => {
                format!("the account's password has expired or must be changed; {RENEW}")
            }
        }
    }
}

/// Requests the state of the password. Not critical: a server without password policies ignores it.
pub(crate) fn request() -> RawControl {
    RawControl {
        ctype: POLICY.into(),
        crit: false,
        val: None,
    }
}

/// The state that a server reported. Malformed controls are ignored, because the result itself is valid.
pub(crate) fn read(controls: &[Control]) -> Option<Notice> {
    let value = |kind: &str| {
        let control = controls.iter().find(|Control(_, raw)| raw.ctype == kind);
        control.map(|Control(_, raw)| raw.val.as_deref().unwrap_or_default())
    };
    let unasked = || {
        let expiring = || {
            let seconds = std::str::from_utf8(value(EXPIRING)?).ok()?.trim().parse().ok()?;
            Some(Notice::Expires(Duration::from_secs(seconds)))
        };
        match value(EXPIRED) {
            Some(_) => Some(Notice::ExpiredOrMustChange),
            None => expiring(),
        }
    };
    value(POLICY).and_then(policy).or_else(unasked)
}

/// The PasswordPolicyResponseValue.
fn policy(value: &[u8]) -> Option<Notice> {
    let mut parts = Reader::new(Reader::new(value).expect(ber::SEQUENCE, "is no response").ok()?);
    let warning = parts.optional(0xa0).ok()?;
    if let Some(error) = parts.optional(0x81).ok()? {
        return match ber::integer(error).ok()? {
            0 => Some(Notice::Expired),
            1 => Some(Notice::Locked),
            2 => Some(Notice::MustChange),
            // The others concern changes of the password.
            _ => None,
        };
    }
    let (kind, number) = Reader::new(warning?).next().ok()??;
    let number = ber::integer(number).ok()?;
    match kind {
        0x80 => Some(Notice::Expires(Duration::from_secs(number.try_into().ok()?))),
        0x81 => Some(Notice::Grace(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: &str, value: &[u8]) -> Option<Notice> {
        let raw = RawControl {
            ctype: kind.into(),
            crit: false,
            val: Some(value.to_vec()),
        };
        read(&[Control(None, raw)])
    }

    #[test]
    fn each_notice_of_the_policy_is_understood_and_nonsense_is_none() {
        for (value, notice) in [
            (&b"\x30\x00"[..], None),
            (b"\x30\x03\x81\x01\x00", Some(Notice::Expired)),
            (b"\x30\x03\x81\x01\x01", Some(Notice::Locked)),
            (b"\x30\x03\x81\x01\x02", Some(Notice::MustChange)),
            (b"\x30\x03\x81\x01\x06", None),
            (b"\x30\x05\xa0\x03\x81\x01\x02", Some(Notice::Grace(2))),
            (
                b"\x30\x06\xa0\x04\x80\x02\x0e\x10",
                Some(Notice::Expires(Duration::from_secs(3600))),
            ),
            (b"\x30\x05\xa0\x03\x80\x01\xff", None),
            (b"\x30\x05\xa0\x03", None),
            (b"", None),
        ] {
            assert_eq!(said(POLICY, value), notice, "{value:?}");
        }
    }

    #[test]
    fn what_is_said_unasked_counts_where_the_policy_says_nothing() {
        assert_eq!(said(EXPIRED, b"0"), Some(Notice::ExpiredOrMustChange));
        assert_eq!(
            said(EXPIRING, b"3600"),
            Some(Notice::Expires(Duration::from_secs(3600)))
        );
        assert_eq!(said(EXPIRING, b"soon"), None);
        assert_eq!(read(&[]), None);
    }
}
