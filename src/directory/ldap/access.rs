//! What all connections of one directory share: its credentials, its TLS configuration, and how far its servers were
//! seen to be.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::directory::DirectoryError;
use crate::directory::ldap::credentials::Credentials;
use crate::directory::ldap::replication::Watermarks;
use crate::directory::settings::DirectorySettings;

/// What the connections of one directory share.
#[derive(Debug)]
pub(crate) struct Access {
    pub credentials: Credentials,
    tls: Mutex<Arc<rustls::ClientConfig>>,
    seen: Mutex<Watermarks>,
    /// The servers that were reported as behind.
    reported_behind: Mutex<HashSet<String>>,
}

impl Access {
    /// Reads the files of the TLS options.
    ///
    /// # Errors
    /// As [`client_config`].
    pub(crate) fn new(settings: &DirectorySettings) -> Result<Self, DirectoryError> {
        Ok(Self {
            credentials: Credentials::new(settings.bind.clone()),
            tls: Mutex::new(client_config(settings)?),
            seen: Mutex::default(),
            reported_behind: Mutex::default(),
        })
    }

    /// The TLS configuration for the next connection.
    pub(crate) fn tls(&self) -> Arc<rustls::ClientConfig> {
        lock(&self.tls).clone()
    }

    /// Uses this TLS configuration for every connection from here on.
    pub(crate) fn renew_tls(&self, tls: Arc<rustls::ClientConfig>) {
        *lock(&self.tls) = tls;
    }

    /// Records that changes up to these watermarks were seen.
    pub(crate) fn raise(&self, marks: Watermarks) {
        lock(&self.seen).raise(marks);
    }

    /// Forgets what was seen beyond these watermarks, which no server has any more.
    pub(crate) fn lower_to(&self, marks: Watermarks) {
        *lock(&self.seen) = marks;
    }

    /// Why a server with these watermarks is behind; `None` if it is not. Logs it once.
    pub(crate) fn behind(&self, directory: &str, server: &str, marks: &Watermarks) -> Option<String> {
        let why = marks.behind(&lock(&self.seen));
        match &why {
            Some(why) => {
                if lock(&self.reported_behind).insert(server.to_owned()) {
                    tracing::warn!(
                        directory,
                        server,
                        why,
                        "a server is behind others: not using it until it has caught up"
                    );
                }
            }
            None => {
                if lock(&self.reported_behind).remove(server) {
                    tracing::info!(directory, server, "a server that was behind has caught up");
                }
            }
        }
        why
    }
}

/// Reads the files of the TLS options.
///
/// # Errors
/// [`DirectoryError::Settings`] if a file or a name cannot be used, or there are no trusted certificates.
pub(crate) fn client_config(
    settings: &DirectorySettings,
) -> Result<Arc<rustls::ClientConfig>, DirectoryError> {
    let config = settings.tls.client_config();
    let config =
        config.map_err(|error| DirectoryError::Settings(format!("directory {}: {error}", settings.name)))?;
    Ok(Arc::new(config))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
