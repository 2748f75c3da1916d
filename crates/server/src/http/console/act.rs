//! `/devices/{device}/acts/{act}`: asked once more, then done.

use super::{
    page, page_as, see,
    visitor::{Looks, Sends},
};
use crate::{
    app::{App, Cut},
    http::{
        AppState,
        answer::Answer,
        extract::{Operator, Parameters},
        failure::Failure,
    },
    views::{
        Frame,
        act::{Act, Confirm},
        address,
        parts::Badge,
        short,
    },
};
use axum::{extract::State, http::StatusCode};
use kusabi_api::{
    Hex32, Kind, Problem,
    admin::{OrderCreate, Release, ReleaseState, Target, Text},
};
use serde::Deserialize;

/// Releases that are looked through for those that fit.
const RELEASES: u16 = 50;

/// The form's fields.
#[derive(Debug, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    release: String,
}

fn known(word: &str) -> Result<Act, Problem> {
    let none = || Problem::new(Kind::Unknown, format!("there is no act `{word}`"));
    Act::from_word(word).ok_or_else(none)
}

/// The newest published releases for devices of this type, or of any: digest, and what is shown.
pub(super) async fn fitting(
    app: &App,
    device_type: Option<&Text>,
) -> Result<Vec<(String, String)>, Failure> {
    let newest = Cut {
        cursor: None,
        limit: Some(RELEASES),
    };
    let releases = app.releases(&newest).await?.items.into_iter();
    let fits = |release: &Release| {
        let named = |kind: &Text| release.types.iter().any(|one| one == kind.as_str());
        release.state == ReleaseState::Published && device_type.is_none_or(named)
    };
    Ok(releases
        .filter(fits)
        .map(|release| {
            let text = format!(
                "{} {} ({})",
                release.name,
                release.version,
                short(&release.digest)
            );
            (release.digest.to_string(), text)
        })
        .collect())
}

async fn confirm(
    app: &App,
    f: Frame,
    act: Act,
    id: &str,
    release: Option<String>,
) -> Result<Confirm, Failure> {
    let device = app.device(id).await?.device;
    let releases = match act.takes_release() {
        true => fitting(app, device.device_type.as_ref()).await?,
        false => Vec::new(),
    };
    let name = device.name.as_ref().or(device.serial.as_ref());
    Ok(Confirm {
        act,
        device: name.map_or(id, Text::as_str).to_owned(),
        device_address: format!("/devices/{id}"),
        serial: device.serial.as_ref().map_or("", Text::as_str).to_owned(),
        state: Badge::state(f.t, device.state),
        once: app.nonce()?,
        bad_release: release.is_some(),
        release: release.unwrap_or_default(),
        releases,
        f,
    })
}

pub(super) async fn ask(
    State(shared): AppState,
    looks: Looks<Operator>,
    Parameters((id, word)): Parameters<(String, String)>,
) -> Answer {
    let act = known(&word)?;
    page(&confirm(&shared.app, looks.frame, act, &id, None).await?)
}

pub(super) async fn carry_out(
    State(shared): AppState,
    Parameters((id, word)): Parameters<(String, String)>,
    sent: Sends<Operator, Fields>,
) -> Answer {
    let (app, act) = (&shared.app, known(&word)?);
    let release: Option<Hex32> = match act.takes_release() {
        false => None,
        true => match sent.form.release.trim().to_ascii_lowercase().parse() {
            Ok(digest) => Some(digest),
            Err(_) => {
                let given = Some(sent.form.release);
                let view = confirm(app, sent.frame, act, &id, given).await?;
                return page_as(StatusCode::UNPROCESSABLE_ENTITY, &view);
            }
        },
    };
    match act.order() {
        Some(kind) => {
            let create = OrderCreate {
                kind,
                release,
                target: Target::Device(id.clone()),
            };
            app.create_order(&sent.by, create).await?;
        }
        None if act == Act::Readmit => {
            app.readmit(&sent.by, &id).await?;
        }
        None => {
            app.quarantine(&sent.by, &id).await?;
        }
    }
    see(&address(
        &format!("/devices/{id}"),
        &[("done", Some(act.word()))],
    ))
}
