//! The ledger's rules, driven through the crate's public interface.
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in tests, but does not take functions that tests share for such"
)]

mod blocks;
mod epochs;
mod founding;
mod governance;
mod keys;
mod measure;
mod model;
mod releases;
mod revoke;
mod roles;
mod signatures;
mod transfer;

use std::cell::RefCell;
use std::collections::BTreeSet;

use kusabi_core::id::StateKey;
use kusabi_core::row::RowBytes;
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Transaction};
use kusabi_ledger::testing::{SeededRng, TestKey, World};
use kusabi_ledger::{
    BlockError, Rejection, State, Write, check, claims, reads, signer_reads, verify,
};

/// A state that remembers which rows it was asked for.
struct Watched<'a> {
    state: &'a dyn State,
    asked: RefCell<BTreeSet<StateKey>>,
}

impl State for Watched<'_> {
    fn row(&self, key: &StateKey) -> Option<RowBytes> {
        self.asked.borrow_mut().insert(*key);
        self.state.row(key)
    }
}

/// Checks a transaction in the next block, and that it asks for no row but those it says; changes nothing.
fn verdict(world: &World, transaction: &Transaction) -> Result<(), Rejection> {
    let watched = Watched {
        state: &world.state,
        asked: RefCell::default(),
    };
    let verdict = (|| {
        let claims = claims(transaction.clone(), &world.chain, &watched);
        let announced: BTreeSet<_> = signer_reads(transaction).into_iter().collect();
        assert!(
            watched.asked.borrow().is_subset(&announced),
            "claims asks for the signers only"
        );
        let claims = claims?;
        let verified = verify(vec![claims], &mut SeededRng::new(7))
            .pop()
            .unwrap()?;
        let first = check(&verified, &world.context(), &watched)?.apply();
        let again = check(&verified, &world.context(), &watched)?.apply();
        assert_eq!(first, again, "the same every time");
        let keys: BTreeSet<_> = first.iter().map(|write| write.key).collect();
        assert_eq!(keys.len(), first.len(), "each key is written once");
        let announced: BTreeSet<_> = reads(transaction).into_iter().collect();
        assert!(keys.is_subset(&announced), "what is written was read");
        Ok(())
    })();
    let announced: BTreeSet<_> = reads(transaction).into_iter().collect();
    assert!(
        watched.asked.borrow().is_subset(&announced),
        "rows were asked for that `reads` does not name"
    );
    verdict
}

#[track_caller]
fn accept(world: &mut World, transaction: Transaction) -> Vec<Write> {
    assert_eq!(verdict(world, &transaction), Ok(()));
    let writes = world.submit(transaction.clone()).unwrap();
    let replayed = verdict(world, &transaction);
    assert!(replayed.is_err(), "a replay is refused by state alone");
    writes
}

/// It is refused by this rule, alone and in a block, and nothing changes.
#[track_caller]
fn refuse(world: &mut World, transaction: Transaction, rejection: Rejection) {
    assert_eq!(verdict(world, &transaction), Err(rejection));
    let before = (world.state.clone(), world.height);
    assert_eq!(world.submit(transaction), Err(rejection));
    assert!(
        before == (world.state.clone(), world.height),
        "nothing changed"
    );
}

/// A key of this number on the ledger: registered or granted, whichever its purpose asks for.
fn with_key(world: &mut World, number: u64, purpose: Purpose) -> TestKey {
    let key = TestKey::new(number, purpose);
    let transaction = match purpose {
        Purpose::Pre | Purpose::Act | Purpose::App => world.register(&[&key]),
        _ => world.grant(&key),
    };
    accept(world, transaction);
    key
}

fn revocation(world: &World, targets: &[&TestKey]) -> Action {
    Action::Revoke {
        org: world.org,
        targets: targets.iter().map(|key| world.named(key)).collect(),
        reason: kusabi_core::row::Reason::Lost,
        compromised_since: None,
        signers: 1,
    }
}

#[test]
fn every_rejection_has_its_own_number_and_sentence() {
    let codes: BTreeSet<_> = Rejection::ALL
        .iter()
        .map(|rejection| rejection.code())
        .collect();
    let sentences: BTreeSet<_> = Rejection::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(codes.len(), Rejection::ALL.len());
    assert_eq!(sentences.len(), Rejection::ALL.len());
    assert_eq!(codes, (0x1001..=0x1044).collect());
    assert!(sentences.iter().all(|sentence| !sentence.ends_with('.')));
}

/// `UPDATE_DOCS=1 cargo test -p kusabi-ledger --test it numbers` writes the table.
#[test]
fn the_numbers_are_those_of_the_page() {
    let blocks = [
        BlockError::TooLong,
        BlockError::TooMany,
        BlockError::TooMuchWork,
        BlockError::TimeBefore,
        BlockError::TimeAfter,
        BlockError::Height,
        BlockError::Epoch,
        BlockError::DamagedState,
    ];
    let codes: BTreeSet<_> = blocks.iter().map(BlockError::code).collect();
    assert_eq!(codes, (0x1101..=0x1108).collect());
    let inside = BlockError::Transaction {
        index: 3,
        rejection: Rejection::Quota,
    };
    assert_eq!(inside.code(), Rejection::Quota.code());

    let rejections = Rejection::ALL.iter().map(|error| {
        (
            error.code(),
            format!("Rejection::{error:?}"),
            error.to_string(),
        )
    });
    let blocks = blocks.iter().map(|error| {
        (
            error.code(),
            format!("BlockError::{error:?}"),
            error.to_string(),
        )
    });
    let mut table = String::from("| code | error | sentence |\n|---|---|---|\n");
    for (code, name, sentence) in rejections.chain(blocks) {
        table += &format!("| `0x{code:04x}` | `{name}` | {sentence} |\n");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- ledger -->\n", "<!-- /ledger -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let expected = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "spec/errors.md is out of date: UPDATE_DOCS=1 cargo test -p kusabi-ledger --test it numbers; a number that is no \
         longer used stays there as retired"
    );
}
