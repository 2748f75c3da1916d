//! Blocks as `kusabi-ledger` runs them, on rows that are fetched from the engine's database first.

use super::{
    Digest, Runtime,
    head::Head,
    state::{Database, Databases, Value},
};
use bytes::Bytes;
use commonware_glue::stateful::db::DatabaseSet;
use kusabi_core::{
    header::Header,
    id::{ChainId, Height, StateKey},
    row::{LedgerRow, Members, RowBytes},
    tx::{Transaction, TxError},
};
use kusabi_ledger::{
    BlockContext, MemoryState, Rejection, State as _, Verified, Write, check, claims, reads,
    signer_reads, verify,
};
use rand_core::CryptoRng;

/// Why a transaction is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its bytes are not a transaction.
    #[error("the transaction is malformed: {0}")]
    Malformed(TxError),
    /// It breaks a rule of the ledger.
    #[error("{0}")]
    Rejected(Rejection),
}

/// A batch on top of the state, that nothing was computed of yet.
pub(super) type Unmerkleized<E> = <Databases<E> as DatabaseSet<E>>::Unmerkleized;

/// What the ledger's rules need to know of a block's place.
pub(super) fn block_context(chain: &ChainId, header: &Header, parent: &Header) -> BlockContext {
    BlockContext {
        chain: *chain,
        height: header.height,
        epoch: header.epoch,
        set_hash: header.set_hash,
        // A header skips no more heights than it has, so this is one.
        skipped: Height::new(header.skipped).unwrap_or(Height::MAX),
        parent_height: parent.height,
        parent: header.parent,
        time_ms: header.time_ms,
        position: 0,
    }
}

/// The keys that the rules may ask for, of all transactions, the ledger's own row and the members'.
pub(super) fn keys<'a>(transactions: impl Iterator<Item = &'a Transaction>) -> Vec<StateKey> {
    let mut keys: Vec<_> = transactions.flat_map(reads).collect();
    keys.extend([StateKey::ledger(), StateKey::members()]);
    once(keys)
}

/// The keys that claims may ask for: those of whoever is said to have signed.
pub(super) fn signer_keys<'a>(
    transactions: impl Iterator<Item = &'a Transaction>,
) -> Vec<StateKey> {
    once(transactions.flat_map(signer_reads).collect())
}

/// Each once.
fn once(mut keys: Vec<StateKey>) -> Vec<StateKey> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn state(keys: Vec<StateKey>, rows: Vec<Option<Value>>) -> MemoryState {
    let mut state = MemoryState::default();
    for (key, row) in keys.into_iter().zip(rows) {
        if let Some(row) = row {
            state.put(key, row_bytes(&row));
        }
    }
    state
}

/// A row as bytes.
pub(super) fn row_bytes(value: &Value) -> RowBytes {
    let mut row = [0; size_of::<RowBytes>()];
    row.copy_from_slice(value.as_ref());
    row
}

/// Fetches rows as they stand on top of a batch. `None`: the batch's chain lost.
pub(super) async fn fetch<E: Runtime>(
    batch: &Unmerkleized<E>,
    keys: Vec<StateKey>,
) -> Option<MemoryState> {
    let digests: Vec<_> = keys.iter().map(|k| Digest::from(k.to_bytes())).collect();
    let wanted: Vec<_> = digests.iter().collect();
    let rows = batch.get_many(&wanted).await.ok()?;
    Some(state(keys, rows))
}

/// Fetches rows of the final state.
pub(super) async fn fetch_final<E: Runtime>(
    database: &Database<E>,
    keys: Vec<StateKey>,
) -> MemoryState {
    let digests: Vec<_> = keys.iter().map(|k| Digest::from(k.to_bytes())).collect();
    let wanted: Vec<_> = digests.iter().collect();
    #[expect(
        clippy::expect_used,
        reason = "the engine's rule on a disk that fails: stop at once, the thread turns it into an error"
    )]
    let rows = database.get_many(&wanted).await.expect("reading the state");
    state(keys, rows)
}

/// The ledger's own row in the final state.
pub(super) async fn final_ledger_row<E: Runtime>(databases: &Databases<E>) -> Option<LedgerRow> {
    let key = StateKey::ledger();
    let state = fetch_final(&*databases.read().await, vec![key]).await;
    LedgerRow::decode(&state.row(&key)?).ok()
}

/// The row of what the members decide for all, in the final state.
pub(super) async fn final_members<E: Runtime>(databases: &Databases<E>) -> Option<Members> {
    let key = StateKey::members();
    let state = fetch_final(&*databases.read().await, vec![key]).await;
    Members::decode(&state.row(&key)?).ok()
}

/// Writes a block's rows.
pub(super) fn write<E: Runtime>(mut batch: Unmerkleized<E>, writes: Vec<Write>) -> Unmerkleized<E> {
    for Write { key, row } in writes {
        batch = batch.write(Digest::from(key.to_bytes()), Some(Value::new(row)));
    }
    batch
}

/// Decodes a block's transactions.
pub(super) fn decode(transactions: &[Bytes]) -> Option<Vec<Transaction>> {
    transactions
        .iter()
        .map(|bytes| Transaction::decode(bytes).ok())
        .collect()
}

/// Whether the final state refuses a transaction for ever, whatever comes between: then it needs no block to be refused.
///
/// Everything else may change until its turn comes, even what is wrong now (a row's version may be reached by a
/// transaction that waits, too; a key of another organisation may come to this one).
pub(super) fn refused_for_ever(
    transaction: &Verified,
    chain: &ChainId,
    head: &Head,
    state: &MemoryState,
) -> Option<Rejection> {
    let context = BlockContext {
        height: head.header.height.next()?,
        parent: head.hash,
        ..block_context(chain, &head.header, &head.header)
    };
    let refused = check(transaction, &context, state).err()?;
    matches!(
        refused,
        Rejection::WrongChain
            | Rejection::HandleTaken
            | Rejection::ReleaseExists
            | Rejection::AnchorExists
            | Rejection::RecordEnded
            | Rejection::RecordPurpose
            | Rejection::ReleaseWithdrawn
            | Rejection::SignerEnded
            | Rejection::ForeignSigner
            | Rejection::SignerPurpose
            | Rejection::HolderCannotDate
            | Rejection::GenesisPlace
            | Rejection::EpochPlace
            // Of the present set, or they would be refused for that.
            | Rejection::AppointmentRefused
            | Rejection::AppointmentNodes
            | Rejection::VoteKeyUsed
            | Rejection::EpochEnds
            | Rejection::ProposalExists
            | Rejection::ProposalExpired
            | Rejection::ProposalCarried
            | Rejection::AdmissionUnsigned
            | Rejection::OrganisationExists
            | Rejection::HeartbeatTooLong
    )
    .then_some(refused)
}

/// Verifies the signatures of one transaction that needs no state: the ones that open epochs.
pub(super) fn verify_opening(
    bytes: &[u8],
    chain: &ChainId,
    rng: &mut impl CryptoRng,
) -> Result<Verified, Refusal> {
    let transaction = Transaction::decode(bytes).map_err(Refusal::Malformed)?;
    let claims = claims(transaction, chain, &MemoryState::default()).map_err(Refusal::Rejected)?;
    verify(vec![claims], rng)
        .pop()
        .unwrap_or(Err(Rejection::BadSignature))
        .map_err(Refusal::Rejected)
}
