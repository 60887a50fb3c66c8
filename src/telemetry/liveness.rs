//! Reports whether the loops of the service proceed.

use std::sync::{MutexGuard, PoisonError};

use tokio::time::Instant;

use super::event::Observer;
use super::parts::{Liveness, Parts};

impl Observer {
    /// The worker begins a turn of its loop (`true`), or ends.
    pub fn worker_turns(&self, does: bool) {
        self.liveness().turns(does.then(Instant::now));
    }

    /// Whether the loops of the service proceed, as far as that can be told from outside of them.
    ///
    /// # Errors
    /// What does not. Only a restart helps.
    pub fn alive(&self) -> Result<(), String> {
        self.liveness().check(Instant::now())
    }

    /// A part of the service begins to run, or has failed.
    pub fn part_runs(&self, name: &str, runs: bool) {
        self.parts().note(name, runs, Instant::now());
    }

    /// The parts of the service that fail again and again.
    pub fn failing_parts(&self) -> Vec<String> {
        self.parts().failing(Instant::now())
    }

    fn liveness(&self) -> MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
