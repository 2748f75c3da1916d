//! What an artifact's name says. A stock client says by it alone what its device has, so that two artifacts of one name for the same
//! devices could not be told apart: they are refused at the door, and where they are there all the same, nothing follows from the name.
//!
//! As at Mender's own server, artifacts of one name may differ in what they depend on. They are one release in several variants: so
//! those that releases are made of stand in the same ones.

use super::artifacts::named;
use crate::{
    app::Error,
    store::{
        On,
        mender_artifacts::{self as rows, Row},
        mender_orders, releases,
    },
};
use kusabi_api::Hex32;
use kusabi_core::release::SignedManifest;
use std::collections::BTreeSet;

/// Refuses an artifact beside another one of its name for the same devices.
pub(super) async fn fits(mut on: On<'_>, row: &Row) -> Result<(), Error> {
    let own = releases::with_content(on.again(), row.digest).await?;
    for other in rows::named(on.again(), &row.name).await? {
        let shared = |one: &String| row.facts.device_types.contains(one);
        if other.digest == row.digest || !other.facts.device_types.iter().any(shared) {
            continue;
        }
        let of_other = releases::with_content(on.again(), other.digest).await?;
        let elsewhere = own != of_other && !own.is_empty();
        if !of_other.is_empty() && (elsewhere || other.facts.depends == row.facts.depends) {
            return Err(apart(on, row, &other).await?);
        }
        if other.facts.depends == row.facts.depends {
            return Err(Error::Exists {
                what: "another artifact for the same devices",
                by: "name",
                id: other.id,
            });
        }
    }
    Ok(())
}

/// Why an artifact is refused beside one that a release is made of, and that therefore stays.
async fn apart(on: On<'_>, row: &Row, other: &Row) -> Result<Error, Error> {
    let naming = releases::first_naming(on, other.digest).await?;
    let release = naming.map(|signed| named(&signed));
    Ok(Error::Conflict(format!(
        "another artifact, {} of the release {}, is called {} and is for the same devices, which say by this name alone what they \
         have; give this one another name (mender-artifact write --artifact-name)",
        other.digest,
        release.unwrap_or_default(),
        row.name
    )))
}

/// What a device has whose client names an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// The artifact, or a variant of it in the same release.
    This,
    /// Another one.
    Other,
    /// One of several that are called so.
    Unclear,
}

/// What it is to a release's artifact that a device's client names one so.
pub(super) async fn has(
    mut on: On<'_>,
    device: &str,
    of_type: Option<&str>,
    name: &str,
    artifact: &Row,
) -> Result<Has, Error> {
    if artifact.name != name {
        return Ok(Has::Other);
    }
    let own = releases::with_content(on.again(), artifact.digest).await?;
    let mut unclear = false;
    for (row, of_row) in called(on.again(), name, of_type).await? {
        unclear |= row.digest != artifact.digest && own.is_disjoint(&of_row);
    }
    if !unclear {
        return Ok(Has::This);
    }
    let last = mender_orders::installed(on, device).await?;
    Ok(match last == Some(artifact.digest) {
        true => Has::This,
        false => Has::Unclear,
    })
}

/// The release that a device runs whose client names this artifact, and what a device's counter rises to with it. `None`: none of
/// those here, or it cannot be told which.
pub(super) async fn running(
    mut on: On<'_>,
    device: &str,
    of_type: Option<&str>,
    name: &str,
) -> Result<Option<(Hex32, u64)>, Error> {
    let mut all = called(on.again(), name, of_type).await?;
    let common = all
        .iter()
        .map(|(_, releases)| releases.clone())
        .reduce(|one, other| &one & &other);
    if common.is_some_and(|common| common.is_empty()) {
        // What it installed last by its own word, if that is one of them.
        let last = mender_orders::installed(on.again(), device).await?;
        all.retain(|(row, _)| Some(row.digest) == last);
    }
    let mut newest = None;
    for (row, _) in all {
        let naming = releases::naming(on.again(), row.digest).await?;
        newest = newest.max(naming.into_iter().max_by_key(|(id, _)| *id));
    }
    Ok(newest.and_then(|(_, signed)| about(&signed)))
}

/// The artifacts of a name for devices of a type that releases are made of, each with the numbers of these.
async fn called(
    mut on: On<'_>,
    name: &str,
    of_type: Option<&str>,
) -> Result<Vec<(Row, BTreeSet<u64>)>, Error> {
    let mut all = Vec::new();
    for row in rows::named(on.again(), name).await? {
        let fits = |one: &String| of_type.is_none_or(|of_type| one == of_type);
        if !row.facts.device_types.iter().any(fits) {
            continue;
        }
        let of_row = releases::with_content(on.again(), row.digest).await?;
        if !of_row.is_empty() {
            all.push((row, of_row));
        }
    }
    Ok(all)
}

/// Digest of a release, and what a device's counter rises to with it.
pub(super) fn about(signed: &[u8]) -> Option<(Hex32, u64)> {
    let signed = SignedManifest::decode(signed).ok()?;
    let manifest = signed.manifest();
    Some((
        kusabi_api::Hex(manifest.digest().to_bytes()),
        manifest.minimum_counter(),
    ))
}
