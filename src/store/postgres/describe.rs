//! What can be said of a database, for `check`.

use super::error::{self, Failure};
use super::sql::{Db, values};
use super::{Kind, Postgres, Settings, schema};
use crate::clock::{Clock, Timestamp};
use crate::store::StoreError;

/// A database that can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The version of PostgreSQL, as in "15.18".
    pub server: String,
    /// Whether there is a state in it.
    pub has_state: bool,
    /// The version of its schema; `0` without a state.
    pub schema: i64,
    /// Whether its user may write the state that is there.
    pub may_write: bool,
    /// Whether its user may create the state there.
    pub may_create: bool,
    /// Whether the server writes: a standby does not.
    pub is_writable: bool,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
    /// The user of the connection, as a statement names it.
    pub user: String,
    /// By how many milliseconds its clock is ahead of that of this machine.
    pub clock_ahead: i64,
}

impl Postgres {
    /// Describes the database.
    ///
    /// # Errors
    /// [`StoreError::Open`] if it cannot be reached.
    pub(in crate::store) async fn describe(settings: &Settings) -> Result<Database, StoreError> {
        let store = Self::unopened(settings)?;
        let is_encrypted = settings.is_encrypted();
        let described = store
            .perform(
                Kind::Read,
                move |db| async move { describe(&db, is_encrypted).await },
            )
            .await;
        described.map_err(|failure| error::open(settings, &failure))
    }
}

async fn describe(db: &Db, is_encrypted: bool) -> Result<Database, Failure> {
    let row = db
        .one(
            "select pg_catalog.current_setting('server_version'),
                    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
                        or coalesce((select pg_catalog.has_schema_privilege(oid, 'CREATE') from pg_catalog.pg_namespace
                                     where nspname = 'ldap_usher'), false),
                    not pg_catalog.pg_is_in_recovery() and $1 = pg_catalog.current_setting('default_transaction_read_only'),
                    pg_catalog.quote_ident(current_user),
                    (extract(epoch from pg_catalog.clock_timestamp()) * 1000)::bigint,
                    not exists (select 1 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                                where n.nspname = 'ldap_usher' and c.relname in ('member', 'action', 'journal')
                                    and not (pg_catalog.has_table_privilege(c.oid, 'INSERT')
                                             and pg_catalog.has_table_privilege(c.oid, 'DELETE')))",
            values!["off"],
        )
        .await?;
    let server: String = row.try_get(0)?;
    let Timestamp(here) = Clock::system().now();
    let there: i64 = row.try_get(4)?;
    let schema = schema::version(db).await?;
    Ok(Database {
        server: server.split(' ').next().unwrap_or_default().to_owned(),
        has_state: schema > 0,
        schema,
        may_write: row.try_get(5)?,
        may_create: row.try_get(1)?,
        is_writable: row.try_get(2)?,
        user: row.try_get(3)?,
        is_encrypted,
        clock_ahead: there.saturating_sub(here),
    })
}
