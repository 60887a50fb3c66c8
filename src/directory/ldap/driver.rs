//! The driver of a connection: it transfers bytes only while an operation waits for an answer.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::directory::ldap::traffic::Traffic;

/// How long the driver may take to end after an operation found the connection broken.
const ENDING: Duration = Duration::from_secs(1);

/// The driver, until it ends with the reason.
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

    /// Transfers bytes until the connection ends. If it has ended already, waits forever.
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

    /// Why the connection ended, if the driver ends within a second.
    pub(super) async fn end(&mut self) -> Option<String> {
        if self.end.is_none() {
            let _ = timeout(ENDING, self.run()).await;
        }
        self.end.clone()
    }
}

/// Waits until these searches are stuck ([`Traffic::is_stuck`]). Must be polled after [`Link::run`], which alone changes it.
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
