//! What was answered to requests with an idempotency key.

use super::{On, StoreError, bytes, column, int};
use sqlx::any::AnyRow;

/// A request that was carried out.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Hash of the request.
    pub(crate) request: [u8; 32],
    /// The answer, as JSON. `None`: it held a secret.
    pub(crate) answer: Option<String>,
}

/// What was done under this key of this token.
pub(crate) async fn find(
    on: On<'_>,
    token: &str,
    key: &str,
) -> Result<Option<Answered>, StoreError> {
    let error = StoreError::of("look an idempotency key up");
    let row = sqlx::query(
        "SELECT request, answer FROM idempotency_keys \
         WHERE org = $1 AND token = $2 AND idempotency_key = $3",
    )
    .bind(on.org)
    .bind(token.to_owned())
    .bind(key.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    let read = |row: &AnyRow| {
        Ok(Answered {
            request: bytes(row, "request")?,
            answer: column(row, "answer")?,
        })
    };
    row.as_ref().map(read).transpose().map_err(error)
}

/// Notes what was done.
pub(crate) async fn insert(
    on: On<'_>,
    token: &str,
    key: &str,
    answered: &Answered,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (org, token, idempotency_key, request, answer, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(on.org)
    .bind(token.to_owned())
    .bind(key.to_owned())
    .bind(answered.request.to_vec())
    .bind(answered.answer.clone())
    .bind(int(at_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note an idempotency key"))?;
    Ok(())
}

/// Forgets what is older than `before_ms`.
pub(crate) async fn forget(on: On<'_>, before_ms: u64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency_keys WHERE org = $1 AND created_ms < $2")
        .bind(on.org)
        .bind(int(before_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("forget old idempotency keys"))?;
    Ok(())
}
