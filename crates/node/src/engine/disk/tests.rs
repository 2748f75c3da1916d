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

/// The partitions that a running node has, as far as they are small.
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
        // What is not small, or begins like another's name, stands elsewhere.
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
        // A removal touches no disk; the next synchronisation brings it there.
        write(&disk, rest[1], b"left", rest[1].as_bytes()).await;
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

#[test]
fn notes_that_cannot_be_read_are_not_taken_for_none() {
    run(|world| async move {
        write(&begin(&world), SMALL[0], b"left", b"how far the state goes").await;
        let file = world.scan(NOTES).await.unwrap().remove(0);
        let (blob, _) = world.open(NOTES, &file).await.unwrap();
        blob.write_at(0, vec![0xff; 64], WriteOptions::SYNC)
            .await
            .unwrap();
        drop(blob);
        // Also at the second start: it stays as it is.
        for _ in 0..2 {
            let disk = begin(&world);
            for partition in SMALL {
                let refused = disk.scan(partition).await;
                assert!(matches!(refused, Err(Error::PartitionCorrupt(_))));
                let refused = disk.open(partition, b"left").await;
                assert!(matches!(refused, Err(Error::PartitionCorrupt(_))));
            }
        }
    });
}
