//! A store for a dry run: a private copy of the state, in SQLite.

use tokio::sync::mpsc;
use tokio::try_join;

use super::{Access, Postgres, Settings};
use crate::store::{Sqlite, StoreError};

impl Postgres {
    /// Copies the store without its journal.
    ///
    /// # Errors
    /// [`StoreError::Open`] if it cannot be read, or there is no space for the copy.
    pub(in crate::store) async fn dry_run(settings: &Settings) -> Result<Sqlite, StoreError> {
        let store = Self::open(settings, Access::Read).await?;
        let (sender, receiver) = mpsc::channel(1);
        let (copy, ()) = try_join!(Sqlite::scratch_of(receiver), store.dump(sender, false))?;
        Ok(copy)
    }
}
