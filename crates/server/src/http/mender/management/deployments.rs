//! `/api/management/v1/deployments/deployments/{id}/devices/{device}/log`

use crate::http::{
    AppState,
    extract::{Asks, Parameters, Viewer},
    failure::Failure,
};
use axum::extract::State;

/// What a device's client logged of its deployment, as text.
pub(super) async fn log(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters((id, device)): Parameters<(String, String)>,
) -> Result<String, Failure> {
    Ok(shared.app.mender_log_of_deployment(&device, &id).await?)
}
