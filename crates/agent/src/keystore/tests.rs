use std::path::Path;

use kusabi_core::id::KusabiId;
use kusabi_core::keystore::{KeyStore as _, Seed};
use kusabi_core::suite::{Purpose, Suite};

use super::*;
use crate::disk::Linux;
use crate::disk::sim::{Dice, Sim};

const PATH: &str = "/state/keys";

fn open(disk: &Sim) -> Result<FileKeyStore<Sim>, FileKeyStoreError> {
    FileKeyStore::open(disk.clone(), Path::new(PATH))
}

fn state<D: Disk>(store: &FileKeyStore<D>) -> Vec<(String, Vec<u8>)> {
    let value = |name: &str| store.value(name).unwrap().to_vec();
    store
        .names()
        .map(|name| (name.to_owned(), value(name)))
        .collect()
}

/// The life of a device's keys: provisioned, activated, many chain values, the factory key wiped, rotated.
fn life() -> Vec<Vec<(String, Option<Vec<u8>>)>> {
    let put = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let mut steps = vec![
        vec![put("pre", &[1; 51]), put("anchor", &[2; 144])],
        vec![put("act.pending", &[3; 51]), put("chain", &[0; 32])],
        vec![
            put("act", &[3; 51]),
            ("pre".to_owned(), None),
            ("act.pending".to_owned(), None),
        ],
    ];
    steps.extend((0..6).map(|i| vec![put("chain", &[i; 32]), put("anchor", &[i; 144])]));
    steps.push(vec![put("act", &[9; 51]), put("counter", &[0, 7])]);
    steps
}

fn commit<D: Disk>(
    store: &mut FileKeyStore<D>,
    step: &[(String, Option<Vec<u8>>)],
) -> Result<(), FileKeyStoreError> {
    let changes: Vec<Change<'_>> = step
        .iter()
        .map(|(name, value)| match value {
            Some(value) => Change::Put(name, value),
            None => Change::Remove(name),
        })
        .collect();
    store.commit(&changes)
}

/// The states after each step, the empty one first.
fn states() -> Vec<Vec<(String, Vec<u8>)>> {
    let disk = Sim::with_dirs(&["/state"]);
    let mut store = open(&disk).unwrap();
    let mut states = vec![state(&store)];
    for step in life() {
        commit(&mut store, &step).unwrap();
        states.push(state(&store));
    }
    states
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_acknowledged() {
    let states = states();
    let operations = {
        let disk = Sim::with_dirs(&["/state"]);
        let mut store = open(&disk).unwrap();
        life()
            .iter()
            .for_each(|step| commit(&mut store, step).unwrap());
        disk.operations()
    };
    let mut cuts = 0;
    for at in 0..operations {
        for seed in 0..30 {
            let disk = Sim::with_dirs(&["/state"]);
            disk.cut_after(at);
            let mut store = open(&disk).unwrap();
            let acknowledged = life()
                .iter()
                .take_while(|step| commit(&mut store, step).is_ok())
                .count();
            assert!(disk.is_cut());
            disk.boot(seed);
            cuts += 1;
            let mut store = open(&disk).unwrap_or_else(|e| panic!("cut at {at}, seed {seed}: {e}"));
            let there = state(&store);
            // All that was acknowledged, or one commit more: the one that the cut interrupted, whole.
            let next = states.get(acknowledged + 1);
            assert!(
                there == states[acknowledged] || Some(&there) == next,
                "cut at {at}, seed {seed}: after {acknowledged} commits there is {there:?}"
            );
            // And life goes on from there, also over a second cut and a third.
            let done = states.iter().rposition(|one| *one == there).unwrap();
            let mut dice = Dice::new(seed);
            for step in &life()[done..] {
                for _ in 0..2 {
                    disk.cut_after(dice.roll(9));
                    let _ = commit(&mut store, step);
                    disk.boot(seed + 1);
                    store = open(&disk).unwrap();
                }
                commit(&mut store, step).unwrap();
            }
            assert_eq!(&state(&store), states.last().unwrap());
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn what_was_removed_is_not_in_the_file_any_more() {
    let disk = Sim::with_dirs(&["/state"]);
    let mut store = open(&disk).unwrap();
    store
        .commit(&[Change::Put("pre", b"the factory key")])
        .unwrap();
    store
        .commit(&[Change::Put("act", b"the device key")])
        .unwrap();
    store.commit(&[Change::Remove("pre")]).unwrap();
    let file = disk.read(Path::new(PATH), 1 << 20).unwrap().unwrap();
    assert!(!file.windows(15).any(|bytes| bytes == b"the factory key"));
    // A value that is replaced, too.
    store
        .commit(&[Change::Put("act", b"the second key")])
        .unwrap();
    let file = disk.read(Path::new(PATH), 1 << 20).unwrap().unwrap();
    assert!(!file.windows(14).any(|bytes| bytes == b"the device key"));
    assert_eq!(disk.tree(Path::new("/state")).len(), 1);
}

#[test]
fn a_full_disk_changes_nothing_and_is_got_over() {
    for free in 0..400 {
        let disk = Sim::with_dirs(&["/state"]);
        let mut store = open(&disk).unwrap();
        store.commit(&[Change::Put("a", &[1; 50])]).unwrap();
        store.commit(&[Change::Put("b", &[2; 50])]).unwrap();
        let before = state(&store);
        disk.free(Some(free));
        let big = [3; 150];
        let done = store.commit(&[Change::Put("c", &big)]).is_ok();
        if !done {
            assert_eq!(state(&store), before);
            // Another one in vain, then there is room again.
            let _ = store.commit(&[Change::Put("d", &big)]);
        }
        disk.free(None);
        store.commit(&[Change::Put("e", b"5")]).unwrap();
        let again = open(&disk).unwrap();
        assert_eq!(state(&again), state(&store), "{free}");
        assert_eq!(again.value("c").is_some(), done);
        assert_eq!(again.value("e"), Some(&b"5"[..]));
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_damage() {
    let disk = Sim::with_dirs(&["/state"]);
    let mut store = open(&disk).unwrap();
    store
        .commit(&[Change::Put("a", &[1; 20]), Change::Put("b", b"")])
        .unwrap();
    let whole = disk.read(Path::new(PATH), 1 << 20).unwrap().unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let disk = disk.copy();
        disk.spoil(Path::new(PATH), |file| change(file));
        matches!(open(&disk), Err(FileKeyStoreError::Damaged { .. }))
    };
    for bit in 0..whole.len() * 8 {
        assert!(
            damaged(&|file| file[bit / 8] ^= 1 << (bit % 8)),
            "bit {bit}"
        );
    }
    for length in 0..whole.len() {
        assert!(damaged(&|file| file.truncate(length)), "cut to {length}");
    }
    assert!(damaged(&|file| file.push(0)));
    assert!(damaged(&|file| file.extend_from_slice(&whole)));
}

#[test]
fn bounds() {
    let disk = Sim::with_dirs(&["/state"]);
    let mut store = open(&disk).unwrap();
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let value = vec![0; VALUE_BYTES_MAX + 1];
    for change in [
        Change::Put("", b"x"),
        Change::Put(&long, b"x"),
        Change::Put("x", &value),
    ] {
        let refused = store.commit(&[Change::Put("a", b"a"), change]);
        assert!(matches!(refused, Err(FileKeyStoreError::TooMuch)));
        assert_eq!(store.names().count(), 0);
    }
    let names: Vec<String> = (0..17).map(|i| format!("value {i}")).collect();
    let results: Vec<bool> = names
        .iter()
        .map(|name| store.commit(&[Change::Put(name, &value[1..])]).is_ok())
        .collect();
    assert_eq!(results.iter().filter(|ok| **ok).count(), 15);
    assert_eq!(state(&open(&disk).unwrap()).len(), 15);
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let disk = Sim::with_dirs(&["/state"]);
    open(&disk)
        .unwrap()
        .commit(&[Change::Put("a", b"a")])
        .unwrap();
    for mode in [0o640, 0o604, 0o620, 0o610, 0o601, 0o644, 0o777] {
        disk.chmod(Path::new(PATH), mode);
        assert!(
            matches!(open(&disk), Err(FileKeyStoreError::Exposed { mode: said, .. }) if said == mode)
        );
    }
    for mode in [0o600, 0o400] {
        disk.chmod(Path::new(PATH), mode);
        open(&disk).unwrap();
    }
}

#[test]
fn on_the_real_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut store = FileKeyStore::open(Linux, &path).unwrap();
    for step in life() {
        commit(&mut store, &step).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(
            state(&FileKeyStore::open(Linux, &path).unwrap()),
            state(&store)
        );
    }
    assert_eq!(&state(&store), states().last().unwrap());
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/null", &path).unwrap();
    assert!(matches!(
        FileKeyStore::open(Linux, &path),
        Err(FileKeyStoreError::NotAFile { .. })
    ));
}

#[test]
fn keys_come_back_as_they_were() {
    let disk = Sim::with_dirs(&["/state"]);
    let mut store = open(&disk).unwrap();
    for suite in [Suite::Curve25519, Suite::P256] {
        let key = DeviceKey::new(
            Purpose::Act,
            suite,
            KusabiId::new([5; 16]),
            Seed::new([6; 32]),
        )
        .unwrap();
        store.commit(&[Change::Put("act", &key.encode())]).unwrap();
        let again = open(&disk).unwrap().key("act").unwrap().unwrap();
        assert_eq!(again.id().expose(), key.id().expose());
        assert_eq!(again.purpose(), Purpose::Act);
        assert_eq!(
            again.soft_key().unwrap().public_keys(),
            key.soft_key().unwrap().public_keys()
        );
        assert!(!format!("{store:?} {again:?}").contains("6, 6"));
    }
    for bytes in [&[][..], &[1], &[0; 51], &[1; 50], &[2; 51]] {
        assert!(DeviceKey::decode(bytes).is_err());
    }
}
