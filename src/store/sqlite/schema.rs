//! The versions of the schema and the migrations to the newest.
//!
//! The version is SQLite's `user_version`. Version 0.1 of this program stored it in the table `_sqlx_migrations`.
//! That table is kept up to date, so that version 0.1 refuses a newer file as newer.

use rusqlite::Connection;

/// SQLite's `application_id`, which the first migration writes into the file.
const APPLICATION_ID: i64 = 0x7573_6872;

/// Every version of the schema, oldest first. Append only: files of every older version must open.
const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/sqlite/0001_store.sql"),
    include_str!("../migrations/sqlite/0002_rules.sql"),
    include_str!("../migrations/sqlite/0003_journal.sql"),
    include_str!("../migrations/sqlite/0004_listing.sql"),
    include_str!("../migrations/sqlite/0005_leavers.sql"),
];

/// The newest version.
pub(super) const LATEST: usize = MIGRATIONS.len();

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Nothing.
    Empty,
    /// A state of this version.
    Version(usize),
    /// A database of another program.
    Foreign,
}

/// Determines the schema of a file.
pub(super) fn of(db: &Connection) -> rusqlite::Result<Schema> {
    let ours: i64 = db.query_row("pragma application_id", [], |row| row.get(0))?;
    if ours != APPLICATION_ID {
        // A process of version 0.1 that died during its very first start left the table of migrations alone.
        let foreign: bool = db.query_row(
            "select exists (select 1 from sqlite_schema where tbl_name <> '_sqlx_migrations')",
            [],
            |row| row.get(0),
        )?;
        return Ok(if foreign || ours != 0 {
            Schema::Foreign
        } else {
            Schema::Empty
        });
    }
    let version: usize = db.query_row("pragma user_version", [], |row| row.get(0))?;
    Ok(Schema::Version(version.max(1)))
}

/// Brings a database to the newest version, in one transaction.
pub(super) fn migrate(db: &mut Connection) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    let version = match of(&tx)? {
        Schema::Version(version) => version,
        Schema::Empty | Schema::Foreign => 0,
    };
    if version < LATEST {
        tx.execute_batch(
            "create table if not exists _sqlx_migrations (
                version bigint primary key, description text not null,
                installed_on timestamp not null default current_timestamp, success boolean not null,
                checksum blob not null, execution_time bigint not null)",
        )?;
        for (number, migration) in MIGRATIONS.iter().enumerate().skip(version) {
            tx.execute_batch(migration)?;
            tx.execute(
                "insert or ignore into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (?, 'ldap-usher', true, x'', 0)",
                [number + 1],
            )?;
        }
        tx.pragma_update(None, "user_version", LATEST)?;
    }
    tx.commit()
}
