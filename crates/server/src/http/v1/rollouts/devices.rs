//! `GET /api/v1/rollouts/{rollout}/devices`

use crate::{
    app::{Cut, Members},
    http::{
        AppState,
        answer::{Answer, ok},
        extract::{Asks, Parameters, Viewer, Wanted},
    },
};
use axum::extract::State;
use kusabi_api::admin::{Page, RolloutDevice, RolloutDeviceState};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which of its devices.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// In this state.
    state: Option<RolloutDeviceState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// The devices of a rollout, by ID.
#[utoipa::path(
    get,
    path = "/api/v1/rollouts/{rollout}/devices",
    operation_id = "rollouts_devices",
    tag = "rollouts",
    params(("rollout" = u64, Path, description = "Its number"), Which),
    responses((status = 200, description = "One page", body = Page<RolloutDevice>))
)]
pub(in crate::http) async fn devices(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<u64>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let cut = Cut {
        cursor: which.cursor,
        limit: which.limit,
    };
    let members = which.state.map_or(Members::All, Members::In);
    ok(&shared.app.rollout_devices(id, members, &cut).await?)
}
