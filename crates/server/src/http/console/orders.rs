//! `GET /orders`

use super::{device::actor, page, visitor::Looks};
use crate::{
    app::Cut,
    http::{
        AppState,
        answer::Answer,
        extract::{Viewer, Wanted},
    },
    views::{
        address,
        orders::{OrderRow, Orders},
        parts::{Hash, Pager},
        texts::fill,
    },
};
use axum::extract::State;
use kusabi_api::admin::{Target, Text};
use serde::Deserialize;
use std::collections::HashMap;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    cursor: Option<String>,
}

pub(super) async fn list(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    let found = app.orders(&cut).await?;
    let (mut devices, mut groups, mut people) = (Vec::new(), Vec::new(), Vec::new());
    for order in &found.items {
        match &order.target {
            Target::Device(id) => devices.push(id.clone()),
            Target::Group(id) => groups.push(id.clone()),
            Target::Rollout(_) => {}
        }
        people.push(order.created_by.clone());
    }
    for ids in [&mut devices, &mut groups, &mut people] {
        ids.sort();
        ids.dedup();
    }
    let devices = app.device_names(&devices).await?;
    let groups = app.group_names(&groups).await?;
    let people = app.token_names(&people).await?;
    let named: Vec<_> = found
        .items
        .iter()
        .filter_map(|order| order.release)
        .collect();
    let releases = app.release_names(&named).await?;
    let rows: Vec<_> = found
        .items
        .into_iter()
        .map(|order| {
            let name = |names: &HashMap<String, Text>, id: &String| {
                names.get(id).map_or(id.as_str(), Text::as_str).to_owned()
            };
            let (target, target_address) = match &order.target {
                Target::Device(id) => (name(&devices, id), format!("/devices/{id}")),
                Target::Group(id) => (
                    name(&groups, id),
                    address("/devices", &[("group", Some(id))]),
                ),
                Target::Rollout(id) => (fill(f.t.rollout_numbered, id), format!("/rollouts/{id}")),
            };
            OrderRow {
                id: order.id,
                kind: f.t.order(order.kind),
                target,
                target_address,
                release: order
                    .release
                    .map(|digest| Hash::release(&digest, &releases)),
                devices: order.devices,
                answered: order.devices.saturating_sub(order.waiting),
                by: actor(&f, &people, &order.created_by),
                given: f.age(order.created_ms),
            }
        })
        .collect();
    let first = which.cursor.is_some().then(|| String::from("/orders"));
    let next = found
        .next
        .map(|cursor| address("/orders", &[("cursor", Some(&cursor))]));
    page(&Orders {
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        f,
    })
}
