//! Rows of PostgreSQL, for the readers that both databases share.

use tokio_postgres::Row;

use super::error::Failure;
use crate::store::rows::Columns;

impl Columns for Row {
    type Error = Failure;

    fn int(&self, column: usize) -> Result<i64, Failure> {
        Ok(self.try_get(column)?)
    }

    fn optional_int(&self, column: usize) -> Result<Option<i64>, Failure> {
        Ok(self.try_get(column)?)
    }

    fn flag(&self, column: usize) -> Result<bool, Failure> {
        Ok(self.try_get(column)?)
    }

    fn text(&self, column: usize) -> Result<String, Failure> {
        Ok(self.try_get(column)?)
    }

    fn optional_text(&self, column: usize) -> Result<Option<String>, Failure> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, Failure> {
        Ok(self.try_get(column)?)
    }

    fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.try_get(column)?)
    }

    fn broken(_: usize, what: &'static str) -> Failure {
        Failure::Broken(what)
    }
}
