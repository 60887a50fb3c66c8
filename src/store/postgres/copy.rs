//! Reads and writes everything that a PostgreSQL database holds of a store, to copy it.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::error::{self, Failure};
use super::sql::{Db, stored, values};
use super::{Kind as Transaction, Postgres, counts};
use crate::store::StoreError;
use crate::store::copy::{
    CopyError, JOURNAL, Kind, Message, NOT_COPIED, PAGE, Page, Receiver, Sender, TABLES, Table, Tally, Value,
};

/// The copy waits for the other store, and is worth nothing before it is safe.
const PATIENT: &str =
    "set local idle_in_transaction_session_timeout = '10min'; set local statement_timeout = '10min';
                       set local synchronous_commit = on";

impl Postgres {
    /// Sends everything, with or without the journal, as it is at one moment.
    pub(in crate::store) async fn dump(&self, sender: Sender, with_journal: bool) -> Result<(), StoreError> {
        let sent = async {
            let db = self.begin(Transaction::Read).await?;
            db.script("set local idle_in_transaction_session_timeout = '10min'")
                .await?;
            let mut tally = Tally::default();
            let tables = TABLES.iter().enumerate();
            for (place, table) in tables.filter(|(_, table)| with_journal || table.name != JOURNAL) {
                let mut after = Value::Null;
                loop {
                    let rows = page(&db, table, &after).await?;
                    let Some(last) = rows.last() else { break };
                    after = last[0].clone();
                    let page = Page { table: place, rows };
                    tally.add(&page);
                    if sender.send(Message::Page(page)).await.is_err() {
                        // The receiver says why it takes no more.
                        return Ok(());
                    }
                }
            }
            let _ = sender.send(Message::End(tally)).await;
            db.commit().await
        };
        sent.await
            .map_err(|failure: Failure| error::failed(&self.settings, "reading everything", &failure))
    }

    /// Stores what is received, if there is nothing yet. Returns what it was.
    pub(in crate::store) async fn load(
        &self,
        mut receiver: Receiver,
        progress: impl Fn(&'static str, u64),
    ) -> Result<Tally, CopyError> {
        let failed = |failure: Failure| error::failed(&self.settings, "writing everything", &failure);
        let db = self.begin(Transaction::Decide).await.map_err(failed)?;
        db.script(PATIENT).await.map_err(failed)?;
        for table in &TABLES {
            if !page(&db, table, &Value::Null).await.map_err(failed)?.is_empty() {
                return Err(CopyError::NotEmpty(self.settings.to_string()));
            }
        }
        let mut done = [0_u64; TABLES.len()];
        loop {
            match receiver.recv().await {
                Some(Message::Page(page)) => {
                    insert(&db, &TABLES[page.table], &page.rows)
                        .await
                        .map_err(failed)?;
                    done[page.table] += page.rows.len() as u64;
                    progress(TABLES[page.table].name, done[page.table]);
                }
                Some(Message::End(original)) => {
                    let copy = finish(&db).await.map_err(failed)?;
                    copy.expect(&original)?;
                    db.commit().await.map_err(failed)?;
                    return Ok(copy);
                }
                None => return Err(CopyError::Aborted),
            }
        }
    }
}

/// Makes the counts and the sequences right, and reads everything again.
async fn finish(db: &Db) -> Result<Tally, Failure> {
    counts::correct(db).await?;
    for table in TABLES.iter().filter(|table| table.key() == "id") {
        let name = table.name;
        db.script(&format!(
            "select setval('ldap_usher.{name}_id_seq', coalesce(max(id), 1), max(id) is not null) from ldap_usher.{name}"
        ))
        .await?;
    }
    let mut tally = Tally::default();
    for (place, table) in TABLES.iter().enumerate() {
        let mut after = Value::Null;
        loop {
            let rows = page(db, table, &after).await?;
            let Some(last) = rows.last() else { break };
            after = last[0].clone();
            tally.add(&Page { table: place, rows });
        }
    }
    Ok(tally)
}

/// The rows after the one with this key.
async fn page(db: &Db, table: &Table, after: &Value) -> Result<Vec<Vec<Value>>, Failure> {
    let (name, key, columns) = (table.name, table.key(), table.names());
    let from = format!("select {columns} from ldap_usher.{name}");
    let rows = match after {
        Value::Int(after) => {
            let sql = format!("{from} where {key} > $1 order by {key} limit $2");
            db.query(&sql, values![*after, PAGE]).await?
        }
        Value::Text(after) => {
            let sql = format!("{from} where {key} > $1 and {key} <> '{NOT_COPIED}' order by {key} limit $2");
            db.query(&sql, values![after.as_str(), PAGE]).await?
        }
        _ => {
            let sql = format!("{from} where {key}::text <> '{NOT_COPIED}' order by {key} limit $1");
            db.query(&sql, values![PAGE]).await?
        }
    };
    rows.iter().map(|row| read(row, table)).collect()
}

fn read(row: &Row, table: &Table) -> Result<Vec<Value>, Failure> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Kind::Int => row.try_get::<_, Option<i64>>(at)?.map_or(Value::Null, Value::Int),
                Kind::Flag => row
                    .try_get::<_, Option<bool>>(at)?
                    .map_or(Value::Null, Value::Flag),
                Kind::Text => row
                    .try_get::<_, Option<String>>(at)?
                    .map_or(Value::Null, Value::Text),
                Kind::Bytes => row
                    .try_get::<_, Option<Vec<u8>>>(at)?
                    .map_or(Value::Null, Value::Bytes),
            })
        })
        .collect()
}

async fn insert(db: &Db, table: &Table, rows: &[Vec<Value>]) -> Result<(), Failure> {
    let arrays: Vec<(Box<dyn ToSql + Sync + Send>, Type)> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, (_, kind))| array(*kind, rows.iter().map(|row| &row[at])))
        .collect();
    let parameters: Vec<(&(dyn ToSql + Sync), Type)> = arrays
        .iter()
        .map(|(array, kind)| (&**array as &(dyn ToSql + Sync), kind.clone()))
        .collect();
    let places: Vec<String> = (1..=parameters.len()).map(|at| format!("${at}")).collect();
    let sql = format!(
        "insert into ldap_usher.{} ({}) select * from unnest({})",
        table.name,
        table.names(),
        places.join(", ")
    );
    db.execute(&sql, &parameters).await?;
    Ok(())
}

/// The values of a column.
fn array<'a>(kind: Kind, values: impl Iterator<Item = &'a Value>) -> (Box<dyn ToSql + Sync + Send>, Type) {
    match kind {
        Kind::Int => {
            let numbers = values.map(|value| match value {
                Value::Int(number) => Some(*number),
                _ => None,
            });
            (Box::new(numbers.collect::<Vec<_>>()), Type::INT8_ARRAY)
        }
        Kind::Flag => {
            let flags = values.map(|value| match value {
                Value::Flag(flag) => Some(*flag),
                _ => None,
            });
            (Box::new(flags.collect::<Vec<_>>()), Type::BOOL_ARRAY)
        }
        Kind::Text => {
            let texts = values.map(|value| match value {
                Value::Text(text) => Some(stored(text)),
                _ => None,
            });
            (Box::new(texts.collect::<Vec<_>>()), Type::TEXT_ARRAY)
        }
        Kind::Bytes => {
            let bytes = values.map(|value| match value {
                Value::Bytes(bytes) => Some(bytes.clone()),
                _ => None,
            });
            (Box::new(bytes.collect::<Vec<_>>()), Type::BYTEA_ARRAY)
        }
    }
}
