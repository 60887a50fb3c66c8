//! What a server's certificate means for the next days.

use super::{Severity, Steps};
use crate::app::certificates::{WARNED, days_left};
use crate::clock::Clock;
use crate::tls::Presented;

/// Shows the certificate, and warns if it expires soon.
pub(super) fn judge(steps: &mut Steps<'_>, certificate: &Presented) {
    let detail = format!("the server presents {}", certificate.text);
    let days = certificate
        .expires
        .map(|expires| days_left(expires, Clock::system().now()));
    let (level, detail, remedy) = match days {
        Some(days) if days < 0 => (Severity::Warn, format!("{detail}; it has expired"), "renew it"),
        Some(days) if days < WARNED => (
            Severity::Warn,
            format!("{detail}; it expires in {days} days"),
            "renew it before that",
        ),
        _ => (Severity::Ok, detail, ""),
    };
    steps.say(level, "certificate", detail, remedy);
}
