//! Copies everything that a store holds into another one, row by row, and compares both.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::sync::mpsc;
use tokio::try_join;

use super::postgres::Access;
use super::postgres::stored;
use super::{Location, Postgres, Sqlite, StoreError, describe, is_served};

/// The rows that are in memory at a time: two pages wait, and each side has one.
pub(super) const PAGE: i64 = 1000;
const WAITING: usize = 2;

/// The type of a column. SQLite stores truth values as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Flag,
    Text,
    Bytes,
}

/// A table that is copied. Both databases have the same columns. The first one is the primary key, in the order of which
/// rows are read.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

impl Table {
    /// The names of its columns, for a statement.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The name of its primary key.
    pub(super) fn key(&self) -> &'static str {
        self.columns[0].0
    }
}

/// The note that tells a database from its copies is not copied.
pub(super) const NOT_COPIED: &str = "mark";

/// The largest table. A dry run has its own.
pub(super) const JOURNAL: &str = "journal";

/// What is copied, in the order in which rows refer to each other. Counts are made anew; instances and leases belong to
/// running processes.
pub(super) const TABLES: [Table; 5] = {
    use Kind::{Bytes, Flag, Int, Text};
    [
        Table {
            name: "directory",
            columns: &[
                ("id", Int),
                ("name", Text),
                ("scope", Text),
                ("settings", Text),
                ("cursor", Bytes),
                ("cursor_stored", Int),
                ("listed", Int),
                ("stream", Text),
                ("connected", Flag),
                ("error", Text),
                ("recorded", Int),
                ("retired", Flag),
                ("forgotten", Flag),
                ("brake_listed", Int),
                ("brake_listed_at", Int),
                ("brake_changed", Int),
                ("brake_changed_since", Int),
                ("brake_holding", Flag),
                ("leave_listed", Int),
                ("leave_listed_at", Int),
                ("leave_changed", Int),
                ("leave_changed_since", Int),
            ],
        },
        Table {
            name: "member",
            columns: &[
                ("id", Int),
                ("directory", Int),
                ("entry_id", Bytes),
                ("dn", Text),
                ("address", Text),
                ("standing", Text),
                ("reason", Text),
                ("had_left", Flag),
                ("decided_on", Int),
            ],
        },
        Table {
            name: "action",
            columns: &[
                ("id", Int),
                ("kind", Text),
                ("address", Text),
                ("member", Int),
                ("state", Text),
                ("due", Int),
                ("owner", Int),
                ("doubt_since", Int),
                ("compared", Int),
                ("was_held", Flag),
                ("attempts", Int),
                ("arrived", Int),
                ("since", Int),
                ("reason", Text),
                ("fault", Text),
                ("outcome", Text),
                ("care", Text),
                ("account", Text),
                ("account_state", Text),
                ("care_since", Int),
                ("reminders", Int),
                ("reminded", Int),
            ],
        },
        Table {
            name: JOURNAL,
            columns: &[
                ("id", Int),
                ("at", Int),
                ("directory", Int),
                ("entry_id", Bytes),
                ("dn", Text),
                ("address", Text),
                ("source", Text),
                ("event", Text),
            ],
        },
        Table {
            name: "note",
            columns: &[("name", Text), ("value", Bytes)],
        },
    ]
};

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Null,
    Int(i64),
    Flag(bool),
    Text(String),
    Bytes(Vec<u8>),
}

/// Rows of one table, by its place in [`TABLES`].
#[derive(Debug)]
pub(super) struct Page {
    pub(super) table: usize,
    pub(super) rows: Vec<Vec<Value>>,
}

/// What is sent from one store to the other.
#[derive(Debug)]
pub(super) enum Message {
    /// Rows, in the order of [`TABLES`].
    Page(Page),
    /// There is no more than this.
    End(Tally),
}

/// Takes messages. A receiver that takes no more has failed, and says why itself.
pub(super) type Sender = mpsc::Sender<Message>;
/// Returns messages. If it ends without [`Message::End`], the sender has failed.
pub(super) type Receiver = mpsc::Receiver<Message>;

/// What a store holds: the number of rows of each table, and a digest of them that does not depend on their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally([(u64, u64); TABLES.len()]);

impl Tally {
    /// Adds rows.
    pub(super) fn add(&mut self, page: &Page) {
        let (count, digest) = &mut self.0[page.table];
        for row in &page.rows {
            let mut hasher = DefaultHasher::new();
            for value in row {
                match value {
                    // PostgreSQL cannot store every text of an SQLite file.
                    Value::Text(text) => Value::Text(stored(text)).hash(&mut hasher),
                    value => value.hash(&mut hasher),
                }
            }
            *count += 1;
            *digest = digest.wrapping_add(hasher.finish());
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(count, _)| *count == 0)
    }

    /// The number of rows of each table.
    fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = TABLES.iter().zip(&self.0);
        counts.map(|(table, (count, _))| (table.name, *count)).collect()
    }

    /// Compares the copy with the original.
    ///
    /// # Errors
    /// [`CopyError::Differs`].
    pub(super) fn expect(&self, original: &Self) -> Result<(), CopyError> {
        self.difference(original)
            .map_or(Ok(()), |table| Err(CopyError::Differs(table)))
    }

    /// The first table that differs.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let mut tables = TABLES.iter().zip(self.0.iter().zip(&other.0));
        tables
            .find(|(_, (one, another))| one != another)
            .map(|(table, _)| table.name)
    }
}

/// Why a store was not copied. The target is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A service uses one of them.
    #[error("a service uses the state {0}; stop it first")]
    Served(String),
    /// Both are the same.
    #[error("{0} cannot be copied into itself")]
    Same(String),
    /// There is something in the target.
    #[error(
        "the state {0} is not empty; move it away first, or name another one: two states cannot be put together"
    )]
    NotEmpty(String),
    /// What was read again is not what was written.
    #[error(
        "the copy differs from the original in the table {0}, which is a bug of this program; nothing was copied"
    )]
    Differs(&'static str),
    /// There is no original.
    #[error("there is no state {0}")]
    Missing(String),
    /// The source failed.
    #[error("the copy ended early; nothing was copied")]
    Aborted,
}

/// Copies the state `from` into the empty state `to`, which is created if it is missing, and compares both before the copy
/// counts. Calls `progress` with the name of a table and the number of its rows so far. Returns the number of rows of each
/// table.
///
/// # Errors
/// [`CopyError`].
pub async fn migrate(
    from: &Location,
    to: &Location,
    progress: impl Fn(&'static str, u64) + Send + 'static,
) -> Result<Vec<(&'static str, u64)>, CopyError> {
    if from == to {
        return Err(CopyError::Same(from.to_string()));
    }
    if !has_state(from).await? {
        return Err(CopyError::Missing(from.to_string()));
    }
    for (place, has_state) in [(from, true), (to, has_state(to).await?)] {
        // Whoever cannot be asked may be served.
        if has_state && is_served(place).await? {
            return Err(CopyError::Served(place.to_string()));
        }
    }
    if let Location::File(path) = from {
        // To open it as a service would bring an older one up to date.
        Sqlite::open_read_only(path).await?;
    }
    let (sender, receiver) = mpsc::channel(WAITING);
    let target = async {
        match to {
            Location::File(path) => Sqlite::open(path).await?.load(receiver, progress).await,
            Location::Postgres(server) => Postgres::offline(server).await?.load(receiver, progress).await,
        }
    };
    let source = async {
        match from {
            Location::File(path) => Ok(Sqlite::open(path).await?.dump(sender).await?),
            Location::Postgres(server) => Ok(Postgres::open(server, Access::Read)
                .await?
                .dump(sender, true)
                .await?),
        }
    };
    let (tally, ()) = try_join!(target, source)?;
    Ok(tally.counts())
}

/// Whether there is a state.
async fn has_state(place: &Location) -> Result<bool, StoreError> {
    match place {
        Location::File(path) => Ok(path.exists()),
        Location::Postgres(server) => Ok(describe(server).await?.has_state),
    }
}
