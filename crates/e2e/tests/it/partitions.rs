//! Four organisations on machines of their own while lines are cut, slow and lossy, and nodes are killed.

use std::time::{Duration, Instant};

use crate::{
    apart::Apart,
    consortium::NAMES,
    history::{Clients, Crowd},
    lines::Line,
    middle::{Chance, seed},
};

/// For so long nothing must happen where nothing may: several turns of leaders, and their timeouts.
const QUIET: Duration = Duration::from_secs(8);

/// Kills; in every fourth round two at once, which leaves no quorum.
const ROUNDS: usize = 8;

pub(crate) const CROWD: Crowd = Crowd {
    writers: 2,
    readers: 3,
    first: 0,
};

pub(crate) const ALL: [usize; 4] = [0, 1, 2, 3];

/// What the lines between two continents are like: 100 ms there and back.
const FAR: Line = Line {
    delay: Duration::from_millis(45),
    jitter: Duration::from_millis(10),
    loss: 15,
    cut: false,
};

/// The first four of these run, acme's writer has its role, and clients are at it.
pub(crate) fn four(orgs: &[&'static str], seed: u64) -> (Apart, Clients) {
    let mut apart = Apart::found(orgs, 4, seed);
    let clients = begin(&mut apart, seed);
    (apart, clients)
}

/// The same with four that were founded.
pub(crate) fn begin(apart: &mut Apart, seed: u64) -> Clients {
    apart.start(&ALL);
    apart.by(0, "org grant acme/keys/writer.key").ok();
    let clients = Clients::send(&apart.clients, apart.nodes(4), CROWD, seed);
    clients.some(20, &ALL);
    clients
}

/// Makes all lines whole.
pub(crate) fn heal(apart: &Apart) {
    apart.lines.set(&ALL, &ALL, Line::default());
}

#[test]
fn lines_that_are_cut_stop_who_is_no_quorum_and_nothing_is_lost() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let (apart, clients) = four(&NAMES, seed());
    println!("four after {:?}", started.elapsed());

    // Two and two: neither side is a quorum.
    apart.lines.part(&[0, 1], &[2, 3]);
    let rests = clients.rest_for(QUIET);
    heal(&apart);
    let took = clients.some(20, &ALL);
    println!("2|2: at rest after {rests:?} and for {QUIET:?}; then 20 within {took:?}");

    // Three go on; the fourth comes after.
    apart.lines.part(&[0, 1, 2], &[3]);
    let took = clients.some(40, &[0, 1, 2]);
    let alone = clients.acknowledged_by(&[3]);
    let more = clients.some(40, &[0, 1, 2]);
    assert_eq!(clients.acknowledged_by(&[3]), alone, "one is no quorum");
    heal(&apart);
    let newest = clients.newest();
    let behind = clients.reaches(3, newest);
    clients.some(4, &[3]);
    println!("3|1: 40 within {took:?}, 40 within {more:?}; the fourth is there after {behind:?}");

    // One that hears everybody and is heard by nobody; then two of whom one does not hear the other.
    let mute = Line {
        cut: true,
        ..Line::default()
    };
    apart.lines.set(&[2], &[0, 1, 3], mute);
    let took = clients.some(40, &[0, 1, 3]);
    heal(&apart);
    let behind = clients.reaches(2, clients.newest());
    println!("unheard: 40 within {took:?}; it is there after {behind:?}");
    apart.lines.set(&[0], &[1], mute);
    let took = clients.some(40, &ALL);
    heal(&apart);
    println!("one way between two: 40 within {took:?}");

    apart.lines.set(&ALL, &ALL, FAR);
    // Those that begin now.
    clients.some(16, &ALL);
    clients.some(80, &ALL);
    let [median, largest] = clients.times(80);
    println!("far: median {median:?}, largest {largest:?} of 80");
    heal(&apart);

    let [carried, lost, cut] = apart.lines.counts();
    println!("packets: {carried} carried, {lost} lost, {cut} cut off");
    assert!(carried > 10_000 && lost > 20 && cut > 100);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 350 && told.found >= 1_000);
    assert!(told.compared >= 4 * told.blocks);
    apart.stop();
    println!("done after {:?}", started.elapsed());
}

#[test]
fn kills_on_slow_and_lossy_lines_lose_nothing() {
    let _alone = crate::fleet::alone();
    let started = Instant::now();
    let seed = seed();
    let mut chance = Chance::new(seed);
    let (mut apart, clients) = four(&NAMES, seed);
    apart.lines.set(&ALL, &ALL, FAR);
    for round in 0..ROUNDS {
        let first = chance.below(4);
        let mut victims = vec![first];
        if round % 4 == 3 {
            victims.push((first + 1 + chance.below(3)) % 4);
        }
        // At another moment of the load in each round.
        clients.some(1 + chance.below(8), &ALL);
        for victim in &victims {
            apart.kill(*victim);
        }
        let others: Vec<_> = ALL.into_iter().filter(|n| !victims.contains(n)).collect();
        let went_on = (others.len() == 3).then(|| clients.some(8, &others));
        let newest = clients.newest();
        let back = Instant::now();
        apart.start(&victims);
        let ready = back.elapsed();
        for victim in &victims {
            clients.reaches(*victim, newest);
        }
        let behind = back.elapsed();
        let took = clients.some(8, &ALL);
        println!(
            "round {round}: {victims:?} killed; went on {went_on:?}, ready {ready:?}, there {behind:?}, 8 within {took:?}"
        );
    }
    heal(&apart);
    let told = clients.prove(&apart.clients);
    assert!(told.acknowledged.len() >= 120 && told.found >= 300);
    assert!(told.compared >= 4 * told.blocks);
    apart.stop();
    println!("done after {:?}", started.elapsed());
}
