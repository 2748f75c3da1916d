//! One of four members lies: with its blocks, or with its votes. The others go on, and none of it is final.

use super::{
    Founder,
    consortium::{PATIENCE, Told, agreed, open_for_all, register, start, within},
};
use kusabi_core::{
    id::OrgId,
    row::Reason,
    suite::Purpose,
    tx::{Action, Named},
};
use kusabi_ledger::{
    BLOCK_BYTES_MAX, BLOCK_TXS_MAX, BLOCK_WORK_MAX, BlockError, Rejection, testing::TestKey,
};
use kusabi_node::{
    engine::simulation::{
        consortium::Fleet,
        hostile::{BlockCrime, VoteCrime},
    },
    handle::FinalBlock,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// The one that lies.
const LIAR: usize = 3;
/// Registrations: the liar leads many times meanwhile.
const KEYS: usize = 24;

/// Clients of the honest members are all served; gives the blocks that were made.
async fn served(founder: &Founder, fleet: &Fleet) -> Vec<FinalBlock> {
    let told = Mutex::new(Told::default());
    for number in 0..KEYS {
        let node = fleet.node(number % LIAR).unwrap();
        let registered = within(fleet, PATIENCE, register(founder, &node, &told)).await;
        assert!(registered.flatten().is_some(), "key {number}");
    }
    agreed(founder, fleet, &told).await;
    super::blocks(&fleet.node(0).unwrap()).await
}

/// The blocks that a member led and that are final, and why the others refused blocks.
type Led = (Vec<FinalBlock>, BTreeSet<String>);

/// A ledger whose member 3 makes such blocks.
fn led_by_the_liar(seed: u64, crime: impl FnOnce(&Founder) -> BlockCrime) -> Led {
    led(seed, |founder| Some(crime(founder)))
}

/// The same, where it may also be honest.
fn led(seed: u64, crime: impl FnOnce(&Founder) -> Option<BlockCrime>) -> Led {
    let founder = Founder::of(4);
    let (crime, liar) = (crime(&founder), founder.place(&founder.outline(), LIAR));
    let mut consortium = founder.consortium(seed);
    let out = consortium.run(move |fleet| async move {
        start(&fleet, 0..LIAR).await;
        open_for_all(&founder, &fleet).await;
        match crime {
            Some(crime) => fleet.start_lying(LIAR, crime).await,
            None => fleet.start(LIAR).await,
        }
        (served(&founder, &fleet).await, fleet.refused())
    });
    let (mut led, refused) = out.unwrap();
    led.retain(|block| block.header.leader == liar);
    (led, refused)
}

/// The others show something only if it is so that a member leads.
#[test]
fn who_does_not_lie_leads() {
    for seed in 1..=4 {
        let (led, refused) = self::led(seed, |_| None);
        assert!(
            led.len() > 2 && refused.is_empty(),
            "seed {seed}: {refused:?}"
        );
    }
}

#[test]
fn a_block_with_another_root_is_not_final() {
    let (led, refused) = led_by_the_liar(1, |_| BlockCrime::Root);
    assert_eq!(led, []);
    assert!(refused.contains("its state root is another one"));
}

#[test]
fn a_block_whose_time_or_height_is_wrong_is_not_final() {
    for (crime, said) in [
        (BlockCrime::Future, BlockError::TimeAfter.to_string()),
        (BlockCrime::Past, BlockError::TimeBefore.to_string()),
        (
            BlockCrime::Height,
            "its header is not that of its place".to_owned(),
        ),
    ] {
        let (led, refused) = led_by_the_liar(2, |_| crime.clone());
        assert_eq!(led, [], "{crime:?}");
        assert!(refused.contains(&said), "{crime:?}: {refused:?}");
    }
}

#[test]
fn a_registration_that_nobody_may_make_is_not_final() {
    // A writer that no officer granted, and a writer of one organisation in the name of another.
    for (number, of_another) in [(5_000, false), (5_001, true)] {
        let (led, refused) = led_by_the_liar(3, |founder| {
            let ledger = &founder.ledger;
            let (writer, stranger) = (&ledger.writer, TestKey::new(6_000, Purpose::Writer));
            let key = TestKey::new(number, Purpose::Act);
            let org: OrgId = if of_another {
                ledger.others[0].name.id()
            } else {
                ledger.org
            };
            let action = Action::Register {
                org,
                entries: vec![key.entry(&ledger.chain, &org)],
            };
            let signer = if of_another { writer } else { &stranger };
            let transaction = ledger.sign(action, &[signer]);
            BlockCrime::Transaction(transaction.as_bytes().to_vec())
        });
        assert_eq!(led, []);
        // Its root is that of a state without it, which alone would have it refused, too.
        let rejection = match of_another {
            true => Rejection::ForeignSigner,
            false => Rejection::UnknownSigner,
        };
        let said = |why: &String| why.contains(&rejection.to_string());
        assert!(refused.iter().any(said), "{refused:?}");
    }
}

#[test]
fn a_block_that_is_too_long_or_too_much_work_is_not_final() {
    // More transactions than a block may have: nobody reads it to its end, and nobody executes it.
    let (led, refused) = led_by_the_liar(5, |_| BlockCrime::Copies(vec![0], BLOCK_TXS_MAX + 1));
    assert!(led.iter().all(|block| block.transactions.is_empty()));
    assert_eq!(refused, BTreeSet::new());
    // Few bytes, and more than two seconds of work for each of the others.
    let (led, refused) = led_by_the_liar(6, |founder| {
        let ledger = &founder.ledger;
        let signers: Vec<TestKey> = (7_000..7_016)
            .map(|number| TestKey::new(number, Purpose::Officer))
            .collect();
        let action = Action::Revoke {
            org: ledger.org,
            targets: vec![Named {
                handle: ledger.writer.handle,
                version: 1,
            }],
            reason: Reason::Lost,
            compromised_since: None,
            signers: 16,
        };
        let transaction = ledger.sign(action, &signers.iter().collect::<Vec<_>>());
        // A signature is 50 units (spec/ledger.md, "Work").
        let copies = usize::try_from(BLOCK_WORK_MAX).unwrap() / (16 * 50) + 1;
        let bytes = transaction.as_bytes().to_vec();
        assert!(copies * (bytes.len() + 4) < BLOCK_BYTES_MAX && copies < BLOCK_TXS_MAX);
        BlockCrime::Copies(bytes, copies)
    });
    assert!(led.iter().all(|block| block.transactions.is_empty()));
    let said = BlockError::TooMuchWork.to_string();
    assert!(refused.iter().any(|why| why.contains(&said)), "{refused:?}");
}

#[test]
fn who_leaves_out_what_clients_bring_delays_it_and_no_more() {
    let (led, _) = led_by_the_liar(4, |_| BlockCrime::Censoring);
    assert!(led.iter().all(|block| block.transactions.is_empty()));
}

#[test]
fn whoever_votes_twice_for_both_or_in_anothers_name_changes_nothing() {
    for crime in [
        VoteCrime::Twice,
        VoteCrime::Both,
        VoteCrime::Another,
        VoteCrime::Echo,
    ] {
        for seed in 0..4 {
            let founder = Founder::of(4);
            let told = Arc::new(Mutex::new(Told::default()));
            let mut consortium = founder.consortium(seed);
            let out = consortium.run(move |fleet| async move {
                fleet.start_voting(LIAR, &founder.outline(), crime).await;
                start(&fleet, 0..LIAR).await;
                open_for_all(&founder, &fleet).await;
                for number in 0..KEYS {
                    let node = fleet.node(number % LIAR).unwrap();
                    let registered = register(&founder, &node, &told);
                    let registered = within(&fleet, PATIENCE, registered).await;
                    assert!(registered.flatten().is_some(), "key {number}");
                }
                agreed(&founder, &fleet, &told).await;
                fleet.lies()
            });
            // Three honest members are a quorum without it: it did say something.
            let lies = out.unwrap();
            assert!(lies > 0, "{crime:?}, seed {seed}");
        }
    }
}
