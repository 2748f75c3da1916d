//! `GET /components`

use super::{page, visitor::Looks};
use crate::{
    app::{ComponentQuery, Cut},
    http::{
        AppState,
        answer::Answer,
        extract::{Viewer, Wanted},
    },
    views::{
        Frame,
        components::{Components, Filter, Row, Source},
        parts::{Badge, Hash, Pager},
        texts::fill,
    },
};
use axum::extract::State;
use kusabi_api::{
    Hex32,
    admin::{ComponentHolder, ComponentPage, Text},
};
use serde::Deserialize;
use std::collections::HashMap;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    purl: String,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let trimmed = |text: &str| text.trim().to_owned();
    let filter = Filter {
        name: trimmed(&which.name),
        version: trimmed(&which.version),
        purl: trimmed(&which.purl),
    };
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    let found = match filter.is_set() {
        true => app.components(query(&filter), &cut).await?,
        false => ComponentPage::default(),
    };
    let names: HashMap<_, _> = found
        .releases
        .iter()
        .map(|one| (one.digest, format!("{} {}", one.name, one.version)))
        .collect();
    let unsearched = app.release_names(&found.unsearched).await?;
    let rows: Vec<_> = found
        .devices
        .iter()
        .filter_map(|device| row(&f, &found, &names, device))
        .collect();
    let first = which.cursor.is_some().then(|| filter.address(None));
    let next = found.next.as_deref();
    let next = next.map(|cursor| filter.address(Some(cursor)));
    page(&Components {
        more: next.is_some(),
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        unsearched: found
            .unsearched
            .iter()
            .map(|digest| Hash::release(digest, &unsearched))
            .collect(),
        filter,
        f,
    })
}

fn query(filter: &Filter) -> ComponentQuery {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    // A path as people write it; inventories have none of the leading `/`.
    let name = filter.name.trim_start_matches('/');
    let (name, prefix) = match name.strip_suffix('*') {
        Some(prefix) => (None, some(prefix)),
        None => (some(name), None),
    };
    ComponentQuery {
        name,
        prefix,
        version: some(&filter.version),
        digest: None,
        purl: some(&filter.purl),
    }
}

fn row(
    f: &Frame,
    found: &ComponentPage,
    releases: &HashMap<Hex32, String>,
    device: &ComponentHolder,
) -> Option<Row> {
    let several = |first: String, shown: usize, more: u32| {
        let all = u64::try_from(shown).unwrap_or(u64::MAX) + u64::from(more);
        match all {
            0 | 1 => first,
            all => format!("{first} {}", fill(f.t.components_more, all - 1)),
        }
    };
    let called = |name: &str, version: Option<&str>| match version {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    };
    let (holds, by) = match (device.inventory, device.release) {
        (Some(digest), _) => {
            let one = found.inventories.iter().find(|one| one.digest == digest)?;
            let first = one.components.first()?;
            let first = called(&first.name, first.version.as_deref());
            (
                several(first, one.components.len(), one.more),
                Source::Inventory(f.age(device.at_ms?)),
            )
        }
        (None, release) => {
            let digest = release?;
            let one = found.releases.iter().find(|one| one.digest == digest)?;
            let first = one.components.first()?;
            let first = called(&first.name, first.version.as_deref());
            (
                several(first, one.components.len(), one.more),
                Source::Release(Hash::release(&digest, releases)),
            )
        }
    };
    let text = |text: &Option<Text>| text.as_ref().map(|text| text.as_str().to_owned());
    let name = text(&device.name).or_else(|| text(&device.serial));
    Some(Row {
        address: format!("/devices/{}", device.device),
        name: name.unwrap_or_else(|| device.device.clone()),
        device_type: text(&device.device_type).unwrap_or_default(),
        state: Badge::state(f.t, device.state),
        holds,
        by,
    })
}
