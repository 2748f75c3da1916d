//! `POST /api/v1/enrolments/{enrolment}/accept`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Enrolment;

/// Accepts a device; a server with a writer's key registers it at once. A repeat goes on where the last one ended.
#[utoipa::path(
    post,
    path = "/api/v1/enrolments/{enrolment}/accept",
    operation_id = "enrolments_accept",
    tag = "enrolment",
    params(("enrolment" = String, Path, description = "`enl_…`")),
    responses((status = 200, description = "Done", body = Enrolment))
)]
pub(in crate::http) async fn accept(
    State(shared): AppState,
    Parameters(enrolment): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.accept_enrolment(&command.by, &enrolment).await?)
}
