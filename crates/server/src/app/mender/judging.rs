//! Whether a stock client may have an order: all that a kusabi device would check for itself is checked here.

use super::{
    MenderDevice, Provides,
    names::{Has, has},
};
use crate::{
    app::{App, By, Caller, Error, strangers::CROWDED},
    store::{
        On, StoreError, doorstep,
        mender_artifacts::{self as artifacts, Row},
        mender_orders as rows, releases, rollouts as rollout_rows,
    },
};
use kusabi_api::{
    Hex, Hex32,
    admin::{OrderKind, OrderState, RolloutState, Target},
};
use kusabi_core::release::{Label, ReleaseError, SignedManifest};

/// What is to be done with an order of a device that asks.
pub(super) enum Judged {
    /// It is given out.
    Give(Box<Row>, About),
    /// It has come to its end here.
    Ends(OrderState, String),
    /// Not now: somebody holds it, or nobody can tell yet what is to be done with it.
    Held,
    /// It cannot be given out until somebody puts right what is wrong. It waits for that, and a later order does not wait for it.
    Broken(String),
}

/// What has to be looked at once more when it is written that an order goes out.
pub(super) struct About {
    pub(super) release: Hex32,
}

impl App {
    pub(super) async fn judge(
        &self,
        device: &MenderDevice,
        provides: &Provides,
        order: &doorstep::Open,
    ) -> Result<Judged, Error> {
        let Some(release) = order.release.map(Hex) else {
            return Ok(Judged::Ends(
                OrderState::Unable,
                String::from("the order names no release"),
            ));
        };
        let mut reader = self.store.read("judge an order").await?;
        let target = rows::order(reader.on(), &device.device, order.id).await?;
        match target {
            None => return Ok(Judged::Held),
            Some((Target::Rollout(id), ..)) => {
                match rollout_rows::find(reader.on(), id)
                    .await?
                    .map(|kept| kept.standing.state)
                {
                    Some(RolloutState::Paused) => return Ok(Judged::Held),
                    Some(RolloutState::Aborted) => return Ok(aborted(id)),
                    _ => {}
                }
            }
            Some(_) => {}
        }
        let Some(bytes) = releases::signed(reader.on(), release).await? else {
            return Ok(Judged::Broken(format!(
                "the manifest of the release {release} is not on this server; upload it"
            )));
        };
        drop(reader);
        let signed = match SignedManifest::decode(&bytes) {
            Ok(signed) => signed,
            Err(why) => {
                // No upload puts that right, and no other version reads it.
                let why = format!("the stored manifest of {release} cannot be read: {why}");
                return Ok(Judged::Ends(OrderState::Unable, why));
            }
        };
        match self.judge_release(&signed).await? {
            Ok(_) => {}
            Err(why @ ReleaseError::Withdrawn { .. }) => {
                return Ok(Judged::Ends(OrderState::Dropped, why.to_string()));
            }
            Err(why) => {
                return Ok(Judged::Ends(OrderState::RefusedUnproven, why.to_string()));
            }
        }
        let counter = {
            let mut reader = self.store.read("read a device's counter").await?;
            rows::counter(reader.on(), &device.device).await?
        };
        let of_release = signed.manifest().counter();
        if of_release < counter {
            let why = ReleaseError::CounterBelowDevice {
                release: of_release,
                device: counter,
            };
            return Ok(Judged::Ends(OrderState::RefusedUnproven, why.to_string()));
        }
        let artifact = match self.choose(&signed, device, provides).await? {
            Ok(artifact) => artifact,
            Err(judged) => return Ok(judged),
        };
        if order.kind == OrderKind::Update
            && let Some(name) = provides.get("artifact_name")
        {
            let of_type = device_type_of(provides).or(device.device_type.as_deref());
            let mut reader = self.store.read("see what a Mender client has").await?;
            match has(reader.on(), &device.device, of_type, name, &artifact).await? {
                Has::Other => {}
                Has::This => {
                    let why = format!("{name} is installed already");
                    return Ok(Judged::Ends(OrderState::Done, why));
                }
                // It would not be installed: clients of 3.x take nothing whose name they have.
                Has::Unclear => {
                    return Ok(Judged::Ends(OrderState::Failed, unclear(name)));
                }
            }
        }
        if !self.is_whole(&artifact).await? {
            return Ok(Judged::Broken(format!(
                "the artifact {} is not in the firmware store any more; upload it again",
                artifact.name
            )));
        }
        Ok(Judged::Give(Box::new(artifact), About { release }))
    }

    /// The artifact of a release that a device may have, or what becomes of the order.
    async fn choose(
        &self,
        signed: &SignedManifest<'_>,
        device: &MenderDevice,
        provides: &Provides,
    ) -> Result<Result<Row, Judged>, Error> {
        let fails = |why: String| Ok(Err(Judged::Ends(OrderState::Failed, why)));
        let manifest = signed.manifest();
        let Some(of_type) = device_type_of(provides).or(device.device_type.as_deref()) else {
            return fails(String::from("the device does not say of what type it is"));
        };
        let target = Label::new(of_type)
            .ok()
            .and_then(|label| manifest.target(&label));
        let Some(target) = target else {
            return fails(format!(
                "the release {} {} is not for devices of type {of_type}",
                manifest.name(),
                manifest.version()
            ));
        };
        let mut why = format!(
            "the release {} {} has no Mender artifact for devices of type {of_type}",
            manifest.name(),
            manifest.version()
        );
        let mut state = OrderState::Failed;
        for payload in manifest.payloads_of(&target) {
            let digest = Hex(payload.content.digest().to_bytes());
            if payload.format.as_str() != super::artifacts::FORMAT {
                continue;
            }
            let row = {
                let mut reader = self.store.read("find an artifact").await?;
                artifacts::find(reader.on(), digest).await?
            };
            let Some(row) = row else {
                return Ok(Err(Judged::Broken(format!(
                    "the content {digest} of the release {} {} is not on this server; upload it",
                    manifest.name(),
                    manifest.version()
                ))));
            };
            if !self.is_signed(&row).await? {
                state = OrderState::RefusedUnproven;
                why = format!(
                    "the artifact {} is signed by no release key that counts now",
                    row.name
                );
                continue;
            }
            match lacks(&row, of_type, provides) {
                None => return Ok(Ok(row)),
                Some(lack) => (state, why) = (OrderState::Failed, lack),
            }
        }
        Ok(Err(Judged::Ends(state, why)))
    }

    /// Whether a release key in force signed an artifact.
    async fn is_signed(&self, row: &Row) -> Result<bool, Error> {
        if let Some(signer) = row.signer
            && self.counts(signer).await?
        {
            return Ok(true);
        }
        // What none signed is looked at for all devices together: it costs proofs of all keys.
        if self.mender.rereading.take(&row.digest).is_err() {
            return Ok(false);
        }
        let by = By::only(Caller::server());
        Ok(self.signer_of(&by, row).await?.is_some())
    }

    /// Whether the key that signed an artifact has ended, as the ledger proves it. While a rebuild is under way the database does not hold
    /// a key that counts; where the ledger does not answer, whoever is under way goes on.
    pub(super) async fn signer_ended(&self, digest: Hex32) -> Result<bool, Error> {
        let signer = {
            let mut reader = self.store.read("look who signed an artifact").await?;
            match artifacts::find(reader.on(), digest).await? {
                Some(Row {
                    signer: Some(signer),
                    ..
                }) if !artifacts::is_art_key(reader.on(), signer).await? => signer,
                _ => return Ok(false),
            }
        };
        // Apart from the places for tokens: those who hold an address do not keep those who ask for one waiting.
        let _place = self.mender.judging.try_acquire().map_err(|_| CROWDED)?;
        match self.counts(signer).await {
            Ok(counts) => Ok(!counts),
            Err(why) => {
                tracing::warn!(%why, %signer, "it is not proven that a release key has ended; what it signed goes on where it is under way");
                Ok(false)
            }
        }
    }
}

pub(super) fn device_type_of(provides: &Provides) -> Option<&str> {
    provides.get("device_type").map(String::as_str)
}

/// Why nothing follows from the name that a client says.
pub(super) fn unclear(name: &str) -> String {
    format!(
        "the device says that it has {name}, and several artifacts are called so, which cannot be told apart; make a release of an artifact of another name"
    )
}

fn aborted(rollout: u64) -> Judged {
    Judged::Ends(
        OrderState::Dropped,
        format!("the rollout {rollout} was aborted"),
    )
}

/// What a device has not that an artifact asks for.
fn lacks(row: &Row, of_type: &str, provides: &Provides) -> Option<String> {
    let Row { name, facts, .. } = row;
    if !facts.device_types.iter().any(|one| one == of_type) {
        return Some(format!(
            "the artifact {name} is for devices of type {}, and the device is a {of_type}",
            facts.device_types.join(", ")
        ));
    }
    facts.depends.iter().find_map(|(key, values)| {
        let has = provides.get(key);
        if has.is_some_and(|has| values.contains(has)) {
            return None;
        }
        let has = has.map_or_else(|| String::from("none"), |has| format!("`{has}`"));
        Some(format!(
            "the artifact {name} needs {key} `{}`, and the device has {has}",
            values.join("` or `")
        ))
    })
}

/// Whether nobody goes on with a rollout. Those that have begun under one that is paused may finish: told to stop, a client reports a
/// failure.
pub(super) async fn is_aborted(on: On<'_>, rollout: u64) -> Result<bool, StoreError> {
    let kept = rollout_rows::find(on, rollout).await?;
    Ok(kept.is_some_and(|kept| kept.standing.state == RolloutState::Aborted))
}
