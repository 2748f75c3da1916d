//! `GET /assets/{name}`

use crate::{
    http::{
        answer::{Answer, bytes},
        extract::Parameters,
    },
    views::assets,
};
use axum::http::{HeaderValue, header};
use kusabi_api::{Kind, Problem};

/// Stylesheet, script, mark. Their address changes with their content, so that browsers may keep them.
pub(super) async fn show(Parameters(name): Parameters<String>) -> Answer {
    let asset = assets::find(&name)
        .ok_or_else(|| Problem::new(Kind::Unknown, format!("there is no file `{name}`")))?;
    let mut response = bytes(asset.media_type, asset.body);
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Ok(response)
}
