use super::{
    super::{Disk, Place},
    *,
};
use commonware_runtime::{Runner as _, Storage as _, Supervisor as _, deterministic};
use futures::future::join_all;
use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

type World = deterministic::Context;
type Book = Arc<Notebook<World>>;

const PARTITION: &str = "votes-0";
const SYNC: WriteOptions = WriteOptions::SYNC;
const VERSION: RangeInclusive<BlobVersion> = BlobVersion::new(0)..=BlobVersion::new(0);

/// What a notebook holds.
type State = BTreeMap<Name, Vec<u8>>;

fn state(memory: &Memory) -> State {
    let blobs = memory.blobs.iter();
    blobs
        .map(|(name, entry)| (name.clone(), guard(&entry.bytes).clone()))
        .collect()
}

fn state_of(book: &Book) -> State {
    state(&guard(&book.memory))
}

async fn begin(world: &World) -> Book {
    let world = world.child("notebook");
    Arc::new(
        Notebook::open(world, PARTITION, Unreadable::BeginAnew)
            .await
            .unwrap(),
    )
}

fn open(book: &Book, name: &[u8]) -> Note<World> {
    book.open_blob(name, &VERSION).unwrap().0
}

async fn write(note: &Note<World>, offset: u64, bytes: &[u8]) {
    let options = WriteOptions::default();
    note.write_at(offset, bytes.to_vec().into(), options)
        .await
        .unwrap();
}

/// Bytes of the file that are in use.
async fn used(book: &Book) -> usize {
    book.file.lock().await.used
}

/// The one file that counts: its number and its bytes.
async fn file(world: &World, book: &Book) -> (u64, Vec<u8>) {
    let numbers = numbers(world, PARTITION).await.unwrap();
    assert_eq!(numbers.len(), 1, "one file counts");
    let pages = book.file.lock().await;
    let read = pages.blob.read_at(0, pages.room, ReadOptions::default());
    (numbers[0], read.await.unwrap().coalesce().as_ref().to_vec())
}

/// What a notebook holds that finds these files.
async fn found(world: &World, files: &[(u64, &[u8])]) -> State {
    let _ = world.remove(PARTITION, None).await;
    for (number, bytes) in files {
        let (blob, _) = world.open(PARTITION, &name(*number)).await.unwrap();
        let options = WriteOptions::SYNC;
        blob.write_at(0, bytes.to_vec(), options).await.unwrap();
    }
    let book = begin(world).await;
    let last = files.last().unwrap().0;
    let left = numbers(world, PARTITION).await.unwrap();
    let state = state_of(&book);
    if state.is_empty() {
        assert_eq!(left.len(), files.len() + 1, "what cannot be read stays");
    } else {
        assert_eq!(left, [last + 1]);
    }
    state
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    deterministic::Runner::default().start(test);
}

/// A small generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (z ^ (z >> 31)) % (range.end - range.start)
    }
}

/// One change of a kind that the engine makes.
async fn change(book: &Book, random: &mut Random) {
    let name = random.below(0..4).to_be_bytes();
    let exists = book.scan().contains(&name.to_vec());
    match random.below(0..10) {
        0 if exists => book.remove(Some(&name)).unwrap(),
        1 if exists => open(book, &name).resize(random.below(0..300)).unwrap(),
        _ => {
            let bytes = vec![u8::try_from(random.below(1..256)).unwrap(); 40];
            write(&open(book, &name), random.below(0..300), &bytes).await;
        }
    }
}

#[test]
fn a_cut_anywhere_leaves_what_was_synchronised_and_nothing_out_of_order() {
    run(|world| async move {
        for seed in 0..4 {
            let mut random = Random(seed);
            let _ = world.remove(PARTITION, None).await;
            let book = begin(&world).await;
            // All states there were, and for each synchronisation the file's length and the state that it promised.
            let mut states = vec![state_of(&book)];
            let mut promised = vec![(used(&book).await, 0)];
            for step in 0..60 {
                let before = states.last().unwrap().clone();
                change(&book, &mut random).await;
                let now = state_of(&book);
                if let Some(made) = now.keys().find(|name| !before.contains_key(*name)) {
                    // Making a blob and writing it are two changes: in between it was there, empty.
                    let mut between = before;
                    between.insert(made.clone(), Vec::new());
                    states.push(between);
                }
                states.push(now);
                if step == 59 || random.below(0..4) == 0 {
                    book.sync().await.unwrap();
                    promised.push((used(&book).await, states.len() - 1));
                }
            }
            let (_, file) = file(&world, &book).await;
            for cut in promised[0].0..=promised.last().unwrap().0 {
                let mut torn = file.clone();
                torn[cut..].fill(0);
                let recovered = state(&read(&torn).expect("it was begun"));
                let (_, least) = promised.iter().rfind(|(used, _)| *used <= cut).unwrap();
                assert!(
                    states[*least..].contains(&recovered),
                    "seed {seed}, cut at {cut}: {recovered:?} after state {least}"
                );
            }
        }
    });
}

#[test]
fn what_stands_behind_a_torn_entry_never_comes_back() {
    run(|world| async move {
        let book = begin(&world).await;
        let begun = used(&book).await;
        let note = open(&book, b"view");
        write(&note, 0, b"first").await;
        note.sync().await.unwrap();
        let first = used(&book).await;
        write(&note, 0, b"other").await;
        note.sync().await.unwrap();
        let end = used(&book).await;
        let (_, file) = file(&world, &book).await;
        for at in begun..end {
            let mut torn = file.clone();
            torn[at] ^= 0x10;
            let recovered = state(&read(&torn).unwrap());
            let bytes = recovered.get(&b"view"[..]);
            if at < first {
                assert!(bytes.is_none_or(Vec::is_empty), "flipped at {at}");
            } else {
                assert_eq!(bytes.unwrap(), b"first", "flipped at {at}");
            }
        }
    });
}

#[test]
fn a_full_file_gives_way_to_a_new_one_and_a_cut_in_between_loses_nothing() {
    run(|world| async move {
        let book = begin(&world).await;
        let kept = open(&book, b"kept");
        write(&kept, 0, b"a vote").await;
        kept.sync().await.unwrap();
        let other = open(&book, b"other");
        let (first, mut before) = file(&world, &book).await;
        let mut rounds = 0;
        let after = loop {
            write(&other, 0, &vec![7; 100_000]).await;
            other.sync().await.unwrap();
            let (number, bytes) = file(&world, &book).await;
            if number != first {
                assert_eq!(number, first + 1);
                break bytes;
            }
            before = bytes;
            rounds += 1;
            assert!(rounds < 100, "the file grows without end");
        };
        assert!(rounds > 5, "there is room for some");
        let (now, used) = (state_of(&book), used(&book).await);
        assert!(used < ROOM / 2, "only what is alive was copied");
        drop((kept, other, book));

        // The old one is there still, the new one whole: the new one counts, and the old one goes.
        let both: &[(u64, &[u8])] = &[(first, &before), (first + 1, &after)];
        assert_eq!(found(&world, both).await, now);
        // The new one is not whole: the old one counts.
        for cut in (0..used).step_by(9_973) {
            let both: &[(u64, &[u8])] = &[(first, &before), (first + 1, &after[..cut])];
            assert_eq!(found(&world, both).await, now, "cut at {cut}");
        }
        // None is: it holds nothing, and a node that has voted does not go on (`start`).
        let none: &[(u64, &[u8])] = &[(first, &before[1..]), (first + 1, &after[1..])];
        assert!(found(&world, none).await.is_empty());
    });
}

#[test]
fn who_writes_while_a_synchronisation_is_under_way_shares_the_next_with_all_who_do() {
    run(|world| async move {
        let slow = Arc::new(AtomicU64::new(20));
        let disk = Disk::simulated(world.child("disk"), slow, Place::default());
        let shared = disk.shared.clone();
        let synchronised = || shared.slow.as_ref().unwrap().count.load(Ordering::Relaxed);
        let book = Notebook::open(disk, "book", Unreadable::RefuseDamaged).await;
        let book = Arc::new(book.unwrap());
        let notes: Vec<_> = (0..8)
            .map(|name| book.open_blob(&[name], &VERSION).unwrap().0)
            .collect();
        let write = |note, bytes: &[u8]| Note::write_at(note, 0, bytes.to_vec().into(), SYNC);
        let before = synchronised();
        for written in join_all(notes.iter().map(|note| write(note, b"one"))).await {
            written.unwrap();
        }
        assert_eq!(
            synchronised() - before,
            2,
            "the first, and the seven that came meanwhile"
        );
        // Nobody waits for others that may come.
        for note in &notes {
            write(note, b"two").await.unwrap();
        }
        assert_eq!(synchronised() - before, 2 + 8);
        write(&notes[0], b"six").await.unwrap();
        let whole = state(&guard(&book.memory));
        drop((notes, book));
        let again = Notebook::open(world, "book", Unreadable::Refuse).await;
        assert_eq!(state(&guard(&again.unwrap().memory)), whole);
    });
}

#[test]
fn blobs_are_as_independent_as_files() {
    run(|world| async move {
        let book = begin(&world).await;
        let note = open(&book, b"view");
        let twice = book.open_blob(b"view", &VERSION);
        assert!(matches!(twice, Err(Error::BlobAlreadyOpen(..))));
        write(&note, 2, b"ab").await;
        let read = |note: &Note<World>, offset, len| {
            let bytes = note.read(offset, len)?;
            Ok::<_, Error>(bytes.coalesce().as_ref().to_vec())
        };
        assert_eq!(read(&note, 0, 4).unwrap(), [0, 0, b'a', b'b']);
        read(&note, 1, 4).expect_err("beyond the end");
        read(&note, u64::MAX, 1).unwrap_err();
        book.remove(Some(b"view")).unwrap();
        assert_eq!(read(&note, 2, 2).unwrap(), b"ab", "readable after removal");
        let again = open(&book, b"view");
        read(&again, 0, 1).expect_err("made anew it is empty");
        let late = note.write_at(0, vec![1].into(), WriteOptions::default());
        late.await
            .expect_err("the removed one does not write into the new one");
        let long = book.open_blob(&[b'x'; 256], &VERSION);
        assert!(matches!(long, Err(Error::BlobOpenFailed(..))));
        let nobody = book.remove(Some(b"nobody"));
        assert!(matches!(nobody, Err(Error::BlobMissing(..))));
        drop((note, again));
        book.remove(None).unwrap();
        assert!(book.scan().is_empty());
        drop(open(&book, b"view"));
        let newer = BlobVersion::new(1)..=BlobVersion::new(1);
        let newer = book.open_blob(b"view", &newer);
        assert!(matches!(newer, Err(Error::BlobVersionMismatch { .. })));
    });
}

#[test]
fn after_a_failed_synchronisation_there_is_no_second_try() {
    use commonware_runtime::deterministic::{FaultConfig, PartialWriteMode, WriteConfig};
    run(|world| async move {
        let book = begin(&world).await;
        let note = open(&book, b"view");
        write(&note, 0, b"a vote").await;
        let config = world.storage_fault_config();
        let failing = WriteConfig {
            failure_rate: commonware_utils::probability!(1.0),
            retention_rate: commonware_utils::probability!(0.5),
            mode: PartialWriteMode::Subset,
        };
        *config.write() = FaultConfig::default().write(failing);
        note.sync().await.unwrap_err();
        *config.write() = FaultConfig::default();
        note.sync()
            .await
            .expect_err("nobody knows what the file holds");
        write(&note, 0, b"another").await;
        note.sync().await.expect_err("for good");
    });
}
