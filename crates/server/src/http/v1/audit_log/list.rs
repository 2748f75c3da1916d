//! `GET /api/v1/audit-log`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Admin, Asks, Cutting, Wanted},
};
use axum::extract::State;
use kusabi_api::admin::{AuditEntry, Page};

/// The audit log, the oldest entry first.
#[utoipa::path(
    get,
    path = "/api/v1/audit-log",
    operation_id = "audit_log_list",
    tag = "audit-log",
    params(Cutting),
    responses((status = 200, description = "One page", body = Page<AuditEntry>))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Admin>,
    Wanted(cutting): Wanted<Cutting>,
) -> Answer {
    ok(&shared.app.audit_log(&cutting.into()).await?)
}
