//! `GET /api/v1/devices`

use crate::{
    app::{Cut, DeviceQuery},
    http::{
        AppState,
        answer::{Answer, ok},
        extract::{Asks, Viewer, Wanted},
    },
};
use axum::extract::State;
use kusabi_api::admin::{Device, DeviceState, Page, Text};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which devices: those for which all that is said holds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// In this group: `grp_…`.
    group: Option<String>,
    /// Of this type.
    #[serde(rename = "type")]
    device_type: Option<Text>,
    /// In this state.
    state: Option<DeviceState>,
    /// With this serial.
    serial: Option<Text>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// The devices, by ID.
#[utoipa::path(
    get,
    path = "/api/v1/devices",
    operation_id = "devices_list",
    tag = "devices",
    params(Which),
    responses((status = 200, description = "One page", body = Page<Device>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let query = DeviceQuery {
        group: which.group,
        device_type: which.device_type,
        state: which.state,
        serial: which.serial,
        ..DeviceQuery::default()
    };
    let cut = Cut {
        cursor: which.cursor,
        limit: which.limit,
    };
    ok(&shared.app.devices(query, &cut).await?)
}
