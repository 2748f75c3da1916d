//! `POST /api/v1/enrolment-tokens`

use crate::http::{
    AppState,
    answer::{Answer, created},
    extract::{Command, Json, Operator},
};
use axum::extract::State;
use kusabi_api::admin::{EnrolmentTokenCreate, EnrolmentTokenCreated};

/// Makes a token with which devices ask to be enrolled. Its secret is shown this once.
#[utoipa::path(
    post,
    path = "/api/v1/enrolment-tokens",
    operation_id = "enrolment_tokens_create",
    tag = "enrolment",
    request_body = EnrolmentTokenCreate,
    responses((status = 201, description = "Done", body = EnrolmentTokenCreated))
)]
pub(in crate::http) async fn create(
    State(shared): AppState,
    command: Command<Operator, Json<EnrolmentTokenCreate>>,
) -> Answer {
    created(
        &shared
            .app
            .create_enrolment_token(&command.by, command.body.0)
            .await?,
    )
}
