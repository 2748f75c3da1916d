//! `GET /api/v1/keys/{handle}`

use crate::{
    app::KeyAnswer,
    http::{
        AppState,
        answer::{Answer, bytes, ok},
        extract::{Asks, Parameters, Viewer},
    },
};
use axum::{
    extract::State,
    http::{HeaderMap, header},
};
use kusabi_api::{Hex32, Kind, Problem, media, view::ProofView};
use kusabi_core::id::Handle;
use minicbor::Encoder;

/// The record of a key, or that there is none: with the proof, which is what is to be believed.
///
/// As CBOR: the map `{"row": bytes / null, "proof": bytes, "height": uint, "present": bool, "time_ms": uint}` in deterministic encoding
/// (RFC 8949, section 4.2).
#[utoipa::path(
    get,
    path = "/api/v1/keys/{handle}",
    operation_id = "keys_show",
    tag = "keys",
    params(("handle" = Hex32, Path, description = "The key's handle")),
    responses((status = 200, description = "The proof", content(
        (ProofView = "application/json"),
        (String = "application/cbor")
    )))
)]
pub(in crate::http) async fn show(
    State(shared): AppState,
    _: Asks<Viewer>,
    Parameters(handle): Parameters<Hex32>,
    headers: HeaderMap,
) -> Answer {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept = accept.map(|value| value.to_str().unwrap_or_default());
    let form = media::preferred(accept, &[media::JSON, media::CBOR]).ok_or_else(|| {
        let detail = format!("a key can be had as {} and as {}", media::JSON, media::CBOR);
        Problem::new(Kind::NotAcceptable, detail)
    })?;
    let key = shared.app.key(&Handle::new(handle.0)).await?;
    match form {
        media::CBOR => Ok(bytes(media::CBOR, cbor(&key)?)),
        _ => ok(&key.view),
    }
}

/// Keys in the order of their encoding: the shorter first.
fn cbor(key: &KeyAnswer) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(key.view.proof.len() + 300);
    let mut encoder = Encoder::new(&mut bytes);
    let mut encode = || {
        encoder.map(5)?.str("row")?;
        match &key.row {
            Some(row) => encoder.bytes(row)?,
            None => encoder.null()?,
        };
        encoder.str("proof")?.bytes(&key.view.proof)?;
        encoder.str("height")?.u64(key.view.height)?;
        encoder.str("present")?.bool(key.view.present)?;
        encoder.str("time_ms")?.u64(key.view.time_ms)?;
        Ok::<_, minicbor::encode::Error<_>>(())
    };
    encode().map_err(|why| Problem::new(Kind::Internal, format!("no CBOR: {why}")))?;
    Ok(bytes)
}
