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
    pub(super) fn receipt(&self, incoming: &Incoming, heard: &Heard) -> Option<Receipt> {
        let (org, at_ms) = (self.app.org(), self.app.edge.now_ms());
        heard
            .receipt(
                &org,
                incoming.handle(),
                at_ms,
                &self.signer(),
                &*self.key.key,
            )
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
        let mut all = Vec::with_capacity(poll.outcomes.len());
        for outcome in &poll.outcomes {
            all.extend(self.told(incoming, admitted, device, outcome).await?);
        }
        if !all.is_empty() {
            let device = Arc::clone(device);
            let job = Job::Answered { device, told: all };
            self.journal.write(job).await?;
        }
        let receipt = self.receipt(incoming, &heard);
        receipt
            .map(Some)
            .ok_or_else(|| refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS))
    }

    /// What a device says of an order that it was given, and signed. `None`: this server knows of no such order, its database was made
    /// anew perhaps; that it was told is all that it can say.
    async fn told(
        &self,
        incoming: &Incoming,
        admitted: &Admitted<'_>,
        device: &Arc<str>,
        outcome: &Outcome,
    ) -> Result<Option<Told>, Said> {
        let found = async {
            let mut reader = self.app.store.read("find an order of a device").await?;
            doorstep::order_of(reader.on(), device, outcome.order).await
        };
        let found = found.await.map_err(|why| {
            tracing::error!(%why, "an answer to an order was not taken");
            refuse(SealedProblem::Unavailable, UNAVAILABLE_SECS)
        })?;
        let Some(order) = found.and_then(|(open, ..)| open.order()) else {
            return Ok(None);
        };
        let server = self.signer();
        let answered = admitted
            .answered(outcome, order, self.app.org(), &server)
            .map_err(|why| {
                tracing::warn!(device = &**device, order = outcome.order, %why, "what a device says of an order is not signed by it");
                refuse(SealedProblem::NotAllowed, UNSIGNED_SECS)
            })?;
        Ok(Some(Told {
            order: order.id,
            code: answered.code,
            receipt: OrderReceipt {
                signer: *incoming.handle(),
                server: server.handle,
                height: answered.height,
                signature: outcome.signature,
            },
        }))
    }
}
