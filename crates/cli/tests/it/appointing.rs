//! Officers sign for the present epoch: what a node says of it is verified, and what nobody says a person is told.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::id::Height;

use crate::{
    command::{Place, Ran},
    node::Node,
    proxy::{Proxy, problem},
};

/// A ledger of one organisation, and the appointment that ends its first epoch, not yet signed.
fn drafted() -> (Place, Node) {
    let place = Place::new();
    let node = Node::start(&place);
    node.run(&place, "epoch new --out next.draft").ok();
    (place, node)
}

/// Its officer signs, on a machine of this home, as a node says.
fn sign(place: &Place, home: &str, out: &str, ledger: &str) -> Ran {
    let line = "epoch sign next.draft --profile ledger/profile.toml";
    place.run_at(home, &format!("{line} --out {out} --ledger {ledger}"))
}

/// Waits until a node shows this block.
fn shows(node: &Node, height: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let http = HttpLedger::new(&node.address).unwrap();
    let before = Height::new(height - 1).unwrap();
    let seen = async {
        // The engine begins anew with each epoch, and an answer may be lost then.
        loop {
            if let Ok(mut events) = http.events(before).await
                && let Some(Ok(block)) = events.next().await
            {
                assert!(block.height >= height);
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let seen = async { tokio::time::timeout(PATIENCE, seen).await };
    runtime.block_on(seen).unwrap();
}

#[track_caller]
fn warns(ran: &Ran, words: &str) {
    ran.exits(0);
    assert!(ran.err().contains(words), "{words:?} in {}", ran.err());
}

#[track_caller]
fn refuses(ran: &Ran, code: i32, words: &str) {
    ran.exits(code);
    assert!(ran.err().contains(words), "{words:?} in {}", ran.err());
}

/// Longest time until the epoch has turned.
const PATIENCE: Duration = Duration::from_secs(120);

const NOBODY: &str = "no node could be asked whether epoch 0 is the present one";
const UNSAID: &str = "no validators say that what the node shows is of now";

#[test]
fn an_answer_that_is_refused_is_none_that_could_not_be_had() {
    let (place, node) = drafted();
    let asked = sign(&place, "home", "asked", &node.address);
    asked.ok();
    for words in [NOBODY, UNSAID] {
        assert!(!asked.err().contains(words), "{}", asked.err());
    }

    // Somebody in between forges what the node says.
    for path in ["/v1/state/", "/v1/checkpoint", "/v1/freshness"] {
        let forger = Proxy::before(&node.address, move |asked, mut answer| {
            if asked.starts_with(path)
                && let Some(last) = answer.last_mut()
            {
                *last ^= 1;
            }
            answer
        });
        sign(&place, "home", "forged", &forger.address).exits(6);
        assert!(!place.path("forged").exists());
    }
    // Without receipts it is signed, and a person is told.
    let silent = Proxy::before(&node.address, |asked, answer| {
        if asked.starts_with("/v1/freshness") {
            return problem(503, "unavailable", "too few validators answer");
        }
        answer
    });
    warns(&sign(&place, "home", "unsaid", &silent.address), UNSAID);
    // No node at all: an officer's key may lie where there is none.
    let (address, chain) = (node.address.clone(), node.chain.clone());
    node.stop();
    warns(&sign(&place, "home", "alone", &address), NOBODY);
    // What this machine has verified counts there, and is not passed over when it cannot be read.
    fs::write(place.path("home/anchors").join(chain), "x").unwrap();
    refuses(&sign(&place, "home", "damaged", &address), 17, "is damaged");
    assert!(!place.path("damaged").exists());
}

#[test]
fn an_epoch_that_is_over_is_signed_for_by_nobody_who_has_seen_or_is_told_of_the_next() {
    let (place, node) = drafted();
    // Somebody between another machine and the node keeps what it says in the first epoch.
    let kept = Arc::new(Mutex::new(BTreeMap::<String, Vec<u8>>::new()));
    let replays = Arc::new(AtomicBool::new(false));
    let mute = Arc::new(AtomicBool::new(false));
    let replayer = {
        let (kept, replays, mute) = (kept.clone(), replays.clone(), mute.clone());
        Proxy::before(&node.address, move |path, answer| {
            let path = path.split('?').next().unwrap().to_owned();
            if path == "/v1/freshness" {
                return match mute.load(Ordering::SeqCst) {
                    true => problem(503, "unavailable", "too few validators answer"),
                    false => answer,
                };
            }
            let mut kept = kept.lock().unwrap();
            if replays.load(Ordering::SeqCst) {
                return kept.get(&path).cloned().unwrap_or(answer);
            }
            kept.insert(path, answer.clone());
            answer
        })
    };
    sign(&place, "other", "other.first", &replayer.address).ok();
    replays.store(true, Ordering::SeqCst);

    sign(&place, "home", "next.signed", &node.address).ok();
    let submitted = node.run(&place, "epoch submit next.signed --json").json();
    shows(&node, submitted["last"].as_u64().unwrap() + 1);
    let over = "the appointment ends epoch 0, and the ledger is in epoch 1";
    refuses(&sign(&place, "home", "late", &node.address), 1, over);

    // Whoever shows the other machine the epoch that is over has to keep the validators' word of now from it, and it says so.
    mute.store(true, Ordering::SeqCst);
    warns(&sign(&place, "other", "muted", &replayer.address), UNSAID);
    mute.store(false, Ordering::SeqCst);
    sign(&place, "other", "replayed", &replayer.address).exits(6);
    // What a machine has seen it knows, though no node is there.
    let address = node.address.clone();
    node.stop();
    refuses(&sign(&place, "home", "alone", &address), 1, over);
    for out in ["late", "replayed", "alone"] {
        assert!(!place.path(out).exists(), "{out}");
    }
}
