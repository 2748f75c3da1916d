//! A validator's keys without its directory, on an old copy of it, or on two machines at once.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    apart::Apart,
    consortium::NAMES,
    middle::seed,
    partitions::{ALL, begin},
};

/// The exit code for a key whose votes are not all in this directory.
const VOTES_LOST: i32 = 18;

/// While a second machine runs with a validator's keys.
const BESIDE: Duration = Duration::from_secs(5);

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Puts the copy in the place of delta's directory.
fn put(apart: &Apart, copied: &str) {
    fs::remove_dir_all(apart.place.path("delta")).unwrap();
    copy(&apart.place.path(copied), &apart.place.path("delta"));
}

#[test]
fn a_validators_key_votes_from_one_directory_only() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    // The fifth machine has no member: delta's keys come there.
    let orgs = [NAMES[0], NAMES[1], NAMES[2], NAMES[3], "elsewhere"];
    let seed = seed();
    let mut apart = Apart::found(&orgs, 4, seed);
    copy(&apart.place.path("delta"), &apart.place.path("founding"));
    let clients = begin(&mut apart, seed);
    apart.kill(3);
    copy(&apart.place.path("delta"), &apart.place.path("old"));
    apart.start(&[3]);
    clients.some(20, &ALL);

    // Two machines with one directory: the others go on with either, and nothing is lost.
    apart.kill(3);
    copy(&apart.place.path("delta"), &apart.place.path("elsewhere"));
    apart.start(&[3]);
    clients.some(10, &ALL);
    let second = apart.begin(4);
    let until = Instant::now() + BESIDE;
    while Instant::now() < until {
        clients.some(4, &[0, 1, 2]);
    }
    // Once the first is gone, the second hears of votes that are not in its directory.
    apart.kill(3);
    assert_eq!(second.ended(), Some(VOTES_LOST), "{}", apart.log(4));
    let said = "has cast votes in epoch 0 of which this directory knows nothing";
    assert!(apart.log(4).contains(said), "{}", apart.log(4));
    println!("two machines after {:?}", started.elapsed());

    // The directory that is whole goes on.
    apart.start(&[3]);
    clients.some(10, &ALL);
    apart.kill(3);
    copy(&apart.place.path("delta"), &apart.place.path("whole"));
    clients.some(10, &[0, 1, 2]);

    // As it was before the first start, with nothing but its keys and the founding's file; then the copy of yesterday.
    for copied in ["founding", "old"] {
        put(&apart, copied);
        let before = apart.log(3).len();
        assert_eq!(apart.begin(3).ended(), Some(VOTES_LOST), "{}", apart.log(3));
        let log = apart.log(3);
        assert!(log[before..].contains(said), "{copied}: {log}");
        clients.some(10, &[0, 1, 2]);
    }
    put(&apart, "whole");
    apart.start(&[3]);
    clients.some(4, &[3]);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 50);
    apart.stop();
    println!("done after {:?}", started.elapsed());
}
