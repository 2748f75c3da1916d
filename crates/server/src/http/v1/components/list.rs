//! `GET /api/v1/components`

use crate::{
    app::{ComponentQuery, Cut},
    http::{
        AppState,
        answer::{Answer, ok},
        extract::{Asks, Viewer, Wanted},
    },
};
use axum::extract::State;
use kusabi_api::{Hex32, admin::ComponentPage};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which components: those for which all that is said holds, and something is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Which {
    /// With this name, as inventories write it: a path without a leading `/`; in bills of materials with its group and `/` before it, or without.
    name: Option<String>,
    /// With a name that begins so.
    prefix: Option<String>,
    /// With this version.
    version: Option<String>,
    /// With this content: its SHA-256, in hexadecimal.
    #[param(value_type = Option<String>)]
    digest: Option<Hex32>,
    /// With this package URL; what it leaves out of version, qualifiers and subpath may be anything. Inventories have none: only bills of
    /// materials are searched.
    purl: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// How many devices: 1 to 200, 50 when not said.
    limit: Option<u16>,
}

/// The devices whose newest signed inventory holds such a component, and those that run a release whose bill of materials (its document
/// `sbom`, CycloneDX in JSON) names one. A page that has a `next` may be empty.
#[utoipa::path(
    get,
    path = "/api/v1/components",
    operation_id = "components_list",
    tag = "devices",
    params(Which),
    responses((status = 200, description = "One page", body = ComponentPage))
)]
pub(in crate::http) async fn list(
    State(shared): AppState,
    _: Asks<Viewer>,
    Wanted(which): Wanted<Which>,
) -> Answer {
    let query = ComponentQuery {
        name: which.name,
        prefix: which.prefix,
        version: which.version,
        digest: which.digest,
        purl: which.purl,
    };
    let cut = Cut {
        cursor: which.cursor,
        limit: which.limit,
    };
    ok(&shared.app.components(query, &cut).await?)
}
