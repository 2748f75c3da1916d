//! `GET /api/v1/enrolments`

use crate::app::Cut;
use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Asks, Viewer, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{Enrolment, EnrolmentState, Page};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// Only those that stand like this.
    state: Option<EnrolmentState>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many items: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// The devices that asked to be enrolled, by ID.
#[utoipa::path(
    get,
    path = "/api/v1/enrolments",
    operation_id = "enrolments_list",
    tag = "enrolment",
    params(Which),
    responses((status = 200, description = "One page", body = Page<Enrolment>))
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
    ok(&shared.app.enrolments(which.state, &cut).await?)
}
