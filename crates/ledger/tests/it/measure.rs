//! What transactions cost, against the work that they count as. Run by hand:
//! `cargo test --release -p kusabi-ledger --test it measure -- --ignored --nocapture`

use std::time::{Duration, Instant};

use kusabi_core::id::{Binding, Digest};
use kusabi_core::row::Topic;
use kusabi_core::suite::{ForeignAlgorithm, Purpose, Suite};
use kusabi_core::tx::{Action, Entry, Transaction};
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_ledger::{Overlay, check, claims, reads, verify, work};

use crate::revocation;

/// RFC 5480, with the base point of P-256 (SEC 2).
const P256_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f2\
    77037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

fn p256_spki() -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    P256_SPKI
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

const STEPS: [&str; 5] = ["decode", "reads", "claims, verify", "check", "apply"];

/// Runs one transaction from its bytes to the rows that it writes, as a validator does with a block of them, and prints
/// what each step takes.
fn measure(name: &str, rounds: u32, world: &World, transaction: &Transaction) {
    let bytes = transaction.as_bytes();
    let context = world.context();
    let mut steps = [Duration::ZERO; 5];
    for round in 0..rounds {
        let mut rng = SeededRng::new(round.into());
        let mut clock = Instant::now();
        let mut lap = |step: &mut Duration| {
            *step += clock.elapsed();
            clock = Instant::now();
        };
        let transaction = Transaction::decode(bytes).unwrap();
        lap(&mut steps[0]);
        assert!(!reads(&transaction).is_empty());
        lap(&mut steps[1]);
        let claims = claims(transaction, &world.chain, &world.state).unwrap();
        let verified = verify(vec![claims], &mut rng).pop().unwrap().unwrap();
        lap(&mut steps[2]);
        let mut state = Overlay::new(&world.state);
        let checked = check(&verified, &context, &state).unwrap();
        lap(&mut steps[3]);
        state.take(checked.apply());
        assert!(!state.into_writes().is_empty());
        lap(&mut steps[4]);
    }
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0 / f64::from(rounds);
    let total = us(steps.into_iter().sum());
    let work = work(transaction);
    println!(
        "{name:34} {total:10.1} µs, work {work:6}: {:5.2} µs each",
        total / work as f64
    );
    for (name, time) in STEPS.into_iter().zip(steps) {
        println!("    {name:20} {:10.1} µs", us(time));
    }
}

fn keys(suite: Suite, count: u64) -> Vec<TestKey> {
    (0..count)
        .map(|number| TestKey::of_suite(suite, 1000 + number, Purpose::App))
        .collect()
}

#[test]
#[ignore = "a measurement, not a test"]
fn what_each_kind_costs() {
    for (name, suite) in [("suite 1", Suite::Curve25519), ("suite 2", Suite::P256)] {
        let mut world = World::open();
        let second = TestKey::of_suite(suite, 5, Purpose::Officer);
        let grant = world.grant(&second);
        world.submit(grant).unwrap();
        let keys = keys(suite, 1024);
        let all: Vec<&TestKey> = keys.iter().collect();
        let register = world.register(&all);
        measure(&format!("register 1,024 of {name}"), 20, &world, &register);
        world.submit(register).unwrap();

        let officers = [&world.officer, &second];
        let revoke = world.sign(revocation(&world, &all), &officers);
        measure(&format!("revoke 1,024 of {name}"), 20, &world, &revoke);

        let new = TestKey::of_suite(suite, 3000, Purpose::App);
        let action = Action::Supersede {
            org: world.org,
            old: world.named(all[0]),
            new: Box::new(world.entry(&new)),
        };
        let supersede = world.sign(action, &[all[0], &new]);
        measure(&format!("supersede, {name}"), 200, &world, &supersede);

        let action = Action::Anchor {
            org: world.org,
            topic: Topic::Evidence,
            digest: Digest::new([7; 32]),
        };
        let anchor = world.sign(action, &[all[0]]);
        measure(&format!("anchor, {name}"), 200, &world, &anchor);
    }
}

#[test]
#[ignore = "a measurement, not a test"]
fn what_foreign_keys_cost() {
    let world = World::open();
    for (name, algorithm, length) in [
        ("foreign RSA of 294 bytes", ForeignAlgorithm::Rsa, 294),
        ("foreign RSA of 2,048 bytes", ForeignAlgorithm::Rsa, 2048),
        ("foreign RSA of 1 byte", ForeignAlgorithm::Rsa, 1),
        ("foreign P-256", ForeignAlgorithm::P256, 91),
    ] {
        let entries = (0..256_u64)
            .map(|number| {
                let key = TestKey::new(1000 + number, Purpose::App);
                let mut spki = vec![1; length];
                if algorithm == ForeignAlgorithm::P256 {
                    spki = p256_spki();
                } else {
                    let number = number.to_be_bytes();
                    let tail = length.min(8);
                    spki[length - tail..].copy_from_slice(&number[8 - tail..]);
                }
                let binding = Binding::new([7; 16]);
                Entry::foreign(key.handle, Purpose::App, algorithm, &spki, binding, None).unwrap()
            })
            .collect();
        let action = Action::Register {
            org: world.org,
            entries,
        };
        let register = world.sign(action, &[&world.writer]);
        measure(&format!("register 256, {name}"), 20, &world, &register);
    }
}
