//! The way to the servers of one directory: its credentials, and what is known of how far its servers have come. All
//! connections of the directory share it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::directory::ldap::credentials::Credentials;
use crate::directory::ldap::replication::Watermarks;
use crate::directory::settings::Settings;

/// What the connections of one directory share.
#[derive(Debug)]
pub(crate) struct Access {
    pub credentials: Credentials,
    seen: Mutex<Watermarks>,
    /// The servers that were said to be behind.
    told: Mutex<HashSet<String>>,
}

impl Access {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            credentials: Credentials::new(settings.bind.clone()),
            seen: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Changes up to these watermarks were seen.
    pub(crate) fn raise(&self, marks: Watermarks) {
        lock(&self.seen).raise(marks);
    }

    /// No server has any more what was seen beyond these watermarks.
    pub(crate) fn lower_to(&self, marks: Watermarks) {
        *lock(&self.seen) = marks;
    }

    /// Why a server at these marks is not to be asked, where it is not. Says so once.
    pub(crate) fn behind(&self, directory: &str, server: &str, marks: &Watermarks) -> Option<String> {
        let why = marks.behind(&lock(&self.seen));
        match &why {
            Some(why) => {
                if lock(&self.told).insert(server.to_owned()) {
                    tracing::warn!(
                        directory,
                        server,
                        why,
                        "a server is behind what others told: it is not asked until it has caught up"
                    );
                }
            }
            None => {
                if lock(&self.told).remove(server) {
                    tracing::info!(directory, server, "a server that was behind has caught up");
                }
            }
        }
        why
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
