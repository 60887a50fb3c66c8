//! Judges whether invited people get a mail, how long its link works, and whether they are reminded in time.

use super::Severity;
use crate::rules::ReminderPolicy;
use crate::vaultwarden::Configuration;

/// Severity, step, detail and remedy of a finding.
pub(super) type StepFinding = (Severity, &'static str, String, &'static str);

const STEP: &str = "mail";

/// The finding about mail; `None` if Vaultwarden does not say whether it sends any.
pub(super) fn judge_mail(configuration: &Configuration, reminders: ReminderPolicy) -> Option<StepFinding> {
    if !configuration.mail? {
        let detail = "mail is off: Vaultwarden notifies no one; invited people register with their address at the URL in DOMAIN";
        let remedy = "set SMTP_HOST at Vaultwarden, or tell people yourself that they can register";
        return Some((Severity::Warn, STEP, detail.into(), remedy));
    }
    let Some(lifetime) = configuration.link_lifetime else {
        return Some((
            Severity::Ok,
            STEP,
            "on: each invited person gets a link".into(),
            "",
        ));
    };
    let hours = lifetime.as_secs() / 3600;
    let detail = format!("on: each invited person gets a link, which expires after {hours} h");
    let detail = match reminders.limit {
        0 => format!("{detail}; a new one is sent from Vaultwarden's admin page only"),
        limit => {
            let after = humantime::format_duration(reminders.after);
            let times = if limit == 1 { "once" } else { "and again" };
            format!(
                "{detail}; whoever has not registered is reminded {after} later {times}, at most {limit} times"
            )
        }
    };
    Some(if hours < 24 {
        let remedy =
            "raise INVITATION_EXPIRATION_HOURS at Vaultwarden, so that the link still works a day later";
        (Severity::Warn, STEP, detail, remedy)
    } else if reminders.limit > 0 && reminders.after > lifetime {
        let detail = format!("{detail}, when the link has expired");
        let remedy = "lower `resend_after` in [invite], or raise INVITATION_EXPIRATION_HOURS at Vaultwarden";
        (Severity::Warn, STEP, detail, remedy)
    } else {
        (Severity::Ok, STEP, detail, "")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(link_hours: u64, remind_after_hours: u64, limit: u32) -> (Severity, String) {
        let configuration = Configuration {
            mail: Some(true),
            link_lifetime: Some(Duration::from_secs(link_hours * 3600)),
            ..Configuration::default()
        };
        let reminders = ReminderPolicy {
            after: Duration::from_secs(remind_after_hours * 3600),
            limit,
        };
        let (level, _, detail, _) = judge_mail(&configuration, reminders).unwrap();
        (level, detail)
    }

    #[test]
    fn a_link_that_expires_before_the_reminder_is_warned_about() {
        assert_eq!(judged(120, 96, 2).0, Severity::Ok);
        let (level, detail) = judged(48, 96, 2);
        assert_eq!(level, Severity::Warn);
        assert!(
            detail.ends_with("at most 2 times, when the link has expired"),
            "{detail}"
        );
        let (level, detail) = judged(48, 96, 0);
        assert_eq!(level, Severity::Ok);
        assert!(detail.ends_with("admin page only"), "{detail}");
    }
}
