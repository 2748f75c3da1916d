//! Devices in the field that ask to be registered: tokens, requests, and the list of labels that are accepted by themselves.

use super::{
    On, StoreError, bytes, column, int, is_id, number, optional_number, optional_text, word,
};
use kusabi_api::{
    Hex,
    admin::{Enrolment, EnrolmentState, EnrolmentToken, Text},
};
use sqlx::any::AnyRow;

const TOKEN: &str = "id, name, type, device_group, uses_left, expires_ms, created_ms, revoked_ms";

const COLUMNS: &str = "id, handle, token, label, suite, public_keys, binding, state, created_ms, decided_ms, decided_by";

fn read_token(row: &AnyRow) -> Result<EnrolmentToken, sqlx::Error> {
    Ok(EnrolmentToken {
        id: column(row, "id")?,
        name: optional_text(row, "name")?,
        device_type: optional_text(row, "type")?,
        group: column(row, "device_group")?,
        uses_left: optional_number(row, "uses_left")?,
        expires_ms: optional_number(row, "expires_ms")?,
        created_ms: number(row, "created_ms")?,
        revoked_ms: optional_number(row, "revoked_ms")?,
    })
}

fn read(row: &AnyRow) -> Result<Enrolment, sqlx::Error> {
    let keys: Vec<u8> = column(row, "public_keys")?;
    Ok(Enrolment {
        id: column(row, "id")?,
        handle: Hex(bytes(row, "handle")?),
        token: column(row, "token")?,
        label: optional_text(row, "label")?,
        purpose: String::from("act"),
        suite: u8::try_from(number(row, "suite")?).unwrap_or_default(),
        keys: hex(&keys),
        binding: Hex(bytes(row, "binding")?),
        state: word(row, "state", EnrolmentState::from_name)?,
        created_ms: number(row, "created_ms")?,
        decided_ms: optional_number(row, "decided_ms")?,
        decided_by: column(row, "decided_by")?,
    })
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A new token.
pub(crate) async fn insert_token(
    on: On<'_>,
    token: &EnrolmentToken,
    hash: [u8; 32],
) -> Result<(), StoreError> {
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned());
    sqlx::query(
        "INSERT INTO enrolment_tokens (org, id, name, hash, type, device_group, uses_left, expires_ms, created_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(on.org)
    .bind(token.id.clone())
    .bind(text(&token.name))
    .bind(hash.to_vec())
    .bind(text(&token.device_type))
    .bind(token.group.clone())
    .bind(token.uses_left.map(int))
    .bind(token.expires_ms.map(int))
    .bind(int(token.created_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert an enrolment token"))?;
    Ok(())
}

/// The tokens after `after`, at most `count`, by ID.
pub(crate) async fn tokens(
    on: On<'_>,
    after: &str,
    count: u16,
) -> Result<Vec<EnrolmentToken>, StoreError> {
    let error = StoreError::of("list enrolment tokens");
    let sql = format!(
        "SELECT {TOKEN} FROM enrolment_tokens WHERE org = $1 AND id > $2 ORDER BY id LIMIT $3"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(after.to_owned())
        .bind(i64::from(count))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(read_token)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// One token.
pub(crate) async fn token(on: On<'_>, id: &str) -> Result<Option<EnrolmentToken>, StoreError> {
    let error = StoreError::of("find an enrolment token");
    if !is_id(id) {
        return Ok(None);
    }
    let sql = format!("SELECT {TOKEN} FROM enrolment_tokens WHERE org = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read_token).transpose().map_err(error)
}

/// The token with this hash.
pub(crate) async fn token_with_hash(
    on: On<'_>,
    hash: [u8; 32],
) -> Result<Option<EnrolmentToken>, StoreError> {
    let error = StoreError::of("find an enrolment token by its secret");
    let sql = format!("SELECT {TOKEN} FROM enrolment_tokens WHERE org = $1 AND hash = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(hash.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read_token).transpose().map_err(error)
}

/// Revokes a token.
pub(crate) async fn revoke_token(on: On<'_>, id: &str, at_ms: u64) -> Result<(), StoreError> {
    sqlx::query("UPDATE enrolment_tokens SET revoked_ms = $3 WHERE org = $1 AND id = $2")
        .bind(on.org)
        .bind(id.to_owned())
        .bind(int(at_ms))
        .execute(on.connection)
        .await
        .map_err(StoreError::of("revoke an enrolment token"))?;
    Ok(())
}

/// One device fewer may ask with a token.
pub(crate) async fn use_token(on: On<'_>, id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE enrolment_tokens SET uses_left = uses_left - 1 WHERE org = $1 AND id = $2 AND uses_left > 0",
    )
    .bind(on.org)
    .bind(id.to_owned())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("use an enrolment token"))?;
    Ok(())
}

/// A new request.
pub(crate) async fn insert(
    on: On<'_>,
    enrolment: &Enrolment,
    keys: &[u8],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO enrolments (org, id, handle, token, label, suite, public_keys, binding, state, created_ms, \
         decided_ms, decided_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(on.org)
    .bind(enrolment.id.clone())
    .bind(enrolment.handle.0.to_vec())
    .bind(enrolment.token.clone())
    .bind(enrolment.label.as_ref().map(|label| label.as_str().to_owned()))
    .bind(i64::from(enrolment.suite))
    .bind(keys.to_vec())
    .bind(enrolment.binding.0.to_vec())
    .bind(enrolment.state.name())
    .bind(int(enrolment.created_ms))
    .bind(enrolment.decided_ms.map(int))
    .bind(enrolment.decided_by.clone())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("insert an enrolment"))?;
    Ok(())
}

/// The requests after `after`, at most `count`, by ID.
pub(crate) async fn list(
    on: On<'_>,
    state: Option<EnrolmentState>,
    after: &str,
    count: u16,
) -> Result<Vec<Enrolment>, StoreError> {
    let error = StoreError::of("list enrolments");
    let filter = match state {
        Some(_) => "AND state = $4",
        None => "",
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM enrolments WHERE org = $1 AND id > $2 {filter} ORDER BY id LIMIT $3"
    );
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(after.to_owned())
        .bind(i64::from(count));
    if let Some(state) = state {
        query = query.bind(state.name());
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// One request.
pub(crate) async fn find(on: On<'_>, id: &str) -> Result<Option<Enrolment>, StoreError> {
    let error = StoreError::of("find an enrolment");
    if !is_id(id) {
        return Ok(None);
    }
    let sql = format!("SELECT {COLUMNS} FROM enrolments WHERE org = $1 AND id = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(id.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The request for this key.
pub(crate) async fn with_handle(
    on: On<'_>,
    handle: [u8; 32],
) -> Result<Option<Enrolment>, StoreError> {
    let error = StoreError::of("find an enrolment by its key");
    let sql = format!("SELECT {COLUMNS} FROM enrolments WHERE org = $1 AND handle = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(handle.to_vec())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// How many wait, or those that came by this token: no more than `most` are counted.
pub(crate) async fn waiting(on: On<'_>, token: Option<&str>, most: u64) -> Result<u64, StoreError> {
    let filter = match token {
        Some(_) => "AND token = $4",
        None => "",
    };
    let sql = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM enrolments WHERE org = $1 AND state = $2 {filter} LIMIT $3) AS counted"
    );
    let mut query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(on.org)
        .bind(EnrolmentState::Waiting.name())
        .bind(int(most));
    if let Some(token) = token {
        query = query.bind(token.to_owned());
    }
    let count: i64 = query
        .fetch_one(on.connection)
        .await
        .map_err(StoreError::of("count enrolments"))?;
    Ok(count.unsigned_abs())
}

/// Notes how a request stands.
pub(crate) async fn set(
    on: On<'_>,
    id: &str,
    state: EnrolmentState,
    decided: Option<(u64, &str)>,
) -> Result<(), StoreError> {
    let error = StoreError::of("decide an enrolment");
    sqlx::query("UPDATE enrolments SET state = $3 WHERE org = $1 AND id = $2")
        .bind(on.org.clone())
        .bind(id.to_owned())
        .bind(state.name())
        .execute(&mut *on.connection)
        .await
        .map_err(error)?;
    if let Some((at_ms, by)) = decided {
        sqlx::query(
            "UPDATE enrolments SET decided_ms = $3, decided_by = $4 WHERE org = $1 AND id = $2",
        )
        .bind(on.org)
        .bind(id.to_owned())
        .bind(int(at_ms))
        .bind(by.to_owned())
        .execute(on.connection)
        .await
        .map_err(error)?;
    }
    Ok(())
}

/// Adds labels that are accepted by themselves; says how many were new.
pub(crate) async fn add_labels(on: On<'_>, labels: &[Text]) -> Result<u64, StoreError> {
    let mut added = 0;
    for label in labels {
        let done = sqlx::query(
            "INSERT INTO enrolment_labels (org, label) VALUES ($1, $2) ON CONFLICT (org, label) DO NOTHING",
        )
        .bind(on.org.clone())
        .bind(label.as_str().to_owned())
        .execute(&mut *on.connection)
        .await
        .map_err(StoreError::of("add to the list of labels"))?;
        added += done.rows_affected();
    }
    Ok(added)
}

/// Whether a label is on the list.
pub(crate) async fn is_listed(on: On<'_>, label: &Text) -> Result<bool, StoreError> {
    let found: Option<String> =
        sqlx::query_scalar("SELECT label FROM enrolment_labels WHERE org = $1 AND label = $2")
            .bind(on.org)
            .bind(label.as_str().to_owned())
            .fetch_optional(on.connection)
            .await
            .map_err(StoreError::of("look into the list of labels"))?;
    Ok(found.is_some())
}

/// Takes a label off the list: it was used.
pub(crate) async fn strike(on: On<'_>, label: &Text) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM enrolment_labels WHERE org = $1 AND label = $2")
        .bind(on.org)
        .bind(label.as_str().to_owned())
        .execute(on.connection)
        .await
        .map_err(StoreError::of("take a label off the list"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use kusabi_core::id::OrgId;

    #[tokio::test]
    async fn no_more_are_counted_than_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.sqlite");
        let store = Store::sqlite(&path, OrgId::new([7; 16])).await.unwrap();
        let added = store.tx("fill enrolments", |tx| {
            Box::pin(async move {
                for number in 0..10_u8 {
                    let one = Enrolment {
                        id: format!("enl_{number}"),
                        handle: Hex([number; 32]),
                        token: String::from(if number < 6 { "enr_a" } else { "enr_b" }),
                        label: None,
                        purpose: String::from("act"),
                        suite: 1,
                        keys: String::new(),
                        binding: Hex([1; 16]),
                        state: match number {
                            0 => EnrolmentState::Refused,
                            _ => EnrolmentState::Waiting,
                        },
                        created_ms: 1,
                        decided_ms: None,
                        decided_by: None,
                    };
                    insert(tx.on(), &one, &[1; 32]).await?;
                }
                Ok::<_, StoreError>(())
            })
        });
        added.await.unwrap();
        let mut reader = store.read("look").await.unwrap();
        for (token, most, counted) in [
            (None, 100, 9),
            (None, 9, 9),
            (None, 8, 8),
            (Some("enr_a"), 100, 5),
            (Some("enr_a"), 5, 5),
            (Some("enr_a"), 2, 2),
            (Some("enr_b"), 100, 4),
            (Some("enr_c"), 100, 0),
            (None, 0, 0),
        ] {
            let count = waiting(reader.on(), token, most).await.unwrap();
            assert_eq!(count, counted, "{token:?}, {most}");
        }
    }
}
