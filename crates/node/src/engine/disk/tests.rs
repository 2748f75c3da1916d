use super::*;
use commonware_runtime::deterministic;

type World = deterministic::Context;

/// Runs on a simulated disk.
fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    deterministic::Runner::default().start(test);
}

/// The disk as a process finds it that begins: what the one before held in memory is gone.
fn begin(world: &World) -> Disk<World> {
    Disk::simulated(world.child("disk"), Arc::default(), Place::default())
}

async fn write(disk: &Disk<World>, partition: &str, name: &[u8], bytes: &[u8]) {
    let (blob, _) = disk.open(partition, name).await.unwrap();
    blob.write_at(0, bytes.to_vec(), WriteOptions::SYNC)
        .await
        .unwrap();
}

async fn read(disk: &Disk<World>, partition: &str, name: &[u8]) -> Vec<u8> {
    let (blob, size) = disk.open(partition, name).await.unwrap();
    let len = usize::try_from(size).unwrap();
    let bytes = blob.read_at(0, len, ReadOptions::default()).await.unwrap();
    bytes.coalesce().as_ref().to_vec()
}

/// Of the partitions that a running node has, small ones.
const SMALL: [&str; 4] = [
    "state-log-metadata",
    "marshal-application-metadata",
    "marshal-cache-cache-3-notarizations-key",
    "marshal-cache-cache-3-finalizations-value",
];

#[test]
fn small_partitions_share_a_file_and_are_as_independent_as_others() {
    run(|world| async move {
        let disk = begin(&world);
        for partition in SMALL {
            let missing = disk.scan(partition).await;
            assert!(matches!(missing, Err(Error::PartitionMissing(_))));
            let missing = disk.remove(partition, None).await;
            assert!(matches!(missing, Err(Error::PartitionMissing(_))));
            write(&disk, partition, b"left", partition.as_bytes()).await;
            write(&disk, partition, b"a longer name than votes have", b"x").await;
        }
        // Blocks, the archive's own notes, and what only begins like a small one stand elsewhere.
        write(&disk, "blocks-metadata", b"left", b"of the archive").await;
        write(
            &disk,
            "marshal-cache-cache-3-notarized-value",
            b"one",
            b"a block",
        )
        .await;
        write(&disk, "state-log-metadata-and-more", b"one", b"other").await;
        assert_eq!(world.scan(NOTES).await.unwrap().len(), 1, "one file");
        for partition in SMALL {
            let elsewhere = world.scan(partition).await;
            assert!(matches!(elsewhere, Err(Error::PartitionMissing(_))));
        }
        let block = world.scan("marshal-cache-cache-3-notarized-value").await;
        assert_eq!(block.unwrap(), [b"one"]);
        let (gone, rest) = (SMALL[0], &SMALL[1..]);
        disk.remove(gone, None).await.unwrap();
        let missing = disk.scan(gone).await;
        assert!(matches!(missing, Err(Error::PartitionMissing(_))));
        disk.remove(rest[0], Some(b"left")).await.unwrap();
        assert_eq!(disk.scan(rest[0]).await.unwrap().len(), 1);
        drop(disk);

        let disk = begin(&world);
        let missing = disk.scan(gone).await;
        assert!(matches!(missing, Err(Error::PartitionMissing(_))));
        assert_eq!(disk.scan(rest[0]).await.unwrap().len(), 1);
        for partition in &rest[1..] {
            assert_eq!(disk.scan(partition).await.unwrap().len(), 2);
            assert_eq!(read(&disk, partition, b"left").await, partition.as_bytes());
        }
    });
}

/// The first file of the notes.
const FIRST: [u8; 8] = [0; 8];

#[test]
fn notes_that_are_lost_are_not_taken_for_none() {
    run(|world| async move {
        let disk = begin(&world);
        open_notes(&disk).await.unwrap();
        write(&disk, SMALL[0], b"left", b"how far the state goes").await;
        write(&disk, "state-log-blobs", b"one", b"the state").await;
        drop(disk);
        let (blob, size) = world.open(NOTES, &FIRST).await.unwrap();
        let changed = vec![0xff; usize::try_from(size).unwrap()];
        let options = WriteOptions::SYNC;
        blob.write_at(0, changed.clone(), options).await.unwrap();
        drop(blob);
        // Also at the second start, and the file stays as it is.
        for _ in 0..2 {
            let disk = begin(&world);
            let lost = open_notes(&disk).await;
            assert!(matches!(lost, Err(EngineError::NotesLost)), "{lost:?}");
            let refused = disk.open(SMALL[1], b"left").await;
            assert!(matches!(refused, Err(Error::PartitionCorrupt(_))));
        }
        let (blob, _) = world.open(NOTES, &FIRST).await.unwrap();
        let now = blob.read_at(0, changed.len(), ReadOptions::default()).await;
        assert_eq!(now.unwrap().coalesce().as_ref(), changed);
        drop(blob);
        // Nor where nothing at all stands in the file, or there is none: it was whole before the state was begun.
        for left in [Some(changed.len()), Some(0), None] {
            world.remove(NOTES, None).await.unwrap();
            if let Some(left) = left {
                let (blob, _) = world.open(NOTES, &FIRST).await.unwrap();
                blob.write_at(0, vec![0; left], options).await.unwrap();
            }
            for _ in 0..2 {
                let lost = open_notes(&begin(&world)).await;
                assert!(
                    matches!(lost, Err(EngineError::NotesLost)),
                    "{left:?} {lost:?}"
                );
            }
        }
        // Without a state nothing was lost: a restored directory has blocks alone.
        world.remove("state-log-blobs", None).await.unwrap();
        write(&begin(&world), "blocks-key", b"one", b"a block").await;
        open_notes(&begin(&world)).await.unwrap();
    });
}

#[test]
fn a_first_start_that_was_broken_off_has_lost_nothing() {
    for written in [0, 4_096] {
        run(|world| async move {
            let (blob, _) = world.open(NOTES, &FIRST).await.unwrap();
            let options = WriteOptions::SYNC;
            blob.write_at(0, vec![0; written], options).await.unwrap();
            drop(blob);
            let disk = begin(&world);
            open_notes(&disk).await.unwrap();
            write(&disk, SMALL[0], b"left", b"x").await;
            drop(disk);
            assert_eq!(read(&begin(&world), SMALL[0], b"left").await, b"x");
            assert_eq!(world.scan(NOTES).await.unwrap().len(), 1);
        });
    }
}
