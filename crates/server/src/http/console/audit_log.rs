//! `GET /audit-log`

use super::{device::actor, page, visitor::Looks};
use crate::{
    app::Cut,
    http::{
        AppState,
        answer::Answer,
        extract::{Admin, Wanted},
    },
    views::{
        address,
        audit_log::{AuditLog, EntryRow, Particular},
        parts::{Hash, Pager},
    },
};
use axum::extract::State;
use serde::Deserialize;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    cursor: Option<String>,
}

pub(super) async fn list(
    State(shared): AppState,
    looks: Looks<Admin>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    let found = app.newest_audit_log(&cut).await?;
    let mut people: Vec<_> = found
        .items
        .iter()
        .map(|entry| entry.actor.clone())
        .collect();
    people.sort();
    people.dedup();
    let people = app.token_names(&people).await?;
    let head = found.items.first().filter(|_| which.cursor.is_none());
    let head = head.map(|entry| entry.hash.to_string());
    let rows: Vec<_> = found
        .items
        .into_iter()
        .map(|entry| EntryRow {
            seq: entry.seq,
            at: f.clock(entry.at_ms),
            actor: match actor(&f, &people, &entry.actor) {
                id if id == entry.actor => short(&id),
                name => name,
            },
            actor_id: entry.actor,
            subject_short: short(&entry.subject),
            // What begins so is an ID of ours; whether the device is still there, its page says.
            subject_address: entry
                .subject
                .starts_with("dev_")
                .then(|| format!("/devices/{}", entry.subject)),
            subject: entry.subject,
            act: entry.act,
            particulars: Particular::of(&entry.detail),
            hash: Hash::plain(&entry.hash),
        })
        .collect();
    let first = which.cursor.is_some().then(|| String::from("/audit-log"));
    let next = found
        .next
        .map(|cursor| address("/audit-log", &[("cursor", Some(&cursor))]));
    page(&AuditLog {
        head,
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        f,
    })
}

/// As much of an ID as tells it from others on a page.
fn short(id: &str) -> String {
    match id.chars().count() {
        0..=18 => id.to_owned(),
        _ => id.chars().take(14).chain(['…']).collect(),
    }
}
