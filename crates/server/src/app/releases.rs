//! Releases: taken in when everything about them is proven, listed, handed to devices.

use super::{App, By, Cut, Error, TRIES, act::Done, mender};
use crate::store::{
    contents,
    mender_artifacts::Row as Artifact,
    releases::{self, Kept},
};
use bytes::Bytes;
use kusabi_api::{
    Hex, Hex32, Kind, Problem,
    admin::{Content, Page, Release, ReleaseState},
    verify::{Trust, VerifyError},
};
use kusabi_core::{
    anchor::AnchorError,
    checkpoint::CheckpointError,
    id::{Height, OrgId, StateKey},
    proof::{Proof, ProofError},
    release::{
        Content as Named, DeviceFacts, ReleaseError, ReleaseProofs, SignedManifest,
        VerifiedRelease, encode_proofs,
    },
    set::EpochSet,
};
use serde_json::json;
use std::{net::IpAddr, sync::Arc};

/// Why a release is not accepted as listed.
enum Unlisted {
    Refused(ReleaseError),
    /// The ledger went on to another epoch between the questions.
    Epoch,
    Proof(VerifyError),
}

impl App {
    /// The releases whose manifests are here, the newest first.
    ///
    /// # Errors
    /// A bad cursor or limit; the database.
    pub async fn releases(&self, cut: &Cut) -> Result<Page<Release>, Error> {
        let (before, count) = (cut.number(u64::MAX)?, cut.fetch()?);
        let mut reader = self.store.read("list releases").await?;
        let kept = releases::list(reader.on(), before, count).await?;
        let (Some(newest), Some(oldest)) = (kept.first(), kept.last()) else {
            return cut.page(Vec::new(), |_: &Release| String::new());
        };
        let contents = releases::contents(reader.on(), oldest.id, newest.id).await?;
        drop(reader);
        let ids: Vec<u64> = kept.iter().map(|kept| kept.id).collect();
        let all = kept.into_iter().map(|kept| {
            let of_it = contents.iter().filter(|(id, _)| *id == kept.id);
            // A list says what was noted; the release itself is asked for what is on disk.
            let contents = of_it.map(|(_, row)| Content {
                digest: row.digest,
                size: row.size,
                received: if row.complete { row.size } else { 0 },
                complete: row.complete,
            });
            let contents = contents.collect();
            view(kept, contents)
        });
        let all = all.collect::<Result<Vec<_>, _>>()?;
        let page = cut.page(all, |_| String::new())?;
        let last = page.items.len().checked_sub(1).and_then(|at| ids.get(at));
        Ok(Page {
            next: page.next.and_then(|_| last.map(u64::to_string)),
            items: page.items,
        })
    }

    /// One release.
    ///
    /// # Errors
    /// Its manifest is not here; database or disk fail.
    pub async fn release(&self, digest: Hex32) -> Result<Release, Error> {
        let mut reader = self.store.read("show a release").await?;
        let kept = releases::find(reader.on(), digest)
            .await?
            .ok_or_else(|| unknown(digest))?;
        let rows = releases::contents(reader.on(), kept.id, kept.id).await?;
        drop(reader);
        let mut contents = Vec::new();
        for (_, row) in &rows {
            contents.push(self.state_of(row).await?);
        }
        view(kept, contents)
    }

    /// The signed manifest of a release, for devices; `None`: it is not here.
    ///
    /// # Errors
    /// The database.
    pub async fn signed_manifest(&self, digest: Hex32) -> Result<Option<Bytes>, Error> {
        let mut reader = self.store.read("read a manifest").await?;
        Ok(releases::signed(reader.on(), digest)
            .await?
            .map(Bytes::from))
    }

    /// The proofs that a device needs to check a release (spec/firmware.md), for whoever asks from this address: asked of the ledger
    /// once for each height of it, and passed on, for the device checks them. `None`: its manifest is not here.
    ///
    /// # Errors
    /// Too many ask; ledger or database fail.
    pub async fn release_proofs(
        self: &Arc<Self>,
        source: IpAddr,
        digest: Hex32,
    ) -> Result<Option<Bytes>, Error> {
        let Some(signed) = self.signed_manifest(digest).await? else {
            return Ok(None);
        };
        let app = Arc::clone(self);
        let ask = || async move { app.ask_release_proofs(digest, &signed).await };
        let proofs = self.strangers.proofs(self, source, digest, ask).await?;
        Ok(Some(proofs))
    }

    async fn ask_release_proofs(&self, digest: Hex32, signed: &Bytes) -> Result<Bytes, Error> {
        let signed = SignedManifest::decode(signed).map_err(|why| unreadable(digest, &why))?;
        let org = self.org();
        let ledger = self.ledger.unverified();
        let floor = self.ledger.trust().anchor().height();
        let release = StateKey::release(&org, &signed.manifest().digest());
        let release = self
            .ask(async { Ok(ledger.lookup(release, floor).await?) })
            .await?;
        let policy = StateKey::art_policy(&org);
        let policy = self
            .ask(async { Ok(ledger.lookup(policy, floor).await?) })
            .await?;
        let mut signers = Vec::with_capacity(signed.signature_count());
        for signature in signed.signatures() {
            let key = StateKey::record(&signature.signer);
            let proof = self
                .ask(async { Ok(ledger.lookup(key, floor).await?) })
                .await?;
            signers.push(proof);
        }
        let proofs = encode_proofs(&release, &policy, &signers).map_err(|why| {
            Problem::new(Kind::BadAnswer, format!("the ledger node's proofs: {why}"))
        })?;
        Ok(proofs.into())
    }

    /// Takes a release in: its signed manifest is well formed, of this organisation, published on the ledger with the manifest's counter,
    /// not withdrawn, and signed as the art policy asks; all of it proven. From then on its contents may be uploaded.
    ///
    /// A repeat changes nothing; the same manifest with more signatures takes the place of the one that is here.
    ///
    /// # Errors
    /// The first of it that is not so; one of its Mender artifacts has the name of another one for the same devices; they come and go
    /// faster than they are read ([`Error::Stale`]); ledger or database fail.
    pub async fn upload_release(
        &self,
        by: &By,
        digest: Hex32,
        bytes: &[u8],
    ) -> Result<Release, Error> {
        let signed =
            SignedManifest::decode(bytes).map_err(|why| Error::Malformed(why.to_string()))?;
        let manifest = signed.manifest();
        let is = Hex(manifest.digest().to_bytes());
        if is != digest {
            return Err(Error::Unfit(format!(
                "the manifest that was sent has the digest {is}, not {digest}"
            )));
        }
        let row = self.listed(&signed).await?;
        let mut named = named(&signed)?;
        // What an index names that another release brought.
        for payload in manifest.payloads() {
            let Some(index) = payload.chunk_index else {
                continue;
            };
            let (digest, size) = facts(&index);
            let pack = self.pack_of(digest, size, payload.content.size()).await?;
            let is_new = |pack: &contents::Row| named.iter().all(|row| row.digest != pack.digest);
            named.extend(pack.filter(is_new));
        }
        let (named, published, signed) = (&named, row.published_at().get(), &signed);
        let mut tries = 0;
        loop {
            let read = self.read_unnoted(by, bytes).await?;
            let taken = self.take_release(by, signed, bytes, named, published, &read);
            tries += 1;
            match taken.await {
                Err(Error::Stale) if tries < TRIES => {}
                taken => break taken?,
            }
        }
        self.read_artifacts_of(by, bytes).await?;
        self.release(digest).await
    }

    /// Writes a release that was checked, and what was read of its Mender artifacts.
    ///
    /// # Errors
    /// One of its artifacts came meanwhile ([`Error::Stale`]); what [`upload_release`](Self::upload_release) says.
    async fn take_release(
        &self,
        by: &By,
        signed: &SignedManifest<'_>,
        bytes: &[u8],
        named: &[contents::Row],
        published: u64,
        read: &[(Hex32, Option<Artifact>)],
    ) -> Result<(), Error> {
        let digest = Hex(signed.manifest().digest().to_bytes());
        self.act(by, "release.upload", move |tx, now_ms| {
            Box::pin(async move {
                if !mender::are_read(tx, bytes, read).await? {
                    return Err(Error::Stale);
                }
                if let Some(kept) = releases::find(tx.on(), digest).await? {
                    let there = SignedManifest::decode(&kept.signed)
                        .map_err(|why| unreadable(digest, &why))?;
                    if there.signature_count() >= signed.signature_count() {
                        return Ok(Done::nothing(()));
                    }
                    releases::sign_again(tx.on(), digest, bytes).await?;
                } else {
                    let id = releases::next_id(tx.on()).await?;
                    let actor = by.caller.id();
                    releases::note(tx.on(), digest.0, published, None).await?;
                    releases::insert(tx.on(), id, digest, bytes, now_ms, actor).await?;
                    for (place, row) in (0..).zip(named) {
                        match contents::find(tx.on(), row.digest).await? {
                            None => contents::insert(tx.on(), row, None).await?,
                            Some(there) if there.size != row.size => {
                                return Err(Error::Unfit(format!(
                                    "the manifest says that {} has {} bytes; another one says {}",
                                    row.digest, row.size, there.size
                                )));
                            }
                            Some(there) if row.inventory && !there.inventory => {
                                contents::is_inventory(tx.on(), row.digest).await?;
                            }
                            Some(_) => {}
                        }
                        releases::name(tx.on(), id, place, row.digest).await?;
                    }
                    mender::release_fits(tx, bytes).await?;
                }
                for artifact in read.iter().filter_map(|(_, artifact)| artifact.as_ref()) {
                    mender::note_with_release(tx, by, artifact, now_ms).await?;
                }
                let detail = json!({
                    "name": signed.manifest().name().as_str(),
                    "version": signed.manifest().version().as_str(),
                    "counter": signed.manifest().counter(),
                    "signatures": signed.signature_count(),
                });
                Ok(Done::changed((), digest.to_string(), detail))
            })
        })
        .await
    }

    /// A release that devices take, as far as it is the same for all devices.
    async fn listed<'m>(&self, signed: &SignedManifest<'m>) -> Result<VerifiedRelease<'m>, Error> {
        let digest = signed.manifest().digest();
        let judged = self.judge_release(signed).await?;
        judged.map_err(|why| Error::Unfit(format!("the release {digest} is refused: {why}")))
    }

    /// The check that a device makes, as far as it is the same for all devices; for those that cannot make it, too.
    pub(super) async fn judge_release<'m>(
        &self,
        signed: &SignedManifest<'m>,
    ) -> Result<Result<VerifiedRelease<'m>, ReleaseError>, Error> {
        let org = self.org();
        let digest = signed.manifest().digest();
        // Before the ledger is asked: it would be asked for a row of this organisation.
        if signed.manifest().org() != org {
            return Ok(Err(ReleaseError::ForeignOrganisation));
        }
        for _ in 0..2 {
            let trust = self.ledger.trust();
            let mut proofs = Vec::with_capacity(2 + signed.signature_count());
            let records = signed
                .signatures()
                .map(|signature| StateKey::record(&signature.signer));
            let keys = [StateKey::release(&org, &digest), StateKey::art_policy(&org)];
            for key in keys.into_iter().chain(records) {
                let proven = self.ask(self.ledger.lookup(key)).await?;
                proofs.push((key, proven.proof().clone()));
            }
            match check(signed, &trust, org, &proofs) {
                Ok(release) => return Ok(Ok(release)),
                Err(Unlisted::Refused(why)) => return Ok(Err(why)),
                Err(Unlisted::Proof(why)) => return Err(why.into()),
                Err(Unlisted::Epoch) => {}
            }
        }
        Err(Error::Behind)
    }
}

/// Checks a release under what was trusted before the proofs were asked for.
fn check<'m>(
    signed: &SignedManifest<'m>,
    trust: &Trust,
    org: OrgId,
    proofs: &[(StateKey, Bytes)],
) -> Result<VerifiedRelease<'m>, Unlisted> {
    let set =
        EpochSet::decode(trust.set()).map_err(|why| Unlisted::Proof(VerifyError::Set(why)))?;
    let verified = proofs.iter().map(|(key, bytes)| {
        let proof = Proof::decode(bytes).and_then(|proof| proof.check(trust.anchor(), &set, key));
        proof.map_err(|why| match why {
            ProofError::Checkpoint(CheckpointError::Anchor(AnchorError::Epoch)) => Unlisted::Epoch,
            why => Unlisted::Proof(VerifyError::Proof(why)),
        })
    });
    let verified = verified.collect::<Result<Vec<_>, _>>()?;
    let [release, policy, signers @ ..] = &verified[..] else {
        return Err(Unlisted::Refused(ReleaseError::ProofCount));
    };
    // A manifest names at least one type. What differs from device to device is passed over: the release's own type and channel, no
    // counter, no floor beyond the anchor under which the proofs were just checked.
    let manifest = signed.manifest();
    let target = manifest.targets().next();
    let target = target.ok_or(Unlisted::Refused(ReleaseError::DeviceType))?;
    let facts = DeviceFacts {
        chain: trust.anchor().chain(),
        org,
        device_type: target.device_type,
        channel: manifest.channel(),
        counter: 0,
        channel_minimum: 0,
        floor: Height::ZERO,
    };
    let proofs = ReleaseProofs {
        release,
        policy,
        signers,
    };
    VerifiedRelease::check(signed, &proofs, &facts).map_err(Unlisted::Refused)
}

/// All that a manifest names, each once.
fn named(signed: &SignedManifest<'_>) -> Result<Vec<contents::Row>, Error> {
    let manifest = signed.manifest();
    let payloads = manifest.payloads();
    let all = payloads
        .flat_map(|payload| [Some(payload.content), payload.chunk_index])
        .flatten()
        .map(|content| (content, false))
        .chain(
            manifest
                .targets()
                .filter_map(|target| target.inventory)
                .map(|content| (content, true)),
        )
        .chain(
            manifest
                .documents()
                .map(|document| (document.content, false)),
        );
    let mut rows: Vec<contents::Row> = Vec::new();
    for (content, inventory) in all {
        let (digest, size) = facts(&content);
        match rows.iter_mut().find(|row| row.digest == digest) {
            Some(row) if row.size != size => {
                return Err(Error::Unfit(format!(
                    "the manifest gives {digest} two sizes, {} and {size}",
                    row.size
                )));
            }
            Some(row) => row.inventory |= inventory,
            None => rows.push(contents::Row::new(digest, size, inventory)),
        }
    }
    Ok(rows)
}

fn facts(content: &Named) -> (Hex32, u64) {
    (Hex(content.digest().to_bytes()), content.size())
}

fn view(kept: Kept, contents: Vec<Content>) -> Result<Release, Error> {
    let signed = SignedManifest::decode(&kept.signed)
        .map_err(|why| Error::Unfit(format!("a stored manifest cannot be read: {why}")))?;
    let manifest = signed.manifest();
    Ok(Release {
        digest: Hex(manifest.digest().to_bytes()),
        name: manifest.name().to_string(),
        version: manifest.version().to_string(),
        channel: manifest.channel().to_string(),
        counter: manifest.counter(),
        minimum_counter: manifest.minimum_counter(),
        types: manifest
            .targets()
            .map(|target| target.device_type.to_string())
            .collect(),
        state: match kept.withdrawn {
            None => ReleaseState::Published,
            Some(_) => ReleaseState::Withdrawn,
        },
        published: kept.published,
        withdrawn: kept.withdrawn,
        signers: signed
            .signatures()
            .map(|signature| Hex(signature.signer.to_bytes()))
            .collect(),
        contents,
        created_ms: kept.created_ms,
        created_by: kept.created_by,
    })
}

fn unknown(digest: Hex32) -> Error {
    Error::Unknown {
        what: "release with the digest",
        id: digest.to_string(),
    }
}

fn unreadable(digest: Hex32, why: &dyn std::fmt::Display) -> Error {
    Error::Unfit(format!(
        "the stored manifest of {digest} cannot be read: {why}; upload it again"
    ))
}
