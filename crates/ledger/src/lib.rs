//! What is valid on a kusabi ledger (spec/ledger.md): deterministic, with no engine, no network, no clock and no disk.
//!
//! The way of a transaction:
//! 1. [`Transaction::decode`](kusabi_core::tx::Transaction::decode): well formed.
//! 2. [`reads`]: the rows that all that follows may ask for, so that an asynchronous store can fetch them first
//!    ([`signer_reads`]: those that step 3 asks for).
//! 3. [`claims`]: which keys are said to have signed.
//! 4. [`verify`]: they have, many transactions at once. [`Verified`] is the proof; it stays good, for keys never change.
//! 5. [`check`]: the ledger's state allows it. [`Checked`] is the proof, for this state only.
//! 6. [`Checked::apply`]: the rows to write; cannot fail.
//!
//! [`BlockRun`] does 5 and 6 for the transactions of a block, one after the other, and knows the rules about whole blocks.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod block;
mod check;
mod claims;
mod council;
mod reads;
mod rejection;
mod state;
#[cfg(feature = "testing")]
pub mod testing;

pub use block::{
    BLOCK_BYTES_MAX, BLOCK_TXS_MAX, BLOCK_WORK_MAX, BlockError, BlockRun, Prepared, Ran, Room,
    TIME_STEP_MS_MAX, check_bounds, check_time, prepare_block, run_block, work,
};
pub use check::{BlockContext, Checked, check};
pub use claims::{Claims, Verified, claims, verify};
pub use council::Decisions;
pub use reads::{reads, signer_reads};
pub use rejection::Rejection;
pub use state::{MemoryState, Overlay, State, Write};
