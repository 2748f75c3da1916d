//! Evidence bundles: detached COSE_Sign1 signatures of files, with proofs inside (spec/evidence.md).
//!
//! A bundle has one encoding: decoding assembles it again from its parts and refuses other bytes, so what is verified is
//! what was received. [`Evidence::check_signature`] says whether a key signed a file; whether that key counted then is
//! another question, answered by [`judge`] from proven facts.

mod bundle;
mod verdict;
mod verify;

pub use bundle::{Evidence, EvidenceError, Signed};
pub use verdict::{Facts, Invalid, Unproven, Verdict, judge};
pub use verify::Newest;
