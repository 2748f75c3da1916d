//! Keys: looked up on the ledger, handed on with their proof.

use super::{App, Error};
use bytes::Bytes;
use kusabi_api::view::ProofView;
use kusabi_core::{id::Handle, row::RowBytes};

/// What the ledger says of a key. Verified here, and to be verified again by whoever asks: the proof is in it.
#[derive(Clone, Debug)]
pub struct KeyAnswer {
    /// As JSON shows it.
    pub view: ProofView,
    /// The row, where there is one.
    pub row: Option<RowBytes>,
}

impl App {
    /// The record of a key, or that there is none, with the proof.
    ///
    /// # Errors
    /// The ledger gives no acceptable answer.
    pub async fn key(&self, handle: &Handle) -> Result<KeyAnswer, Error> {
        let proven = self.ask(self.ledger.record(handle)).await?;
        let header = proven.checkpoint().header();
        let proof: Bytes = proven.proof().clone();
        let record = proven.value();
        Ok(KeyAnswer {
            row: record.as_ref().map(kusabi_core::row::Record::encode),
            view: ProofView {
                present: record.is_some(),
                height: header.height.get(),
                time_ms: header.time_ms,
                row: record
                    .as_ref()
                    .map(|record| kusabi_api::view::RowView::Record(record.into())),
                proof,
            },
        })
    }
}
