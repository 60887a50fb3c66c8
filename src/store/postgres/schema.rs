//! The versions of the schema and the migrations to the newest.
//!
//! Everything is in the schema `ldap_usher`, so that the database may be Vaultwarden's, too.

use super::error::Failure;
use super::sql::{Db, values};

/// Every version of the schema, oldest first. Append only: states of every older version must open.
const MIGRATIONS: [&str; 1] = [include_str!("../migrations/postgres/0001_store.sql")];

/// The newest version.
pub(super) const LATEST: i64 = MIGRATIONS.len() as i64;

/// The version of the schema; `0` if there is none.
pub(super) async fn version(db: &Db) -> Result<i64, Failure> {
    let is_there = db
        .one(
            "select exists (select 1 from pg_catalog.pg_tables
                            where schemaname = 'ldap_usher' and tablename = 'schema_version')",
            &[],
        )
        .await?;
    if !is_there.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let version = db
        .one("select version from ldap_usher.schema_version", &[])
        .await?;
    Ok(version.try_get(0)?)
}

/// Brings the schema to the newest version. Creates it if it is missing.
///
/// # Errors
/// It is of a later version, or of another program. Two instances that create it at the same time: one of them fails, and
/// finds it at the next attempt.
pub(super) async fn migrate(db: &Db) -> Result<(), Failure> {
    let encoding = db
        .one("select pg_catalog.current_setting('server_encoding')", &[])
        .await?;
    let encoding: String = encoding.try_get(0)?;
    if encoding != "UTF8" {
        return Err(Failure::Schema(format!(
            "the encoding of the database is {encoding}, which lacks many characters of names; create one with encoding UTF8"
        )));
    }
    let mut found = version(db).await?;
    if found > LATEST {
        return Err(newer(found));
    }
    if found == LATEST {
        return Ok(());
    }
    if found == 0 {
        let foreign = db
            .one(
                "select (select count(*) from pg_catalog.pg_namespace where nspname = 'ldap_usher'),
                        (select count(*) from pg_catalog.pg_tables where schemaname = 'ldap_usher')",
                &[],
            )
            .await?;
        let (schemas, tables): (i64, i64) = (foreign.try_get(0)?, foreign.try_get(1)?);
        if tables > 0 {
            return Err(Failure::Schema(
                "its schema ldap_usher belongs to another program; let `state` name another database".into(),
            ));
        }
        if schemas == 0 {
            db.script("create schema ldap_usher").await?;
        }
    } else {
        // Another instance may bring it up to date at the same time.
        db.script("select version from ldap_usher.schema_version for update")
            .await?;
        found = version(db).await?;
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS) {
        if number > found {
            db.script(migration).await?;
        }
    }
    db.execute(
        "update ldap_usher.schema_version set version = $1",
        values![LATEST],
    )
    .await?;
    Ok(())
}

/// The error for a schema of a later version of this program.
pub(super) fn newer(version: i64) -> Failure {
    Failure::Schema(format!(
        "it was written by a newer ldap-usher (schema {version}); use that version"
    ))
}
