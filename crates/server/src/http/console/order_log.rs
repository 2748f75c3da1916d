//! `GET /devices/{device}/orders/{order}/log`

use super::{page, visitor::Looks};
use crate::{
    http::{
        AppState,
        answer::Answer,
        extract::{Parameters, Viewer},
    },
    views::order_log::OrderLog,
};
use axum::extract::State;
use kusabi_api::admin::Text;

/// What a stock Mender client logged of an order that failed.
pub(super) async fn show(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Parameters((device, order)): Parameters<(String, u64)>,
) -> Answer {
    let app = &shared.app;
    let log = app.mender_log_of(&device, order).await?;
    let names = app.device_names(std::slice::from_ref(&device)).await?;
    page(&OrderLog {
        f: looks.frame,
        address: format!("/devices/{device}"),
        name: names.get(&device).map_or(&*device, Text::as_str).to_owned(),
        order,
        log,
    })
}
