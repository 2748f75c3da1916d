//! `/rollouts/new`: a rollout from a form.

use super::{
    act::fitting,
    page, page_as, see,
    visitor::{Looks, Sends},
};
use crate::{
    app::{App, Cut, Error},
    http::{
        AppState,
        answer::Answer,
        extract::{Operator, Wanted},
        failure::Failure,
    },
    views::{
        Frame,
        new_rollout::{Entries, NewRollout, PhaseEntries},
    },
};
use axum::{extract::State, http::StatusCode};
use kusabi_api::admin::{
    DeviceFilter, FailureLimit, Inventory, PAGE_MAX, Phase, PhaseSize, PhaseStart, RolloutCreate,
    Text,
};
use serde::Deserialize;

const HOUR_SECS: u64 = 60 * 60;

/// What stands in the address.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    /// The release that is chosen beforehand.
    #[serde(default)]
    release: String,
}

/// `GET /rollouts/new`
pub(super) async fn ask(
    State(shared): AppState,
    looks: Looks<Operator>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let entries = Entries {
        release: which.release,
        ..Entries::default()
    };
    page(&form(&shared.app, looks.frame, entries, String::new()).await?)
}

/// `POST /rollouts/new`
pub(super) async fn create(
    State(shared): AppState,
    sent: Sends<Operator, Vec<(String, String)>>,
) -> Answer {
    let app = &shared.app;
    let entries = entries(&sent.form);
    let made = match plan(&entries) {
        Ok(plan) => app.create_rollout(&sent.by, plan).await,
        Err(why) => Err(Error::Unfit(why)),
    };
    match made {
        Ok(rollout) => see(&format!("/rollouts/{}", rollout.id)),
        // Somebody can mend these in the form.
        Err(why @ (Error::Unfit(_) | Error::Unknown { .. })) => {
            let view = form(app, sent.frame, entries, why.to_string()).await?;
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view)
        }
        Err(why) => Err(why.into()),
    }
}

async fn form(app: &App, f: Frame, entries: Entries, bad: String) -> Result<NewRollout, Failure> {
    let choices = Cut {
        cursor: None,
        limit: Some(PAGE_MAX),
    };
    let groups = app.groups(&choices).await?.items.into_iter();
    let mut groups: Vec<_> = groups
        .map(|group| (group.id, group.name.as_str().to_owned()))
        .collect();
    groups.sort_by(|one, other| one.1.cmp(&other.1));
    Ok(NewRollout {
        once: app.nonce()?,
        bad,
        entries,
        releases: fitting(app, None).await?,
        types: app.device_types().await?,
        groups,
        f,
    })
}

fn entries(sent: &[(String, String)]) -> Entries {
    let field = |name: &str| {
        let found = sent.iter().find(|(known, _)| known == name);
        found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    Entries {
        name: field("name"),
        release: field("release"),
        all: !field("all").is_empty(),
        group: field("group"),
        device_type: field("type"),
        search: field("search"),
        inventory: field("inventory"),
        phases: std::array::from_fn(|at| {
            let field = |name: &str| field(&format!("{name}{}", at + 1));
            PhaseEntries {
                size: field("size"),
                start: field("start"),
                after_hours: field("after"),
                success: field("success"),
                failures: field("failures"),
            }
        }),
        retries: field("retries"),
        force: !field("force").is_empty(),
        start: field("start"),
        deadline_hours: field("deadline"),
    }
}

/// What the form asks for, or what is wrong with it.
fn plan(entries: &Entries) -> Result<RolloutCreate, String> {
    let name = Text::new(&*entries.name).map_err(|why| why.to_string())?;
    let release = entries.release.to_ascii_lowercase().parse();
    let release =
        release.map_err(|_| String::from("a release is named by its digest, 64 digits"))?;
    let devices = DeviceFilter {
        group: some(&entries.group),
        types: text(&entries.device_type)?.into_iter().collect(),
        search: text(&entries.search)?,
        inventory: some(&entries.inventory)
            .map(|word| Inventory::from_name(&word).ok_or("there is no such verdict"))
            .transpose()?,
        ..DeviceFilter::default()
    };
    match (devices.is_all(), entries.all) {
        (true, false) => {
            return Err(String::from(
                "no devices are named: choose some, or every device that the release is for",
            ));
        }
        (false, true) => {
            return Err(String::from(
                "every device is chosen, and some are: it can be one of both",
            ));
        }
        _ => {}
    }
    let mut phases = Vec::new();
    for (number, entry) in (1..).zip(&entries.phases) {
        if let Some(phase) = phase(entry).map_err(|why| format!("phase {number}: {why}"))? {
            phases.push(phase);
        }
    }
    if phases.is_empty() {
        phases.push(Phase::new(PhaseSize::Rest));
    }
    let start_ms = some(&entries.start).map(|start| instant(&start));
    Ok(RolloutCreate {
        name,
        release,
        devices,
        phases,
        retries: number("further tries", &entries.retries)?.unwrap_or_default(),
        force: entries.force,
        start_ms: start_ms.transpose()?,
        deadline_secs: hours("the deadline", &entries.deadline_hours)?,
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn text(entry: &str) -> Result<Option<Text>, String> {
    let text = some(entry).map(Text::new);
    text.transpose().map_err(|why| why.to_string())
}

fn number<T: std::str::FromStr>(what: &str, entry: &str) -> Result<Option<T>, String> {
    let number = some(entry).map(|entry| entry.parse());
    let number = number.transpose();
    number.map_err(|_| format!("{what}: `{entry}` is no number that it can be"))
}

fn hours(what: &str, entry: &str) -> Result<Option<u64>, String> {
    let hours: Option<u64> = number(what, entry)?;
    Ok(hours.map(|hours| hours.saturating_mul(HOUR_SECS)))
}

/// A time in UTC, as the field of a form writes it.
fn instant(text: &str) -> Result<u64, String> {
    let time = text
        .parse::<jiff::civil::DateTime>()
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    let ms = time
        .ok()
        .and_then(|time| u64::try_from(time.timestamp().as_millisecond()).ok());
    ms.ok_or_else(|| format!("`{text}` is no time; it is written as 2027-01-31T02:00, in UTC"))
}

/// A number of devices, or a part of a hundred.
fn size<T>(entry: &str, percent: fn(u8) -> T, count: fn(u64) -> T) -> Option<T> {
    match entry.strip_suffix('%') {
        Some(part) => part.trim().parse().ok().map(percent),
        None => entry.parse().ok().map(count),
    }
}

/// A phase, if there is one.
fn phase(entries: &PhaseEntries) -> Result<Option<Phase>, String> {
    let of = match &*entries.size {
        "" => {
            let others = [&entries.after_hours, &entries.success, &entries.failures];
            return match others.iter().all(|entry| entry.is_empty()) {
                true => Ok(None),
                false => Err(String::from("it says no number of devices")),
            };
        }
        "rest" => PhaseSize::Rest,
        entry => size(entry, PhaseSize::Percent, PhaseSize::Count)
            .ok_or_else(|| format!("`{entry}` is no number of devices, as 10%, 500 or rest"))?,
    };
    let mut phase = Phase::new(of);
    let after = hours("hours", &entries.after_hours)?;
    phase.start = match (&*entries.start, after) {
        ("" | "at-once", None) => PhaseStart::AtOnce,
        ("by-hand", None) => PhaseStart::ByHand,
        ("after", Some(secs)) => PhaseStart::After(secs),
        ("after", None) => return Err(String::from("it says not after how many hours")),
        (_, Some(_)) => {
            return Err(String::from(
                "hours are for a phase that begins after the one before",
            ));
        }
        _ => return Err(String::from("there is no such beginning")),
    };
    if let Some(percent) = number("success", entries.success.trim_end_matches('%'))? {
        phase.success_percent = percent;
    }
    if let Some(entry) = some(&entries.failures) {
        phase.failures = size(&entry, FailureLimit::Percent, FailureLimit::Count)
            .ok_or_else(|| format!("`{entry}` is no limit of failures, as 10% or 3"))?;
    }
    Ok(Some(phase))
}
