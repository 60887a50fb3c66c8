//! Checks the state. Only the service creates it.

use std::sync::Arc;
use std::time::Duration;

use super::super::sessions::Sessions;
use super::{Finding, Severity};
use crate::config::Config;
use crate::store::{self, Database, Location, Store, StoreError};
use crate::vaultwarden::Identity;
use crate::worker::server_identity;

/// The clocks of the database and of this machine may differ by so many milliseconds.
const TOLERANCE: i64 = 5_000;

/// Returns whether the state can be used, the store of the session with Vaultwarden, the stored identity of Vaultwarden, and
/// the state.
pub(super) async fn check(config: &Config) -> (Finding, Sessions, Identity, Option<Arc<dyn Store>>) {
    let (at, file) = (&config.state, config.sessions.clone());
    let database = match at {
        Location::File(_) => None,
        Location::Postgres(server) => match store::describe(server).await {
            Ok(database) => Some(database),
            Err(error) => {
                let finding = Finding::of_error(Severity::Fail, "state", &error.to_string(), "");
                return (
                    finding,
                    Sessions::of_command(None, file),
                    Identity::default(),
                    None,
                );
            }
        },
    };
    let is_missing = database
        .as_ref()
        .map_or(!at.exists(), |database| !database.has_state);
    let finding = match store::open_shared(at).await {
        Ok(store) => {
            let finding = match &database {
                Some(database) => in_database(at, database),
                None => Finding::new(Severity::Ok, "state", format!("{at} can be used"), ""),
            };
            let known = server_identity::stored(&*store).await.unwrap_or_default();
            return (
                finding,
                Sessions::of_service(store.clone(), file),
                known,
                Some(store),
            );
        }
        Err(_) if is_missing => match &database {
            Some(database) => in_database(at, database),
            None => {
                let detail = format!("{at} does not exist yet, the first start creates it");
                Finding::new(Severity::Ok, "state", detail, "")
            }
        },
        Err(error @ StoreError::Older { .. }) => {
            Finding::of_error(Severity::Warn, "state", &error.to_string(), "")
        }
        Err(error) => Finding::of_error(Severity::Fail, "state", &error.to_string(), ""),
    };
    (
        finding,
        Sessions::of_command(None, file),
        Identity::default(),
        None,
    )
}

/// Judges a database that can be reached.
fn in_database(at: &Location, database: &Database) -> Finding {
    let server = format!(
        "PostgreSQL {}{}, {}",
        database.server,
        if database.has_state {
            format!(", schema version {}", database.schema)
        } else {
            String::new()
        },
        if database.is_encrypted {
            "encrypted"
        } else {
            "not encrypted"
        }
    );
    if !database.is_writable {
        let detail = format!("{at} is read-only ({server})");
        let remedy = "let `state` name the primary, or several hosts with `?target_session_attrs=read-write`";
        return Finding::new(Severity::Fail, "state", detail, remedy);
    }
    if !database.has_state && !database.may_create {
        let detail = format!("{at} has no state yet, and its user may not create one ({server})");
        let remedy = format!(
            "let an administrator of the database execute: create schema ldap_usher authorization {}",
            database.user
        );
        return Finding::new(Severity::Fail, "state", detail, &remedy);
    }
    if !database.may_write {
        let detail = format!("the user of {at} may not write it ({server})");
        let user = &database.user;
        let remedy = format!(
            "let an administrator of the database execute: grant all on all tables in schema ldap_usher to {user}; \
             grant all on all sequences in schema ldap_usher to {user}"
        );
        return Finding::new(Severity::Fail, "state", detail, &remedy);
    }
    if database.clock_ahead.abs() > TOLERANCE {
        let apart = Duration::from_secs(database.clock_ahead.unsigned_abs() / 1000);
        let detail = format!(
            "{at} can be used ({server}), but its clock is {} {} that of this machine",
            humantime::format_duration(apart),
            if database.clock_ahead > 0 {
                "ahead of"
            } else {
                "behind"
            }
        );
        let remedy = "synchronise both clocks; stored times are those of the database";
        return Finding::new(Severity::Warn, "state", detail, remedy);
    }
    let detail = if database.has_state {
        format!("{at} can be used ({server})")
    } else {
        format!("{at} has no state yet, the first start creates it ({server})")
    };
    Finding::new(Severity::Ok, "state", detail, "")
}
