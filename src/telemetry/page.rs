//! What the status page reports, and what it asks.

use tokio::time::Instant;
use tracing::{Level, debug, warn};

use super::event::Observer;

/// The largest number of lines about wrong tokens within a minute. Whoever reaches the port can send as many as they like.
const MAX_LINES: u64 = 5;

impl Observer {
    /// Somebody sent a wrong token to the status page. Logs the first ones of a minute; others are counted.
    pub fn sign_in_refused(&self, from: &str) {
        self.log_suppressed();
        let now = Instant::now();
        let is_new = self
            .log_limiter()
            .admits_up_to(MAX_LINES, "", "sign-in", Level::WARN, now);
        failure!(is_new, from, "somebody could not sign in on the status page");
    }

    /// What [`Observer::ready`] says without how long each failure has lasted; empty if the service is ready.
    pub fn causes(&self) -> Vec<String> {
        self.health().causes(Instant::now())
    }
}
