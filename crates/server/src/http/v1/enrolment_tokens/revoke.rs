//! `POST /api/v1/enrolment-tokens/{token}/revocation`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::EnrolmentToken;

/// Revokes a token: nobody is looked at with it any more. A repeat changes nothing.
#[utoipa::path(
    post,
    path = "/api/v1/enrolment-tokens/{token}/revocation",
    operation_id = "enrolment_tokens_revoke",
    tag = "enrolment",
    params(("token" = String, Path, description = "`enr_…`")),
    responses((status = 200, description = "Done", body = EnrolmentToken))
)]
pub(in crate::http) async fn revoke(
    State(shared): AppState,
    Parameters(token): Parameters<String>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared
        .app
        .revoke_enrolment_token(&command.by, &token)
        .await?)
}
