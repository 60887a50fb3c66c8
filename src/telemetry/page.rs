//! What the status page reports, and what it asks.

use tokio::time::Instant;

use super::event::Observer;

impl Observer {
    /// What [`Observer::ready`] says without how long each failure has lasted; empty if the service is ready.
    pub fn causes(&self) -> Vec<String> {
        self.health().causes(Instant::now())
    }
}
