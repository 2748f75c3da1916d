//! `GET /devices`

use super::{page, see, visitor::Looks};
use crate::{
    app::{Cut, DeviceQuery},
    http::{
        AppState,
        answer::Answer,
        extract::{Viewer, Wanted},
    },
    views::{
        devices::{Devices, Filter, Row},
        parts::{Badge, Copyable, Hash, Pager},
    },
};
use axum::extract::State;
use kusabi_api::{
    Kind, Problem,
    admin::{DeviceState, Inventory, PAGE_MAX, Text},
};
use serde::Deserialize;

/// Devices on one page.
const ROWS: u16 = 50;

/// What stands in the address. Empty is not said.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default, rename = "type")]
    device_type: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inventory: String,
    cursor: Option<String>,
}

/// `GET /`: where one lands.
pub(super) async fn home(_: Looks<Viewer>) -> Answer {
    see("/devices")
}

fn word<T>(
    what: &str,
    text: &str,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Problem> {
    match text {
        "" => Ok(None),
        text => from_name(text).map(Some).ok_or_else(|| {
            Problem::new(Kind::BadParameter, format!("there is no {what} `{text}`"))
        }),
    }
}

fn text(text: &str) -> Result<Option<Text>, Problem> {
    match text.trim() {
        "" => Ok(None),
        text => Text::new(text)
            .map(Some)
            .map_err(|why| Problem::new(Kind::BadParameter, why.to_string())),
    }
}

pub(super) async fn list(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let query = DeviceQuery {
        group: Some(which.group.clone()).filter(|group| !group.is_empty()),
        device_type: text(&which.device_type)?,
        state: word("state", &which.state, DeviceState::from_name)?,
        serial: None,
        inventory: word("verdict", &which.inventory, Inventory::from_name)?,
        search: text(&which.q)?,
    };
    let filter = Filter {
        q: which.q.trim().to_owned(),
        state: which.state,
        device_type: which.device_type,
        group: which.group,
        inventory: which.inventory,
    };
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: Some(ROWS),
    };
    let found = app.devices(query, &cut).await?;
    let counts = app.count_devices().await?;
    let choices = Cut {
        cursor: None,
        limit: Some(PAGE_MAX),
    };
    let mut groups: Vec<_> = app
        .groups(&choices)
        .await?
        .items
        .into_iter()
        .map(|group| (group.id, group.name.as_str().to_owned()))
        .collect();
    groups.sort_by(|one, other| one.1.cmp(&other.1));
    let ids: Vec<_> = found.items.iter().map(|device| device.id.clone()).collect();
    let mut group_names = app.group_names_of(&ids).await?;
    let firmware: Vec<_> = found
        .items
        .iter()
        .filter_map(|device| device.firmware)
        .collect();
    let releases = app.release_names(&firmware).await?;
    let plain = |text: Option<Text>| text.map_or_else(String::new, |text| text.as_str().to_owned());
    let rows: Vec<_> = found
        .items
        .into_iter()
        .map(|device| Row {
            address: format!("/devices/{}", device.id),
            state: Badge::state(f.t, device.state),
            name: device.name.map(|name| name.as_str().to_owned()),
            serial: plain(device.serial),
            device_type: plain(device.device_type),
            groups: group_names
                .remove(&device.id)
                .unwrap_or_default()
                .iter()
                .map(|name| name.as_str().to_owned())
                .collect(),
            firmware: device
                .firmware
                .map(|digest| Hash::release(&digest, &releases)),
            inventory: (device.state != DeviceState::Moved)
                .then(|| Badge::inventory(f.t, device.inventory)),
            last_contact: device.last_contact_ms.map(|at| f.age(at)),
        })
        .collect();
    let first = which.cursor.is_some().then(|| filter.address(None));
    let next = found.next.map(|cursor| filter.address(Some(&cursor)));
    page(&Devices {
        total: counts.iter().map(|(_, count)| count).sum(),
        counts,
        types: app.device_types().await?,
        groups,
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        filter,
        provision: Copyable::new("kusabi provision --count 3 --type camera --out ./devices"),
        enrol: Copyable::new(
            "kusabi enrol token ./enrol.token\nkusabi provision --public --out ./organisation.kusabi",
        ),
        f,
    })
}
