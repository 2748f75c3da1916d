//! Mender artifacts: uploaded by people and tools, or come as contents of releases; listed, deleted.

use super::{
    reading::{self, Arrived},
    uuid,
};
use crate::{
    app::{App, By, Error, Parts, act::Done},
    blob::draft_name,
    store::{
        Tx, contents,
        mender_artifacts::{self as rows, Facts, File, Payload, Row},
        releases,
    },
};
use kusabi_api::{Hex, Hex32};
use kusabi_core::release::SignedManifest;
use kusabi_mender::{Artifact, Limits};
use serde_json::json;
use std::sync::Arc;

/// Artifacts that are read at a time: each may ask for some 70 MiB of memory.
pub(super) const AT_ONCE: usize = 8;

/// Longest description of an artifact, in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 4096;

/// When to come back where too many artifacts are on their way, in seconds.
const CROWDED_SECS: u32 = 10;

/// The format of payloads that are artifacts.
pub(super) const FORMAT: &str = "mender";

/// What is said of an artifact beside its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) description: String,
    /// How many bytes it has, where that was said.
    pub(crate) size: Option<u64>,
}

impl App {
    /// Takes an artifact in as it comes. One that no release key signed is refused before the rest of it is taken. From then on it is
    /// the content of its digest: a release that names it has it.
    ///
    /// The same bytes again change nothing.
    ///
    /// # Errors
    /// It is no artifact, not signed by a release key, too large, or of another size than was said; another one has its name and is for
    /// the same devices; too many come at once; no room; ledger, database or disk fail.
    pub(crate) async fn upload_artifact(
        self: &Arc<Self>,
        by: By,
        about: About,
        parts: Parts,
    ) -> Result<Row, Error> {
        let bytes_max = Limits::default().artifact_bytes;
        if about.size.is_some_and(|size| size > bytes_max) {
            return Err(too_large(bytes_max));
        }
        self.blobs()?;
        let keys = self.artifact_keys().await?;
        if keys.is_empty() {
            return Err(Error::Unfit(String::from(
                "no release key of the organisation can have signed an artifact: put one on the ledger, of suite 2 or RSA or P-256 in a PEM file (kusabi org art --add, --foreign); one that was put there before this server could take artifacts is found by kusabi rebuild",
            )));
        }
        let turn = Arc::clone(&self.mender.artifacts).try_acquire_owned();
        let turn = turn.map_err(|_| Error::Crowded {
            wait_secs: CROWDED_SECS,
        })?;
        let app = Arc::clone(self);
        // A task of its own: a client that goes away leaves nothing half-written behind.
        let receiving = tokio::spawn(async move {
            let _turn = turn;
            app.receive_artifact(&by, about, keys, parts).await
        });
        receiving.await?
    }

    async fn receive_artifact(
        &self,
        by: &By,
        about: About,
        keys: reading::Keys,
        parts: Parts,
    ) -> Result<Row, Error> {
        let blobs = self.blobs()?;
        let name = draft_name(&self.new_id("artifact")?);
        let claim = blobs.claim(&name)?;
        let file = blobs.draft(&claim).await?;
        let kept = async {
            let arrived = reading::receive(parts, Some(file), keys, true).await?;
            let size = arrived.artifact.bytes();
            if let Some(said) = about.size.filter(|said| *said != size) {
                return Err(Error::Malformed(format!(
                    "the form says that the artifact has {said} bytes, and {size} came"
                )));
            }
            let row = row(&arrived, about.description, by.caller.id());
            // Before it gets its name: most conflicts are found here, and leave nothing.
            let mut reader = self.store.read("find artifacts by name").await?;
            fits(&row, &rows::named(reader.on(), &row.name).await?)?;
            drop(reader);
            blobs.place(&claim, &row.digest.0).await?;
            match self.keep_artifact(by, "artifact.upload", &row, true).await {
                Ok(()) => Ok(row),
                Err(why) => {
                    self.remove_unnamed(row.digest).await;
                    Err(why)
                }
            }
        }
        .await;
        if kept.is_err() {
            // The first fault is the one to tell; what stays is removed at a later start.
            let _ = blobs.drop_received(&claim).await;
        }
        kept
    }

    /// Notes an artifact whose bytes are in their place.
    async fn keep_artifact(
        &self,
        by: &By,
        act: &'static str,
        row: &Row,
        alone: bool,
    ) -> Result<(), Error> {
        self.act(by, act, move |tx, now_ms| {
            Box::pin(async move {
                let there = contents::find(tx.on(), row.digest).await?;
                match there {
                    None => {
                        let content = contents::Row {
                            digest: row.digest,
                            size: row.size,
                            inventory: false,
                            complete: true,
                        };
                        contents::insert(tx.on(), &content, Some(now_ms)).await?;
                    }
                    Some(there) if there.size != row.size || there.inventory => {
                        return Err(Error::Unfit(format!(
                            "a release says that {} has {} bytes{}, and the artifact has {}",
                            row.digest,
                            there.size,
                            if there.inventory {
                                " and is an inventory"
                            } else {
                                ""
                            },
                            row.size
                        )));
                    }
                    Some(_) => contents::complete(tx.on(), row.digest, now_ms).await?,
                }
                match note(tx, row, now_ms, alone).await? {
                    false => Ok(Done::nothing(())),
                    true => {
                        let detail = json!({
                            "name": row.name, "size": row.size, "signer": row.signer, "id": row.id,
                        });
                        Ok(Done::changed((), row.digest.to_string(), detail))
                    }
                }
            })
        })
        .await
    }

    /// Removes bytes that nothing names.
    async fn remove_unnamed(&self, digest: Hex32) {
        let removed = async {
            let mut reader = self.store.read("find a content").await?;
            match contents::find(reader.on(), digest).await? {
                Some(_) => Ok::<_, Error>(()),
                None => Ok(self.blobs()?.remove(&digest.0).await?),
            }
        };
        if let Err(why) = removed.await {
            tracing::warn!(%digest, %why, "an artifact that was refused is left in the firmware store");
        }
    }

    /// Those payloads of a release that are artifacts and were here before anybody said so are read now.
    pub(in crate::app) async fn read_artifacts_of(
        &self,
        by: &By,
        signed: &[u8],
    ) -> Result<(), Error> {
        for digest in artifacts_of(signed) {
            let (content, row) = {
                let mut reader = self.store.read("find an artifact").await?;
                let content = contents::find(reader.on(), digest).await?;
                (content, rows::find(reader.on(), digest).await?)
            };
            let Some(content) = content.filter(|content| content.complete && row.is_none()) else {
                continue;
            };
            let pieces = self.blobs()?.read(&digest.0, 0..content.size).await?;
            let keys = self.artifact_keys().await?;
            let arrived = reading::receive(pieces, None, keys, false).await?;
            let row = row_of_release(&arrived, by.caller.id());
            self.keep_artifact(by, "artifact.note", &row, false).await?;
        }
        Ok(())
    }

    /// A part of the artifacts, the newest first, and how many there are.
    pub(crate) async fn artifacts(&self, skip: u64, count: u16) -> Result<(Vec<Row>, u64), Error> {
        let mut reader = self.store.read("list artifacts").await?;
        Ok(rows::list(reader.on(), skip, count).await?)
    }

    /// One artifact.
    pub(crate) async fn artifact(&self, id: &str) -> Result<Row, Error> {
        let mut reader = self.store.read("find an artifact").await?;
        rows::with_id(reader.on(), id)
            .await?
            .ok_or_else(|| unknown(id))
    }

    /// Deletes an artifact that no release is made of.
    ///
    /// # Errors
    /// There is no such artifact; a release names it; database or disk fail.
    pub(crate) async fn delete_artifact(&self, by: &By, id: &str) -> Result<(), Error> {
        let digest = self
            .act(by, "artifact.delete", move |tx, _| {
                Box::pin(async move {
                    let row = rows::with_id(tx.on(), id).await?;
                    let row = row.ok_or_else(|| unknown(id))?;
                    if let Some((_, signed)) = releases::naming(tx.on(), row.digest).await?.first()
                    {
                        return Err(Error::Conflict(format!(
                            "the release {} is made of the artifact {}: its orders, open ones among them, need it",
                            named(signed), row.name
                        )));
                    }
                    rows::delete(tx.on(), row.digest).await?;
                    let detail = json!({ "name": row.name, "id": row.id });
                    Ok(Done::changed(row.digest, row.digest.to_string(), detail))
                })
            })
            .await?;
        self.remove_unnamed(digest).await;
        Ok(())
    }
}

/// Name and version of a release.
fn named(signed: &[u8]) -> String {
    match SignedManifest::decode(signed) {
        Ok(signed) => {
            let manifest = signed.manifest();
            format!("{} {}", manifest.name(), manifest.version())
        }
        Err(_) => String::from("of a manifest that cannot be read"),
    }
}

/// The payloads of a release that are artifacts.
fn artifacts_of(signed: &[u8]) -> Vec<Hex32> {
    let Ok(signed) = SignedManifest::decode(signed) else {
        return Vec::new();
    };
    signed
        .manifest()
        .payloads()
        .filter(|payload| payload.format.as_str() == FORMAT)
        .map(|payload| Hex(payload.content.digest().to_bytes()))
        .collect()
}

/// Whether one of these signed manifests has the content as an artifact.
pub(in crate::app) fn is_artifact_of(naming: &[(u64, Vec<u8>)], digest: Hex32) -> bool {
    naming
        .iter()
        .any(|(_, signed)| artifacts_of(signed).contains(&digest))
}

/// The row of an artifact that came with a release.
pub(in crate::app) fn row_of_release(arrived: &Arrived, by: &str) -> Row {
    row(arrived, String::new(), by)
}

fn row(arrived: &Arrived, description: String, by: &str) -> Row {
    Row {
        digest: arrived.digest,
        id: uuid(&[b"kusabi.server.mender-artifact", &arrived.digest.0]),
        name: arrived.artifact.name().to_owned(),
        size: arrived.artifact.bytes(),
        signer: arrived.signer.ok(),
        description,
        facts: facts(&arrived.artifact),
        created_ms: 0,
        created_by: by.to_owned(),
    }
}

fn facts(artifact: &Artifact) -> Facts {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let payloads = artifact.payloads();
    Facts {
        device_types: artifact.device_types().to_vec(),
        provides: artifact.provides().into_iter().map(owned).collect(),
        depends: artifact
            .depends()
            .into_iter()
            .filter(|(key, _)| *key != "device_type")
            .map(|(key, values)| (key.to_owned(), values.to_vec()))
            .collect(),
        clears: payloads
            .iter()
            .flat_map(|payload| payload.clears.clone())
            .collect(),
        payloads: payloads
            .iter()
            .map(|payload| Payload {
                module: payload.module.clone(),
                files: payload
                    .files
                    .iter()
                    .map(|file| File {
                        name: file.name.clone(),
                        digest: Hex(file.digest.to_bytes()),
                        size: file.size,
                    })
                    .collect(),
            })
            .collect(),
    }
}

/// Refuses an artifact beside another one of its name between which a device could not choose.
fn fits(row: &Row, others: &[Row]) -> Result<(), Error> {
    let clashes = |other: &&Row| {
        let shared = |one: &String| row.facts.device_types.contains(one);
        other.digest != row.digest
            && other.facts.depends == row.facts.depends
            && other.facts.device_types.iter().any(shared)
    };
    match others.iter().find(clashes) {
        None => Ok(()),
        Some(other) => Err(Error::Exists {
            what: "another artifact for the same devices",
            by: "name",
            id: other.id.clone(),
        }),
    }
}

/// Writes an artifact's row; false where it is there as it is. `alone`: not beside one of its name for the same devices.
pub(in crate::app) async fn note(
    tx: &mut Tx<'_>,
    row: &Row,
    now_ms: u64,
    alone: bool,
) -> Result<bool, Error> {
    let before = rows::find(tx.on(), row.digest).await?;
    if before.is_none() && alone {
        fits(row, &rows::named(tx.on(), &row.name).await?)?;
    }
    if before.is_some_and(|before| before.signer == row.signer) {
        return Ok(false);
    }
    let row = Row {
        created_ms: now_ms,
        ..row.clone()
    };
    rows::put(tx.on(), &row).await?;
    Ok(true)
}

/// More bytes than are ever taken.
pub(super) fn too_large(bytes_max: u64) -> Error {
    Error::TooMuch(format!("an artifact has at most {bytes_max} bytes"))
}

fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "artifact",
        id: id.to_owned(),
    }
}
