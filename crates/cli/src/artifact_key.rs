//! Public keys that sign Mender artifacts, from PEM files and from the ledger.

use std::path::Path;

use kusabi_core::{
    id::{ChainId, Digest, Handle, KusabiId, OrgName, StateKey},
    row::{BLOB_PART_BYTES, Record, Row},
    suite::{BindingContext, ForeignAlgorithm, PublicKeys, Purpose},
    tx::{Entry, Transaction},
};
use kusabi_mender::ArtifactKey;
use rand_core::CryptoRng;
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject as _};

use crate::{
    connection::Connection,
    exit::Exit,
    failure::{Failure, Result},
    files,
};

/// Longest PEM file of a public key in bytes.
const BYTES_MAX: u64 = 16 << 10;

/// A key from a file "PUBLIC KEY": its SubjectPublicKeyInfo (DER), and what verifies with it.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, ArtifactKey)> {
    let pem = files::read(path, BYTES_MAX)?;
    let no_key = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("{}: {why}", path.display()))
            .advise("openssl pkey -in PRIVATE-KEY -pubout makes the PEM file of a public key")
    };
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
        .map_err(|_| no_key(&"no public key in PEM form (PUBLIC KEY)"))?;
    let key = ArtifactKey::from_spki(&spki).map_err(|why| no_key(&why))?;
    Ok((spki.to_vec(), key))
}

/// The ledger's entry of such a key, as a release key of an organisation. It is bound to an ID that nobody keeps: whoever holds the key
/// never shows one.
pub(crate) fn entry(
    path: &Path,
    chain: &ChainId,
    org: &OrgName,
    rng: &mut impl CryptoRng,
) -> Result<Entry> {
    let (spki, key) = read(path)?;
    let unfit = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::File, format!("{}: {why}", path.display()))
    };
    let (id, owner) = (KusabiId::generate(rng), org.id());
    let context = BindingContext {
        chain,
        owner: &owner,
        purpose: Purpose::Art,
    };
    let algorithm = key.algorithm();
    let binding = PublicKeys::foreign(algorithm, &spki)
        .map_err(|why| unfit(&why))?
        .bind(&id, &context);
    Entry::foreign(id.handle(), Purpose::Art, algorithm, &spki, binding, None)
        .map_err(|why| unfit(&why))
}

/// What the ledger holds of such a key: algorithm, length and digest of its SubjectPublicKeyInfo.
type ForeignKey = (ForeignAlgorithm, u16, [u8; 32]);

/// The handles under which such a key is a release key of an organisation in force. That it is one is proven; under which handles it may
/// be the node says, for the ledger looks keys up by nothing else.
pub(crate) fn handles(
    connection: &Connection,
    org: &OrgName,
    key: Option<ForeignKey>,
) -> Result<Vec<Handle>> {
    let Some((_, _, digest)) = key else {
        return Ok(Vec::new());
    };
    let first_part = StateKey::blob_part(&Digest::new(digest), 0);
    if connection.row(first_part)?.into_value().is_none() {
        return Ok(Vec::new());
    }
    let mut handles = Vec::new();
    for height in connection.art_policies(&org.id())? {
        let Some(block) = connection.block(height)? else {
            continue;
        };
        let transactions = block.transactions.iter();
        for transaction in transactions.filter_map(|bytes| Transaction::decode(bytes).ok()) {
            let same = |entry: &&Entry| {
                entry.purpose() == Purpose::Art && entry.keys().foreign_key() == key
            };
            let entries = transaction.action().entries().iter().filter(same);
            handles.extend(entries.map(Entry::handle));
        }
    }
    let mut counting = Vec::new();
    for handle in handles {
        let counts = connection.record(&handle)?.into_value().is_some_and(|it| {
            it.is_active()
                && it.purpose() == Purpose::Art
                && it.owner() == org.id()
                && it.keys().foreign_key() == key
        });
        if counts && !counting.contains(&handle) {
            counting.push(handle);
        }
    }
    Ok(counting)
}

/// The key of a record, if it is one that signs artifacts of this organisation.
pub(crate) fn of_record(
    connection: &Connection,
    handle: &Handle,
    org: &OrgName,
) -> Result<ArtifactKey> {
    let refused = |why: &str| Failure::new(Exit::Negative, format!("{handle} {why}"));
    let record = connection.known_record(handle)?;
    if record.purpose() != Purpose::Art || record.owner() != org.id() {
        return Err(refused("is no release key of the organisation")
            .advise("kusabi org art gives a key this role"));
    }
    if !record.is_active() {
        return Err(refused("has ended: what it signed does not count any more"));
    }
    let key = match record.keys().verification_key() {
        Some(key) => ArtifactKey::try_from(key),
        None => ArtifactKey::from_spki(&spki(connection, handle, &record)?),
    };
    key.map_err(|why| refused(&format!("is {why}")))
}

/// The whole of a foreign key, which stands on the ledger in parts under its digest.
fn spki(connection: &Connection, handle: &Handle, record: &Record) -> Result<Vec<u8>> {
    let unproven = || {
        Failure::new(
            Exit::Unproven,
            format!("the node does not prove the whole of the key {handle}"),
        )
        .advise("ask another node, or name the key's file: --key FILE.pem")
    };
    let (_, length, digest) = record.keys().foreign_key().ok_or_else(unproven)?;
    let digest = Digest::new(digest);
    let parts = usize::from(length).div_ceil(BLOB_PART_BYTES);
    let mut spki = Vec::with_capacity(length.into());
    for index in 0..u16::try_from(parts).map_err(|_| unproven())? {
        match connection
            .row(StateKey::blob_part(&digest, index))?
            .into_value()
        {
            Some(Row::BlobPart(part)) => spki.extend_from_slice(part.bytes()),
            _ => return Err(unproven()),
        }
    }
    match record.keys().matches_spki(&spki) {
        true => Ok(spki),
        false => Err(unproven()),
    }
}
