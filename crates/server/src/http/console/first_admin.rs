//! `/first-admin?link=…`: where the one-time link leads.

use super::{
    page, page_as, sign_in,
    visitor::{Anyone, Says},
};
use crate::{
    app::Error,
    http::{
        AppState,
        answer::Answer,
        extract::{Peer, Wanted},
    },
    views::{
        address,
        first_admin::{FirstAdmin, Step},
        parts::Copyable,
    },
};
use axum::{extract::State, http::StatusCode};
use kusabi_api::admin::{FirstAdmin as Wish, Text};
use serde::Deserialize;

/// The link's secret.
#[derive(Deserialize)]
pub(super) struct Link {
    #[serde(default)]
    link: String,
}

/// The form's fields.
#[derive(Deserialize)]
pub(super) struct Fields {
    link: String,
    name: String,
}

pub(super) async fn show(Anyone(f): Anyone, Wanted(link): Wanted<Link>) -> Answer {
    page(&FirstAdmin {
        f,
        step: Step::Form {
            link: link.link,
            name: String::new(),
            bad_name: None,
        },
    })
}

pub(super) async fn create(
    State(shared): AppState,
    Peer(peer): Peer,
    said: Says<Fields>,
) -> Answer {
    let Fields { link, name } = said.form;
    let mut f = said.frame;
    let name = match Text::new(name.trim()) {
        Ok(name) => name,
        Err(why) => {
            f.address = address("/first-admin", &[("link", Some(&link))]);
            let step = Step::Form {
                link,
                name,
                bad_name: Some(why.to_string()),
            };
            return page_as(StatusCode::UNPROCESSABLE_ENTITY, &FirstAdmin { f, step });
        }
    };
    let wish = Wish {
        link: link.trim().to_owned(),
        name,
    };
    let turn = shared.sign_ins.turn(peer).await?;
    let made = shared.app.first_admin(wish).await;
    drop(turn);
    match made {
        Ok(created) => {
            let opened = shared.app.open_session(&created.secret).await?;
            let step = Step::Made {
                name: created.token.name.as_str().to_owned(),
                token: Copyable::new(created.secret),
            };
            // There is no way back to this page: the switches lead on.
            f.address = String::from("/devices");
            let mut response = page(&FirstAdmin { f, step })?;
            sign_in::give(&shared, &mut response, &opened)?;
            Ok(response)
        }
        Err(Error::Unauthenticated | Error::AlreadyDone(_)) => page_as(
            StatusCode::FORBIDDEN,
            &FirstAdmin {
                f,
                step: Step::Used,
            },
        ),
        Err(other) => Err(other.into()),
    }
}
