//! `/channels`

use super::{
    device::actor,
    page, see,
    visitor::{Looks, Sends},
};
use crate::{
    app::Cut,
    http::{
        AppState,
        answer::Answer,
        extract::{Operator, Parameters, Viewer},
    },
    views::channels::{ChannelPart, Channels, ReleaseRow},
};
use axum::extract::State;
use kusabi_api::{
    Kind, Problem,
    admin::{Channel, ChannelSet, PAGE_MAX, Release, ReleaseState},
};
use serde::Deserialize;
use std::collections::BTreeMap;

pub(super) async fn list(State(shared): AppState, looks: Looks<Viewer>) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let cut = Cut {
        cursor: None,
        limit: Some(PAGE_MAX),
    };
    let releases = app.releases(&cut).await?;
    let set = app.channels(&cut).await?;
    let more = releases.next.is_some() || set.next.is_some();
    let mut people: Vec<_> = set.items.iter().map(|one| one.changed_by.clone()).collect();
    people.sort();
    people.dedup();
    let people = app.token_names(&people).await?;
    let mut all: BTreeMap<String, (Option<Channel>, Vec<Release>)> = BTreeMap::new();
    for channel in set.items {
        let name = channel.channel.clone();
        all.entry(name).or_default().0 = Some(channel);
    }
    for release in releases.items {
        let channel = all.entry(release.channel.clone()).or_default();
        channel.1.push(release);
    }
    let mut channels = Vec::with_capacity(all.len());
    for (name, (set, releases)) in all {
        let minimum = set.as_ref().map_or(0, |set| set.minimum_counter);
        let ended = |release: &Release| match release.state {
            ReleaseState::Published if release.counter < minimum => Some(f.t.release_below),
            ReleaseState::Published => None,
            _ => Some(f.t.release_withdrawn),
        };
        let releases = releases.iter().map(|release| ReleaseRow {
            digest: release.digest.to_string(),
            name: format!("{} {}", release.name, release.version),
            counter: release.counter,
            types: release.types.join(", "),
            ended: ended(release),
            uploaded: f.age(release.created_ms),
        });
        channels.push(ChannelPart {
            action: format!("/channels/{name}"),
            minimum,
            set: set.map(|set| (f.age(set.changed_ms), actor(&f, &people, &set.changed_by))),
            once: app.nonce()?,
            releases: releases.collect(),
            name,
        });
    }
    page(&Channels { f, channels, more })
}

/// The form's fields.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    minimum: String,
}

/// `POST /channels/{channel}`
pub(super) async fn set(
    State(shared): AppState,
    Parameters(channel): Parameters<String>,
    sent: Sends<Operator, Fields>,
) -> Answer {
    let minimum_counter = sent.form.minimum.trim().parse().map_err(|_| {
        Problem::new(
            Kind::BadParameter,
            format!("a counter is a number, not `{}`", sent.form.minimum),
        )
    })?;
    let set = ChannelSet { minimum_counter };
    shared.app.set_channel(&sent.by, &channel, set).await?;
    see("/channels")
}
