//! Four organisations replace their program, one after the other, while clients are at it.

use std::{
    fs,
    time::{Duration, Instant},
};

use kusabi_api::{HttpLedger, Ledger as _};

use crate::{
    apart::Apart,
    consortium::{NAMES, PATIENCE},
    epochs::runtime,
    history::Clients,
    middle::seed,
    partitions::{ALL, CROWD},
};

/// A node that was started again has voted after so long.
const VOTES_AGAIN: Duration = Duration::from_secs(10);

/// The exit code for data of another version of this program.
const OTHER_FORMAT: i32 = 20;

/// Waits until a node shows a certificate above this height with the vote of another one.
fn votes_above(apart: &Apart, at: usize, of: usize, height: u64) {
    let (url, address) = (apart.machines[at].url(), apart.machines[of].peer());
    let seen = apart.clients.spawn(move || {
        let http = HttpLedger::new(&url).unwrap();
        let voted = async {
            loop {
                let votes = http.status().await.unwrap().votes.unwrap();
                let mut all = votes.validators.iter();
                let of = all.find(|of| of.address == address).unwrap();
                if of.newest.is_some_and(|newest| newest > height) {
                    return;
                }
                // That a certificate has come nobody announces.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        runtime().block_on(async { tokio::time::timeout(PATIENCE, voted).await })
    });
    seen.join().unwrap().expect("it votes");
}

#[test]
fn a_new_version_comes_to_one_node_after_the_other_and_nobody_waits_for_it() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let seed = seed();
    let mut apart = Apart::found(&NAMES, 4, seed);
    apart.start(&ALL);
    apart.by(0, "org grant acme/keys/writer.key").ok();
    let clients = Clients::send(&apart.clients, apart.nodes(4), CROWD, seed);
    clients.some(20, &ALL);
    let new = apart.place.path("kusabi-new");
    fs::copy(crate::kusabi(), &new).unwrap();
    for number in ALL {
        let others: Vec<_> = ALL.into_iter().filter(|other| *other != number).collect();
        let stopping = Instant::now();
        apart.node(number).stop();
        let stopped = stopping.elapsed();
        let without = clients.some(20, &others);
        let height = clients.newest();
        // The first two are started from where they were.
        let program = if number < 2 {
            crate::kusabi()
        } else {
            new.clone()
        };
        let starting = Instant::now();
        let node = apart.begin_with(number, program).ready();
        let ready = starting.elapsed();
        apart.runs(number, node);
        votes_above(&apart, others[0], number, height);
        let votes = starting.elapsed();
        println!(
            "{}: ended within {stopped:?}, 20 by the others within {without:?}; ready {ready:?} after its start, its vote in a \
             certificate after {votes:?}",
            NAMES[number]
        );
        assert!(
            votes < VOTES_AGAIN,
            "{} votes after {votes:?}",
            NAMES[number]
        );
        clients.some(4, &[number]);
    }
    // A version that is older than what is on the disk says so, and changes nothing.
    apart.node(3).stop();
    let format = apart.place.path("delta/node/format");
    let present = fs::read_to_string(&format).unwrap();
    fs::write(&format, "kusabi node 99\n").unwrap();
    assert_eq!(
        apart.begin(3).fails(),
        Some(OTHER_FORMAT),
        "{}",
        apart.log(3)
    );
    for said in ["was made by a newer version", "kusabi node 99"] {
        assert!(apart.log(3).contains(said), "{}", apart.log(3));
    }
    fs::write(&format, present).unwrap();
    apart.start(&[3]);
    clients.some(4, &[3]);

    let told = clients.prove(&apart.clients);
    assert!(
        told.acknowledged.len() >= 120,
        "{}",
        told.acknowledged.len()
    );
    apart.stop();
    println!("done after {:?}", started.elapsed());
}
