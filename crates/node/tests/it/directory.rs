//! The node's directory, and backups of it, on a real disk.

use bytes::Bytes;
use kusabi_core::{
    id::{ChainId, StateKey},
    suite::Purpose,
};
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_node::{
    backup::{self, BackupError, BackupReader, BackupWriter, RestoreError},
    directory::{Directory, DirectoryError, NodeKey, VoteKey},
    engine::{self, AuditError},
    handle::{Stop, SubmitError},
    node::{Config, Node, StartError},
    outline::{Outline, OutlineError},
    pool::PoolLimits,
    prepared::Prepared,
};
use std::{fs, path::Path};

fn outline(world: &World) -> Outline {
    Outline::new(
        Bytes::from(world.document.clone()),
        Bytes::copy_from_slice(world.genesis().as_bytes()),
    )
    .unwrap()
}

/// The grant of the writer, made for the state after the genesis transaction.
fn grant(world: &World) -> Vec<u8> {
    let mut at_founding = World::new(1 << 40);
    let genesis = at_founding.genesis();
    at_founding.block(vec![genesis]).unwrap();
    at_founding.grant(&world.writer).as_bytes().to_vec()
}

fn create(path: &Path, world: &World) -> Directory {
    Directory::create(
        path,
        outline(world),
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    )
    .unwrap()
}

#[test]
fn one_process_at_a_time_and_nothing_foreign_is_touched() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    assert!(matches!(
        Directory::open(path),
        Err(DirectoryError::NoLedger(_))
    ));
    let directory = create(path, &world);
    assert!(matches!(
        Directory::open(path),
        Err(DirectoryError::InUse(_))
    ));
    drop(directory);
    let again = Directory::create(
        path,
        outline(&world),
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    );
    assert!(matches!(again, Err(DirectoryError::NotEmpty(_))));
    let other = ChainId::new([9; 32]);
    assert!(matches!(
        Directory::open_for(path, &other),
        Err(DirectoryError::OtherChain { .. })
    ));
    drop(Directory::open_for(path, &world.chain).unwrap());

    for (other, said) in [
        ("kusabi node 1\n", "was made by an older version"),
        ("kusabi node 5\n", "was made by a newer version"),
        ("kusabi node 10\n", "was made by a newer version"),
        ("kusabi node x\n", "was made by another version"),
        ("kusabi other 4\n", "was made by another version"),
    ] {
        fs::write(path.join("format"), other).unwrap();
        let why = Directory::open(path).unwrap_err();
        assert!(matches!(why, DirectoryError::Format { .. }), "{why}");
        let formats = format!(
            "its format is {:?}, and this one reads \"kusabi node 4\"",
            other.trim_end()
        );
        let why = why.to_string();
        assert!(why.contains(said) && why.ends_with(&formats), "{why}");
    }
    for follower in ["kusabi follower 1\n", "kusabi follower 2\n"] {
        fs::write(path.join("format"), follower).unwrap();
        let why = Directory::open(path).unwrap_err();
        assert!(matches!(why, DirectoryError::Follower(_)), "{why}");
    }
    fs::write(path.join("format"), "kusabi node 4\n").unwrap();

    let genesis = fs::read(path.join("genesis.cbor")).unwrap();
    let mut changed = genesis.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(path.join("genesis.cbor"), changed).unwrap();
    assert!(matches!(
        Directory::open(path),
        Err(DirectoryError::Outline {
            error: OutlineError::Genesis(_) | OutlineError::GenesisTransaction,
            ..
        })
    ));
    fs::write(path.join("genesis.cbor"), genesis).unwrap();

    fs::write(path.join("vote.key"), "0000\n").unwrap();
    assert!(matches!(
        Directory::open(path),
        Err(DirectoryError::VoteKey(_))
    ));
    fs::write(path.join("vote.key"), "11".repeat(32)).unwrap();
    let foreign = Node::start(Directory::open(path).unwrap(), Config::default());
    assert!(matches!(
        foreign,
        Err(StartError::Directory(DirectoryError::NotAValidator(_)))
    ));
    fs::remove_file(path.join("vote.key")).unwrap();
    let keyless = Node::start(Directory::open(path).unwrap(), Config::default());
    assert!(matches!(
        keyless,
        Err(StartError::Directory(DirectoryError::NoVoteKey(_)))
    ));
}

#[cfg(unix)]
#[test]
fn the_vote_key_and_the_node_key_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = tempfile::tempdir().unwrap();
    drop(create(place.path(), &World::open()));
    for file in ["vote.key", "node.key"] {
        let mode = fs::metadata(place.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_directory_keeps_its_node_key_and_gets_one_where_there_is_none() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let given = NodeKey::new(world.node_seed);
    let directory = create(path, &world);
    assert_eq!(directory.node_key().public(), given.public());
    assert_eq!(
        (
            directory.outline().newest().nodes.len(),
            directory.outline().newest().nodes[0].key
        ),
        (1, given.public())
    );
    assert_eq!(format!("{given:?}"), "NodeKey");
    drop(directory);
    let open = || Directory::open(path).map(|directory| directory.node_key().public());
    assert_eq!(open().unwrap(), given.public());

    fs::write(path.join("node.key"), "11").unwrap();
    let damaged = open().unwrap_err();
    assert!(matches!(damaged, DirectoryError::NodeKey(_)), "{damaged}");
    assert!(damaged.advice().is_some());

    fs::remove_file(path.join("node.key")).unwrap();
    let new = open().unwrap();
    assert_ne!(new, given.public());
    assert_eq!(open().unwrap(), new, "it is kept");
    assert_eq!(fs::read_to_string(path.join("node.key")).unwrap().len(), 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_that_the_ledger_refuses_does_not_start() {
    let world = World::open();
    let mut unsigned = World::new(1 << 40).genesis().into_bytes();
    // A signature is the end of the transaction.
    *unsigned.last_mut().unwrap() ^= 1;
    let outline = Outline::new(Bytes::from(world.document.clone()), unsigned.into()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::create(
        place.path(),
        outline,
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    )
    .unwrap();
    let refused = Node::start(directory, Config::default());
    assert!(
        matches!(
            refused,
            Err(StartError::Stopped(Stop::Refused(
                engine::EngineError::Opening(_)
            )))
        ),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_audited_and_a_cut_one_is_said_to_be_cut() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let mut node = Node::start(create(&place.path().join("a"), &world), Config::default()).unwrap();
    let handle = node.handle();
    handle.submit(&grant(&world)).unwrap().await.unwrap();
    for n in 0..5 {
        let register = world.register(&[&TestKey::new(100 + n, Purpose::App)]);
        handle.submit(register.as_bytes()).unwrap().await.unwrap();
    }
    let mut writer = BackupWriter::new(Vec::new(), &world.document).unwrap();
    let first = kusabi_core::id::Height::new(1).unwrap();
    let next = backup::export(&handle, first, &mut writer).await.unwrap();
    assert_eq!(Some(next), handle.status().height.and_then(|h| h.next()));
    let whole = writer.finish().unwrap();
    handle.shut_down();
    assert_eq!(node.stopped().await, Stop::Asked);
    node.join();

    // The same from the stopped node.
    let directory = Directory::open(&place.path().join("a")).unwrap();
    let bytes = tokio::task::spawn_blocking(move || {
        let mut writer = BackupWriter::new(Vec::new(), directory.outline().document()).unwrap();
        backup::export_stopped(&directory, &mut writer).unwrap();
        writer.finish().unwrap()
    })
    .await
    .unwrap();
    assert!(bytes.len() >= whole.len() && bytes[..whole.len()] == whole[..]);

    let path = place.path().to_owned();
    let chain = world.chain;
    let audited = outline(&world);
    tokio::task::spawn_blocking(move || {
        let read = |bytes: &[u8]| BackupReader::new(std::io::Cursor::new(bytes.to_vec()));
        let restored =
            backup::restore(&path.join("b"), Some(&chain), read(&whole).unwrap()).unwrap();
        assert_eq!(restored.outline().chain(), &chain);
        let node_key = restored.node_key().public();
        assert!(path.join("b/node.key").exists() && !path.join("b/vote.key").exists());
        assert!(!path.join("b/restoring").exists());
        drop(restored);
        let again = Directory::open(&path.join("b")).unwrap();
        assert_eq!(again.node_key().public(), node_key);
        drop(again);

        let other = backup::restore(&path.join("c"), Some(&ChainId::ZERO), read(&whole).unwrap());
        assert!(matches!(
            other,
            Err(RestoreError::Backup(BackupError::OtherChain { .. }))
        ));
        let cut = backup::restore(
            &path.join("d"),
            None,
            read(&whole[..whole.len() - 1]).unwrap(),
        );
        assert!(cut.is_err());
        assert!(matches!(
            Directory::open(&path.join("d")),
            Err(DirectoryError::NoLedger(_))
        ));
        // The mark was there before the first block.
        assert!(path.join("d/restoring").exists());
        Directory::discard_unfinished(&path.join("d")).unwrap();
        assert!(matches!(
            read(b"something else entirely"),
            Err(BackupError::Magic)
        ));

        let audit = engine::audit(
            &path.join("e"),
            audited.clone(),
            read(&whole).unwrap(),
            |_| {},
        );
        let audit = audit.unwrap();
        assert_eq!(audit.transactions, 7);
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        let audit = engine::audit(&path.join("f"), audited, read(&changed).unwrap(), |_| {});
        assert!(matches!(audit, Err(AuditError::Block(_))), "{audit:?}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_refuses_and_repeats_join() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let config = Config {
        pool: PoolLimits {
            count: 2,
            bytes: 1 << 20,
        },
        ..Config::default()
    };
    let mut node = Node::start(create(place.path(), &world), config).unwrap();
    let handle = node.handle();
    handle.submit(&grant(&world)).unwrap().await.unwrap();
    let registers: Vec<_> = (0..3)
        .map(|n| world.register(&[&TestKey::new(200 + n, Purpose::App)]))
        .collect();
    let one = handle.submit(registers[0].as_bytes()).unwrap();
    let same = handle.submit(registers[0].as_bytes()).unwrap();
    let two = handle.submit(registers[1].as_bytes()).unwrap();
    // Two wait at most, so this one may only find room if one of them is final already.
    let full = handle.submit(registers[2].as_bytes()).err();
    assert!(
        matches!(full, None | Some(SubmitError::Full(_))),
        "{full:?}"
    );
    let (one, same) = (one.await.unwrap(), same.await.unwrap());
    assert_eq!(one, same, "a repeat shares the outcome");
    two.await.unwrap();

    // Final already: the handle is taken, and no block is made to say so.
    let before = handle.status().height;
    let repeat = handle.submit(registers[0].as_bytes()).unwrap().await;
    assert!(matches!(repeat, Err(SubmitError::Refused(_))), "{repeat:?}");
    assert_eq!(handle.status().height, before);
    let absent = StateKey::record(&TestKey::new(999, Purpose::App).handle);
    assert!(!handle.lookup(absent).await.unwrap().is_empty());
    handle.shut_down();
    assert_eq!(node.stopped().await, Stop::Asked);
    let late = handle.submit(registers[2].as_bytes()).err();
    assert_eq!(late, Some(SubmitError::Stopped(Stop::Asked)));
}

#[test]
fn what_an_interrupted_founding_or_restoring_left_is_discarded_and_nothing_else() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("node");
    // Nothing there is nothing to do.
    Directory::discard_unfinished(&path).unwrap();
    assert!(!path.exists());

    // A founding that ended before its last file.
    drop(create(&path, &world));
    fs::remove_file(path.join("format")).unwrap();
    fs::write(path.join("format.new"), "kus").unwrap();
    fs::write(path.join("genesis.new"), "").unwrap();
    fs::write(path.join("node.new"), "12").unwrap();
    Directory::discard_unfinished(&path).unwrap();
    assert_eq!(fs::read_dir(&path).unwrap().count(), 0);

    // A restoring that ended in the middle of its blocks, or of the small files, or of clearing up.
    for files in [
        &["engine/blocks/0", "node.lock", "restoring"][..],
        &[
            "engine/blocks/0",
            "genesis.cbor",
            "epoch-1.cbor",
            "epoch-2.new",
            "restoring",
        ],
        &["node.key", "format.new", "restoring"],
        &["restoring.new"],
    ] {
        for file in files {
            fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            fs::write(path.join(file), "x").unwrap();
        }
        Directory::discard_unfinished(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "{files:?}");
    }

    // The engine's files without the mark are those of a ledger that lost its small files, and beside a vote key those of a
    // validator; a format file is a ledger's, and a photograph is somebody's.
    for files in [
        ["engine/blocks", "node.lock"],
        ["engine/blocks", "genesis.cbor"],
        ["engine/blocks", "vote.key"],
        ["restoring", "vote.key"],
        ["restoring", "format"],
        ["restoring", "epoch-01.cbor"],
        ["photo.jpg", "genesis.cbor"],
    ] {
        for file in files {
            fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            fs::write(path.join(file), "x").unwrap();
        }
        assert!(
            matches!(
                Directory::discard_unfinished(&path),
                Err(DirectoryError::NotEmpty(_))
            ),
            "{files:?}"
        );
        assert!(files.iter().all(|file| path.join(file).exists()));
        fs::remove_dir_all(&path).unwrap();
    }

    // Between the last two steps of a restoring it is a ledger already.
    drop(create(&path, &world));
    fs::write(path.join("restoring"), "x").unwrap();
    assert!(Directory::discard_unfinished(&path).is_err());
    drop(Directory::open(&path).unwrap());
    assert!(!path.join("restoring").exists());
    fs::remove_dir_all(&path).unwrap();

    drop(create(&path, &world));
    assert!(Directory::discard_unfinished(&path).is_err());
    drop(Directory::open(&path).unwrap());
}

#[test]
fn errors_say_what_to_do_apart_from_what_happened() {
    let in_use = DirectoryError::InUse("/srv/a: b".into());
    assert_eq!(in_use.to_string(), "/srv/a: b is in use by another process");
    assert_eq!(in_use.advice(), Some("stop that one first"));
    let storage = Stop::Storage("reading the state: Io(EIO)".into());
    assert_eq!(
        storage.to_string(),
        "storage failed (reading the state: Io(EIO))"
    );
    assert!(storage.advice(true).unwrap().starts_with("check the disk"));
    let lost = Stop::Refused(engine::EngineError::VotesLost(3));
    assert_eq!(
        lost.to_string(),
        "this validator has voted in epoch 3, but its votes are gone from the disk"
    );
    assert_eq!(
        lost.advice(true),
        Some("recover the ledger with a new vote key")
    );
    // A recovery by one is no way where others run the ledger.
    let among_others = lost.advice(false).unwrap();
    assert!(among_others.starts_with("leave this node stopped"));
    assert!(!among_others.contains("recover"), "{among_others}");
}

#[test]
fn others_know_a_node_by_its_key_and_no_new_one_is_made() {
    let world = World::open_of(4);
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    drop(create(path, &world));
    let file = path.join("node.key");
    let key = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let missing = Directory::open(path).unwrap_err();
    assert!(matches!(missing, DirectoryError::NoNodeKey(_)), "{missing}");
    assert!(missing.to_string().contains("node.key is missing"));
    assert!(missing.advice().unwrap().starts_with("bring the file back"));
    assert!(!file.exists());
    fs::write(&file, key).unwrap();
    let open = Directory::open(path).unwrap();
    let given = NodeKey::new(world.node_seed);
    assert_eq!(open.node_key().public(), given.public());
}

#[test]
fn keys_wait_for_their_ledger_and_are_its_own_then() {
    let world = World::open();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("node");
    let publics = |prepared: &Prepared| {
        let (vote, node) = (prepared.vote_key(), prepared.node_key());
        (vote.public(), node.public())
    };
    assert!(!Prepared::is_at(&path));
    let prepared = Prepared::open_or_make(&path).unwrap();
    let made = publics(&prepared);
    assert_ne!(made.0, made.1);
    assert!(matches!(
        Prepared::open_or_make(&path),
        Err(DirectoryError::InUse(_))
    ));
    drop(prepared);
    assert!(Prepared::is_at(&path));
    // It is no interrupted founding, whose keys can be made again.
    assert!(matches!(
        Directory::discard_unfinished(&path),
        Err(DirectoryError::NotEmpty(_))
    ));
    assert!(matches!(
        Directory::open(&path),
        Err(DirectoryError::NoLedger(_))
    ));
    // Interrupted before its second key, it makes that one.
    fs::remove_file(path.join("node.key")).unwrap();
    fs::write(path.join("node.new"), "12").unwrap();
    let again = Prepared::open_or_make(&path).unwrap();
    assert_eq!(again.vote_key().public(), made.0);
    assert_ne!(again.node_key().public(), made.1);

    // A ledger of others is not what they waited for.
    assert!(matches!(
        again.found(outline(&world)),
        Err(DirectoryError::NotAValidator(_))
    ));
    assert!(Prepared::is_at(&path));
    let seed = |name: &str, seed: [u8; 32]| {
        let digits: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(path.join(name), digits).unwrap();
    };
    seed("vote.key", world.vote_seed);
    seed("node.key", world.node_seed);
    // As a founding that was interrupted leaves it.
    fs::write(path.join("genesis.cbor"), "x").unwrap();
    let founded = Prepared::open_or_make(&path)
        .unwrap()
        .found(outline(&world))
        .unwrap();
    assert_eq!(
        founded.node_key().public(),
        NodeKey::new(world.node_seed).public()
    );
    drop(founded);
    assert!(!Prepared::is_at(&path) && !path.join("waiting").exists());
    assert!(matches!(
        Prepared::open_or_make(&path),
        Err(DirectoryError::NotEmpty(_))
    ));
    drop(Directory::open(&path).unwrap());
}

#[test]
fn a_founding_is_checked_by_all_of_the_ledgers_rules() {
    let world = World::new(1 << 40);
    let mut rng = SeededRng::default();
    let good = outline(&world);
    assert_eq!(good.check_founding(&mut rng), Ok(()));
    let mut unsigned = world.genesis().into_bytes();
    *unsigned.last_mut().unwrap() ^= 1;
    let bad = Outline::new(world.document.into(), unsigned.into()).unwrap();
    assert!(matches!(
        bad.check_founding(&mut rng),
        Err(OutlineError::Refused(_))
    ));
}
