//! A ledger of n validators made of the engine's own keys, votes and certificates.

use commonware_codec::Encode as _;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Finalization, Finalize, Proposal};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_cryptography::{Signer as _, ed25519, sha256};
use commonware_parallel::Sequential;
use commonware_utils::ordered::Set;
use commonware_utils::{TryFromIterator as _, non_empty};
use kusabi_core::anchor::Anchor;
use kusabi_core::checkpoint::CheckpointParts;
use kusabi_core::genesis::{Genesis, GenesisParts};
use kusabi_core::header::Header;
use kusabi_core::id::{
    self, BodyHash, ChainId, HeaderHash, Height, OpsRoot, OrgName, SetHash, StateRoot,
};
use kusabi_core::nodes::NodeParts;
use kusabi_core::set::{EpochSet, EpochSetParts, OrganisationParts, recovery_set};
use kusabi_core::suite::{Signature, VerificationKey};

/// The engine's finalization of a header.
pub(super) type Certified = Finalization<Scheme, sha256::Digest>;

/// A ledger whose private keys are known.
pub(super) struct Ledger {
    pub(super) genesis: Vec<u8>,
    pub(super) chain: ChainId,
    pub(super) set_hash: SetHash,
    pub(super) verifier: Scheme,
    pub(super) signers: Vec<Scheme>,
    set: Vec<u8>,
}

fn key(seed: u64) -> VerificationKey {
    let public = ed25519::PrivateKey::from_seed(seed).public_key();
    let bytes = public.encode();
    VerificationKey::ed25519(bytes.as_ref().try_into().unwrap()).unwrap()
}

impl Ledger {
    /// A ledger of one organisation with `n` validators.
    pub(super) fn new(n: u64) -> Self {
        let mut private: Vec<_> = (0..n)
            .map(|i| ed25519::PrivateKey::from_seed(1000 + i))
            .collect();
        private.sort_by_key(ed25519::PrivateKey::public_key);
        let name = OrgName::new("acme").unwrap();
        let set = EpochSetParts {
            epoch: id::Epoch::ZERO,
            organisations: vec![OrganisationParts {
                id: name.id(),
                threshold: 1,
                officers: vec![key(1)],
                vote_keys: private
                    .iter()
                    .map(|key| key.public_key().encode().as_ref().try_into().unwrap())
                    .collect(),
            }],
        }
        .encode()
        .unwrap();
        let nodes = (2000..)
            .zip(&private)
            .map(|(seed, vote_key)| NodeParts {
                vote_key: vote_key.public_key().encode().as_ref().try_into().unwrap(),
                key: key(seed).raw().try_into().unwrap(),
                address: "node.example:7041",
            })
            .collect();
        let genesis = GenesisParts {
            name: "test",
            created_ms: 1_700_000_000_000,
            heartbeat_ms: 60_000,
            epoch_set: &set,
            recovery_set: &recovery_set(1, &[key(2)]).unwrap(),
            organisations: vec![(name, 1_000_000)],
            nodes,
        }
        .encode()
        .unwrap();
        let chain = ChainId::of(&genesis);
        // The engine appends "_FINALIZE" itself.
        let namespace = [b"kusabi.consensus.v1", chain.as_bytes().as_slice()].concat();
        let participants =
            Set::try_from_iter(private.iter().map(ed25519::PrivateKey::public_key)).unwrap();
        let signers = private
            .into_iter()
            .map(|key| Scheme::signer(&namespace, participants.clone(), key).unwrap())
            .collect();
        Self {
            set_hash: EpochSet::decode(&set).unwrap().hash(),
            verifier: Scheme::verifier(&namespace, participants),
            genesis,
            chain,
            signers,
            set,
        }
    }

    pub(super) fn anchor(&self) -> Anchor {
        Anchor::from_genesis(&Genesis::decode_for(&self.chain, &self.genesis).unwrap())
    }

    pub(super) fn set(&self) -> EpochSet<'_> {
        EpochSet::decode(&self.set).unwrap()
    }

    /// A header over a state.
    pub(super) fn header(
        &self,
        height: u64,
        state_root: [u8; 32],
        ops_root: [u8; 32],
        ops_end: u64,
    ) -> Header {
        Header {
            height: Height::new(height).unwrap(),
            skipped: 0,
            time_ms: 1_700_000_000_000 + height,
            parent: HeaderHash::new([7; 32]),
            state_root: StateRoot::new(state_root),
            ops_root: OpsRoot::new(ops_root),
            ops_start: 0,
            ops_end,
            body: BodyHash::new([8; 32]),
            epoch: id::Epoch::ZERO,
            set_hash: self.set_hash,
            view: id::View::new(height + 200),
            parent_view: id::View::new(height),
            leader: 0,
            next_set_hash: None,
        }
    }

    /// What the validators with these indices vote for.
    pub(super) fn finalize(
        &self,
        header: &Header,
        voters: &[usize],
    ) -> Vec<Finalize<Scheme, sha256::Digest>> {
        let proposal = Proposal::new(
            Round::new(Epoch::new(header.epoch.get()), View::new(header.view.get())),
            View::new(header.parent_view.get()),
            sha256::Digest::from(header.hash(&self.chain).to_bytes()),
        );
        voters
            .iter()
            .map(|voter| Finalize::sign(&self.signers[*voter], proposal.clone()).unwrap())
            .collect()
    }

    /// The engine's own certificate for a header.
    pub(super) fn certify(&self, header: &Header, voters: &[usize]) -> Certified {
        let votes = self.finalize(header, voters);
        Finalization::from_owned_finalizes(
            &self.verifier,
            non_empty![@votes.into_iter()],
            &Sequential,
        )
        .unwrap()
    }
}

/// The engine's certificate in kusabi's form.
pub(super) fn checkpoint(headers: &[Header], certified: &Certified) -> CheckpointParts {
    let certificate = &certified.certificate;
    let signatures = certificate
        .signers
        .iter()
        .zip(&certificate.signatures)
        .map(|(signer, signature)| {
            let bytes = signature.get().unwrap().encode();
            (
                u8::try_from(signer.get()).unwrap(),
                Signature::new(bytes.as_ref().try_into().unwrap()),
            )
        })
        .collect();
    CheckpointParts {
        headers: headers.to_vec(),
        view: id::View::new(certified.proposal.round.view().get()),
        parent_view: id::View::new(certified.proposal.parent.get()),
        n: u8::try_from(certificate.signers.len()).unwrap(),
        signatures,
    }
}
