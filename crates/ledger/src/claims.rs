//! Who is said to have signed, and whether they have.

use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature as Ed25519Signature, VerificationKeyBytes};
use kusabi_core::id::{ChainId, Handle, StateKey};
use kusabi_core::row::Record;
use kusabi_core::statement::Statement;
use kusabi_core::suite::{PublicKeys, Purpose, Signature, VerificationKey};
use kusabi_core::tx::{ActionCode, KeyedTransaction, Signed, Transaction};
use rand_core::CryptoRng;

use crate::check::{exactly, may_sign};
use crate::rejection::Rejection;
use crate::state::State;

/// A transaction with the keys that are said to have signed it; nothing is verified yet.
#[derive(Debug)]
pub struct Claims {
    transaction: Transaction,
    claims: Vec<Claim>,
}

#[derive(Debug)]
struct Claim {
    purpose: Purpose,
    key: VerificationKey,
    statement: Statement,
    signature: Signature,
}

impl Claims {
    /// The transaction.
    pub const fn transaction(&self) -> &Transaction {
        &self.transaction
    }
}

/// A transaction whose every signature was verified: by the key under the signer's handle, or, of a key that the
/// transaction itself brings, by that key; and whose keys are keys.
///
/// The handle's keys and purpose never change on one chain of blocks. On another branch a handle could stand for others,
/// therefore [`check`](crate::check) compares them again, so that its verdict depends on nothing but its arguments.
#[derive(Clone, Debug)]
pub struct Verified {
    transaction: KeyedTransaction,
    /// The purpose that each signature names and the key that verified it, in their order.
    keys: Vec<(Purpose, VerificationKey)>,
}

impl Verified {
    /// The transaction.
    pub const fn transaction(&self) -> &Transaction {
        self.transaction.transaction()
    }

    /// The checked keys that it brings under a handle.
    pub(crate) fn entry_keys(&self, handle: &Handle) -> Option<PublicKeys> {
        self.transaction.keys(handle)
    }

    pub(crate) fn keys(&self) -> &[(Purpose, VerificationKey)] {
        &self.keys
    }
}

/// Finds the keys that are said to have signed.
///
/// # Errors
/// [`Rejection::WrongChain`], [`Rejection::TooFewSignatures`] for none at all, [`Rejection::UnknownSigner`] (also when no
/// signer has a record),
/// [`Rejection::BadKey`] for one that signs itself in,
/// [`Rejection::SuperfluousSignature`] (these two also for another number than the action says),
/// [`Rejection::SignerPurpose`] for a key that signs no transactions or not such ones, [`Rejection::ForeignSigner`],
/// [`Rejection::DamagedState`]
pub fn claims(
    transaction: Transaction,
    chain: &ChainId,
    state: &(impl State + ?Sized),
) -> Result<Claims, Rejection> {
    if transaction.chain() != *chain {
        return Err(Rejection::WrongChain);
    }
    // spec: signed inside, by others than keys with records.
    let signed_inside = matches!(
        transaction.action().code(),
        ActionCode::Recovery | ActionCode::Handover
    );
    if transaction.signatures().is_empty() && !signed_inside {
        return Err(Rejection::TooFewSignatures);
    }
    // spec: where the rules leave the number of signers open, they themselves have said it; else whoever carries the
    // transaction could take a signature off and give it another ID.
    if let Some(signers) = transaction.action().signers() {
        exactly(transaction.signatures().len(), signers.into())?;
    }
    // spec: someone whom the ledger knows answers for what a transaction costs; else anyone could fill the pool with keys that
    // sign themselves in.
    let brought = |signed: &Signed| transaction.action().entry(&signed.signer).is_some();
    let founds = transaction.action().code() == ActionCode::Genesis;
    if !signed_inside && !founds && transaction.signatures().iter().all(brought) {
        return Err(Rejection::UnknownSigner);
    }
    let claims = transaction
        .signatures()
        .iter()
        .map(|signed| {
            let (purpose, key) = signing_key(&transaction, &signed.signer, state)?;
            Ok(Claim {
                purpose,
                key,
                statement: transaction.statement(&signed.signer, purpose),
                signature: signed.signature,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Claims {
        transaction,
        claims,
    })
}

fn signing_key(
    transaction: &Transaction,
    signer: &Handle,
    state: &(impl State + ?Sized),
) -> Result<(Purpose, VerificationKey), Rejection> {
    let (purpose, keys) = if let Some(entry) = transaction.action().entry(signer) {
        // One point, less than the signature that it is to verify.
        let keys = entry.check_keys().map_err(|_| Rejection::BadKey)?;
        (entry.purpose(), keys)
    } else {
        let row = state
            .row(&StateKey::record(signer))
            .ok_or(Rejection::UnknownSigner)?;
        let record = Record::decode_own(&row).map_err(|_| Rejection::DamagedState)?;
        may_sign(transaction.action(), signer, &record)?;
        (record.purpose(), *record.keys())
    };
    // spec: suite 15 signs no transaction.
    let key = keys.verification_key().ok_or(Rejection::SignerPurpose)?;
    Ok((purpose, key))
}

/// Verifies the signatures of many transactions; the results stand in the order of the claims.
///
/// Ed25519 signatures are verified together by the rule of ZIP-215, under which a batch and its members have one verdict.
/// When the batch fails, each is verified alone, so that a bad signature condemns no neighbour. P-256 signatures are
/// verified one by one. `rng` must be unpredictable to whoever made the signatures.
///
/// Of a transaction whose signatures are good the keys that it brings are checked too.
///
/// # Errors
/// [`Rejection::BadSignature`], [`Rejection::BadKey`], for each transaction by itself
pub fn verify(claims: Vec<Claims>, rng: &mut impl CryptoRng) -> Vec<Result<Verified, Rejection>> {
    let together = verify_ed25519_together(&claims, rng);
    claims
        .into_iter()
        .map(
            |Claims {
                 transaction,
                 claims,
             }| {
                for claim in &claims {
                    let verified_in_batch = together && claim.key.as_ed25519().is_some();
                    if !verified_in_batch {
                        claim
                            .key
                            .verify(&claim.statement, &claim.signature)
                            .map_err(|_| Rejection::BadSignature)?;
                    }
                }
                Ok(Verified {
                    keys: claims
                        .iter()
                        .map(|claim| (claim.purpose, claim.key))
                        .collect(),
                    // Last, as it may cost a hundred times what the signatures do: someone has answered for it now.
                    transaction: transaction.check_keys().map_err(|_| Rejection::BadKey)?,
                })
            },
        )
        .collect()
}

/// Whether all Ed25519 signatures are good. With fewer than two a batch saves nothing: then it says no.
fn verify_ed25519_together(claims: &[Claims], rng: &mut impl CryptoRng) -> bool {
    let items: Vec<Item> = claims
        .iter()
        .flat_map(|claims| &claims.claims)
        .filter_map(|claim| {
            let key = VerificationKeyBytes::from(*claim.key.as_ed25519()?);
            let signature = Ed25519Signature::from_bytes(claim.signature.as_bytes());
            Some((key, signature, claim.statement.as_bytes()).into())
        })
        .collect();
    if items.len() < 2 {
        return false;
    }
    let mut batch = Verifier::new();
    for item in items {
        batch.queue(item);
    }
    batch.verify(rng).is_ok()
}
