//! `PUT /api/v1/enrolment-labels`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::EnrolmentLabels;

/// Adds labels (serials) of devices that are accepted by themselves, each once. Says how many were new.
#[utoipa::path(
    put,
    path = "/api/v1/enrolment-labels",
    operation_id = "enrolment_labels_add",
    tag = "enrolment",
    request_body = EnrolmentLabels,
    responses((status = 200, description = "Done", body = u64))
)]
pub(in crate::http) async fn add(
    State(shared): AppState,
    command: Command<Operator, Json<EnrolmentLabels>>,
) -> Answer {
    ok(&shared
        .app
        .add_enrolment_labels(&command.by, command.body.0)
        .await?)
}
