//! What follows by itself, by the device's type.

use crate::store::{On, StoreError, policies};
use kusabi_api::admin::{OnDifference, OnFork};

/// Whether two copies of this device are a reason to quarantine it.
pub(super) async fn quarantines(on: On<'_>, device: &str) -> Result<bool, StoreError> {
    Ok(policies::of_device(on, device).await?.fork == OnFork::Quarantine)
}

/// Whether a device whose inventory differs is ordered to install its release again.
pub(super) async fn repairs(on: On<'_>, device: &str) -> Result<bool, StoreError> {
    Ok(policies::of_device(on, device).await?.repair == OnDifference::Order)
}
