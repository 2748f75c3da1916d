//! What a key of a large registration costs. Run by hand, optimised:
//! `cargo test --release -p kusabi-ledger --test it measure -- --ignored --nocapture`

use std::time::{Duration, Instant};

use kusabi_core::suite::Purpose;
use kusabi_core::tx::Transaction;
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_ledger::{Overlay, check, claims, reads, verify};

const KEYS: u64 = 1024;

#[test]
#[ignore = "a measurement, not a test"]
fn batch_registration() {
    let world = World::open();
    let keys: Vec<TestKey> = (0..KEYS)
        .map(|number| TestKey::new(1000 + number, Purpose::Pre))
        .collect();
    let bytes = world
        .register(&keys.iter().collect::<Vec<_>>())
        .into_bytes();
    let context = world.context();
    let mut steps = [Duration::ZERO; 5];
    const ROUNDS: u32 = 50;
    for round in 0..ROUNDS {
        let mut rng = SeededRng::new(round.into());
        let mut clock = Instant::now();
        let mut lap = |step: &mut Duration| {
            *step += clock.elapsed();
            clock = Instant::now();
        };
        let transaction = Transaction::decode(&bytes).unwrap();
        lap(&mut steps[0]);
        assert_eq!(reads(&transaction).len(), 1024 + 2);
        lap(&mut steps[1]);
        let claims = claims(transaction, &world.chain, &world.state).unwrap();
        let verified = verify(vec![claims], &mut rng).pop().unwrap().unwrap();
        lap(&mut steps[2]);
        let mut state = Overlay::new(&world.state);
        let checked = check(&verified, &context, &state).unwrap();
        lap(&mut steps[3]);
        state.take(checked.apply());
        assert_eq!(state.into_writes().len(), 1024 + 1);
        lap(&mut steps[4]);
    }
    let names = [
        "decode",
        "reads",
        "claims and verify",
        "check",
        "apply and overlay",
    ];
    let per_key =
        |time: Duration| time.as_nanos() as f64 / 1000.0 / f64::from(ROUNDS) / KEYS as f64;
    for (name, time) in names.into_iter().zip(steps) {
        println!("{name:20} {:6.2} µs/key", per_key(time));
    }
    println!(
        "{:20} {:6.2} µs/key",
        "together",
        per_key(steps.into_iter().sum())
    );
}
