//! `POST /api/v1/alarms/{alarm}/acknowledgement`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Empty, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::Alarm;

/// Takes note of an alarm. A repeat changes nothing: who was first stays.
#[utoipa::path(
    post,
    path = "/api/v1/alarms/{alarm}/acknowledgement",
    operation_id = "alarms_acknowledge",
    tag = "alarms",
    params(("alarm" = u64, Path, description = "Its number")),
    responses((status = 200, description = "Done", body = Alarm))
)]
pub(in crate::http) async fn acknowledge(
    State(shared): AppState,
    Parameters(alarm): Parameters<u64>,
    command: Command<Operator, Empty>,
) -> Answer {
    ok(&shared.app.acknowledge_alarm(&command.by, alarm).await?)
}
