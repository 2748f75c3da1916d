//! `/api/management/v2/devauth/devices…`: devices with their auth sets, accepted, rejected, vouched for.

use super::super::read;
use super::paging::{Paged, Paging};
use crate::{
    app::Error,
    http::{
        AppState,
        extract::{Asks, Command, Empty, Octets, Operator, Parameters, Viewer, Wanted},
        failure::Failure,
    },
};
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use kusabi_api::admin::{
    AuthSet, AuthSetState, MenderDevice, MenderIdentity, MenderPreauthorize, MenderValue,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Names under which `mender-cli` takes nothing but texts.
const TEXTS: [&str; 3] = ["mac", "sku", "sn"];

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    status: Option<AuthSetState>,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    uri: Uri,
    Wanted(Filter { status, paging }): Wanted<Filter>,
) -> Result<Response, Failure> {
    let part = paging.part()?;
    let (devices, total) = shared
        .app
        .mender_devices_from(status, part.skip(), part.count())
        .await?;
    let devices: Vec<Value> = devices.iter().map(device).collect();
    Ok(Paged::new(&uri, part, total).with(&devices))
}

#[derive(Debug, Deserialize)]
pub(super) struct Of {
    status: Option<AuthSetState>,
}

pub(super) async fn count(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(Of { status }): Wanted<Of>,
) -> Result<Json<Value>, Failure> {
    let count = shared.app.count_mender_devices(status).await?;
    Ok(Json(json!({ "count": count })))
}

pub(super) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
) -> Result<Json<Value>, Failure> {
    let found = shared.app.find_mender_device(&id).await?;
    Ok(Json(device(&found)))
}

#[derive(Debug, Deserialize)]
struct Preauthorize {
    identity_data: MenderIdentity,
    pubkey: String,
}

pub(super) async fn preauthorize(
    State(shared): AppState,
    Command { by, body, .. }: Command<Operator, Octets>,
) -> Result<Response, Failure> {
    let Preauthorize {
        identity_data,
        pubkey,
    } = read(&body.0)?;
    let create = MenderPreauthorize {
        identity: identity_data,
        key: pubkey,
    };
    let made = shared.app.preauthorize(&by, create).await?;
    let mut response = StatusCode::CREATED.into_response();
    let place = format!("/api/management/v2/devauth/devices/{}", made.id);
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
struct Status {
    status: AuthSetState,
}

pub(super) async fn decide(
    State(shared): AppState,
    Parameters((id, set)): Parameters<(String, String)>,
    Command { by, body, .. }: Command<Operator, Octets>,
) -> Result<StatusCode, Failure> {
    let Status { status } = read(&body.0)?;
    belongs(&shared, &id, &set).await?;
    match status {
        AuthSetState::Accepted => shared.app.accept_auth_set(&by, &set).await?,
        AuthSetState::Rejected => shared.app.reject_auth_set(&by, &set).await?,
        _ => {
            let why = "an auth set is made `accepted` or `rejected`; nobody is made to wait again";
            return Err(Error::Malformed(String::from(why)).into());
        }
    };
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn status(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters((id, set)): Parameters<(String, String)>,
) -> Result<Json<Value>, Failure> {
    belongs(&shared, &id, &set).await?;
    let found = shared.app.mender_set(&set).await?;
    Ok(Json(json!({ "status": found.state })))
}

pub(super) async fn dismiss(
    State(shared): AppState,
    Parameters((id, set)): Parameters<(String, String)>,
    Command { by, .. }: Command<Operator, Empty>,
) -> Result<StatusCode, Failure> {
    belongs(&shared, &id, &set).await?;
    shared.app.dismiss_auth_set(&by, &set).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A device none of whose keys was ever accepted; otherwise it is forgotten in part only, and the first key that stays is named.
pub(super) async fn dismiss_all(
    State(shared): AppState,
    Parameters(id): Parameters<String>,
    Command { by, .. }: Command<Operator, Empty>,
) -> Result<StatusCode, Failure> {
    for set in shared.app.find_mender_device(&id).await?.auth_sets {
        shared.app.dismiss_auth_set(&by, &set.id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The set is one of this device.
async fn belongs(shared: &crate::http::Shared, id: &str, set: &str) -> Result<(), Error> {
    let found = shared.app.mender_set(set).await?;
    if found.device == id {
        return Ok(());
    }
    Err(Error::Unknown {
        what: "auth set of this device",
        id: set.to_owned(),
    })
}

fn device(device: &MenderDevice) -> Value {
    let identity = identity(&device.identity);
    let set = |set: &AuthSet| {
        json!({
            "id": set.id, "pubkey": set.key, "identity_data": identity, "status": set.state,
            "ts": super::time(set.created_ms),
        })
    };
    let sets: Vec<Value> = device.auth_sets.iter().map(set).collect();
    json!({
        "id": device.id, "identity_data": identity, "status": device.state,
        "created_ts": super::time(device.created_ms), "updated_ts": super::time(device.changed_ms),
        "auth_sets": sets, "decommissioning": false,
    })
}

/// An identity as its device says it, but for what `mender-cli` takes as texts only.
fn identity(identity: &MenderIdentity) -> Value {
    let shown = identity.iter().map(|(name, value)| {
        let value = match value {
            MenderValue::Many(values) if TEXTS.contains(&&**name) => json!(values.join(",")),
            value => json!(value),
        };
        (name.clone(), value)
    });
    Value::Object(shown.collect())
}
