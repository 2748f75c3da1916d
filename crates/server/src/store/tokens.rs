//! API tokens, the users behind them, and the link that makes the first admin. Secrets are stored as their SHA-256.

use super::{On, StoreError, bytes, column, int, is_id, number, optional_number, text, word};
use kusabi_api::admin::{Role, Text, Token};
use sqlx::any::AnyRow;

/// A new token.
pub(crate) async fn insert(
    on: On<'_>,
    token: &Token,
    hash: [u8; 32],
    user: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (org, id, user_id, name, role, hash, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(on.org)
    .bind(token.id.clone())
    .bind(user.map(str::to_owned))
    .bind(token.name.as_str().to_owned())
    .bind(token.role.name())
    .bind(hash.to_vec())
    .bind(int(token.created_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert a token"))?;
    Ok(())
}

/// The token with this hash, if it is not revoked.
pub(crate) async fn with_hash(on: On<'_>, hash: [u8; 32]) -> Result<Option<Token>, StoreError> {
    let error = StoreError::of("find a token by its secret");
    let row = sqlx::query(
        "SELECT id, name, role, created_ms, revoked_ms FROM tokens \
         WHERE org = $1 AND hash = $2 AND revoked_ms IS NULL",
    )
    .bind(on.org)
    .bind(hash.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// One token.
pub(crate) async fn find(on: On<'_>, id: &str) -> Result<Option<Token>, StoreError> {
    let error = StoreError::of("find a token");
    if !is_id(id) {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT id, name, role, created_ms, revoked_ms FROM tokens WHERE org = $1 AND id = $2",
    )
    .bind(on.org)
    .bind(id.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The tokens after `after`, at most `count`, by ID.
pub(crate) async fn list(on: On<'_>, after: &str, count: u16) -> Result<Vec<Token>, StoreError> {
    let error = StoreError::of("list tokens");
    let rows = sqlx::query(
        "SELECT id, name, role, created_ms, revoked_ms FROM tokens \
         WHERE org = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(on.org)
    .bind(after.to_owned())
    .bind(i64::from(count))
    .fetch_all(on.connection)
    .await
    .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// Revokes a token.
pub(crate) async fn revoke(on: On<'_>, id: &str, at_ms: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE tokens SET revoked_ms = $3 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(id.to_owned())
        .bind(int(at_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("revoke a token"))?;
    Ok(())
}

/// A new user.
pub(crate) async fn insert_user(
    on: On<'_>,
    id: &str,
    name: &Text,
    role: Role,
    at_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO users (org, id, name, role, created_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(on.org)
        .bind(id.to_owned())
        .bind(name.as_str().to_owned())
        .bind(role.name())
        .bind(int(at_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("insert a user"))?;
    Ok(())
}

/// Whether there is a user.
pub(crate) async fn any_user(on: On<'_>) -> Result<bool, StoreError> {
    let found: Option<String> = sqlx::query_scalar("SELECT id FROM users WHERE org = $1 LIMIT 1")
        .bind(on.org)
        .fetch_optional(on.connection)
        .await
        .map_err(StoreError::of("look for a user"))?;
    Ok(found.is_some())
}

/// Puts a link in the place of the one that may be there.
pub(crate) async fn set_link(
    on: On<'_>,
    hash: [u8; 32],
    expires_ms: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO first_admin_links (org, hash, expires_ms) VALUES ($1, $2, $3) \
         ON CONFLICT (org) DO UPDATE SET hash = $2, expires_ms = $3",
    )
    .bind(on.org)
    .bind(hash.to_vec())
    .bind(int(expires_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("make a link"))?;
    Ok(())
}

/// The link: its hash and until when it is good.
pub(crate) async fn link(on: On<'_>) -> Result<Option<([u8; 32], u64)>, StoreError> {
    let error = StoreError::of("read the link");
    let row = sqlx::query("SELECT hash, expires_ms FROM first_admin_links WHERE org = $1")
        .bind(on.org)
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    let read = |row: &AnyRow| Ok((bytes(row, "hash")?, number(row, "expires_ms")?));
    row.as_ref().map(read).transpose().map_err(error)
}

fn read(row: &AnyRow) -> Result<Token, sqlx::Error> {
    Ok(Token {
        id: column(row, "id")?,
        name: text(row, "name")?,
        role: word(row, "role", Role::from_name)?,
        created_ms: number(row, "created_ms")?,
        revoked_ms: optional_number(row, "revoked_ms")?,
    })
}

/// ID and name of these tokens.
pub(crate) async fn names(on: On<'_>, ids: &[String]) -> Result<Vec<(String, Text)>, StoreError> {
    let error = StoreError::of("name tokens");
    let question = "SELECT id, name FROM tokens WHERE org = $1 AND id IN";
    let rows = super::among(on, question, ids).await.map_err(error)?;
    let read = |row: &AnyRow| Ok((column(row, "id")?, text(row, "name")?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}
