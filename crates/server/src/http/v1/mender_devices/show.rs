//! `GET /api/v1/mender/devices/{device}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Parameters, Viewer},
};
use axum::extract::State;
use kusabi_api::admin::MenderDeviceDetail;

/// A stock Mender device, with what it reports of itself.
#[utoipa::path(
    get,
    path = "/api/v1/mender/devices/{device}",
    operation_id = "mender_devices_show",
    tag = "mender",
    params(("device" = String, Path, description = "`dev_…`")),
    responses((status = 200, description = "The answer", body = MenderDeviceDetail))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(device): Parameters<String>,
) -> Answer {
    ok(&shared.app.mender_device_detail(&device).await?)
}
