//! Artifacts made by mender-artifact, and in memory: right ones, wrong ones, and what is on the way between them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod bombs;
mod devices;
mod flips;
mod header;
mod rules;
mod signatures;
mod tars;
mod vectors;

use kusabi_mender::{Artifact, ArtifactError, ArtifactKey, Limits, testing};

/// The seed of the key that counts.
const SEED: u8 = 7;

fn keys() -> Vec<ArtifactKey> {
    vec![ArtifactKey::from_spki(&testing::spki(SEED)).unwrap()]
}

fn read(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
    kusabi_mender::read(bytes, &Limits::default(), &mut ())
}

/// Why an artifact is refused, as its bringer is told.
fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}
