//! Turns errors of PostgreSQL and of connections into errors with a remedy.

use std::error::Error as _;
use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

use super::settings::Settings;
use crate::store::StoreError;
use crate::tls::{self, TlsError};

/// Why a transaction failed.
#[derive(Debug)]
pub(in crate::store) enum Failure {
    /// PostgreSQL refused a statement, or the connection broke.
    Database(tokio_postgres::Error),
    /// There is no connection.
    Pool(PoolError),
    /// The connection was given back.
    Closed,
    /// The transaction took longer than this.
    TimedOut(Duration),
    /// The transaction ended by a panic.
    Panicked,
    /// A stored value is not one that this program writes.
    Broken(&'static str),
    /// A value cannot be written.
    Unwritable(String),
    /// Another instance has this lease now.
    Superseded(String),
    /// The TLS settings cannot be used.
    Tls(TlsError),
    /// The schema is not what this program needs.
    Schema(String),
    /// The set of a listing failed.
    Listing(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Listing(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::Database(error),
            other => Self::Pool(other),
        }
    }
}

impl Failure {
    /// Whether there is no connection any more, so that nothing was done.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Self::Database(error) => {
                error.is_closed() || error.code().is_none() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN)
            }
            _ => false,
        }
    }

    /// The code of PostgreSQL, if it answered with one.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) => error.code(),
            _ => None,
        }
    }
}

/// The kind and the place of the store, for error messages.
pub(super) fn name(settings: &Settings) -> String {
    format!("state in PostgreSQL ({settings})")
}

/// The error for a failed transaction.
pub(super) fn failed(settings: &Settings, doing: &'static str, failure: &Failure) -> StoreError {
    let store = name(settings);
    match failure {
        Failure::Superseded(lease) => StoreError::Superseded {
            store,
            duty: lease.clone(),
        },
        other => StoreError::Failed {
            store,
            doing,
            cause: cause(other),
        },
    }
}

/// The error for a store that cannot be opened.
pub(super) fn open(settings: &Settings, failure: &Failure) -> StoreError {
    StoreError::Open {
        store: name(settings),
        cause: cause(failure),
    }
}

fn cause(failure: &Failure) -> String {
    match failure {
        Failure::Database(error) => of_database(error),
        Failure::Pool(PoolError::Timeout(_)) => {
            "no connection within 10 s; check that the server is reachable and not overloaded".into()
        }
        Failure::Pool(error) => error.to_string(),
        Failure::Closed => "the connection was given back".into(),
        Failure::TimedOut(after) => format!(
            "no answer within {} s; check the network and the load of the server",
            after.as_secs()
        ),
        Failure::Panicked => "the transaction was aborted".into(),
        Failure::Broken(what) => (*what).to_owned(),
        Failure::Unwritable(what) | Failure::Schema(what) => what.clone(),
        Failure::Superseded(lease) => format!("another instance has taken over {lease}"),
        Failure::Listing(error) => error.to_string(),
        Failure::Tls(error) => error.to_string(),
    }
}

fn of_database(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        // A standby refuses to begin, with the code of any other feature that it lacks.
        let remedy = match refusal.message() {
            message if message.contains("during recovery") => READ_ONLY,
            _ => remedy(refusal.code()),
        };
        return format!("{}{remedy}", refusal.message());
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(tls) = rustls_error(cause) {
            return format!("TLS as set in [postgres] failed: {}", tls::explain(tls));
        }
        source = cause.source();
    }
    match error.source() {
        // The library has no kind of its own for it.
        Some(cause) if cause.to_string() == "server does not support TLS" => {
            "the server does not offer TLS; switch it on there (ssl = on), or add `?sslmode=disable` to the URL if nobody else \
             uses the network"
                .into()
        }
        Some(cause) => format!("{error}: {cause}; check the address, the network and that the server runs"),
        None => format!("{error}; check the address, the network and that the server runs"),
    }
}

fn rustls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    inner.downcast_ref::<rustls::Error>()
}

const READ_ONLY: &str = "; the server is a standby or read-only: let `state` name the primary, or several hosts with \
                         `?target_session_attrs=read-write`";

/// What to do about an error code (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn remedy(code: &SqlState) -> &'static str {
    match code.code() {
        "28P01" | "28000" => "; correct the user and the password in `state` or `state_file`, or pg_hba.conf",
        "3D000" => "; create the database, or correct its name in `state`",
        "42501" => "; grant this user its schema: create schema ldap_usher authorization <user>",
        "25006" => READ_ONLY,
        "53100" => "; free some space for the server",
        "53200" => "; give the server more memory",
        "53300" => "; raise max_connections of the server",
        "55P03" => "; another session holds a lock on a table, which pg_locks shows: end that one",
        "57014" => "; the server is slow or a lock is held, which pg_stat_activity shows",
        "57P01" | "57P02" | "57P03" => "; it is tried again until the server is back",
        "42P01" | "3F000" => "; the schema ldap_usher is missing: restore it, or restart the service",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_code_that_an_operator_can_act_on_has_a_remedy() {
        for code in [
            "28P01", "28000", "3D000", "42501", "25006", "53100", "53200", "53300", "55P03", "57014",
            "57P01", "57P03", "42P01",
        ] {
            assert!(!remedy(&SqlState::from_code(code)).is_empty(), "{code}");
        }
        assert_eq!(remedy(&SqlState::from_code("22000")), "");
    }
}
