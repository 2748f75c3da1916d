//! `/keys/{handle}`, and its proof to take along.

use super::{device::record, page, visitor::Looks};
use crate::{
    http::{
        AppState,
        answer::{Answer, bytes},
        extract::{Parameters, Viewer},
    },
    views::{
        grouped,
        key::{Key, Record},
        parts::{Badge, Copyable, Hash},
    },
};
use axum::{
    extract::State,
    http::{HeaderValue, header},
};
use kusabi_api::{Hex, Hex32, Kind, Problem, admin::Text, view::RecordView};
use kusabi_core::id::Handle;

pub(super) async fn show(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Parameters(handle): Parameters<Hex32>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let view = app.key(&Handle::new(handle.0)).await?.view;
    let device = match app.device_with_key(handle).await? {
        None => None,
        Some(id) => {
            let names = app.device_names(std::slice::from_ref(&id)).await?;
            let name = names.get(&id).map_or(id.as_str(), Text::as_str).to_owned();
            Some((format!("/devices/{id}"), name))
        }
    };
    let record = record(&view);
    let status = match record {
        Some(record) => Badge::key(f.t, &record.status),
        None => Badge::new("dash", "quiet", f.t.status_absent),
    };
    page(&Key {
        device,
        handle: handle.to_string(),
        status,
        record: record.map(|record| shown(&f, record)),
        height: grouped(view.height),
        time: f.clock(view.time_ms),
        proof_bytes: u64::try_from(view.proof.len()).unwrap_or(u64::MAX),
        command: Copyable::new(format!("kusabi key lookup {handle} --save proof.kusabi")),
        download: format!("/keys/{handle}/proof"),
        f,
    })
}

fn shown(f: &crate::views::Frame, record: &RecordView) -> Record {
    Record {
        purpose: record.purpose.clone().into_owned(),
        from: grouped(record.registered),
        to: record.ended.map(grouped),
        reason: record
            .reason
            .as_deref()
            .map(|reason| f.t.reason(reason).to_owned()),
        predecessor: record.predecessor.as_ref().map(Hash::key),
        suite: match record.suite {
            1 => f.t.suite_1.to_owned(),
            2 => f.t.suite_2.to_owned(),
            other => other.to_string(),
        },
        keys: trimmed(&record.keys),
        binding: record.binding.to_string(),
    }
}

/// The keys' field without the zeros that fill it up.
fn trimmed<const N: usize>(keys: &Hex<N>) -> String {
    let end = keys
        .0
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    keys.0[..end]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `GET /keys/{handle}/proof`: the bytes (spec/proof.md).
pub(super) async fn proof(
    State(shared): AppState,
    _: Looks<Viewer>,
    Parameters(handle): Parameters<Hex32>,
) -> Answer {
    let view = shared.app.key(&Handle::new(handle.0)).await?.view;
    let mut response = bytes("application/octet-stream", view.proof);
    let name = format!("attachment; filename=\"{handle}.proof\"");
    let name = HeaderValue::from_str(&name)
        .map_err(|_| Problem::new(Kind::Internal, "a handle is no file name"))?;
    response
        .headers_mut()
        .insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}
