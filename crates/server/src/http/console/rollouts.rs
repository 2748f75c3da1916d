//! `/rollouts`

use super::{
    device::actor,
    page, see,
    visitor::{Looks, Nothing, Sends},
};
use crate::{
    app::{App, Cut, Members},
    http::{
        AppState,
        answer::Answer,
        extract::{Operator, Parameters, Viewer, Wanted},
        failure::Failure,
    },
    views::{
        Frame, address, grouped,
        parts::{Badge, Hash, Pager},
        rollouts::{DeviceRow, PhaseRow, Rollout as View, RolloutAct, RolloutRow, Rollouts},
        texts::fill,
        time,
    },
};
use axum::extract::State;
use kusabi_api::{
    Kind, Problem,
    admin::{
        DeviceFilter, FailureLimit, Phase, PhaseSize, PhaseStart, Rollout, RolloutAwaits,
        RolloutDeviceState, RolloutState, Text,
    },
};
use serde::Deserialize;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    state: String,
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
    let found = app.rollouts(&cut).await?;
    let rollouts = found.items.iter();
    let releases: Vec<_> = rollouts.clone().map(|one| one.plan.release).collect();
    let mut people: Vec<_> = rollouts.map(|one| one.created_by.clone()).collect();
    people.sort();
    people.dedup();
    let releases = app.release_names(&releases).await?;
    let people = app.token_names(&people).await?;
    let rows: Vec<_> = found
        .items
        .iter()
        .map(|rollout| RolloutRow {
            id: rollout.id,
            name: rollout.plan.name.as_str().to_owned(),
            state: Badge::rollout(f.t, rollout.state),
            release: Hash::release(&rollout.plan.release, &releases),
            phase: format!(
                "{} {}",
                fill(f.t.of, rollout.phase),
                rollout.plan.phases.len()
            ),
            counts: rollout.counts,
            total: rollout.total,
            by: actor(&f, &people, &rollout.created_by),
            made: f.age(rollout.created_ms),
        })
        .collect();
    let first = which.cursor.is_some().then(|| String::from("/rollouts"));
    let next = found
        .next
        .map(|cursor| address("/rollouts", &[("cursor", Some(&cursor))]));
    page(&Rollouts {
        pager: Pager::new(f.t, rows.len(), first, next),
        rows,
        f,
    })
}

/// `GET /rollouts/{rollout}`
pub(super) async fn show(
    State(shared): AppState,
    looks: Looks<Viewer>,
    Parameters(id): Parameters<u64>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let (app, f) = (&shared.app, looks.frame);
    let rollout = app.rollout(id).await?;
    let state = RolloutDeviceState::from_name(&which.state);
    let cut = Cut {
        cursor: which.cursor.clone(),
        limit: None,
    };
    // Who was skipped at the beginning is shown when asked for.
    let members = state.map_or(Members::TakingPart, Members::In);
    let found = app.rollout_devices(id, members, &cut).await?;
    let ids: Vec<_> = found.items.iter().map(|one| one.device.clone()).collect();
    let names = app.device_names(&ids).await?;
    let releases: Vec<_> = [Some(rollout.plan.release), rollout.plan.devices.running]
        .into_iter()
        .flatten()
        .collect();
    let releases = app.release_names(&releases).await?;
    let people = app
        .token_names(std::slice::from_ref(&rollout.created_by))
        .await?;
    let groups: Vec<_> = rollout.plan.devices.group.iter().cloned().collect();
    let groups = app.group_names(&groups).await?;
    let group = rollout.plan.devices.group.as_ref();
    let group = group.map(|id| groups.get(id).map_or(id.as_str(), Text::as_str).to_owned());
    let running = rollout.plan.devices.running.map(|digest| {
        let name = releases.get(&digest).cloned();
        name.unwrap_or_else(|| crate::views::short(&digest))
    });
    let devices: Vec<_> = found
        .items
        .into_iter()
        .map(|device| DeviceRow {
            address: format!("/devices/{}", device.device),
            name: names
                .get(&device.device)
                .map_or(device.device.as_str(), Text::as_str)
                .to_owned(),
            phase: device.phase,
            state: Badge::rollout_device(f.t, device.state),
            reason: device
                .reason
                .map(|reason| f.t.rollout_device_reason(reason)),
            attempts: device.attempts,
            since: f.age(device.changed_ms),
        })
        .collect();
    let page_address = format!("/rollouts/{id}");
    let at = |cursor: Option<&str>| {
        let state = state.map(RolloutDeviceState::name);
        address(&page_address, &[("state", state), ("cursor", cursor)])
    };
    let first = which.cursor.is_some().then(|| at(None));
    let next = found.next.map(|cursor| at(Some(&cursor)));
    let (says, needs) = says(&f, &rollout);
    page(&View {
        id,
        name: rollout.plan.name.as_str().to_owned(),
        state: Badge::rollout(f.t, rollout.state),
        says,
        needs,
        acts: acts(app, &f, &rollout)?,
        counts: rollout.counts,
        total: rollout.total,
        silent: rollout.silent,
        release: Hash::release(&rollout.plan.release, &releases),
        channel_note: f.t.rollout_fixed,
        whom: whom(&f, &rollout.plan.devices, group, running),
        retries: rollout.plan.retries,
        force: rollout.plan.force,
        deadline: rollout.plan.deadline_secs.map(|secs| lasting(&f, secs)),
        by: actor(&f, &people, &rollout.created_by),
        made: f.clock(rollout.created_ms),
        began: rollout.began_ms.map(|at| f.clock(at)),
        goes_on: rollout.next_ms.map(|at| f.clock(at)),
        ended: rollout.ended_ms.map(|at| f.clock(at)),
        phases: phases(&f, &rollout),
        which: state,
        pager: Pager::new(f.t, devices.len(), first, next),
        devices,
        f,
    })
}

/// What a rollout waits for or why it is held, and whether that needs a person.
fn says(f: &Frame, rollout: &Rollout) -> (String, bool) {
    if let Some(reason) = rollout.reason {
        return (f.t.rollout_because(reason).to_owned(), true);
    }
    match rollout.awaits {
        Some(RolloutAwaits::Start) => (f.t.rollout_awaits_start.to_owned(), false),
        Some(RolloutAwaits::Devices) => (f.t.rollout_awaits_devices.to_owned(), false),
        Some(RolloutAwaits::Time) => (f.t.rollout_awaits_time.to_owned(), false),
        Some(RolloutAwaits::Hand) => (f.t.rollout_awaits_hand.to_owned(), true),
        _ => (String::new(), false),
    }
}

/// What the visitor may do to it now.
fn acts(app: &App, f: &Frame, rollout: &Rollout) -> Result<Vec<RolloutAct>, Failure> {
    if !f.operates() {
        return Ok(Vec::new());
    }
    let t = f.t;
    let (pause, resume, next, abort) = (
        ("pause", t.rollout_pause, t.rollout_pause_text, false),
        ("resume", t.rollout_resume, t.rollout_resume_text, false),
        ("next", t.rollout_next, t.rollout_next_text, false),
        ("abort", t.rollout_abort, t.rollout_abort_text, true),
    );
    let left = rollout.released < rollout.total;
    let can = match rollout.state {
        RolloutState::Scheduled => vec![pause, abort],
        RolloutState::Running if left => vec![next, pause, abort],
        RolloutState::Running => vec![pause, abort],
        RolloutState::Paused => vec![resume, abort],
        _ => Vec::new(),
    };
    can.into_iter()
        .map(|(act, text, about, grave)| {
            Ok(RolloutAct {
                address: format!("/rollouts/{}/{act}", rollout.id),
                text,
                about,
                grave,
                once: app.nonce()?,
            })
        })
        .collect()
}

fn phases(f: &Frame, rollout: &Rollout) -> Vec<PhaseRow> {
    let one = |(number, phase): (u16, &Phase)| PhaseRow {
        number,
        state: if number > rollout.phase {
            Badge::new("ring", "quiet", f.t.rollout_phase_later)
        } else if number == rollout.phase && rollout.ended_ms.is_none() {
            Badge::new("disc", "good", f.t.rollout_phase_now)
        } else {
            Badge::new("check", "good", f.t.rollout_phase_begun)
        },
        size: match phase.size {
            PhaseSize::Percent(part) => format!("{part} %"),
            PhaseSize::Count(count) => grouped(count),
            PhaseSize::Rest => f.t.rollout_rest.to_owned(),
        },
        start: match phase.start {
            PhaseStart::AtOnce => f.t.rollout_at_once.to_owned(),
            PhaseStart::After(secs) => fill(f.t.rollout_after, lasting(f, secs)),
            PhaseStart::At(at) => time::utc(at),
            PhaseStart::ByHand => f.t.rollout_by_hand.to_owned(),
        },
        success: phase.success_percent,
        failures: match phase.failures {
            FailureLimit::Percent(part) => format!("{part} %"),
            FailureLimit::Count(count) => grouped(count),
        },
    };
    (1..).zip(&rollout.plan.phases).map(one).collect()
}

/// How long something lasts: in the largest unit that leaves no rest.
fn lasting(f: &Frame, secs: u64) -> String {
    for (size, text) in [
        (24 * 60 * 60, f.t.lasts_d),
        (60 * 60, f.t.lasts_h),
        (60, f.t.lasts_min),
    ] {
        if secs > 0 && secs.is_multiple_of(size) {
            return fill(text, grouped(secs / size));
        }
    }
    fill(f.t.lasts_s, grouped(secs))
}

/// Which devices it is for: what is asked of them, and how it is called.
fn whom(
    f: &Frame,
    filter: &DeviceFilter,
    group: Option<String>,
    running: Option<String>,
) -> Vec<(&'static str, String)> {
    let texts = |all: &[Text]| {
        let all: Vec<_> = all.iter().map(Text::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    let t = f.t;
    [
        (
            t.devices,
            (!filter.ids.is_empty()).then(|| filter.ids.join(", ")),
        ),
        (t.group, group),
        (t.device_type, texts(&filter.types)),
        (t.serial, texts(&filter.serials)),
        (t.search, filter.search.as_ref().map(ToString::to_string)),
        (t.state, filter.state.map(|state| t.state(state).to_owned())),
        (t.firmware, running),
        (
            t.inventory,
            filter.inventory.map(|one| t.inventory(one).to_owned()),
        ),
    ]
    .into_iter()
    .filter_map(|(what, value)| Some((what, value?)))
    .collect()
}

/// `POST /rollouts/{rollout}/{act}`
pub(super) async fn act(
    State(shared): AppState,
    Parameters((id, act)): Parameters<(u64, String)>,
    sent: Sends<Operator, Nothing>,
) -> Answer {
    let (app, by) = (&shared.app, &sent.by);
    match &*act {
        "pause" => app.pause_rollout(by, id).await?,
        "resume" => app.resume_rollout(by, id).await?,
        "next" => app.begin_phase(by, id).await?,
        "abort" => app.abort_rollout(by, id).await?,
        _ => {
            let none = format!("there is no act `{act}` on a rollout");
            return Err(Problem::new(Kind::Unknown, none).into());
        }
    };
    see(&format!("/rollouts/{id}"))
}
