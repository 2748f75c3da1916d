//! `GET /devices/{device}`

use super::{page, visitor::Looks};
use crate::{
    app::{App, Cut, Error},
    http::{
        AppState,
        answer::Answer,
        extract::{Parameters, Viewer, Wanted},
    },
    views::{
        Frame,
        act::Act,
        address,
        alarms::AlarmRow,
        device::{ActLink, Device, Difference, Event, Item, KeyRow, OrderRow},
        grouped,
        parts::{Badge, Hash},
        short,
        texts::fill,
    },
};
use axum::extract::State;
use kusabi_api::{
    Hex32,
    admin::{
        Alarm, AlarmKind, DeviceClass, DeviceEvent, DeviceInventory, DeviceKey, DeviceOrder,
        DeviceState, DifferenceKind, EventKind, Inventory, InventoryDifference, InventoryItem,
        OrderKind, OrderState, Text,
    },
    view::{ProofView, RecordView, RowView},
};
use kusabi_core::id::Handle;
use serde::Deserialize;
use std::{collections::HashMap, time::Duration};

/// Keys whose proofs are fetched for one page: the newest ones.
const PROVEN: usize = 4;

/// Longest wait for proofs: the rest of the page is worth seeing without them.
const PROOFS_TIME: Duration = Duration::from_secs(3);

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    /// What was just done.
    #[serde(default)]
    done: String,
    /// Where the timeline goes on.
    before: Option<String>,
}

/// Differences that are shown; the API has more.
const DIFFERENCES: usize = 100;

/// Orders that are shown.
const ORDERS: u16 = 10;

/// Events on one page.
const EVENTS: u16 = 20;

pub(super) async fn show(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Parameters(id): Parameters<String>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let detail = app.device(&id).await?;
    let device = detail.device;
    let alarms = app.open_alarms_of(&id).await?;
    let group_names = app.group_names(&detail.groups).await?;
    let (keys, ledger_is_away) = keys(app, &f, detail.keys).await?;
    let cut = Cut {
        cursor: which.before.clone(),
        limit: Some(EVENTS),
    };
    let timeline = app.timeline(&id, &cut).await?;
    let inventory = app.device_inventory(&id).await?;
    let cut = Cut {
        cursor: None,
        limit: Some(ORDERS),
    };
    let orders = app.device_orders(&id, &cut).await?.items;
    let logged = app.orders_with_log(&id, &orders).await?;
    let named: Vec<_> = orders
        .iter()
        .filter_map(|order| order.release)
        .chain(device.firmware)
        .collect();
    let releases = app.release_names(&named).await?;
    let plain = |text: Option<Text>| text.map_or_else(String::new, |text| text.as_str().to_owned());
    let shown = format!("/devices/{id}");
    let acts = Act::ALL
        .into_iter()
        .filter(|act| act.fits(device.state, device.class));
    page(&Device {
        done: Act::from_word(&which.done).map(|act| act.name(f.t)),
        state: Badge::state(f.t, device.state),
        moved: device.state == DeviceState::Moved,
        name: device.name.map(|name| name.as_str().to_owned()),
        serial: plain(device.serial),
        device_type: plain(device.device_type),
        groups: detail
            .groups
            .into_iter()
            .filter_map(|id| Some((id.clone(), group_names.get(&id)?.as_str().to_owned())))
            .collect(),
        firmware: device
            .firmware
            .map(|digest| Hash::release(&digest, &releases)),
        inventory: Badge::inventory(f.t, device.inventory),
        freshness: Badge::freshness(f.t, device.freshness),
        last_contact: device.last_contact_ms.map(|at| (f.age(at), f.clock(at))),
        class: (device.class == DeviceClass::Mender).then_some(f.t.class_mender),
        created: f.clock(device.created_ms),
        alarms: alarms
            .iter()
            .map(|alarm| alarm_row(&f, alarm, &HashMap::new(), &HashMap::new()))
            .collect(),
        difference: difference(&f, inventory),
        keys,
        ledger_is_away,
        orders: orders
            .into_iter()
            .map(|order| {
                let log = logged.contains(&order.id);
                let log = log.then(|| format!("{shown}/orders/{}/log", order.id));
                order_row(&f, order, log, &releases)
            })
            .collect(),
        acts: acts
            .map(|act| ActLink {
                address: format!("{shown}/acts/{}", act.word()),
                name: act.name(f.t),
            })
            .collect(),
        events: timeline
            .items
            .iter()
            .map(|event| event_row(&f, event))
            .collect(),
        timeline_more: timeline
            .next
            .map(|before| address(&shown, &[("before", Some(&before))])),
        timeline_newest: which.before.is_some().then(|| shown.clone()),
        address: shown,
        id,
        f,
    })
}

/// What is not as expected, item by item.
fn difference(f: &Frame, inventory: DeviceInventory) -> Difference {
    let Some(report) = inventory.report.filter(|report| report.expected.is_some()) else {
        return Difference::Unknown;
    };
    if inventory.verdict == Inventory::Expected {
        return Difference::Same;
    }
    let all = u64::from(report.missing) + u64::from(report.unexpected) + u64::from(report.changed);
    let items: Vec<_> = report
        .differences
        .into_iter()
        .take(DIFFERENCES)
        .map(|one| item(f, one))
        .collect();
    Difference::Items {
        more: all.saturating_sub(u64::try_from(items.len()).unwrap_or(u64::MAX)),
        items,
        reported: f.age(report.at_ms),
    }
}

fn item(f: &Frame, one: InventoryDifference) -> Item {
    let badge = match one.kind {
        DifferenceKind::Missing => Badge::new("dash", "warn", f.t.item_missing),
        DifferenceKind::Unexpected => Badge::new("plus", "bad", f.t.item_unexpected),
        DifferenceKind::Changed => Badge::new("differs", "bad", f.t.item_changed),
        other => Badge::new("differs", "bad", other.name()),
    };
    let name = one.actual.as_ref().or(one.expected.as_ref());
    // Only what tells them apart.
    let said = |one: &InventoryItem, other: Option<&InventoryItem>| {
        let mut parts = Vec::new();
        if other.is_none_or(|other| other.kind != one.kind) {
            parts.push(one.kind.clone());
        }
        if let Some(version) = &one.version
            && other.is_none_or(|other| other.version != one.version)
        {
            parts.push(version.clone());
        }
        if other.is_none_or(|other| other.size != one.size) {
            parts.push(fill(f.t.bytes, grouped(one.size)));
        }
        if other.is_none_or(|other| other.digest != one.digest) {
            parts.push(short(&one.digest));
        }
        parts.join(" · ")
    };
    Item {
        badge,
        component: name.map(|one| one.name.clone()).unwrap_or_default(),
        expected: one
            .expected
            .as_ref()
            .map(|it| said(it, one.actual.as_ref())),
        found: one
            .actual
            .as_ref()
            .map(|it| said(it, one.expected.as_ref())),
    }
}

fn order_row(
    f: &Frame,
    order: DeviceOrder,
    log: Option<String>,
    releases: &HashMap<Hex32, String>,
) -> OrderRow {
    OrderRow {
        id: order.id,
        kind: f.t.order(order.kind),
        release: order.release.map(|digest| Hash::release(&digest, releases)),
        outcome: Badge::outcome(f.t, order.state),
        log,
        given: f.age(order.created_ms),
    }
}

/// Something that happened, with what its particulars say.
fn event_row(f: &Frame, event: &DeviceEvent) -> Event {
    let tone = match event.kind {
        EventKind::Activated | EventKind::Readmitted | EventKind::Taken => "good",
        EventKind::Quarantined | EventKind::InventoryChanged | EventKind::GivenAway => "warn",
        EventKind::Alarm | EventKind::Revoked => "bad",
        _ => "",
    };
    let word = |name: &str| event.detail.get(name).and_then(serde_json::Value::as_str);
    let number = |name: &str| event.detail.get(name).and_then(serde_json::Value::as_u64);
    let alarm = word("kind")
        .and_then(AlarmKind::from_name)
        .filter(|_| event.kind == EventKind::Alarm);
    let order = word("kind")
        .and_then(OrderKind::from_name)
        .filter(|_| event.kind != EventKind::Alarm);
    let outcome = word("state")
        .or_else(|| word("outcome"))
        .and_then(OrderState::from_name);
    let mut parts: Vec<String> = Vec::new();
    parts.extend(number("order").map(|number| format!("{} {number}", f.t.number)));
    parts.extend(order.map(|kind| f.t.order(kind).to_owned()));
    parts.extend(alarm.map(|kind| f.t.alarm(kind).0.to_owned()));
    parts.extend(outcome.map(|state| f.t.outcome(state).to_owned()));
    let verdict = word("verdict").and_then(Inventory::from_name);
    parts.extend(verdict.map(|verdict| f.t.inventory(verdict).to_owned()));
    parts.extend(number("height").map(|height| format!("{} {}", f.t.word_height, grouped(height))));
    parts.extend(
        ["handle", "release", "digest"]
            .into_iter()
            .filter_map(word)
            .filter_map(|hex| hex.parse::<Hex32>().ok())
            .map(|hex| short(&hex)),
    );
    Event {
        tone,
        text: f.t.event(event.kind).to_owned(),
        facts: parts.join(" · "),
        detail: word("detail").unwrap_or_default().to_owned(),
        age: f.age(event.at_ms),
        clock: f.clock(event.at_ms),
    }
}

/// The keys with what the ledger proves of them, the newest first; whether the ledger did not answer.
async fn keys(
    app: &App,
    f: &Frame,
    mut keys: Vec<DeviceKey>,
) -> Result<(Vec<KeyRow>, bool), Error> {
    keys.reverse();
    let proofs = keys
        .iter()
        .take(PROVEN)
        .map(async |key| app.key(&Handle::new(key.handle.0)).await);
    let proofs = tokio::time::timeout(PROOFS_TIME, futures_util::future::join_all(proofs)).await;
    let mut views: Vec<Option<ProofView>> = Vec::new();
    let mut away = proofs.is_err();
    for proof in proofs.unwrap_or_default() {
        match proof {
            Ok(answer) => views.push(Some(answer.view)),
            Err(Error::Ledger(_) | Error::Behind) => {
                away = true;
                views.push(None);
            }
            Err(other) => return Err(other),
        }
    }
    views.resize_with(keys.len(), || None);
    let rows = keys
        .iter()
        .zip(views)
        .map(|(key, view)| key_row(f, key, view));
    Ok((rows.collect(), away))
}

fn key_row(f: &Frame, key: &DeviceKey, view: Option<ProofView>) -> KeyRow {
    let record = view.as_ref().and_then(record);
    let status = match (&view, record) {
        // As far as this server has followed the ledger.
        (None, _) => Badge::key(f.t, &key.status),
        (Some(_), None) => Badge::new("cross", "bad", f.t.status_absent),
        (Some(_), Some(record)) => Badge::key(f.t, &record.status),
    };
    let reason = record.and_then(|record| record.reason.as_deref());
    KeyRow {
        status,
        reason: reason.map(|reason| f.t.reason(reason).to_owned()),
        purpose: key.purpose.clone(),
        handle: Hash::key(&key.handle),
        address: format!("/keys/{}", key.handle),
        from: fill(
            f.t.height_from,
            grouped(record.map_or(key.registered, |record| record.registered)),
        ),
        to: record
            .map_or(key.ended, |record| record.ended)
            .map(|height| fill(f.t.height_to, grouped(height))),
        proven_at: view.map(|view| fill(f.t.proof_at, grouped(view.height))),
    }
}

/// The record that is proven, if there is one.
pub(super) fn record(view: &ProofView) -> Option<&RecordView> {
    match &view.row {
        Some(RowView::Record(record)) => Some(record),
        _ => None,
    }
}

/// An alarm, with names where they are known.
pub(super) fn alarm_row(
    f: &Frame,
    alarm: &Alarm,
    devices: &HashMap<String, Text>,
    people: &HashMap<String, Text>,
) -> AlarmRow {
    let named =
        |names: &HashMap<String, Text>, id: &str| names.get(id).map_or(id, Text::as_str).to_owned();
    let by = alarm.acknowledged_by.as_deref().unwrap_or_default();
    AlarmRow {
        badge: Badge::alarm(f.t, alarm.kind),
        what_now: f.t.alarm(alarm.kind).1,
        device: named(devices, &alarm.device),
        device_address: format!("/devices/{}", alarm.device),
        detail: alarm.detail.clone(),
        raised: f.age(alarm.raised_ms),
        acknowledged: alarm
            .acknowledged_ms
            .map(|at| (f.age(at), actor(f, people, by))),
        acknowledge: format!("/alarms/{}/acknowledge", alarm.id),
    }
}

/// Who did something, by name where there is one.
pub(super) fn actor(f: &Frame, people: &HashMap<String, Text>, id: &str) -> String {
    match id {
        "server" => f.t.actor_server.to_owned(),
        id => people.get(id).map_or(id, Text::as_str).to_owned(),
    }
}
