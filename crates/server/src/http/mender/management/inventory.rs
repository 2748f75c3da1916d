//! `GET /api/management/v1/inventory/devices`

use super::paging::{Paged, Paging};
use crate::http::{
    AppState,
    extract::{Asks, Viewer, Wanted},
    failure::Failure,
};
use axum::{extract::State, http::Uri, response::Response};
use kusabi_api::admin::AuthSetState;
use serde_json::{Value, json};

/// What accepted devices report of themselves, and who they say they are.
pub(super) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    uri: Uri,
    Wanted(paging): Wanted<Paging>,
) -> Result<Response, Failure> {
    let part = paging.part()?;
    let state = Some(AuthSetState::Accepted);
    let (devices, total) = shared
        .app
        .mender_devices_from(state, part.skip(), part.count())
        .await?;
    let mut shown: Vec<Value> = Vec::with_capacity(devices.len());
    for device in devices {
        let reported = shared.app.mender_attributes(&device.id).await?;
        let (reported, at_ms) = reported.unwrap_or((Vec::new(), device.changed_ms));
        let identity = device
            .identity
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "scope": "identity" }));
        let reported = reported
            .iter()
            .map(|one| json!({ "name": one.name, "value": one.value, "scope": "inventory" }));
        let attributes: Vec<Value> = identity.chain(reported).collect();
        shown.push(json!({
            "id": device.id, "updated_ts": super::time(at_ms), "attributes": attributes,
        }));
    }
    Ok(Paged::new(&uri, part, total).with(&shown))
}
