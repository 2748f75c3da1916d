//! The engine's caches after a recovery, whose epoch stands far above the one before.
//!
//! The engine notes from which epoch to which it has caches, and looks at each number in between when it starts. A recovery's
//! number may be the milliseconds since 1970: the engine would look for years. So its note is made to begin with the newest
//! recovery before the engine reads it. What lies in the caches of the epochs before is not final, and a recovery goes on from
//! what is.

use super::{EngineError, Runtime};
use crate::outline::Outline;
use commonware_consensus::types::Epoch;
use commonware_runtime::Error;
use commonware_storage::metadata::{self, Metadata};

/// What the partitions of the engine's caches and of what it notes of them begin with.
pub(super) const CACHE: &str = "marshal-cache";
/// Where that note stands in its partition, by the engine's numbers.
const NOTED: u8 = 0;
/// The engine's archives of one epoch, and the parts of each.
const ARCHIVES: [&str; 5] = [
    "verified",
    "notarized",
    "certified",
    "notarizations",
    "finalizations",
];
const PARTS: [&str; 3] = ["metadata", "key", "value"];

/// Has the engine's caches begin with the epoch of the newest recovery, if there was one.
pub(super) async fn over_lost_epochs<E: Runtime>(
    context: &E,
    outline: &Outline,
) -> Result<(), EngineError> {
    let epochs = outline.epochs();
    let Some(newest) = epochs.iter().rposition(|epoch| epoch.is_recovery()) else {
        return Ok(());
    };
    let (before, since) = epochs.split_at(newest);
    let Some(first) = since.first().map(|epoch| Epoch::new(epoch.number.get())) else {
        return Ok(());
    };
    let note = Metadata::<_, u8, (Epoch, Epoch)>::init(
        context.child("leap"),
        metadata::Config {
            partition: format!("{CACHE}-metadata"),
            codec_config: ((), ()),
        },
    );
    let note = note.await.map_err(EngineError::store("caches"))?;
    let (floor, ceiling) = note.get(&NOTED).copied().unwrap_or_default();
    if floor >= first {
        return Ok(());
    }
    // Those of a recovery that another one took the place of are in no outline.
    let noted = [floor, ceiling].map(|epoch| epoch.get());
    let noted = noted.into_iter().filter(|epoch| *epoch < first.get());
    for epoch in before.iter().map(|epoch| epoch.number.get()).chain(noted) {
        for archive in ARCHIVES {
            for part in PARTS {
                let cache = format!("{CACHE}-cache-{epoch}-{archive}-{part}");
                match context.remove(&cache, None).await {
                    Ok(()) | Err(Error::PartitionMissing(_)) => {}
                    Err(why) => return Err(EngineError::store("caches")(why)),
                }
            }
        }
    }
    // Last, so that a crash before it has the caches removed again.
    note.put_sync(NOTED, (first, ceiling.max(first)))
        .await
        .map_err(EngineError::store("caches"))?;
    Ok(())
}
