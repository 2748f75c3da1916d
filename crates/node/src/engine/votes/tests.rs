use super::*;
use crate::{
    engine::{Digest, epochs::Epochs},
    outline::EpochOutline,
};
use bytes::Bytes;
use commonware_actor::{Feedback, Unreliable};
use commonware_codec::Encode as _;
use commonware_consensus::{
    Reporter,
    simplex::types::{Activity, Notarization, Notarize, Nullification, Nullify, Proposal, Vote},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{Hasher as _, Sha256, Signer as _, ed25519::PrivateKey};
use commonware_p2p::{CheckedSender, LimitedSender, Recipients, Sender as _};
use commonware_parallel::Sequential;
use commonware_runtime::{IoBufs, Runner as _, deterministic};
use commonware_utils::non_empty;
use kusabi_core::id::{ChainId, HeaderHash, SetHash};
use std::time::SystemTime;
use tokio::sync::oneshot;

const EPOCH: u64 = 3;

type Evidence = Activity<Scheme, Digest>;

/// An epoch of four validators, as each of them knows it, and each with its key.
fn four() -> Vec<(PublicKey, EpochEntry)> {
    let mut keys: Vec<_> = (0..4).map(PrivateKey::from_seed).collect();
    keys.sort_by_key(PrivateKey::public_key);
    let raw = |key: &PrivateKey| key.public_key().as_ref().try_into().unwrap();
    let outline = EpochOutline {
        number: EpochNumber::new(EPOCH),
        first: 1,
        skipped: 0,
        set: Bytes::new(),
        nodes: Vec::new(),
        set_hash: SetHash::new([0; 32]),
        vote_keys: keys.iter().map(raw).collect(),
        opening: (1, Bytes::new()),
        parent: HeaderHash::new([0; 32]),
    };
    let of = |key: PrivateKey| {
        let epochs = Epochs::new(ChainId::new([1; 32]));
        epochs.push(&outline, Some(&key)).unwrap();
        (key.public_key(), epochs.last().unwrap())
    };
    keys.into_iter().map(of).collect()
}

fn round(view: u64) -> Round {
    Round::new(Epoch::new(EPOCH), View::new(view))
}

fn notarize(entry: &EpochEntry, view: u64, payload: &[u8]) -> Notarize<Scheme, Digest> {
    let proposal = Proposal::new(round(view), View::zero(), Sha256::hash(&[payload]));
    Notarize::sign(&entry.scheme(), proposal).unwrap()
}

fn nullify(entry: &EpochEntry, round: Round) -> Nullify<Scheme> {
    Nullify::sign::<Digest>(&entry.scheme(), round).unwrap()
}

fn nullification(signers: &[(PublicKey, EpochEntry)], view: u64) -> Evidence {
    let votes: Vec<_> = signers
        .iter()
        .map(|(_, entry)| nullify(entry, round(view)))
        .collect();
    let scheme = signers[0].1.scheme();
    let made = Nullification::from_nullifies(&scheme, non_empty![@&votes], &Sequential);
    Activity::Nullification(made.unwrap())
}

fn notarization(signers: &[(PublicKey, EpochEntry)], view: u64, payload: &[u8]) -> Evidence {
    let votes: Vec<_> = signers
        .iter()
        .map(|(_, entry)| notarize(entry, view, payload))
        .collect();
    let scheme = signers[0].1.scheme();
    let made = Notarization::from_notarizes(&scheme, non_empty![@&votes], &Sequential);
    Activity::Notarization(made.unwrap())
}

/// Whoever asks, of whose disk the newest view is this one, and whether it may vote.
fn asking(entry: &EpochEntry, newest: u64) -> (Asking, oneshot::Receiver<()>) {
    let (permit, permitted) = oneshot::channel();
    (
        Asking::new(entry, 0, Own::new(0, newest), permit),
        permitted,
    )
}

fn in_a_world(test: impl FnOnce(&mut deterministic::Context)) {
    deterministic::Runner::default().start(|mut context| async move { test(&mut context) });
}

#[test]
fn whoever_asks_votes_once_a_quorum_with_it_has_answered() {
    in_a_world(|rng| {
        let all = four();
        let (mut asking, mut permitted) = asking(&all[0].1, 0);
        assert!(asking.waits());
        let told = |asking: &mut Asking, rng: &mut _, of: usize| {
            asking.told(rng, &all[of].0, Bytes::new()).unwrap()
        };
        assert_eq!(told(&mut asking, rng, 1), Told::Waits);
        // The same one again is no other.
        assert_eq!(told(&mut asking, rng, 1), Told::Waits);
        assert!(asking.has_heard(all[1].0.as_ref()) && !asking.has_heard(all[2].0.as_ref()));
        permitted.try_recv().unwrap_err();
        assert_eq!(told(&mut asking, rng, 2), Told::Enough);
        assert!(!asking.waits());
        permitted.try_recv().unwrap();
    });
}

#[test]
fn a_key_whose_votes_others_know_and_its_disk_does_not_is_in_use_elsewhere() {
    in_a_world(|rng| {
        let all = four();
        let mine = &all[0].1;
        for shown in [
            Activity::Notarize(notarize(mine, 9, b"a")),
            Activity::Nullify(nullify(mine, round(9))),
            nullification(&all[..3], 9),
        ] {
            let shown = shown.encode();
            for newest in [0, 8] {
                let (mut asking, _permitted) = asking(mine, newest);
                let stops = asking.told(rng, &all[1].0, shown.clone()).unwrap_err();
                assert_eq!(stops, EngineError::KeyElsewhere(EPOCH));
            }
            // Its own disk says the same.
            let (mut asking, _permitted) = asking(mine, 9);
            assert_eq!(
                asking.told(rng, &all[1].0, shown.clone()).unwrap(),
                Told::Waits
            );
            assert!(asking.has_heard(all[1].0.as_ref()));
        }
    });
}

#[test]
fn nobody_keeps_a_node_from_voting_by_a_lie() {
    in_a_world(|rng| {
        let all = four();
        let mine = &all[0].1;
        let of_other_epoch = Round::new(Epoch::new(EPOCH - 1), View::new(9));
        let mut forged = notarize(mine, 9, b"a");
        forged.proposal.payload = Sha256::hash(&[b"b"]);
        let lies: [Bytes; 6] = [
            // Others' votes.
            Activity::<Scheme, Digest>::Notarize(notarize(&all[1].1, 9, b"a")).encode(),
            nullification(&all[1..], 9).encode(),
            // Its own, of another epoch; not signed by it.
            Activity::<Scheme, Digest>::Nullify(nullify(mine, of_other_epoch)).encode(),
            Activity::Notarize(forged).encode(),
            // Nothing of the kind.
            Bytes::from_static(b"\x00"),
            Bytes::from_static(&[255; 100]),
        ];
        for lie in lies {
            let (mut asking, mut permitted) = asking(mine, 0);
            assert_eq!(asking.told(rng, &all[1].0, lie).unwrap(), Told::Waits);
            // It is no answer either: two others are needed.
            assert!(!asking.has_heard(all[1].0.as_ref()));
            asking.told(rng, &all[2].0, Bytes::new()).unwrap();
            permitted.try_recv().unwrap_err();
            asking.told(rng, &all[3].0, Bytes::new()).unwrap();
            permitted.try_recv().unwrap();
        }
    });
}

/// Sends to nobody; `limited`: because all have had their share.
#[derive(Clone, Debug)]
struct Nobody {
    limited: bool,
}

impl LimitedSender for Nobody {
    type PublicKey = PublicKey;
    type Checked<'a> = Self;

    fn check(&mut self, _: Recipients<PublicKey>) -> Result<Self, SystemTime> {
        match self.limited {
            true => Err(SystemTime::UNIX_EPOCH),
            false => Ok(self.clone()),
        }
    }
}

impl CheckedSender for Nobody {
    type PublicKey = PublicKey;

    fn recipients(&self) -> Vec<PublicKey> {
        Vec::new()
    }

    fn send(self, _: impl Into<IoBufs> + Send, _: bool) -> Unreliable<Feedback> {
        Unreliable::Outcome(Feedback::Ok)
    }
}

/// Takes what is reported.
#[derive(Clone)]
struct Taken;

impl Reporter for Taken {
    type Activity = Evidence;

    fn report(&mut self, _: Evidence) -> Feedback {
        Feedback::Ok
    }
}

/// Whether the key is found to vote elsewhere once `certificate` came to validator 0, which cast `votes` and has a disk up to view 4.
fn is_elsewhere(votes: &[Vote<Scheme, Digest>], certificate: &Evidence, limited: bool) -> bool {
    let all = four();
    let own = Own::new(0, 4);
    let mut sender = Noting {
        inner: Nobody { limited },
        own: own.clone(),
    };
    for vote in votes {
        sender.send(Recipients::All, vote.encode(), true);
    }
    let mut watch = Watch {
        inner: Taken,
        own: own.clone(),
        heard: Heard::new(&all[0].1),
    };
    watch.report(certificate.clone());
    futures::FutureExt::now_or_never(own.elsewhere()).is_some()
}

#[test]
fn a_certificate_with_a_vote_that_was_not_cast_here_is_noticed() {
    let all = four();
    let certificate = nullification(&all[..3], 9);
    let cast = Vote::Nullify(nullify(&all[0].1, round(9)));
    let other_view = Vote::Nullify(nullify(&all[0].1, round(8)));
    let other_kind = Vote::Notarize(notarize(&all[0].1, 9, b"a"));
    // The vote for another block in that view is none for this one.
    let for_a = notarization(&all[..3], 9, b"a");
    let own_a = Vote::Notarize(notarize(&all[0].1, 9, b"a"));
    let own_b = Vote::Notarize(notarize(&all[0].1, 9, b"b"));
    assert!(!is_elsewhere(&[own_a], &for_a, false));
    assert!(is_elsewhere(&[own_b], &for_a, false));
    for limited in [false, true] {
        assert!(is_elsewhere(&[], &certificate, limited));
        assert!(is_elsewhere(
            &[other_view.clone(), other_kind.clone()],
            &certificate,
            limited
        ));
        // A vote counts here even when it may be sent to nobody just now.
        assert!(!is_elsewhere(
            &[other_kind.clone(), cast.clone()],
            &certificate,
            limited
        ));
    }
    // Without this one's vote, and in a view in which it may have voted before it began anew.
    assert!(!is_elsewhere(&[], &nullification(&all[1..], 9), false));
    assert!(!is_elsewhere(&[], &nullification(&all[..3], 4), false));
}
