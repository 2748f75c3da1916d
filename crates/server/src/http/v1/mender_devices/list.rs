//! `GET /api/v1/mender/devices`

use crate::app::Cut;
use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{AuthSetState, MenderDevice, Page};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// Only those that stand like this; `pending`: those with a key that nobody has decided, perhaps beside one that is accepted.
    state: Option<AuthSetState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// Stock Mender devices as they ask, by ID.
#[utoipa::path(
    get,
    path = "/api/v1/mender/devices",
    operation_id = "mender_devices_list",
    tag = "mender",
    params(Which),
    responses((status = 200, description = "One page", body = Page<MenderDevice>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let cut = Cut {
        cursor: which.cursor,
        limit: which.limit,
    };
    ok(&shared.app.mender_devices(which.state, &cut).await?)
}
