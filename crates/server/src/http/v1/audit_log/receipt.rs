//! `GET /api/v1/audit-log/{entry}/receipt`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Asks, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Receipt;

/// An entry of the audit log, signed with the server's key: to be checked later without this server.
#[utoipa::path(
    get,
    path = "/api/v1/audit-log/{entry}/receipt",
    operation_id = "audit_log_receipt",
    tag = "audit-log",
    params(("entry" = u64, Path, description = "The entry's number")),
    responses((status = 200, description = "Two files for `kusabi verify`", body = Receipt))
)]
pub(in crate::http) async fn receipt(
    State(shared): AppState,
    _: Asks<Admin>,
    Parameters(entry): Parameters<u64>,
) -> Answer {
    ok(&shared.app.audit_receipt(entry).await?)
}
