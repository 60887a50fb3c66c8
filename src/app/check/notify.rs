//! Checks the receivers of notifications, without sending anything to them.

use super::{Finding, Severity};
use crate::config::Config;
use crate::notify;

pub(super) async fn check(config: &Config, say: &mut dyn FnMut(Finding)) {
    for (what, result) in notify::check(&config.notify).await {
        let subject = format!("notify, {what}");
        say(match result {
            Ok(detail) => Finding::new(Severity::Ok, subject, detail, ""),
            Err(error) => Finding::of_error(Severity::Fail, subject, &error.to_string(), ""),
        });
    }
}
