//! What the ledger's rules need of a store, and a store that remembers changes on top of another.

use std::collections::BTreeMap;

use kusabi_core::id::StateKey;
use kusabi_core::row::RowBytes;

/// One row to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: StateKey,
    /// What stands there from now on.
    pub row: RowBytes,
}

/// The rows of the ledger at one height.
///
/// It answers at once and cannot fail: a store that reads from disk fetches the rows of [`reads`](crate::reads) first.
pub trait State {
    /// The row under a key; `None` when there is none.
    fn row(&self, key: &StateKey) -> Option<RowBytes>;
}

impl<S: State + ?Sized> State for &S {
    fn row(&self, key: &StateKey) -> Option<RowBytes> {
        (**self).row(key)
    }
}

/// A state in memory: the rows that were fetched, or all of a small ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    rows: BTreeMap<StateKey, RowBytes>,
}

impl MemoryState {
    /// Puts a row, as fetched from a store.
    pub fn put(&mut self, key: StateKey, row: RowBytes) {
        self.rows.insert(key, row);
    }

    /// Writes what a transaction or block has changed.
    pub fn write(&mut self, writes: &[Write]) {
        self.rows
            .extend(writes.iter().map(|write| (write.key, write.row)));
    }

    /// All rows in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&StateKey, &RowBytes)> {
        self.rows.iter()
    }
}

impl State for MemoryState {
    fn row(&self, key: &StateKey) -> Option<RowBytes> {
        self.rows.get(key).copied()
    }
}

/// A state with changes on top, which the store below does not know of yet.
#[derive(Clone, Debug)]
pub struct Overlay<S> {
    below: S,
    changes: BTreeMap<StateKey, RowBytes>,
}

impl<S: State> Overlay<S> {
    /// No changes on top of a state.
    pub const fn new(below: S) -> Self {
        Self {
            below,
            changes: BTreeMap::new(),
        }
    }

    /// Takes in what a transaction changes.
    pub fn take(&mut self, writes: Vec<Write>) {
        self.changes
            .extend(writes.into_iter().map(|write| (write.key, write.row)));
    }

    /// All changes, each key once, ascending: the order in which every node writes them.
    pub fn into_writes(self) -> Vec<Write> {
        self.changes
            .into_iter()
            .map(|(key, row)| Write { key, row })
            .collect()
    }
}

impl<S: State> State for Overlay<S> {
    fn row(&self, key: &StateKey) -> Option<RowBytes> {
        self.changes
            .get(key)
            .copied()
            .or_else(|| self.below.row(key))
    }
}
