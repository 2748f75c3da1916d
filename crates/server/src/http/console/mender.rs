//! `/mender`: stock Mender devices that wait, and those that were decided.

use super::{
    inside, page, see,
    visitor::{Looks, Sends},
};
use crate::{
    app::Cut,
    http::{
        AppState,
        answer::Answer,
        extract::{Operator, Parameters, Viewer, Wanted},
    },
    views::{
        Frame, address,
        mender::{Mender, SetRow},
        parts::{Badge, Pager},
    },
};
use axum::extract::State;
use kusabi_api::{
    Kind, Problem,
    admin::{AuthSet, AuthSetState, MenderDevice, MenderValue},
};
use serde::Deserialize;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    which: String,
    cursor: Option<String>,
}

/// The form's fields.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    /// Where it was sent from.
    #[serde(default)]
    back: String,
}

pub(super) async fn list(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let waiting = which.which != "all";
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    let state = waiting.then_some(AuthSetState::Pending);
    let found = app.mender_devices(state, &cut).await?;
    let mut rows = Vec::new();
    for device in &found.items {
        let shown = |set: &&AuthSet| !waiting || set.state == AuthSetState::Pending;
        let sets = device.auth_sets.iter().filter(shown);
        rows.extend(sets.map(|set| row(&f, device, set)));
    }
    let all = (!waiting).then_some("all");
    let at = |cursor: Option<&str>| address("/mender", &[("which", all), ("cursor", cursor)]);
    let first = which.cursor.is_some().then(|| at(None));
    let next = found.next.map(|cursor| at(Some(&cursor)));
    page(&Mender {
        waiting,
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        f,
    })
}

fn row(f: &Frame, device: &MenderDevice, set: &AuthSet) -> SetRow {
    let identity = device.identity.iter().map(|(name, value)| {
        let value = match value {
            MenderValue::One(value) => value.clone(),
            MenderValue::Many(values) => values.join(", "),
        };
        (name.clone(), value)
    });
    let known = set.state != AuthSetState::Pending
        && device
            .auth_sets
            .iter()
            .any(|set| set.state == AuthSetState::Accepted);
    SetRow {
        badge: Badge::auth_set(f.t, set.state),
        identity: identity.collect(),
        device_address: known.then(|| format!("/devices/{}", device.id)),
        beside: device.is_beside(set),
        fingerprint: set.fingerprint.to_string(),
        asked: f.age(set.created_ms),
        accept: (set.state != AuthSetState::Accepted).then(|| format!("/mender/{}/accept", set.id)),
        reject: (set.state != AuthSetState::Rejected).then(|| format!("/mender/{}/reject", set.id)),
    }
}

/// `POST /mender/{set}/{act}`
pub(super) async fn decide(
    State(shared): AppState,
    Parameters((set, act)): Parameters<(String, String)>,
    sent: Sends<Operator, Fields>,
) -> Answer {
    match &*act {
        "accept" => shared.app.accept_auth_set(&sent.by, &set).await?,
        "reject" => shared.app.reject_auth_set(&sent.by, &set).await?,
        act => {
            let none = format!("there is no act `{act}`");
            return Err(Problem::new(Kind::Unknown, none).into());
        }
    };
    see(inside(&sent.form.back, "/mender"))
}
