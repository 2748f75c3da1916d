//! `POST /api/v1/enrolments/{enrolment}/refuse`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Enrolment;

/// Refuses a device. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/enrolments/{enrolment}/refuse",
    operation_id = "enrolments_refuse",
    tag = "enrolment",
    params(("enrolment" = String, Path, description = "`enl_…`")),
    responses((status = 200, description = "Done", body = Enrolment))
)]
pub(in crate::http) async fn refuse(
    State(shared): AppState,
    Parameters(enrolment): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.refuse_enrolment(&command.by, &enrolment).await?)
}
