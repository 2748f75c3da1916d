//! `GET /api/v1/audit-log/head`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Asks},
};
use axum::extract::State;
use kusabi_api::admin::AuditHead;

/// Where the audit log stands, and which of its hashes stands on the ledger, from which height on.
#[utoipa::path(
    get,
    path = "/api/v1/audit-log/head",
    operation_id = "audit_log_head",
    tag = "audit-log",
    responses((status = 200, description = "The head", body = AuditHead))
)]
pub(in crate::http) async fn head(State(shared): AppState, _: Asks<Admin>) -> Answer {
    ok(&shared.app.audit_head().await?)
}
