//! What two inventories differ in, found in one walk over both.

use core::cmp::Ordering;
use core::iter::Peekable;

use super::Component;

/// One thing that is not as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// It is expected and not there.
    Missing(Component<'a>),
    /// It is there and not expected.
    Unexpected(Component<'a>),
    /// It is there with another version, kind, size or digest.
    Changed {
        /// As it should be.
        expected: Component<'a>,
        /// As it is.
        actual: Component<'a>,
    },
}

impl<'a> Difference<'a> {
    /// The name that it is about.
    #[must_use]
    pub const fn name(&self) -> &'a str {
        match self {
            Self::Missing(component) | Self::Unexpected(component) => component.name(),
            Self::Changed { expected, .. } => expected.name(),
        }
    }
}

/// How many differences there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Expected and not there.
    pub missing: u32,
    /// There and not expected.
    pub unexpected: u32,
    /// There, and not as expected.
    pub changed: u32,
}

impl Tally {
    /// Whether there is none.
    #[must_use]
    pub fn is_match(&self) -> bool {
        *self == Self::default()
    }
}

/// Walks an expected inventory while the components of the actual one come, both ascending by name: an
/// [`Inventory`](super::Inventory), an [`InventoryReader`](super::InventoryReader) and an
/// [`InventoryWriter`](super::InventoryWriter) see to that. It keeps nothing but its place.
#[derive(Debug)]
pub struct Comparison<'e, I: Iterator<Item = Component<'e>>> {
    expected: Peekable<I>,
    tally: Tally,
}

impl<'e, I: Iterator<Item = Component<'e>>> Comparison<'e, I> {
    /// Begins a comparison with what is expected.
    pub fn new(expected: impl IntoIterator<IntoIter = I, Item = Component<'e>>) -> Self {
        Self {
            expected: expected.into_iter().peekable(),
            tally: Tally::default(),
        }
    }

    /// Takes the next component that is there, and reports what follows from it.
    pub fn actual(&mut self, actual: &Component<'_>, report: &mut impl FnMut(Difference<'_>)) {
        while let Some(expected) = self.expected.peek().copied() {
            match expected.name().cmp(actual.name()) {
                Ordering::Less => {
                    self.tally.missing = self.tally.missing.saturating_add(1);
                    report(Difference::Missing(expected));
                    self.expected.next();
                }
                Ordering::Equal => {
                    if expected != *actual {
                        self.tally.changed = self.tally.changed.saturating_add(1);
                        report(Difference::Changed {
                            expected,
                            actual: *actual,
                        });
                    }
                    self.expected.next();
                    return;
                }
                Ordering::Greater => break,
            }
        }
        self.tally.unexpected = self.tally.unexpected.saturating_add(1);
        report(Difference::Unexpected(*actual));
    }

    /// Ends the comparison: what was expected and has not come is missing.
    pub fn finish(mut self, report: &mut impl FnMut(Difference<'_>)) -> Tally {
        for expected in self.expected {
            self.tally.missing = self.tally.missing.saturating_add(1);
            report(Difference::Missing(expected));
        }
        self.tally
    }
}
