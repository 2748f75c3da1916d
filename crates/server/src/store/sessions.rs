//! Sessions of the console. Secrets are stored as their SHA-256. A session is as good as its token: one that is revoked ends it.

use super::{On, StoreError, bytes, column, int, is_id, number, text, word};
use kusabi_api::admin::{Role, Text};
use sqlx::any::AnyRow;

/// A session with the token behind it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) csrf: [u8; 32],
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) token: String,
    pub(crate) name: Text,
    pub(crate) role: Role,
}

const COLUMNS: &str = "s.id, s.csrf, s.created_ms, s.expires_ms, t.id AS token, t.name, t.role";

/// The session with this hash, if it is not over and its token not revoked.
pub(crate) async fn with_hash(
    on: On<'_>,
    hash: [u8; 32],
    now_ms: u64,
) -> Result<Option<Session>, StoreError> {
    let error = StoreError::of("find a session by its secret");
    let sql = format!(
        "SELECT {COLUMNS} FROM console_sessions s JOIN tokens t ON t.org = s.org AND t.id = s.token \
         WHERE s.org = $1 AND s.hash = $2 AND s.expires_ms > $3 AND t.revoked_ms IS NULL"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(hash.to_vec())
        .bind(int(now_ms))
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// A token's sessions that are not over, the newest first, at most `count`.
pub(crate) async fn of_token(
    on: On<'_>,
    token: &str,
    now_ms: u64,
    count: u16,
) -> Result<Vec<Session>, StoreError> {
    let error = StoreError::of("list sessions");
    let sql = format!(
        "SELECT {COLUMNS} FROM console_sessions s JOIN tokens t ON t.org = s.org AND t.id = s.token \
         WHERE s.org = $1 AND s.token = $2 AND s.expires_ms > $3 ORDER BY s.created_ms DESC, s.id LIMIT $4"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(token.to_owned())
        .bind(int(now_ms))
        .bind(i64::from(count))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A new session.
pub(crate) async fn insert(
    on: On<'_>,
    session: &Session,
    hash: [u8; 32],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO console_sessions (org, hash, id, token, csrf, created_ms, expires_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(on.org)
    .bind(hash.to_vec())
    .bind(session.id.clone())
    .bind(session.token.clone())
    .bind(session.csrf.to_vec())
    .bind(int(session.created_ms))
    .bind(int(session.expires_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("open a session"))?;
    Ok(())
}

/// Ends the token's session of this ID; says whether there was one.
pub(crate) async fn end(on: On<'_>, token: &str, id: &str) -> Result<bool, StoreError> {
    if !is_id(id) {
        return Ok(false);
    }
    let done =
        sqlx::query("DELETE FROM console_sessions WHERE org = $1 AND token = $2 AND id = $3")
            .bind(on.org)
            .bind(token.to_owned())
            .bind(id.to_owned())
            .execute(on.connection)
            .await
            .map_err(StoreError::of("end a session"))?;
    Ok(done.rows_affected() > 0)
}

/// Ends all sessions of the token; says how many there were.
pub(crate) async fn end_all(on: On<'_>, token: &str) -> Result<u64, StoreError> {
    let done = sqlx::query("DELETE FROM console_sessions WHERE org = $1 AND token = $2")
        .bind(on.org)
        .bind(token.to_owned())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("end sessions"))?;
    Ok(done.rows_affected())
}

/// Forgets what is over, and of the token all but its newest `keep`.
pub(crate) async fn forget(
    on: On<'_>,
    token: &str,
    now_ms: u64,
    keep: u16,
) -> Result<(), StoreError> {
    let error = StoreError::of("forget old sessions");
    let On { connection, org } = on;
    sqlx::query("DELETE FROM console_sessions WHERE org = $1 AND expires_ms <= $2")
        .bind(org.clone())
        .bind(int(now_ms))
        .execute(&mut *connection)
        .await
        .map_err(error)?;
    sqlx::query(
        "DELETE FROM console_sessions WHERE org = $1 AND token = $2 AND hash NOT IN ( \
             SELECT hash FROM console_sessions WHERE org = $1 AND token = $2 \
             ORDER BY created_ms DESC, id LIMIT $3)",
    )
    .bind(org)
    .bind(token.to_owned())
    .bind(i64::from(keep))
    .execute(connection)
    .await
    .map_err(error)?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Session, sqlx::Error> {
    Ok(Session {
        id: column(row, "id")?,
        csrf: bytes(row, "csrf")?,
        created_ms: number(row, "created_ms")?,
        expires_ms: number(row, "expires_ms")?,
        token: column(row, "token")?,
        name: text(row, "name")?,
        role: word(row, "role", Role::from_name)?,
    })
}
