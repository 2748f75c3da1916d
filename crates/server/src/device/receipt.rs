//! Receipts (spec/evidence.md): what a device signed of its orders, and the server's own for what it heard.

use super::{
    Door,
    journal::{Job, Told},
    serve::{Said, UNAVAILABLE_SECS, refuse},
};
use crate::store::doorstep::{self, OrderReceipt};
use kusabi_core::{
    protocol::{
        reply::SealedProblem,
        request::{Outcome, Poll},
    },
    receipt::{Heard, Receipt, Signer},
    server::{Admitted, Incoming},
    suite::Purpose,
};
use std::sync::Arc;

/// Seconds until this server has heard of a block that a device has heard of.
const LATER_SECS: u16 = 5;

/// Seconds to wait for a device whose word is not signed as it must be.
const UNSIGNED_SECS: u16 = 60;

impl Door {
    fn signer(&self) -> Signer {
        Signer {
            chain: self.app.ledger.trust().anchor().chain(),
            handle: self.key.handle,
            purpose: Purpose::Ps,
        }
    }

    /// The server's receipt for what it heard and wrote. `None`: its key does not sign; the log says why.
    pub(super) fn receipt(&self, admitted: &Admitted<'_>, heard: &Heard) -> Option<Receipt> {
        let from = admitted.speaker(self.app.org());
        let at_ms = self.app.edge.now_ms();
        heard
            .receipt(&from, at_ms, &self.signer(), &*self.key.key)
            .inspect_err(|why| tracing::error!(%why, "the server's key does not sign"))
            .ok()
    }

    /// Writes what became of a device's orders; the receipt for it.
    pub(super) async fn hear(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        device: &Arc<str>,
        poll: &Poll,
    ) -> Result<Option<Receipt>, Said> {
        let Some(heard) = Heard::outcomes(&poll.outcomes) else {
            return Ok(None);
        };
        let floor = admitted.request().floor.height;
        if self.view.seen().is_none_or(|seen| floor > seen.height) {
            // The device has heard of a later block than this server, or says so: in a moment it will have, too.
            return Err(refuse(SealedProblem::Unavailable, LATER_SECS));
        }
        let mut words = Vec::with_capacity(poll.outcomes.len());
        for outcome in &poll.outcomes {
            words.push(self.word_for(incoming, admitted, device, outcome).await?);
        }
        let signed = words.iter().all(|told| !matches!(told, Word::Unsigned));
        let told: Vec<Told> = words
            .into_iter()
            .filter_map(|told| match told {
                Word::Told(told) => Some(told),
                Word::Unknown | Word::Unsigned => None,
            })
            .collect();
        // One that is not signed does not hold up the others.
        if !told.is_empty() {
            let device = Arc::clone(device);
            self.journal.write(Job::Answered { device, told }).await?;
        }
        if !signed {
            return Err(refuse(SealedProblem::NotAllowed, UNSIGNED_SECS));
        }
        let receipt = self.receipt(admitted, &heard);
        receipt
            .map(Some)
            .ok_or_else(|| refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS))
    }

    /// What a device says of an order that it was given.
    async fn word_for(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        device: &Arc<str>,
        outcome: &Outcome,
    ) -> Result<Word, Said> {
        let found = async {
            let mut reader = self.app.store.read("find an order of a device").await?;
            doorstep::order_of(reader.on(), device, outcome.order).await
        };
        let found = found.await.map_err(|why| {
            tracing::error!(%why, "an answer to an order was not taken");
            refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS)
        })?;
        let Some(order) = found.and_then(|(open, ..)| open.order()) else {
            return Ok(Word::Unknown);
        };
        let server = self.signer();
        Ok(
            match admitted.answered(outcome, order, self.app.org(), &server) {
                Ok(answered) => Word::Told(Told {
                    order: order.id,
                    code: answered.code,
                    receipt: OrderReceipt {
                        signer: *incoming.handle(),
                        server: server.handle,
                        height: answered.height,
                        signature: outcome.signature,
                    },
                }),
                Err(why) => {
                    tracing::warn!(device = &**device, order = outcome.order, %why, "what a device says of an order is not signed by it");
                    Word::Unsigned
                }
            },
        )
    }
}

/// What a device's word for an order comes to.
enum Word {
    /// It signed it.
    Told(Told),
    /// This server knows of no such order, its database was made anew perhaps; that it was told is all that it can say.
    Unknown,
    /// It did not sign this of the order as it was given.
    Unsigned,
}
