//! Disks that are full or slow, among several organisations.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    apart::Apart,
    consortium::NAMES,
    history::Clients,
    middle::seed,
    partitions::{ALL, CROWD},
};

/// The exit code that says so.
const DISK_FULL: i32 = 14;

/// Enough for a node with this test's blocks, and filled in no time.
const SMALL_MIB: usize = 96;

#[test]
fn a_full_disk_stops_its_node_and_nobody_else() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let seed = seed();
    let mut apart = Apart::found(&NAMES, 4, seed);
    apart.move_to_volume(3, SMALL_MIB);
    apart.start(&ALL);
    apart.by(0, "org grant acme/keys/writer.key").ok();
    let clients = Clients::send(&apart.clients, apart.nodes(4), CROWD, seed);
    clients.some(20, &ALL);
    clients.some(4, &[3]);

    let filled = apart.volume(3).fill();
    let full = Instant::now();
    // It says so, and ends: what it cannot write down it must not sign.
    assert_eq!(apart.node(3).ended(), Some(DISK_FULL), "{}", apart.log(3));
    let ended = full.elapsed();
    assert!(
        apart.log(3).contains("the disk is full"),
        "{}",
        apart.log(3)
    );
    let last = clients.acknowledged_by(&[3]);
    let took = clients.some(40, &[0, 1, 2]);
    println!(
        "{filled} bytes filled the disk; the node ended after {ended:?}, 40 by others within {took:?}"
    );
    // Started again while there is no room, it says the same.
    assert_eq!(apart.begin(3).fails(), Some(DISK_FULL), "{}", apart.log(3));
    clients.some(10, &[0, 1, 2]);
    assert_eq!(clients.acknowledged_by(&[3]), last);

    apart.volume(3).clear();
    let newest = clients.newest();
    apart.start(&[3]);
    clients.reaches(3, newest);
    clients.some(4, &[3]);
    // And its vote counts: without it the others are no quorum.
    apart.kill(2);
    clients.some(10, &[0, 1, 3]);
    apart.start(&[2]);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 80 && told.found >= 100);
    apart.stop();
    println!("done after {:?}", started.elapsed());
}

/// How long a slow disk takes for each time that something is put on it.
const SLOW: Duration = Duration::from_millis(200);

#[test]
fn a_slow_disk_costs_its_own_turns_and_nothing_that_was_acknowledged() {
    let strace = Command::new("strace").arg("--version").output();
    assert!(
        strace.is_ok(),
        "this test slows a disk down with strace, which is not here: apt install strace"
    );
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let seed = seed();
    let mut apart = Apart::found(&NAMES, 4, seed);
    apart.start(&ALL);
    apart.by(0, "org grant acme/keys/writer.key").ok();
    let clients = Clients::send(&apart.clients, apart.nodes(4), CROWD, seed);
    clients.some(40, &ALL);
    let fast = [0, 1, 2];
    let before = clients.some(100, &fast);

    apart.node(3).stop();
    apart.slow_down(3, SLOW);
    apart.start(&[3]);
    clients.some(1, &[3]);
    let with_it = clients.some(100, &fast);
    let [median, longest] = clients.times(100);
    // It is behind for as long as blocks come faster than it can put them on its disk, and says so, or it keeps up.
    let newest = clients.newest();
    let behind = clients.reaches(3, newest);
    let served = clients.some(4, &[3]);
    // How long that takes is a matter of the machine: each fourth turn is the slow node's.
    println!(
        "100 by the others within {before:?}, and beside a node whose disk takes {SLOW:?} within {with_it:?} (each {median:?}, at \
         most {longest:?}); it came to their newest block after {behind:?}, 4 of its own within {served:?}"
    );
    // Killed while it writes slowly, it has lost nothing, and with a fast disk it is as the others.
    apart.kill(3);
    clients.some(20, &fast);
    apart.speed_up(3);
    apart.start(&[3]);
    clients.some(4, &[3]);
    let told = clients.prove(&apart.clients);
    assert!(
        told.acknowledged.len() >= 250,
        "{}",
        told.acknowledged.len()
    );
    apart.stop();
    println!("done after {:?}", started.elapsed());
}
