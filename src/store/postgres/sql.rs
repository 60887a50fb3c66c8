//! Statements in a transaction.
//!
//! A statement is prepared once for each connection and kept, which saves most of its time. Behind a pooler that gives each
//! transaction another connection of the server, such as pgbouncer, it is parsed, planned and executed in one round trip,
//! without a name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{ClientWrapper, Object};
use futures::try_join;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row, Statement};

use super::error::Failure;

/// A value with its type.
pub(super) type Value<'a> = (&'a (dyn ToSql + Sync), Type);

/// A type of values in statements.
pub(super) trait Typed: ToSql + Sync {
    /// The type of the database.
    const TYPE: Type;
}

macro_rules! typed {
    ($($rust:ty => $sql:ident, $array:ident;)*) => {
        $(
            impl Typed for $rust { const TYPE: Type = Type::$sql; }
            impl Typed for Option<$rust> { const TYPE: Type = Type::$sql; }
            impl Typed for Vec<$rust> { const TYPE: Type = Type::$array; }
            impl Typed for Vec<Option<$rust>> { const TYPE: Type = Type::$array; }
            impl Typed for &[$rust] { const TYPE: Type = Type::$array; }
        )*
    };
}

typed! {
    i64 => INT8, INT8_ARRAY;
    bool => BOOL, BOOL_ARRAY;
    &str => TEXT, TEXT_ARRAY;
    String => TEXT, TEXT_ARRAY;
    Vec<u8> => BYTEA, BYTEA_ARRAY;
    &[u8] => BYTEA, BYTEA_ARRAY;
}

/// The type of a value.
pub(super) fn type_of<T: Typed>(_: &T) -> Type {
    T::TYPE
}

/// The parameters of a statement.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$((&$value as &(dyn tokio_postgres::types::ToSql + Sync), super::sql::type_of(&$value))),*]
    };
}
pub(super) use values;

/// A transaction that has begun. It is rolled back unless it is committed.
#[derive(Clone)]
pub(super) struct Db(Arc<Lent>);

/// A connection of the pool. Only one whose transaction was committed goes back into it: the state of any other is unknown.
struct Lent {
    connection: Option<Object>,
    /// Whether statements are kept by the connection.
    prepares: bool,
    is_clean: AtomicBool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !self.is_clean.load(Ordering::Relaxed)
        {
            drop(Object::take(connection));
        }
    }
}

impl Db {
    /// Begins a transaction by these statements. `locks` locks what it needs; this is sent without waiting for the beginning.
    pub(super) async fn begin<L>(
        (connection, prepares): (Object, bool),
        begin: &str,
        locks: impl FnOnce(Self) -> L,
    ) -> Result<Self, Failure>
    where
        L: Future<Output = Result<(), Failure>>,
    {
        let db = Self(Arc::new(Lent {
            connection: Some(connection),
            prepares,
            is_clean: AtomicBool::new(false),
        }));
        try_join!(db.script(begin), locks(db.clone()))?;
        Ok(db)
    }

    /// Commits. If this fails because the connection is lost, the transaction may have been committed or not.
    pub(super) async fn commit(self) -> Result<(), Failure> {
        self.client()?.batch_execute("commit").await?;
        self.0.is_clean.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The rows of a result.
    pub(super) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let client = self.client()?;
        if !self.0.prepares {
            return Ok(client.query_typed(sql, values).await?);
        }
        let statement = prepared(client, sql, values).await?;
        Ok(client.query(&statement, &untyped(values)).await?)
    }

    /// The only row of a result, if there is one.
    pub(super) async fn optional(&self, sql: &str, values: &[Value<'_>]) -> Result<Option<Row>, Failure> {
        let client = self.client()?;
        if !self.0.prepares {
            return Ok(client.query_typed_opt(sql, values).await?);
        }
        let statement = prepared(client, sql, values).await?;
        Ok(client.query_opt(&statement, &untyped(values)).await?)
    }

    /// The only row of a result.
    pub(super) async fn one(&self, sql: &str, values: &[Value<'_>]) -> Result<Row, Failure> {
        let client = self.client()?;
        if !self.0.prepares {
            return Ok(client.query_typed_one(sql, values).await?);
        }
        let statement = prepared(client, sql, values).await?;
        Ok(client.query_one(&statement, &untyped(values)).await?)
    }

    /// Executes a statement. Returns the number of rows that it changed.
    pub(super) async fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let client = self.client()?;
        if !self.0.prepares {
            return Ok(client.execute_typed(sql, values).await?);
        }
        let statement = prepared(client, sql, values).await?;
        Ok(client.execute(&statement, &untyped(values)).await?)
    }

    /// Executes several statements without values.
    pub(super) async fn script(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.client()?.batch_execute(sql).await?)
    }

    fn client(&self) -> Result<&ClientWrapper, Failure> {
        let object = self.0.connection.as_ref().ok_or(Failure::Closed)?;
        Ok(object)
    }
}

/// The statement as the connection keeps it.
async fn prepared(client: &ClientWrapper, sql: &str, values: &[Value<'_>]) -> Result<Statement, Failure> {
    let types: Vec<Type> = values.iter().map(|(_, kind)| kind.clone()).collect();
    Ok(client.prepare_typed_cached(sql, &types).await?)
}

fn untyped<'a>(values: &[Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|(value, _)| *value).collect()
}

/// Whether a connection keeps statements from one transaction to the next. Behind a pooler, the second connection takes the one
/// of the server on which the first connection has prepared a statement.
pub(super) async fn keeps_statements(first: Object, second: Object) -> bool {
    // An earlier process may have left its own in the pooler.
    let probe = format!("ldap_usher_{:016x}", rand::random::<u64>());
    let tried = async {
        first
            .batch_execute(&format!("begin; prepare {probe} as select 1; commit"))
            .await?;
        second.batch_execute("begin; select 1").await?;
        first
            .batch_execute(&format!("begin; execute {probe}; commit"))
            .await
    };
    let keeps = tried.await.is_ok();
    // Whatever state they are in, nobody else uses them.
    drop((Object::take(first), Object::take(second)));
    keeps
}

/// Waits for several statements that were sent one after the other, and returns from the function with the failure that caused
/// the others: after the first one, the transaction is aborted, and so are they.
macro_rules! all {
    ($($name:ident: $work:expr),+ $(,)?) => {
        let ($($name,)+) = futures::join!($($work),+);
        let mut failures = Vec::new();
        $(let $name = $name.map_err(|failure| failures.push(failure)).ok();)+
        if let Some(cause) = super::sql::cause(failures) {
            return Err(cause);
        }
        let ($(Some($name),)+) = ($($name,)+) else {
            return Err(super::error::Failure::Closed);
        };
    };
}
pub(super) use all;

/// The failure that is not the consequence of another one.
pub(super) fn cause(failures: Vec<Failure>) -> Option<Failure> {
    let mut failures: Vec<Failure> = failures;
    let aborted = |failure: &Failure| failure.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION);
    let cause = failures.iter().position(|failure| !aborted(failure)).unwrap_or(0);
    (cause < failures.len()).then(|| failures.swap_remove(cause))
}

/// A text as the database stores it: PostgreSQL refuses the character NUL, which a directory may send.
pub(in crate::store) fn stored(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
