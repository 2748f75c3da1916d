//! How much the device door takes, through the real router, with the clients on the same cores. Not a test of speed: it prints. Run by
//! hand, in release: `cargo test --release -p kusabi-server --test it load -- --ignored --nocapture --test-threads 1`.

use crate::{
    raw::Told,
    site::{How, Site},
};
use kusabi_core::{
    protocol::{
        frame::AnswerFrame,
        request::{Ask, Poll},
        tripwire::{Link, Value},
    },
    suite::Purpose,
};
use kusabi_ledger::testing::TestKey;
use std::{sync::Arc, time::Instant};

/// Devices; the simulation's ledger holds few rows.
const DEVICES: u64 = 64;
const POLLS: usize = 500;
const HANDSHAKES: usize = 50;

fn poll(hold_secs: u16) -> Ask<'static> {
    Ask::Poll(Poll {
        hold_secs,
        ..Poll::default()
    })
}

fn link(number: u8) -> Link {
    let value = match number {
        0 => Value::ZERO,
        number => Value {
            seq: number.into(),
            tag: [number; 16],
        },
    };
    Link {
        value,
        next_tag: [number + 1; 16],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn load_of_polls_and_of_handshakes_with_a_first_message() {
    let site = Arc::new(Site::of(How::default()).await);
    let keys: Vec<TestKey> = (0..DEVICES)
        .map(|number| TestKey::new(9000 + number, Purpose::Act))
        .collect();
    let all: Vec<&TestKey> = keys.iter().collect();
    site.chain.commit(|world| world.register(&all));
    site.settled().await;
    let keys: Vec<Arc<TestKey>> = keys.into_iter().map(Arc::new).collect();

    // Handshakes, each with the first message that springs the tripwire on disk.
    let began = Instant::now();
    let tasks: Vec<_> = keys
        .iter()
        .map(|key| {
            let (site, key) = (Arc::clone(&site), Arc::clone(key));
            tokio::spawn(async move {
                for round in 0..HANDSHAKES {
                    let mut raw = site.raw_with(&key, link(round as u8)).await;
                    let told = raw.ask(&site.server, poll(0)).await;
                    assert!(matches!(told, Told::Orders(_)), "{told:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = keys.len() * HANDSHAKES;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("handshakes with a first message on disk: {rate:.0}/s");

    // Handshakes alone.
    let began = Instant::now();
    let tasks: Vec<_> = keys
        .iter()
        .map(|key| {
            let (site, key) = (Arc::clone(&site), Arc::clone(key));
            tokio::spawn(async move {
                for _ in 0..HANDSHAKES {
                    site.raw_with(&key, link(0)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("handshakes: {rate:.0}/s");

    // What the server does of them: recorded hellos again, of which every one is answered in full.
    let hellos: Vec<Vec<u8>> = keys.iter().map(|key| site.hello(key)).collect();
    let began = Instant::now();
    let tasks: Vec<_> = hellos
        .into_iter()
        .map(|hello| {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                for _ in 0..HANDSHAKES {
                    let answer = site.server.post(&hello).await;
                    let welcome = AnswerFrame::decode(&answer);
                    assert!(matches!(welcome, Ok(AnswerFrame::Welcome(_))));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("the server's half of handshakes: {rate:.0}/s");

    // Polls in open sessions.
    let mut sessions = Vec::new();
    for key in &keys {
        let mut raw = site.raw_with(key, link(HANDSHAKES as u8)).await;
        let told = raw.ask(&site.server, poll(0)).await;
        assert!(matches!(told, Told::Orders(_)), "{told:?}");
        sessions.push(raw);
    }
    let began = Instant::now();
    let tasks: Vec<_> = sessions
        .into_iter()
        .map(|mut raw| {
            let site = Arc::clone(&site);
            tokio::spawn(async move {
                for _ in 0..POLLS {
                    let told = raw.ask(&site.server, poll(0)).await;
                    assert!(matches!(told, Told::Orders(_)), "{told:?}");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = keys.len() * POLLS;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("polls in open sessions: {rate:.0}/s");
}
