//! What several organisations signed twice: `audit watch` keeps it, and whoever has nothing but the chain ID is told who did.

use std::{fs, path::Path};

use axum::{Router, routing::get};
use bytes::Bytes;
use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use kusabi_api::contradiction::{Evidence, Signed};
use kusabi_core::{
    checkpoint::{CheckpointParts, FinalizeVote},
    genesis::Genesis,
    header::Header,
    id::{BodyHash, Epoch, HeaderHash, Height, OpsRoot, StateRoot, View},
    suite::Signature,
};
use kusabi_ledger::testing::World;

use crate::command::{Place, Ran};

/// The block of height 7 that these members sign in a view; another `fork` is another block.
fn seventh(ledger: &World, fork: u8, view: u64, signers: &[usize]) -> Bytes {
    let genesis = Genesis::decode(&ledger.document).unwrap();
    let set = genesis.epoch_set();
    let header = Header {
        height: Height::new(7).unwrap(),
        skipped: 0,
        time_ms: ledger.time_ms,
        parent: HeaderHash::new([fork; 32]),
        state_root: StateRoot::new([1; 32]),
        ops_root: OpsRoot::new([2; 32]),
        ops_start: 0,
        ops_end: 1,
        body: BodyHash::of([]),
        epoch: Epoch::ZERO,
        set_hash: set.hash(),
        view: View::new(view),
        parent_view: View::new(6),
        leader: 0,
        next_set_hash: None,
    };
    let vote = FinalizeVote {
        epoch: header.epoch,
        view: header.view,
        parent_view: header.parent_view,
        header: header.hash(&ledger.chain),
    };
    let mut message = Vec::new();
    vote.encode(&ledger.chain, &mut message);
    let signatures = signers.iter().map(|member| {
        let key = SigningKey::from(ledger.vote_seed_in(0, *member));
        let public: [u8; 32] = VerificationKeyBytes::from(&key).into();
        let place = set.validators().position(|seat| *seat.vote_key == public);
        let signature = Signature::new(key.sign(&message).to_bytes());
        (u8::try_from(place.unwrap()).unwrap(), signature)
    });
    let mut signatures: Vec<_> = signatures.collect();
    signatures.sort_by_key(|(place, _)| *place);
    let parts = CheckpointParts {
        headers: vec![header],
        view: vote.view,
        parent_view: vote.parent_view,
        n: 4,
        signatures,
    };
    let mut bytes = Vec::new();
    parts.encode(&mut bytes).unwrap();
    bytes.into()
}

/// Nodes that show one block each, until they are dropped; their addresses.
struct Nodes {
    addresses: Vec<String>,
    _runtime: tokio::runtime::Runtime,
}

impl Nodes {
    fn showing<'a>(ledger: &World, blocks: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let document = Bytes::from(ledger.document.clone());
        let start = |block: &Bytes| {
            let (document, block) = (document.clone(), block.clone());
            let router = Router::new()
                .route("/v1/genesis", get(async || document))
                .route("/v1/walk/{epoch}", get(async || "[]"))
                .route("/v1/checkpoint", get(async || block));
            let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
            let listener = listener.unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            runtime.spawn(async move { axum::serve(listener, router).await });
            address
        };
        Self {
            addresses: blocks.into_iter().map(start).collect(),
            _runtime: runtime,
        }
    }

    fn watched(&self, place: &Place, ledger: &World, more: &str) -> Ran {
        place.run(&format!(
            "audit watch {} --chain {} --once {more}",
            self.addresses.join(" "),
            ledger.chain
        ))
    }
}

/// By somebody who has the chain ID and has never asked a node.
fn judged(place: &Place, ledger: &World, file: &Path, more: &str) -> Ran {
    let line = format!(
        "audit evidence {} --chain {} {more}",
        file.display(),
        ledger.chain
    );
    place.run_at("stranger", &line)
}

fn names(ledger: &World, members: &[usize]) -> Vec<String> {
    let name = |member: &usize| match member.checked_sub(1) {
        None => "cameras".to_owned(),
        Some(other) => ledger.others[other].name.to_string(),
    };
    let mut names: Vec<_> = members.iter().map(name).collect();
    names.sort();
    names
}

fn signed_both(shown: &serde_json::Value) -> Vec<String> {
    let both = shown["signed_both"].as_array().unwrap().iter();
    let mut both: Vec<_> = both
        .map(|signer| signer["organisation"].as_str().unwrap().to_owned())
        .collect();
    both.sort();
    both
}

fn kept(place: &Place) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(place.path("found")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn who_signed_two_blocks_of_one_height_is_named_to_whoever_has_the_chain_id() {
    let ledger = World::of(1_000, 4);
    let one = seventh(&ledger, 0, 7, &[0, 1, 2]);
    for (other, both, by_itself) in [
        // Three of four sign both in one view.
        (seventh(&ledger, 1, 7, &[0, 1, 2]), vec![0, 1, 2], true),
        // Two of them sign another with the fourth, later: one may have been misled.
        (seventh(&ledger, 1, 9, &[1, 2, 3]), vec![1, 2], false),
    ] {
        let place = Place::new();
        fs::create_dir(place.path("found")).unwrap();
        let nodes = Nodes::showing(&ledger, [&one, &other, &one]);
        let found = nodes.watched(&place, &ledger, "--json --out found");
        found.exits(1);
        let found: serde_json::Value = serde_json::from_str(found.out().trim()).unwrap();
        let found = found["contradictions"].as_array().unwrap();
        let [file] = &kept(&place)[..] else {
            panic!("{found:?}")
        };
        for found in found {
            assert_eq!(found["kind"], "blocks");
            assert_eq!(signed_both(found), names(&ledger, &both));
        }
        drop(nodes);

        let shown = judged(&place, &ledger, file, "--json").json();
        assert_eq!(shown["contradiction"], true);
        assert_eq!(shown["validators"], 4);
        assert_eq!(shown["by_itself"], by_itself);
        assert_eq!(signed_both(&shown), names(&ledger, &both));
        let page = judged(&place, &ledger, file, "").ok().out();
        for member in 0..4 {
            let [name] = &names(&ledger, &[member])[..] else {
                panic!()
            };
            let named = page
                .lines()
                .any(|line| line.ends_with(&format!(" of {name}")));
            assert_eq!(named, both.contains(&member), "{name}: {page}");
        }
        let whose = if by_itself {
            "Whoever signed both broke the rules."
        } else {
            "More than a third of the validators broke the rules."
        };
        assert!(page.contains(whose), "{page}");
    }
}

#[test]
fn evidence_that_was_changed_is_of_another_ledger_or_lacks_signers_shows_nothing() {
    let ledger = World::of(1_000, 4);
    let (one, other) = (
        seventh(&ledger, 0, 7, &[0, 1, 2]),
        seventh(&ledger, 1, 7, &[1, 2, 3]),
    );
    let place = Place::new();
    let file = place.path("evidence");
    let write = |bytes: &[u8]| fs::write(&file, bytes).unwrap();
    let of = |other: &Bytes| {
        let (one, other) = (Signed::checkpoint(&one), Signed::checkpoint(other));
        let document = ledger.document.clone().into();
        let evidence = Evidence::new(ledger.chain, document, &[], one, other);
        evidence.encode().unwrap()
    };
    let good = of(&other);
    write(&good);
    judged(&place, &ledger, &file, "").ok();

    // One byte of anything: the codes say whether the file, the ledger or a signature is not as it should be.
    let (chain, document) = (2 + 2, 2 + 2 + 32 + 3);
    let signature = good.len() - 1;
    for (at, code, why) in [
        (0, 5, "no evidence of a contradiction"),
        (1, 5, "another version"),
        (chain, 15, "about another ledger"),
        (document + 20, 1, "does not check"),
        (signature, 1, "does not check"),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 2;
        write(&bad);
        let refused = judged(&place, &ledger, &file, "");
        refused.exits(code);
        let said = refused.out() + &refused.err();
        assert!(said.contains(why), "{at}: {said}");
        assert!(!said.contains("signed both"), "{at}: {said}");
    }

    // Good evidence, and whoever is asked relies on another ledger.
    write(&good);
    let elsewhere = World::of(1_000, 3);
    let refused = judged(&place, &elsewhere, &file, "");
    refused.exits(15);
    assert!(
        refused.err().contains("about another ledger"),
        "{}",
        refused.err()
    );

    // Two of four sign the other: that is no certificate, whoever puts it in a file or shows it.
    let too_few = seventh(&ledger, 1, 7, &[2, 3]);
    write(&of(&too_few));
    let refused = judged(&place, &ledger, &file, "");
    refused.exits(1);
    assert!(
        refused.out().contains("too few signers"),
        "{}",
        refused.out()
    );
    fs::create_dir(place.path("found")).unwrap();
    let nodes = Nodes::showing(&ledger, [&one, &too_few]);
    let watched = nodes.watched(&place, &ledger, "--out found");
    watched.exits(6);
    assert!(
        watched.out().contains("too few signers"),
        "{}",
        watched.out()
    );
    assert_eq!(kept(&place), Vec::<std::path::PathBuf>::new());
}
