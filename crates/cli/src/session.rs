//! What the command line resolves to. Nothing is read before a verb needs it.

use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::page::Output;

/// The resolved command line.
pub(crate) struct Session {
    output: Output,
}

impl Session {
    pub(crate) const fn new(output: Output) -> Self {
        Self { output }
    }

    /// Where answers go.
    pub(crate) const fn output(&self) -> Output {
        self.output
    }

    /// The operating system's randomness; a system without it cannot make keys at all.
    #[expect(clippy::unused_self, reason = "verbs get everything from the session")]
    pub(crate) const fn rng(&self) -> UnwrapErr<SysRng> {
        UnwrapErr(SysRng)
    }
}
