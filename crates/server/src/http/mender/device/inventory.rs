//! `PUT` and `PATCH /api/devices/v1/inventory/device/attributes`

use super::{AppState, Authed};
use crate::{
    app::mender::Reporting,
    http::{extract::receive, failure::Failure},
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
};

/// What is reported is all there is. 200 and nothing else, or the client takes it for an error.
pub(super) async fn replace(
    app: AppState,
    device: Authed,
    request: Request,
) -> Result<StatusCode, Failure> {
    report(app, device, request, Reporting::Whole).await
}

/// What is reported is added to what there is: clients before 3.0 do it so.
pub(super) async fn add(
    app: AppState,
    device: Authed,
    request: Request,
) -> Result<StatusCode, Failure> {
    report(app, device, request, Reporting::Part).await
}

async fn report(
    State(app): AppState,
    Authed(device): Authed,
    request: Request,
    how: Reporting,
) -> Result<StatusCode, Failure> {
    let body = receive(request).await?;
    app.report_attributes(&device, how, &body).await?;
    Ok(StatusCode::OK)
}
