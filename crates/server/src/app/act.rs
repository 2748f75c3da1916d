//! The one way to change something: in one transaction with its entry in the audit log and with the answer to its idempotency key.

use super::{App, Caller, Change, Error, audit};
use crate::store::{
    Tx, Work,
    idempotency::{self, Answered},
};
use serde::{Serialize, de::DeserializeOwned};

/// How long an idempotency key is remembered, in milliseconds: a day.
const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;

/// A request that may be repeated without being done twice.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The key, chosen by the client; each token has its own.
    pub key: String,
    /// Hash of the request: the same key with another one is refused.
    pub request: [u8; 32],
}

/// By whom something is done.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub caller: Caller,
    /// Under which idempotency key.
    pub idempotency: Option<Idempotency>,
}

impl By {
    /// By this caller, without an idempotency key.
    #[must_use]
    pub const fn only(caller: Caller) -> Self {
        Self {
            caller,
            idempotency: None,
        }
    }
}

/// What a use case did.
pub(super) struct Done<T> {
    value: T,
    /// What the audit log says: subject and particulars. `None`: nothing changed.
    entry: Option<(String, serde_json::Value)>,
    /// Whether the answer holds a secret, which is never stored.
    secret: bool,
    /// Who is told, once it is on disk.
    changes: Vec<Change>,
}

impl<T> Done<T> {
    /// Something changed.
    pub(super) fn changed(value: T, subject: impl Into<String>, detail: serde_json::Value) -> Self {
        Self {
            value,
            entry: Some((subject.into(), detail)),
            secret: false,
            changes: Vec::new(),
        }
    }

    /// It was so before.
    pub(super) fn nothing(value: T) -> Self {
        Self {
            value,
            entry: None,
            secret: false,
            changes: Vec::new(),
        }
    }

    /// This is told to whoever listens, once it is on disk.
    pub(super) fn telling(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes.extend(changes);
        self
    }

    /// The answer holds a secret.
    pub(super) fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl App {
    /// Does `work`, notes it in the audit log as `act`, and remembers the answer under the idempotency key: all of it or nothing.
    /// A repeat gets the answer of the first time.
    pub(super) async fn act<'env, T: Serialize + DeserializeOwned + Send>(
        &'env self,
        by: &'env By,
        act: &'static str,
        work: impl for<'t> FnOnce(&'t mut Tx<'env>, u64) -> Work<'t, Result<Done<T>, Error>>
        + Send
        + 'env,
    ) -> Result<T, Error> {
        let now_ms = self.edge.now_ms();
        let actor = by.caller.id();
        let (value, changes) = self
            .store
            .tx(act, move |tx| {
                Box::pin(async move {
                    if let Some(Idempotency { key, request }) = &by.idempotency
                        && let Some(before) = idempotency::find(tx.on(), actor, key).await?
                    {
                        return Ok((replay(&before, request)?, Vec::new()));
                    }
                    let done = work(tx, now_ms).await?;
                    if let Some((subject, detail)) = &done.entry {
                        audit::append(tx, now_ms, actor, act, subject, detail).await?;
                    }
                    if let Some(Idempotency { key, request }) = &by.idempotency {
                        let answer = match done.secret {
                            true => None,
                            false => Some(serde_json::to_string(&done.value)?),
                        };
                        let answered = Answered {
                            request: *request,
                            answer,
                        };
                        idempotency::forget(tx.on(), now_ms.saturating_sub(REMEMBERED_MS)).await?;
                        idempotency::insert(tx.on(), actor, key, &answered, now_ms).await?;
                    }
                    Ok::<_, Error>((done.value, done.changes))
                })
            })
            .await?;
        for change in changes {
            self.announce(change);
        }
        Ok(value)
    }
}

fn replay<T: DeserializeOwned>(before: &Answered, request: &[u8; 32]) -> Result<T, Error> {
    if before.request != *request {
        return Err(Error::KeyReused);
    }
    match &before.answer {
        Some(answer) => Ok(serde_json::from_str(answer)?),
        None => Err(Error::AlreadyDone(String::from(
            "this was done, and its answer held a secret that is shown once; revoke what was made and make another",
        ))),
    }
}
