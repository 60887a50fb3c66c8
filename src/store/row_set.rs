//! A set of numbers of rows, with one bit for each.

/// A set of numbers of rows.
#[derive(Debug, Default)]
pub struct RowSet(Vec<u64>);

impl RowSet {
    /// Adds a row. Returns whether the set contained it.
    pub fn insert(&mut self, row: i64) -> bool {
        let (word, bit) = Self::place(row);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let contained = self.0[word] & bit != 0;
        self.0[word] |= bit;
        contained
    }

    /// Whether the set contains a row.
    pub fn contains(&self, row: i64) -> bool {
        let (word, bit) = Self::place(row);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn place(row: i64) -> (usize, u64) {
        // Both databases count rows from 1.
        let row = usize::try_from(row).unwrap_or_default();
        (row / 64, 1 << (row % 64))
    }
}
