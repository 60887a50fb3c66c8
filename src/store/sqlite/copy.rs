//! Reads and writes everything that an SQLite file holds, to copy a store.

use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql, Transaction, params_from_iter};

use super::{Sqlite, counts, error};
use crate::store::StoreError;
use crate::store::copy::{
    CopyError, Kind, Message, NOT_COPIED, PAGE, Page, Receiver, Sender, TABLES, Table, Tally, Value,
};

impl Sqlite {
    /// Sends everything.
    pub(in crate::store) async fn dump(&self, sender: Sender) -> Result<(), StoreError> {
        self.read("reading everything", move |db| {
            let mut tally = Tally::default();
            let sent = each_page(db, |page| {
                tally.add(&page);
                sender.blocking_send(Message::Page(page)).is_ok()
            })?;
            if sent {
                // A receiver that takes no more says why.
                let _ = sender.blocking_send(Message::End(tally));
            }
            Ok(())
        })
        .await
    }

    /// Stores what is received, if there is nothing yet. Returns what it was.
    pub(in crate::store) async fn load(
        &self,
        receiver: Receiver,
        progress: impl Fn(&'static str, u64) + Send + 'static,
    ) -> Result<Tally, CopyError> {
        let refused = Arc::new(Mutex::new(None));
        let refusal = refused.clone();
        let place = self.path.display().to_string();
        let loaded = self.write("writing everything", move |db| {
            receive(db, receiver, &place, progress).map_err(|error| match error {
                Stopped::Sqlite(error) => error,
                Stopped::Refused(why) => {
                    *refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    // Any error has the transaction rolled back.
                    rusqlite::Error::QueryReturnedNoRows
                }
            })
        });
        let loaded = loaded.await;
        match refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Err(why),
            None => Ok(loaded?),
        }
    }
}

/// Why nothing is stored.
pub(super) enum Stopped {
    Sqlite(rusqlite::Error),
    Refused(CopyError),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Stopped {
    /// The error for a store at this place.
    pub(super) fn named(self, path: &std::path::Path) -> StoreError {
        match self {
            Self::Sqlite(error) => error::open_sqlite(path, &error),
            Self::Refused(why) => error::open(path, why.to_string()),
        }
    }
}

/// Stores what is received, and compares.
pub(super) fn receive(
    db: &Transaction<'_>,
    mut receiver: Receiver,
    place: &str,
    progress: impl Fn(&'static str, u64),
) -> Result<Tally, Stopped> {
    let mut before = Tally::default();
    each_page(db, |page| {
        before.add(&page);
        false
    })?;
    if !before.is_empty() {
        return Err(Stopped::Refused(CopyError::NotEmpty(place.to_owned())));
    }
    let mut done = [0_u64; TABLES.len()];
    loop {
        match receiver.blocking_recv() {
            Some(Message::Page(page)) => {
                insert(db, &TABLES[page.table], &page.rows)?;
                done[page.table] += page.rows.len() as u64;
                progress(TABLES[page.table].name, done[page.table]);
            }
            Some(Message::End(original)) => {
                counts::save(db, &counts::corrections(db)?)?;
                let mut copy = Tally::default();
                each_page(db, |page| {
                    copy.add(&page);
                    true
                })?;
                copy.expect(&original).map_err(Stopped::Refused)?;
                return Ok(copy);
            }
            None => return Err(Stopped::Refused(CopyError::Aborted)),
        }
    }
}

/// Calls `each` with all rows, until it returns `false`. Returns whether it never did.
fn each_page(db: &Transaction<'_>, mut each: impl FnMut(Page) -> bool) -> rusqlite::Result<bool> {
    for (place, table) in TABLES.iter().enumerate() {
        let (name, key) = (table.name, table.key());
        let mut query = db.prepare(&format!(
            "select {} from {name} where (?1 is null or {key} > ?1) and {key} <> '{NOT_COPIED}' order by {key} limit ?2",
            table.names()
        ))?;
        let mut after = Value::Null;
        loop {
            let rows: Vec<Vec<Value>> = query
                .query_map((&after, PAGE), |row| read(row, table))?
                .collect::<rusqlite::Result<_>>()?;
            let Some(last) = rows.last() else { break };
            after = last[0].clone();
            if !each(Page { table: place, rows }) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn read(row: &Row<'_>, table: &Table) -> rusqlite::Result<Vec<Value>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Kind::Int => row.get::<_, Option<i64>>(at)?.map_or(Value::Null, Value::Int),
                Kind::Flag => row.get::<_, Option<bool>>(at)?.map_or(Value::Null, Value::Flag),
                Kind::Text => row.get::<_, Option<String>>(at)?.map_or(Value::Null, Value::Text),
                Kind::Bytes => row
                    .get::<_, Option<Vec<u8>>>(at)?
                    .map_or(Value::Null, Value::Bytes),
            })
        })
        .collect()
}

fn insert(db: &Transaction<'_>, table: &Table, rows: &[Vec<Value>]) -> rusqlite::Result<()> {
    let places = vec!["?"; table.columns.len()].join(", ");
    let mut insert = db.prepare_cached(&format!(
        "insert into {} ({}) values ({places})",
        table.name,
        table.names()
    ))?;
    for row in rows {
        insert.execute(params_from_iter(row))?;
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Self::Int(number) => ToSqlOutput::from(*number),
            Self::Flag(flag) => ToSqlOutput::from(*flag),
            Self::Text(text) => ToSqlOutput::from(text.as_str()),
            Self::Bytes(bytes) => ToSqlOutput::from(bytes.as_slice()),
        })
    }
}
