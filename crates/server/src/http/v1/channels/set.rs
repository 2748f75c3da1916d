//! `PUT /api/v1/channels/{channel}`

use crate::http::{
    AppState,
    answer::{Answer, ok},
    extract::{Command, Json, Operator, Parameters},
};
use axum::extract::State;
use kusabi_api::admin::{Channel, ChannelSet};

/// Sets the counter that a release of a channel must have at least to be ordered. Rollouts of releases below it pause.
#[utoipa::path(
    put,
    path = "/api/v1/channels/{channel}",
    operation_id = "channels_set",
    tag = "channels",
    params(("channel" = String, Path, description = "Its label")),
    request_body = ChannelSet,
    responses((status = 200, description = "Done", body = Channel))
)]
pub(in crate::http) async fn set(
    State(shared): AppState,
    Parameters(channel): Parameters<String>,
    command: Command<Operator, Json<ChannelSet>>,
) -> Answer {
    let set = command.body.0;
    ok(&shared.app.set_channel(&command.by, &channel, set).await?)
}
