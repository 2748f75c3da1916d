//! The keys that a measurement registers: each follows from its number, so that two runs register the same fleet and no time
//! goes into randomness. **Nothing here is secret.**

use std::{ops::Range, thread};

use bytes::Bytes;
use kusabi_core::{
    crypto::{first_16, sha256},
    id::{ChainId, Handle, KusabiId, OrgId},
    keystore::{KeyStore as _, Seed, SoftKey},
    row::Reason,
    suite::{BindingContext, Purpose, Suite},
    tx::{Action, Draft, Entry, Named},
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::{KeyFile, underivable},
};

/// Keys in a batch.
pub(super) const BATCH: u64 = 1_024;

/// A fleet of one organisation and the writer that registers it.
pub(super) struct Fleet {
    chain: ChainId,
    org: OrgId,
    writer: KeyFile,
}

fn digest(kind: &[u8], number: u64) -> [u8; 32] {
    sha256(&[b"kusabi bench ", kind, &number.to_be_bytes()])
}

fn id(kind: &[u8], number: u64) -> KusabiId {
    KusabiId::new(first_16(&digest(kind, number)))
}

fn malformed(why: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Internal,
        format!("a transaction of the measurement is malformed: {why}"),
    )
}

/// Handle of a key of the fleet.
pub(super) fn handle(number: u64) -> Handle {
    id(b"id", number).handle()
}

/// A key of the fleet with its kusabi-ID.
pub(super) fn key(number: u64) -> Result<(KusabiId, SoftKey)> {
    let seed = Seed::new(digest(b"key", number));
    let key = SoftKey::from_seed(Suite::Curve25519, &seed).map_err(underivable)?;
    Ok((id(b"id", number), key))
}

/// A handle that no key of the fleet has.
pub(super) fn stranger(number: u64) -> Handle {
    id(b"stranger", number).handle()
}

impl Fleet {
    pub(super) const fn new(chain: ChainId, org: OrgId, writer: KeyFile) -> Self {
        Self { chain, org, writer }
    }

    fn entry(&self, number: u64) -> Result<Entry> {
        let (id, key) = key(number)?;
        let keys = key.public_keys();
        let context = BindingContext {
            chain: &self.chain,
            owner: &self.org,
            purpose: Purpose::Pre,
        };
        let binding = keys.bind(&id, &context);
        Entry::new(id.handle(), Purpose::Pre, keys, binding, None).map_err(malformed)
    }

    /// One registration of these keys, signed.
    fn register(&self, numbers: Range<u64>) -> Result<Bytes> {
        let entries = numbers
            .map(|number| self.entry(number))
            .collect::<Result<_>>()?;
        let action = Action::Register {
            org: self.org,
            entries,
        };
        let mut draft = Draft::new(self.chain, action).map_err(malformed)?;
        draft
            .sign(self.writer.handle(), Purpose::Writer, self.writer.key())
            .map_err(malformed)?;
        Ok(draft.finish().map_err(malformed)?.into_bytes().into())
    }

    /// The end of a key that nothing happened to since it was registered, said by its holder.
    pub(super) fn revocation(&self, number: u64) -> Result<Bytes> {
        let (id, key) = key(number)?;
        let action = Action::Revoke {
            org: self.org,
            targets: vec![Named {
                handle: id.handle(),
                version: 1,
            }],
            reason: Reason::Retired,
            compromised_since: None,
            signers: 1,
        };
        let mut draft = Draft::new(self.chain, action).map_err(malformed)?;
        draft
            .sign(id.handle(), Purpose::Pre, &key)
            .map_err(malformed)?;
        Ok(draft.finish().map_err(malformed)?.into_bytes().into())
    }

    /// Registrations of `each` keys at a time, signed on all cores.
    pub(super) fn registrations(&self, numbers: Range<u64>, each: u64) -> Result<Vec<Bytes>> {
        let ranges: Vec<_> = (numbers.start..numbers.end)
            .step_by(usize::try_from(each).unwrap_or(usize::MAX))
            .map(|start| start..(start + each).min(numbers.end))
            .collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = ranges.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let workers: Vec<_> = ranges
                .chunks(share)
                .map(|part| {
                    scope.spawn(move || {
                        part.iter()
                            .map(|range| self.register(range.clone()))
                            .collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            let mut all = Vec::with_capacity(ranges.len());
            for worker in workers {
                let part = worker
                    .join()
                    .map_err(|_| Failure::new(Exit::Internal, "a thread that signs panicked"))?;
                all.extend(part?);
            }
            Ok(all)
        })
    }
}
