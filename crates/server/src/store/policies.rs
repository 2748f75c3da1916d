//! What follows by itself, for each type of device.

use super::{On, StoreError, word};
use kusabi_api::admin::{OnDifference, OnFork, Text, TypePolicy};
use sqlx::any::AnyRow;

fn read(row: &AnyRow) -> Result<TypePolicy, sqlx::Error> {
    Ok(TypePolicy {
        repair: word(row, "repair", OnDifference::from_name)?,
        fork: word(row, "fork", OnFork::from_name)?,
    })
}

/// The policy of a device's type, or what holds when none was set.
pub(crate) async fn of_device(on: On<'_>, device: &str) -> Result<TypePolicy, StoreError> {
    let error = StoreError::of("read a type's policy");
    let row = sqlx::query(
        "SELECT p.repair, p.fork FROM devices d JOIN type_policies p ON p.org = d.org AND p.type = d.type \
         WHERE d.org = $1 AND d.id = $2",
    )
    .bind(on.org)
    .bind(device.to_owned())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    Ok(row
        .as_ref()
        .map(read)
        .transpose()
        .map_err(error)?
        .unwrap_or_default())
}

/// The policy of a type, or what holds when none was set.
pub(crate) async fn find(on: On<'_>, device_type: &Text) -> Result<TypePolicy, StoreError> {
    let error = StoreError::of("read a type's policy");
    let row = sqlx::query("SELECT repair, fork FROM type_policies WHERE org = $1 AND type = $2")
        .bind(on.org)
        .bind(device_type.as_str().to_owned())
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    Ok(row
        .as_ref()
        .map(read)
        .transpose()
        .map_err(error)?
        .unwrap_or_default())
}

/// Sets the policy of a type.
pub(crate) async fn set(
    on: On<'_>,
    device_type: &Text,
    policy: &TypePolicy,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO type_policies (org, type, repair, fork) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (org, type) DO UPDATE SET repair = $3, fork = $4",
    )
    .bind(on.org)
    .bind(device_type.as_str().to_owned())
    .bind(policy.repair.name())
    .bind(policy.fork.name())
    .execute(on.connection)
    .await
    .map_err(StoreError::of("set a type's policy"))?;
    Ok(())
}
