//! `GET /api/v1/alarms`

use crate::{
    app::Cut,
    http::{
        AppState,
        answer::{Answer, ok},
        extract::{Asks, Viewer, Wanted},
    },
};
use axum::extract::State;
use kusabi_api::admin::{Alarm, Page};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which alarms.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// `true`: only those that nobody acknowledged.
    #[serde(default)]
    open: bool,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// The alarms, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/alarms",
    operation_id = "alarms_list",
    tag = "alarms",
    params(Which),
    responses((status = 200, description = "One page", body = Page<Alarm>))
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
    ok(&shared.app.alarms(which.open, &cut).await?)
}
