//! The lowest counters of channels.

use super::{On, StoreError, column, int, number};
use kusabi_api::admin::Channel;
use sqlx::any::AnyRow;

/// The channels after `after` for which one was set, at most `count`, by name.
pub(crate) async fn list(on: On<'_>, after: &str, count: u16) -> Result<Vec<Channel>, StoreError> {
    let error = StoreError::of("list channels");
    let rows = sqlx::query(
        "SELECT channel, minimum, changed_ms, changed_by FROM channels \
         WHERE org = $1 AND channel > $2 ORDER BY channel LIMIT $3",
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

/// The lowest counter of a channel; 0: none was set.
pub(crate) async fn minimum(on: On<'_>, channel: &str) -> Result<u64, StoreError> {
    let error = StoreError::of("find a channel's minimum");
    let row = sqlx::query("SELECT minimum FROM channels WHERE org = $1 AND channel = $2")
        .bind(on.org)
        .bind(channel.to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.map_or(Ok(0), |row| number(&row, "minimum"))
        .map_err(error)
}

/// Sets it.
pub(crate) async fn set(on: On<'_>, channel: &Channel) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO channels (org, channel, minimum, changed_ms, changed_by) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (org, channel) DO UPDATE SET minimum = $3, changed_ms = $4, changed_by = $5",
    )
    .bind(on.org)
    .bind(channel.channel.clone())
    .bind(int(channel.minimum_counter))
    .bind(int(channel.changed_ms))
    .bind(channel.changed_by.clone())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("set a channel's minimum"))?;
    Ok(())
}

fn read(row: &AnyRow) -> Result<Channel, sqlx::Error> {
    Ok(Channel {
        channel: column(row, "channel")?,
        minimum_counter: number(row, "minimum")?,
        changed_ms: number(row, "changed_ms")?,
        changed_by: column(row, "changed_by")?,
    })
}
