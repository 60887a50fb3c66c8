//! Events about notifications: who gets them, and what fails. `receiver` is `webhook`, `command` or `ping`.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::event::{Observer, ms};

impl Observer {
    /// A receiver that had none before gets events from now on, which are those after number `after` of the journal.
    pub fn notifications_begin(&self, receiver: &'static str, after: i64) {
        info!(
            receiver,
            after, "notifications begin with the next event; earlier ones are in `ldap-usher journal`"
        );
    }

    /// Events were removed from the journal before this receiver got them.
    pub fn notifications_lost(&self, receiver: &'static str, count: u64) {
        warn!(
            receiver,
            count,
            "events were removed from the journal before they were delivered, because it is kept for `journal_days` only; \
             notifications go on with the oldest event that is left"
        );
    }

    /// The age of the oldest event that this receiver has not got; `None` if it has got all.
    pub fn notifications_wait(&self, receiver: &'static str, age: Option<Duration>) {
        self.health().notifications_wait(receiver, age, Instant::now());
    }

    /// A receiver accepted a notification.
    pub fn notified(&self, receiver: &'static str) {
        self.metrics.notification(receiver, "delivered");
        if let Some(failed) = self.health().notified(receiver, Instant::now()) {
            info!(
                receiver,
                failed_ms = ms(failed),
                "notifications are delivered again"
            );
        }
    }

    /// A receiver did not accept a notification, which is not lost. Logs a repeated error at `debug` only.
    pub fn notification_failed(&self, receiver: &'static str, error: &dyn Display, retry_in: Duration) {
        self.metrics.notification(receiver, "failed");
        let error = error.to_string();
        let is_new = self
            .health()
            .notification_failed(receiver, &error, Instant::now());
        failure!(
            is_new,
            receiver,
            error,
            retry_in_ms = ms(retry_in),
            "a notification could not be delivered, will try again"
        );
    }
}
