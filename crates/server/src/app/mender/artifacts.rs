//! Mender artifacts: uploaded by people and tools, or come as contents of releases; listed, deleted.

use super::{
    names::fits,
    reading::{self, Arrived},
    uuid,
};
use crate::{
    app::{
        App, By, Error, Parts,
        act::Done,
        audit,
        blobs::{Whole, deleted, retire, want},
    },
    blob::{Blob, draft_name},
    store::{
        On, Tx, contents,
        mender_artifacts::{self as rows, Facts, File, Payload, Row},
        releases,
    },
};
use kusabi_api::{Hex, Hex32};
use kusabi_core::release::SignedManifest;
use kusabi_mender::{Artifact, Limits};
use serde_json::json;
use std::sync::Arc;

/// Longest description of an artifact, in bytes.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 4096;

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
    /// the same devices; it was deleted meanwhile; too many come at once; no room; ledger, database or disk fail.
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
        let turn = self.mender.turns.take()?;
        let app = Arc::clone(self);
        // A task of its own: a client that goes away leaves nothing half-written behind.
        let receiving =
            tokio::spawn(
                async move { app.receive_artifact(&by, about, (keys, turn), parts).await },
            );
        receiving.await?
    }

    async fn receive_artifact(
        &self,
        by: &By,
        about: About,
        (keys, turn): (reading::Keys, reading::Turn),
        parts: Parts,
    ) -> Result<Row, Error> {
        let blobs = self.blobs()?;
        let name = draft_name(&self.new_id("artifact")?);
        let claim = blobs.claim(&name)?;
        let file = blobs.draft(&claim).await?;
        let kept = async {
            let arrived = reading::receive(parts, Some(file), keys, true, turn).await?;
            let size = arrived.artifact.bytes();
            if let Some(said) = about.size.filter(|said| *said != size) {
                return Err(Error::Malformed(format!(
                    "the form says that the artifact has {said} bytes, and {size} came"
                )));
            }
            let row = row(&arrived, about.description, by.caller.id());
            // Before it gets its name: most conflicts are found here, and leave nothing.
            self.fits(&row).await?;
            let blob = self.place(&claim, row.digest).await?;
            match self.keep_artifact(by, &row, blob).await {
                Ok(()) => Ok(row),
                Err(why @ (Error::Exists { .. } | Error::Conflict(_) | Error::Unfit(_))) => {
                    self.discard(blob).await;
                    Err(why)
                }
                Err(why) => Err(why),
            }
        }
        .await;
        if kept.is_err() {
            // The first fault is the one to tell; what stays is removed at a later start.
            let _ = blobs.drop_received(&claim).await;
        }
        kept
    }

    /// Acknowledges an artifact whose bytes are in their place.
    async fn keep_artifact(&self, by: &By, row: &Row, blob: Blob) -> Result<(), Error> {
        self.act(by, "artifact.upload", move |tx, now_ms| {
            Box::pin(async move {
                let content = contents::Row::new(row.digest, row.size, false);
                let news = want(tx, &content, blob, now_ms).await?;
                match note(tx, row, now_ms).await? || news {
                    false => Ok(Done::nothing(())),
                    true => {
                        let detail = particulars(row);
                        Ok(Done::changed((), row.digest.to_string(), detail))
                    }
                }
            })
        })
        .await
    }

    /// Notes what was found in an artifact that is a complete content.
    async fn note_artifact(&self, by: &By, row: &Row) -> Result<(), Error> {
        self.act(by, "artifact.note", move |tx, now_ms| {
            Box::pin(async move {
                let content = contents::find(tx.on(), row.digest).await?;
                if !content.is_some_and(|content| content.complete) {
                    return Err(deleted(row.digest));
                }
                match note(tx, row, now_ms).await? {
                    false => Ok(Done::nothing(())),
                    true => {
                        let detail = particulars(row);
                        Ok(Done::changed((), row.digest.to_string(), detail))
                    }
                }
            })
        })
        .await
    }

    /// Whether an artifact can stand beside those that are here.
    pub(in crate::app) async fn fits(&self, row: &Row) -> Result<(), Error> {
        let mut reader = self.store.read("find artifacts by name").await?;
        fits(reader.on(), row).await
    }

    /// Those payloads of a release that are artifacts and were here before anybody said so are read now; of those that no key signed
    /// that counts it is asked once more who signed them.
    pub(in crate::app) async fn read_artifacts_of(
        &self,
        by: &By,
        signed: &[u8],
    ) -> Result<(), Error> {
        for digest in artifacts_of(signed) {
            self.read_artifact(by, digest).await?;
        }
        Ok(())
    }

    /// Those payloads of a release that are artifacts and complete contents, and that nobody has read yet; read now, as far as their
    /// bytes are there.
    pub(in crate::app) async fn read_unnoted(
        &self,
        by: &By,
        signed: &[u8],
    ) -> Result<Vec<(Hex32, Option<Row>)>, Error> {
        let mut read = Vec::new();
        for digest in artifacts_of(signed) {
            let unnoted = {
                let mut reader = self.store.read("find an artifact").await?;
                is_unnoted(reader.on(), digest).await?
            };
            if !unnoted {
                continue;
            }
            let row = match self.whole(digest).await? {
                None => None,
                Some(whole) => match self.read_whole(by.caller.id(), whole).await {
                    Err(Error::Malformed(why)) => {
                        return Err(Error::Unfit(format!(
                            "the release names {digest} as a Mender artifact, and what is here is none: {why}"
                        )));
                    }
                    row => Some(row?),
                },
            };
            read.push((digest, row));
        }
        Ok(read)
    }

    /// Reads an artifact whose bytes are here, where it was not read yet, and looks who signed it, where nobody did who counts.
    pub(in crate::app) async fn read_artifact(&self, by: &By, digest: Hex32) -> Result<(), Error> {
        let (content, row) = {
            let mut reader = self.store.read("find an artifact").await?;
            let content = contents::find(reader.on(), digest).await?;
            (content, rows::find(reader.on(), digest).await?)
        };
        let Some(content) = content.filter(|content| content.complete) else {
            return Ok(());
        };
        if let Some(row) = row {
            self.signer_of(by, &row).await?;
            return Ok(());
        }
        let whole = Whole {
            blob: content.blob(),
            size: content.size,
        };
        let row = self.read_whole(by.caller.id(), whole).await?;
        self.note_artifact(by, &row).await
    }

    /// Reads an artifact whose bytes are in their place; whoever signed it.
    pub(in crate::app) async fn read_whole(&self, by: &str, whole: Whole) -> Result<Row, Error> {
        let keys = self.artifact_keys().await?;
        let turn = self.reading_turn().await?;
        let pieces = self.blobs()?.read(whole.blob, 0..whole.size).await?;
        let arrived = reading::receive(pieces, None, keys, false, turn).await?;
        Ok(row_of_release(&arrived, by))
    }

    /// Whether an artifact's bytes are all there.
    pub(super) async fn is_whole(&self, row: &Row) -> Result<bool, Error> {
        let whole = self.whole(row.digest).await?;
        Ok(whole.is_some_and(|whole| whole.size == row.size))
    }

    /// The release key in force that signed an artifact. One whose noted signer does not count is looked at once more: its key may
    /// stand on the ledger since, or again.
    pub(super) async fn signer_of(&self, by: &By, row: &Row) -> Result<Option<Hex32>, Error> {
        if let Some(signer) = row.signer
            && self.counts(signer).await?
        {
            return Ok(Some(signer));
        }
        let keys = self.artifact_keys().await?;
        if keys.is_empty() {
            return Ok(None);
        }
        let Some(whole) = self
            .whole(row.digest)
            .await?
            .filter(|whole| whole.size == row.size)
        else {
            return Ok(None);
        };
        let pieces = self.blobs()?.read(whole.blob, 0..whole.size).await?;
        let Ok(signer) = reading::signer(pieces, keys).await? else {
            return Ok(None);
        };
        let now = &Row {
            signer: Some(signer),
            ..row.clone()
        };
        self.act(by, "artifact.note", move |tx, now_ms| {
            Box::pin(async move {
                if rows::find(tx.on(), now.digest).await?.is_none() {
                    return Ok(Done::nothing(()));
                }
                match note(tx, now, now_ms).await? {
                    false => Ok(Done::nothing(())),
                    true => Ok(Done::changed((), now.digest.to_string(), particulars(now))),
                }
            })
        })
        .await?;
        Ok(Some(signer))
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
            .act(by, "artifact.delete", move |tx, now_ms| {
                Box::pin(async move {
                    let row = rows::with_id(tx.on(), id).await?;
                    let row = row.ok_or_else(|| unknown(id))?;
                    if let Some(signed) = releases::first_naming(tx.on(), row.digest).await? {
                        return Err(Error::Conflict(format!(
                            "the release {} is made of the artifact {}: its orders, open ones among them, need it",
                            named(&signed), row.name
                        )));
                    }
                    rows::delete(tx.on(), row.digest).await?;
                    retire(tx, row.digest, now_ms).await?;
                    let detail = json!({ "name": row.name, "id": row.id });
                    Ok(Done::changed(row.digest, row.digest.to_string(), detail))
                })
            })
            .await?;
        self.remove_last_retired(digest).await;
        Ok(())
    }
}

/// What the audit log says of an artifact.
fn particulars(row: &Row) -> serde_json::Value {
    json!({ "name": row.name, "size": row.size, "signer": row.signer, "id": row.id })
}

/// Name and version of a release.
pub(super) fn named(signed: &[u8]) -> String {
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

/// Writes an artifact's row; false where it is there as it is. One that is new has to fit beside those of its name.
pub(in crate::app) async fn note(tx: &mut Tx<'_>, row: &Row, now_ms: u64) -> Result<bool, Error> {
    match rows::find(tx.on(), row.digest).await? {
        None => fits(tx.on(), row).await?,
        Some(before) if before.signer == row.signer || row.signer.is_none() => return Ok(false),
        Some(_) => {}
    }
    let row = Row {
        created_ms: now_ms,
        ..row.clone()
    };
    rows::put(tx.on(), &row).await?;
    Ok(true)
}

/// Refuses a release one of whose artifacts, as far as they are here, cannot be told from another release's.
pub(in crate::app) async fn release_fits(tx: &mut Tx<'_>, signed: &[u8]) -> Result<(), Error> {
    for digest in artifacts_of(signed) {
        if let Some(row) = rows::find(tx.on(), digest).await? {
            fits(tx.on(), &row).await?;
        }
    }
    Ok(())
}

/// Whether a content is here that nobody has read as an artifact.
async fn is_unnoted(mut on: On<'_>, digest: Hex32) -> Result<bool, Error> {
    let content = contents::find(on.again(), digest).await?;
    let complete = content.is_some_and(|content| content.complete);
    Ok(complete && rows::find(on, digest).await?.is_none())
}

/// Whether these are all artifacts of a release that are here and were not noted.
pub(in crate::app) async fn are_read(
    tx: &mut Tx<'_>,
    signed: &[u8],
    read: &[(Hex32, Option<Row>)],
) -> Result<bool, Error> {
    for digest in artifacts_of(signed) {
        let known = read.iter().any(|(one, _)| *one == digest);
        if is_unnoted(tx.on(), digest).await? != known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes an artifact's row in the transaction that takes its release in; an entry of its own in the audit log says so.
pub(in crate::app) async fn note_with_release(
    tx: &mut Tx<'_>,
    by: &By,
    row: &Row,
    now_ms: u64,
) -> Result<(), Error> {
    if note(tx, row, now_ms).await? {
        let (subject, detail) = (row.digest.to_string(), particulars(row));
        let actor = by.caller.id();
        audit::append(tx, now_ms, actor, "artifact.note", &subject, &detail).await?;
    }
    Ok(())
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
