//! `/alarms`

use super::{
    device::alarm_row,
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
    views::{address, alarms::Alarms, parts::Pager},
};
use axum::extract::State;
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
    let open = which.which != "all";
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    let found = app.alarms(open, &cut).await?;
    let mut devices: Vec<_> = found
        .items
        .iter()
        .map(|alarm| alarm.device.clone())
        .collect();
    devices.sort();
    devices.dedup();
    let mut people: Vec<_> = found
        .items
        .iter()
        .filter_map(|alarm| alarm.acknowledged_by.clone())
        .collect();
    people.sort();
    people.dedup();
    let devices = app.device_names(&devices).await?;
    let people = app.token_names(&people).await?;
    let rows: Vec<_> = found
        .items
        .iter()
        .map(|alarm| alarm_row(&f, alarm, &devices, &people))
        .collect();
    let all = (!open).then_some("all");
    let at = |cursor: Option<&str>| address("/alarms", &[("which", all), ("cursor", cursor)]);
    let first = which.cursor.is_some().then(|| at(None));
    let next = found.next.map(|cursor| at(Some(&cursor)));
    page(&Alarms {
        open,
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        f,
    })
}

/// `POST /alarms/{alarm}/acknowledge`
pub(super) async fn acknowledge(
    State(shared): AppState,
    Parameters(alarm): Parameters<u64>,
    sent: Sends<Operator, Fields>,
) -> Answer {
    shared.app.acknowledge_alarm(&sent.by, alarm).await?;
    see(inside(&sent.form.back, "/alarms"))
}
