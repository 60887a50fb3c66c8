//! Connections to the database: a pool that opens them as they are needed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::settings::Settings;
use crate::tls::{TlsError, TlsOptions};

/// The largest number of connections of one process.
pub(super) const CONNECTIONS: usize = 8;
/// How long one connection may take, and how long a transaction waits for a free one.
const CONNECT: Duration = Duration::from_secs(10);
/// After this time without a reply to what was sent, a connection counts as dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a connection may be unused before the kernel tests it.
const IDLE: Duration = Duration::from_secs(30);

/// Creates a pool without a connection.
///
/// # Errors
/// A file of the TLS settings cannot be used.
pub(super) fn pool(settings: &Settings) -> Result<Pool, TlsError> {
    let config = config(settings);
    let how = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = Manager::from_config(config, tls(settings)?, how);
    Pool::builder(manager)
        .max_size(CONNECTIONS)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait: Some(CONNECT),
            create: Some(CONNECT),
            recycle: Some(CONNECT),
        })
        .build()
        .map_err(|error| TlsError::Setup(error.to_string()))
}

/// The settings of each connection.
pub(super) fn config(settings: &Settings) -> tokio_postgres::Config {
    let mut config = settings.config.clone();
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    config.keepalives_idle(IDLE).tcp_user_timeout(SILENCE);
    config
}

/// How connections are encrypted.
///
/// # Errors
/// A file of the TLS settings cannot be used.
pub(super) fn tls(settings: &Settings) -> Result<FreshTls, TlsError> {
    Ok(FreshTls {
        last: Arc::new(Mutex::new(MakeRustlsConnect::new(settings.tls.client_config()?))),
        options: settings.tls.clone(),
    })
}

/// Reads the files of the TLS settings at each connection, because certificates are renewed. While they cannot be used, what was
/// read last stays in use.
#[derive(Clone)]
pub(super) struct FreshTls {
    options: TlsOptions,
    /// Shared, because the pool clones this for each connection.
    last: Arc<Mutex<MakeRustlsConnect>>,
}

impl<S> MakeTlsConnect<S> for FreshTls
where
    MakeRustlsConnect: MakeTlsConnect<S>,
{
    type Stream = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<S>>::Error;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if self.options.files().next().is_some() {
            match self.options.client_config() {
                Ok(config) => *last = MakeRustlsConnect::new(config),
                Err(error) => tracing::debug!(%error, "the TLS files as they were read last stay in use"),
            }
        }
        last.make_tls_connect(domain)
    }
}
