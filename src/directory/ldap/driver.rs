//! What moves the bytes of a connection, while somebody waits for an answer on it.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::directory::ldap::traffic::Traffic;

/// The time that a driver has to end after an operation noticed that the connection is broken.
const ENDING: Duration = Duration::from_secs(1);

/// What moves the bytes, until it ends with its reason.
pub(super) struct Link {
    driver: Option<BoxFuture<'static, String>>,
    end: Option<String>,
}

impl Link {
    pub(super) fn new(driver: BoxFuture<'static, String>) -> Self {
        Self {
            driver: Some(driver),
            end: None,
        }
    }

    /// Moves bytes until the connection ends; once it has ended, never comes back.
    pub(super) async fn run(&mut self) {
        match &mut self.driver {
            Some(driver) => {
                let end = driver.await;
                self.driver = None;
                self.end = Some(end);
            }
            None => pending().await,
        }
    }

    /// Why the connection ended, if the driver says so within a second.
    pub(super) async fn end(&mut self) -> Option<String> {
        if self.end.is_none() {
            let _ = timeout(ENDING, self.run()).await;
        }
        self.end.clone()
    }
}

/// Ready while none of these searches can be answered before others are heard. To be polled after the link, by whose
/// moving alone this changes.
pub(super) async fn stuck(traffic: &Traffic, searches: &[i64]) {
    poll_fn(|_| {
        if traffic.is_stuck(searches) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
