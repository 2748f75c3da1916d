//! `/api/management/v1/deployments/deployments…`: rollouts in Mender's words.

use super::{
    super::read,
    paging::{Paged, Paging},
    time,
};
use crate::{
    app::{
        Error,
        mender::{Deploy, Deployed, Whom, deployment_id},
    },
    http::{
        AppState, Shared,
        extract::{Asks, Command, Octets, Operator, Parameters, Viewer, Wanted},
        failure::Failure,
    },
    store::mender_rollouts::{Member, Wanted as Which},
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use kusabi_api::admin::Text;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// How a device can stand, in Mender's words; in statistics each has its number.
const STATUSES: [&str; 13] = [
    "success",
    "pending",
    "downloading",
    "installing",
    "rebooting",
    "failure",
    "noartifact",
    "already-installed",
    "aborted",
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
    "decommissioned",
];

/// Those that are no end: a device is under way, or holds.
const ACTIVE: [&str; 7] = [
    "pending",
    "downloading",
    "installing",
    "rebooting",
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
];
const PAUSED: [&str; 3] = [
    "pause_before_installing",
    "pause_before_rebooting",
    "pause_before_committing",
];

/// The pages.
pub(super) fn routes() -> Router<Arc<Shared>> {
    const ALL: &str = "/api/management/v1/deployments/deployments";
    Router::new()
        .route(ALL, get(list).post(create))
        .route(&format!("{ALL}/group/{{name}}"), post(create_for_group))
        .route(&format!("{ALL}/{{id}}"), get(show))
        .route(&format!("{ALL}/{{id}}/status"), put(abort))
        .route(&format!("{ALL}/{{id}}/statistics"), get(statistics))
        .route(&format!("{ALL}/{{id}}/devices"), get(devices))
        .route(&format!("{ALL}/{{id}}/devices/list"), get(device_list))
        .route(&format!("{ALL}/{{id}}/devices/{{device}}/log"), get(log))
}

#[derive(Debug, Deserialize)]
struct Create {
    name: Text,
    artifact_name: String,
    #[serde(default)]
    devices: Option<Vec<String>>,
    #[serde(default)]
    all_devices: Option<bool>,
    #[serde(default)]
    retries: Option<u8>,
    #[serde(default)]
    force_installation: Option<bool>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Create {
    /// What changes nothing is passed over; a wish that would not be heard is refused, for devices would install what they should not,
    /// or when they should not.
    fn checked(
        self,
        whom: impl FnOnce(Option<Vec<String>>, bool) -> Result<Whom, Error>,
    ) -> Result<Deploy, Error> {
        let says_something = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::String(text) => !text.is_empty() && text != "software",
            Value::Array(items) => !items.is_empty(),
            Value::Object(items) => !items.is_empty(),
            _ => true,
        };
        let other = self.others.iter().find(|(_, value)| says_something(value));
        if let Some((name, _)) = other {
            return Err(Error::Unfit(format!(
                "this server knows no `{name}` of a deployment; phases, filters and thresholds are given with kusabi rollout new"
            )));
        }
        Ok(Deploy {
            name: self.name,
            artifact: self.artifact_name,
            whom: whom(self.devices, self.all_devices == Some(true))?,
            retries: self.retries.unwrap_or_default(),
            force: self.force_installation == Some(true),
        })
    }
}

async fn create(
    State(shared): AppState,
    Command { by, body, .. }: Command<Operator, Octets>,
) -> Result<Response, Failure> {
    let deploy = read::<Create>(&body.0)?.checked(|devices, all| match devices {
        Some(devices) if !devices.is_empty() && !all => Ok(Whom::Devices(devices)),
        None => all.then_some(Whom::All).ok_or_else(whom),
        Some(devices) if devices.is_empty() && all => Ok(Whom::All),
        Some(_) => Err(whom()),
    })?;
    made(shared.app.deploy(&by, deploy).await?)
}

fn whom() -> Error {
    Error::Malformed(String::from(
        "a deployment names its `devices` by their IDs, or has `all_devices`: one of both",
    ))
}

async fn create_for_group(
    State(shared): AppState,
    Parameters(group): Parameters<String>,
    Command { by, body, .. }: Command<Operator, Octets>,
) -> Result<Response, Failure> {
    let deploy = read::<Create>(&body.0)?.checked(|devices, all| {
        match devices.is_none_or(|devices| devices.is_empty()) && !all {
            true => Ok(Whom::Group(group)),
            false => Err(Error::Malformed(String::from(
                "a deployment for a group names no devices",
            ))),
        }
    })?;
    made(shared.app.deploy(&by, deploy).await?)
}

fn made(id: String) -> Result<Response, Failure> {
    let mut response = StatusCode::CREATED.into_response();
    let place = format!("./management/v1/deployments/deployments/{id}");
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
struct Filter {
    status: Option<String>,
    search: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    sort: Option<String>,
    /// Seconds since 1970.
    created_after: Option<String>,
    created_before: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

impl Filter {
    fn checked(&self) -> Result<Which, Error> {
        let bad = |why: &str| Err(Error::Parameter(why.to_owned()));
        let status = self.status.clone().filter(|status| !status.is_empty());
        if status
            .as_ref()
            .is_some_and(|status| !["pending", "inprogress", "finished"].contains(&status.as_str()))
        {
            return bad("`status` is pending, inprogress or finished");
        }
        if self.kind.as_ref().is_some_and(|kind| kind != "software") {
            return bad("`type` is software: there are no other deployments here");
        }
        let oldest_first = match self.sort.as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return bad("`sort` is asc or desc"),
        };
        let ms = |secs: &Option<String>| match secs.as_deref().map(str::parse::<u64>) {
            None => Ok(None),
            Some(Ok(secs)) => Ok(Some(secs.saturating_mul(1000))),
            Some(Err(_)) => Err(Error::Parameter(String::from(
                "`created_after` and `created_before` are seconds since 1970",
            ))),
        };
        Ok(Which {
            id: None,
            status,
            search: self.search.clone().filter(|search| !search.is_empty()),
            from_ms: ms(&self.created_after)?,
            // The second is part of it.
            until_ms: ms(&self.created_before)?.map(|ms| ms.saturating_add(999)),
            oldest_first,
        })
    }
}

async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    uri: Uri,
    Wanted(filter): Wanted<Filter>,
) -> Result<Response, Failure> {
    let (which, part) = (filter.checked()?, filter.paging.part()?);
    let found = shared.app.deployments(&which, part.skip(), part.count());
    let (deployments, total) = found.await?;
    let deployments: Vec<Value> = deployments.iter().map(shown).collect();
    Ok(Paged::new(&uri, part, total).with(&deployments))
}

async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
) -> Result<Json<Value>, Failure> {
    let deployed = shared.app.deployment(&id).await?;
    let counts = shared.app.deployment_statistics(&id).await?;
    let mut deployment = shown(&deployed);
    deployment["statistics"] = json!({ "status": counted(&counts) });
    Ok(Json(deployment))
}

fn shown(deployed: &Deployed) -> Value {
    let Deployed { shown, .. } = deployed;
    let kept = &shown.kept;
    let mut deployment = json!({
        "id": deployment_id(kept.id),
        "name": kept.plan.name,
        "artifact_name": deployed.artifact_name,
        "created": time(kept.created_ms),
        "status": shown.status,
        "device_count": kept.standing.counts.all(),
        "artifacts": deployed.artifacts,
        "type": "software",
        "retries": kept.plan.retries,
        "force_installation": kept.plan.force,
    });
    if let Some(ended_ms) = kept.standing.ended_ms {
        deployment["finished"] = json!(time(ended_ms));
    }
    if let Some(group) = &deployed.group {
        deployment["groups"] = json!([group]);
    }
    deployment
}

async fn statistics(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
) -> Result<Json<Value>, Failure> {
    let counts = shared.app.deployment_statistics(&id).await?;
    Ok(Json(counted(&counts)))
}

fn counted(counts: &BTreeMap<String, u64>) -> Value {
    let count = |status: &str| counts.get(status).copied().unwrap_or_default();
    let all = STATUSES.map(|status| (status.to_owned(), json!(count(status))));
    Value::Object(all.into_iter().collect())
}

async fn devices(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
) -> Result<Response, Failure> {
    let (deployed, members) = shared.app.all_deployment_devices(&id).await?;
    let shown: Vec<Value> = members.iter().map(|one| member(&deployed, one)).collect();
    Ok(Json(shown).into_response())
}

#[derive(Debug, Deserialize)]
struct OfStatus {
    status: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

async fn device_list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(id): Parameters<String>,
    uri: Uri,
    Wanted(OfStatus { status, paging }): Wanted<OfStatus>,
) -> Result<Response, Failure> {
    let ended = || {
        STATUSES
            .into_iter()
            .filter(|status| !ACTIVE.contains(status))
    };
    let statuses: Vec<&str> = match status.as_deref() {
        None | Some("") => Vec::new(),
        Some("active") => ACTIVE.to_vec(),
        Some("pause") => PAUSED.to_vec(),
        Some("finished") => ended().collect(),
        Some(wanted) if STATUSES.contains(&wanted) => vec![wanted],
        Some(_) => {
            let why = "there is no such status of a device in a deployment";
            return Err(Error::Parameter(String::from(why)).into());
        }
    };
    let part = paging.part()?;
    let found = shared
        .app
        .deployment_devices(&id, &statuses, part.skip(), part.count());
    let (deployed, members, total) = found.await?;
    let shown: Vec<Value> = members.iter().map(|one| member(&deployed, one)).collect();
    Ok(Paged::new(&uri, part, total).with(&shown))
}

fn member(deployed: &Deployed, member: &Member) -> Value {
    let kept = &deployed.shown.kept;
    let created_ms = kept.standing.began_ms.unwrap_or(kept.created_ms);
    let mut shown = json!({
        "id": member.device,
        "status": member.status,
        "created": time(created_ms),
        "log": member.has_log,
        "attempts": member.attempts,
        "retries": kept.plan.retries,
    });
    if let Some(device_type) = &member.device_type {
        shown["device_type"] = json!(device_type);
    }
    if let Some(handed_ms) = member.handed_ms {
        shown["started"] = json!(time(handed_ms));
    }
    if !ACTIVE.contains(&&*member.status) {
        shown["finished"] = json!(time(member.changed_ms));
    }
    shown
}

#[derive(Debug, Deserialize)]
struct Status {
    status: String,
}

async fn abort(
    State(shared): AppState,
    Parameters(id): Parameters<String>,
    Command { by, body, .. }: Command<Operator, Octets>,
) -> Result<StatusCode, Failure> {
    let Status { status } = read(&body.0)?;
    if status != "aborted" {
        let why = "a deployment is made `aborted`, and nothing else";
        return Err(Error::Malformed(String::from(why)).into());
    }
    shared.app.abort_deployment(&by, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a device's client logged of its deployment, as text.
async fn log(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters((id, device)): Parameters<(String, String)>,
) -> Result<String, Failure> {
    Ok(shared.app.deployment_log(&id, &device).await?)
}
