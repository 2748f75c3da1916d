//! Heights that recoveries jumped over, from the verified way through the epochs: what a block's `skipped` has to be.

use crate::{
    ledger::{Step, StepKind},
    verify::{Trust, VerifyError},
};
use kusabi_core::{
    handover::Recovery,
    id::{Epoch, Height},
};

/// Where recoveries jumped, up to an epoch.
#[derive(Clone, Debug)]
pub struct Jumps {
    reached: Trust,
    all: Table,
}

/// The last block that survived, and the height below the first one after it; the lowest first.
#[derive(Clone, Debug, Default)]
struct Table(Vec<(Height, Height)>);

impl Jumps {
    /// Those up to the ledger's beginning: none. `genesis` is trust that begins there ([`Trust::found`]).
    #[must_use]
    pub fn new(genesis: Trust) -> Self {
        Self {
            reached: genesis,
            all: Table::default(),
        }
    }

    /// Up to where they are known.
    #[must_use]
    pub const fn reached(&self) -> &Trust {
        &self.reached
    }

    /// Follows one step, if it is good.
    ///
    /// # Errors
    /// [`VerifyError::Walk`]: the step is refused; what is known stays as it was.
    pub fn follow(&mut self, step: &Step) -> Result<(), VerifyError> {
        let jump = match step.kind {
            StepKind::Handover => None,
            StepKind::Recovery => {
                let recovery = Recovery::decode(&step.bytes).map_err(VerifyError::Walk)?;
                let anchor = self.reached.anchor();
                let recovery = recovery.check(anchor).map_err(VerifyError::Walk)?;
                Some((recovery.parent_height(), recovery.floor()))
            }
        };
        self.reached.step(step)?;
        if let Some((parent, floor)) = jump {
            self.all.jump(parent, floor);
        }
        Ok(())
    }

    /// Heights that were jumped over up to this one. `None` where there is no block, for it was jumped over itself.
    #[must_use]
    pub fn skipped(&self, height: Height) -> Option<u64> {
        self.all.skipped(height)
    }

    /// The epoch up to which they are known.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.reached.anchor().epoch()
    }
}

impl Table {
    fn jump(&mut self, parent: Height, floor: Height) {
        // A recovery goes on after a block of its choice. What a recovery before it began above that one is gone, and its jump with it.
        while self.0.last().is_some_and(|(_, floor)| *floor >= parent) {
            self.0.pop();
        }
        self.0.push((parent, floor));
    }

    fn skipped(&self, height: Height) -> Option<u64> {
        let mut skipped = 0;
        for (parent, floor) in &self.0 {
            if height <= *parent {
                break;
            }
            if height <= *floor {
                return None;
            }
            skipped += floor.get() - parent.get();
        }
        Some(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_jumped_over_adds_up_and_what_a_later_recovery_dropped_does_not() {
        let mut jumps = Table::default();
        let at = |height: u64| Height::new(height).unwrap();
        let skipped = |jumps: &Table, heights: [u64; 4]| heights.map(|h| jumps.skipped(at(h)));
        assert_eq!(skipped(&jumps, [0, 1, 10, 1 << 40]), [Some(0); 4]);
        // Block 10 survived, block 20 is the next.
        jumps.jump(at(10), at(19));
        let now = skipped(&jumps, [10, 11, 19, 20]);
        assert_eq!(now, [Some(0), None, None, Some(9)]);
        jumps.jump(at(30), at(30));
        let now = skipped(&jumps, [30, 31, 19, 32]);
        assert_eq!(now, [Some(9), Some(9), None, Some(9)], "nothing was lost");
        jumps.jump(at(40), at(50));
        let now = skipped(&jumps, [40, 41, 51, 60]);
        assert_eq!(now, [Some(9), None, Some(19), Some(19)]);
        // Another recovery after block 40, for nothing followed on the one before.
        jumps.jump(at(40), at(100));
        let now = skipped(&jumps, [40, 51, 100, 101]);
        assert_eq!(now, [Some(9), None, None, Some(69)]);
    }
}
