//! What follows by itself, by the device's type.

use crate::store::{On, StoreError, policies};
use kusabi_api::admin::{OnDifference, OnFork};

/// Whether two copies of this device are a reason to quarantine it.
pub(super) async fn quarantines(on: On<'_>, device: &str) -> Result<bool, StoreError> {
    Ok(policies::of_device(on, device).await?.fork == OnFork::Quarantine)
}

/// What follows when this device's inventory differs.
pub(super) async fn on_difference(on: On<'_>, device: &str) -> Result<OnDifference, StoreError> {
    Ok(policies::of_device(on, device).await?.repair)
}
