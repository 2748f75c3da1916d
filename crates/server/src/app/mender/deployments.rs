//! Orders in the hands of stock Mender clients: handed out, answered, logged, fetched.
//!
//! A deployment is an order of kind `update` (or `repair`, which is installed whatever runs) whose release has an artifact for the
//! device's type as its payload. A stock client checks the artifact's signature and nothing else, so all that a kusabi device would check
//! for itself is checked here, each time before an order goes out.

use super::{
    MenderDevice,
    attributes::learn_type,
    log::log_text,
    names::{Has, about, has, running},
    uuid,
};
use crate::{
    app::{
        App, By, Caller, Error,
        rollouts::steps::{self, below_minimum},
        strangers::CROWDED,
    },
    device::journal::{Batch, batch},
    share::{Shares, secs},
    store::{
        On, StoreError, Tx, devices, doorstep,
        mender_artifacts::{self as artifacts, Row},
        mender_deployments::{self as rows, Deployment, Download},
        mender_devices, releases,
        rollouts::{self as rollout_rows, is_withdrawn},
    },
};
use kusabi_api::{
    Hex, Hex32,
    admin::{AlarmKind, OrderKind, OrderState, RolloutState, Target},
};
use kusabi_core::{
    id::Digest,
    protocol::request::{Facts, Freshness},
    release::{Label, ReleaseError, SignedManifest},
};
use std::collections::BTreeMap;

/// How long an artifact can be fetched under the address that a device or a person got.
const DOWNLOAD_MS: u64 = 24 * 60 * 60 * 1000;

/// Most open orders of a device that are looked at.
const OPEN_MAX: u16 = 64;

/// What a device has, by its client.
pub(crate) type Provides = BTreeMap<String, String>;

/// What a client is told to install.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) id: String,
    pub(crate) artifact: Row,
    /// The address under which it is fetched.
    pub(crate) uri: String,
    pub(crate) expires_ms: u64,
}

/// An artifact on its way to whoever knows its address.
#[derive(Debug)]
pub(crate) struct Fetched {
    download: Download,
    /// How many bytes it has.
    pub(crate) size: u64,
}

impl Fetched {
    /// What it is named by.
    pub(crate) fn digest(&self) -> Hex32 {
        self.download.digest
    }
}

/// Where a client stands with a deployment, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Downloading,
    Installing,
    Rebooting,
    PauseBeforeInstalling,
    PauseBeforeRebooting,
    PauseBeforeCommitting,
    Success,
    Failure,
    AlreadyInstalled,
}

impl Status {
    const ALL: [Self; 9] = [
        Self::Downloading,
        Self::Installing,
        Self::Rebooting,
        Self::PauseBeforeInstalling,
        Self::PauseBeforeRebooting,
        Self::PauseBeforeCommitting,
        Self::Success,
        Self::Failure,
        Self::AlreadyInstalled,
    ];

    /// Mender's word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::PauseBeforeInstalling => "pause_before_installing",
            Self::PauseBeforeRebooting => "pause_before_rebooting",
            Self::PauseBeforeCommitting => "pause_before_committing",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::AlreadyInstalled => "already-installed",
        }
    }

    /// The one that is called so.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// What becomes of the order; `None`: it is still under way.
    const fn outcome(self) -> Option<OrderState> {
        match self {
            Self::Success | Self::AlreadyInstalled => Some(OrderState::Done),
            Self::Failure => Some(OrderState::Failed),
            _ => None,
        }
    }
}

/// What is to be done with an order of a device that asks.
enum Judged {
    /// It is given out.
    Give(Box<Row>, About),
    /// It has come to its end here.
    Ends(OrderState, String),
    /// Not now: somebody holds it.
    Held,
    /// It cannot be given out until somebody repairs what is wrong.
    Broken(String),
}

/// What has to be looked at once more when it is written that an order goes out.
struct About {
    release: Hex32,
}

impl App {
    /// What a device is to install now, if anything: the oldest of its open orders, judged as a kusabi device would judge it.
    ///
    /// # Errors
    /// Ledger, database or disk fail.
    pub(crate) async fn mender_next(
        &self,
        device: &MenderDevice,
        provides: &Provides,
    ) -> Result<Option<Handed>, Error> {
        let name = &*device.device;
        self.hear_mender(name, device.device_type.as_deref(), provides)
            .await?;
        let open = {
            let mut reader = self.store.read("look for a device's orders").await?;
            doorstep::open_orders(reader.on(), name, OPEN_MAX).await?
        };
        if !open.is_empty() {
            within(&self.mender.handing, name)?;
        }
        for order in open {
            let judged = match order.kind {
                kind if kind.installs() => self.judge(device, provides, &order).await?,
                _ => Judged::Ends(
                    OrderState::Unable,
                    format!(
                        "a stock Mender client knows no order of kind {}",
                        order.kind.name()
                    ),
                ),
            };
            match judged {
                Judged::Held => {}
                Judged::Ends(state, why) => {
                    self.end_order(name, order.id, state, &why).await?;
                    // One answer is about one deployment, as in Mender; the next one is looked at with the next question.
                    if order.kind.installs() {
                        return Ok(None);
                    }
                }
                Judged::Broken(why) => {
                    tracing::error!(device = name, order = order.id, %why, "an order cannot be given to a Mender client");
                    self.alarm_mender(name, order.id, &why).await?;
                    return Ok(None);
                }
                Judged::Give(artifact, about) => {
                    return self.hand(name, order.id, *artifact, about).await;
                }
            }
        }
        Ok(None)
    }

    /// Notes what a device has, where that is news.
    async fn hear_mender(
        &self,
        device: &str,
        device_type: Option<&str>,
        provides: &Provides,
    ) -> Result<(), Error> {
        let said = serde_json::to_string(provides)?;
        let mut reader = self.store.read("read what a Mender client has").await?;
        let known = rows::provides(reader.on(), device).await?;
        // One that says another thing each time is heard now and then.
        if known.as_ref() == Some(&said) || self.mender.reports.take(&device).is_err() {
            return Ok(());
        }
        let of_type = device_type_of(provides);
        let runs = match provides.get("artifact_name") {
            Some(name) => running(reader.on(), device, of_type.or(device_type), name).await?,
            None => None,
        };
        drop(reader);
        let said = &said;
        let (_, changes) = batch(self, "note what a Mender client has", move |batch, tx| {
            Box::pin(async move {
                rows::set_provides(tx.on(), device, said, batch.now_ms).await?;
                if let Some(Ok(of_type)) = of_type.map(str::parse) {
                    learn_type(tx, device, of_type).await?;
                }
                let facts = facts(runs, rows::counter(tx.on(), device).await?);
                batch.heard(tx, &[(device.into(), Some(facts))]).await
            })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }

    async fn judge(
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
        let signed = SignedManifest::decode(&bytes).map_err(|_| {
            Error::Unfit(format!("the stored manifest of {release} cannot be read"))
        })?;
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
        if self.content_size(artifact.digest).await? != Some(artifact.size) {
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
    async fn signer_ended(&self, digest: Hex32) -> Result<bool, Error> {
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

    /// Gives an order out, if it is the device's still.
    async fn hand(
        &self,
        device: &str,
        order: u64,
        artifact: Row,
        about: About,
    ) -> Result<Option<Handed>, Error> {
        let now_ms = self.edge.now_ms();
        let (uri, download) = self.download(artifact.digest, device, order)?;
        let deployment = Deployment {
            id: deployment_id(order, device),
            device: device.to_owned(),
            order,
            digest: artifact.digest,
            status: String::from("pending"),
            handed_ms: now_ms,
            changed_ms: now_ms,
        };
        let (id, expires_ms) = (deployment.id.clone(), download.expires_ms);
        let (deployment, download) = (&deployment, &download);
        let (given, changes) = batch(
            self,
            "give an order to a Mender client",
            move |batch, tx| {
                Box::pin(async move {
                    // The operator's guard, which a kusabi device keeps for itself.
                    if let Some(release) = steps::about(tx, about.release).await?
                        && let Some(minimum) = below_minimum(tx, &release).await?
                    {
                        let why = crate::app::rollouts::below(&release, minimum).to_string();
                        let state = OrderState::RefusedUnproven;
                        batch.settle(tx, device, order, state, Some(&why)).await?;
                        return Ok(false);
                    }
                    if is_withdrawn(tx.on(), about.release).await? {
                        return Ok(false);
                    }
                    match rows::order(tx.on(), device, order).await? {
                        Some((.., OrderState::Waiting)) => {
                            batch.sent(tx, device, &[order]).await?;
                        }
                        // It was here before, and its client begins anew.
                        Some((.., OrderState::Sent)) => {}
                        // It was taken back meanwhile.
                        _ => return Ok(false),
                    }
                    rows::hand(tx.on(), deployment).await?;
                    rows::open(tx.on(), download, batch.now_ms).await?;
                    Ok(true)
                })
            },
        )
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(given.then_some(Handed {
            id,
            artifact,
            uri,
            expires_ms,
        }))
    }

    /// A new address of an artifact, and what is kept of it.
    fn download(
        &self,
        digest: Hex32,
        holder: &str,
        order: u64,
    ) -> Result<(String, Download), Error> {
        let base = self.presence.mender_url.as_deref().ok_or_else(|| {
            Error::Unfit(String::from(
                "this server has no address at which Mender devices reach it, so that nothing can be fetched from it; give it one: [mender] in server.toml",
            ))
        })?;
        let secret = Hex(self.edge.random()?).to_string();
        let download = Download {
            hash: kusabi_core::crypto::sha256(&[secret.as_bytes()]),
            digest,
            holder: holder.to_owned(),
            order,
            expires_ms: self.edge.now_ms().saturating_add(DOWNLOAD_MS),
        };
        Ok((format!("{base}/api/devices/v1/download/{secret}"), download))
    }

    async fn end_order(
        &self,
        device: &str,
        order: u64,
        state: OrderState,
        why: &str,
    ) -> Result<(), Error> {
        let ((), changes) = batch(self, "end a Mender client's order", move |batch, tx| {
            Box::pin(async move { batch.settle(tx, device, order, state, Some(why)).await })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }

    async fn alarm_mender(&self, device: &str, order: u64, why: &str) -> Result<(), Error> {
        let detail = format!("an order cannot be given to the device (order {order}): {why}");
        let detail = &detail;
        let ((), changes) = batch(self, "raise an alarm", move |batch, tx| {
            Box::pin(async move { batch.alarm(tx, device, AlarmKind::Order, detail).await })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        Ok(())
    }

    /// Notes what a client says of its deployment. What it said before it may say again.
    ///
    /// # Errors
    /// Its device was never given such a deployment; the deployment was taken back ([`Error::Conflict`]: the client gives up); the database.
    pub(crate) async fn mender_status(
        &self,
        device: &MenderDevice,
        id: &str,
        status: Status,
    ) -> Result<(), Error> {
        let name = &*device.device;
        within(&self.mender.saying, name)?;
        let unsigned = match status.outcome() {
            None => {
                let mut reader = self
                    .store
                    .read("find what a Mender client was given")
                    .await?;
                let found = rows::find(reader.on(), id).await?;
                drop(reader);
                match found.filter(|deployment| deployment.device == name) {
                    Some(found) => self.signer_ended(found.digest).await?,
                    None => return Err(unknown(id)),
                }
            }
            Some(_) => false,
        };
        let (stopped, changes) = batch(self, "note what a Mender client says", move |batch, tx| {
            Box::pin(async move {
                let deployment = given(tx, name, id).await?;
                hear_status(batch, tx, &deployment, status, unsigned).await
            })
        })
        .await?;
        changes.into_iter().for_each(|change| self.announce(change));
        match stopped {
            None => Ok(()),
            Some(why) => Err(Error::Conflict(why)),
        }
    }

    /// Keeps a client's log.
    ///
    /// # Errors
    /// Its device was never given such a deployment; the database.
    pub(crate) async fn mender_log(
        &self,
        device: &MenderDevice,
        id: &str,
        log: &[u8],
    ) -> Result<(), Error> {
        let name = &*device.device;
        within(&self.mender.saying, name)?;
        let log = log_text(log);
        let log = &log;
        self.store
            .tx("keep a Mender client's log", move |tx| {
                Box::pin(async move {
                    given(tx, name, id).await?;
                    Ok::<_, Error>(rows::set_log(tx.on(), id, log).await?)
                })
            })
            .await
    }

    /// The log that a device's client sent of an order.
    ///
    /// # Errors
    /// There is none; the database.
    pub(crate) async fn mender_log_of(&self, device: &str, order: u64) -> Result<String, Error> {
        let mut reader = self.store.read("read a Mender client's log").await?;
        if !crate::store::is_id(device) {
            return Err(no_log(order));
        }
        rows::log(reader.on(), device, order)
            .await?
            .ok_or_else(|| no_log(order))
    }

    /// The log that a device's client sent of its deployment.
    ///
    /// # Errors
    /// There is none; the database.
    pub(crate) async fn mender_log_of_deployment(
        &self,
        device: &str,
        id: &str,
    ) -> Result<String, Error> {
        let found = {
            let mut reader = self
                .store
                .read("find what a Mender client was given")
                .await?;
            rows::find(reader.on(), id).await?
        };
        let found = found.filter(|deployment| deployment.device == device);
        let found = found.ok_or_else(|| unknown(id))?;
        self.mender_log_of(device, found.order).await
    }

    /// An address under which a person fetches an artifact, and when it ends.
    ///
    /// # Errors
    /// There is no such artifact; the database.
    pub(crate) async fn open_download(
        &self,
        by: &crate::app::By,
        id: &str,
    ) -> Result<(String, u64), Error> {
        let artifact = self.artifact(id).await?;
        let (uri, download) = self.download(artifact.digest, by.caller.id(), 0)?;
        let now_ms = self.edge.now_ms();
        let download = &download;
        self.store
            .tx("give an address of an artifact", move |tx| {
                Box::pin(
                    async move { Ok::<_, Error>(rows::open(tx.on(), download, now_ms).await?) },
                )
            })
            .await?;
        Ok((uri, download.expires_ms))
    }

    /// What is fetched under an address. Nobody has to say who he is: who knows the address may.
    ///
    /// # Errors
    /// It has expired or never was, it [may not be fetched](Self::mender_may_fetch), or the bytes are gone; the database.
    pub(crate) async fn mender_download(&self, secret: &str) -> Result<Fetched, Error> {
        let gone = || Error::Unknown {
            what: "artifact under this address: it has expired or its order has ended; ask for the next deployment, not under",
            id: String::from("…"),
        };
        let hash = kusabi_core::crypto::sha256(&[secret.as_bytes()]);
        let download = {
            let mut reader = self.store.read("find an address of an artifact").await?;
            rows::opened(reader.on(), hash, self.edge.now_ms()).await?
        };
        let download = download.ok_or_else(gone)?;
        within(&self.mender.fetching, &download.holder)?;
        let Some(size) = self.content_size(download.digest).await? else {
            tracing::error!(digest = %download.digest, "an artifact that a device fetches is not in the firmware store any more");
            return Err(gone());
        };
        let fetched = Fetched { download, size };
        match self.mender_may_fetch(&fetched).await? {
            true => Ok(fetched),
            false => Err(gone()),
        }
    }

    /// Whether what has an address may be fetched: its order is under way, its rollout not aborted, its release not withdrawn, the key that signed it in force, and
    /// its device served. No token is shown with an address, and it is good for longer than any of this may be.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn mender_may_fetch(&self, fetched: &Fetched) -> Result<bool, Error> {
        let Fetched { download, .. } = fetched;
        if download.order == 0 {
            return Ok(true);
        }
        let mut reader = self
            .store
            .read("see whether an artifact may be fetched")
            .await?;
        let order = rows::order(reader.on(), &download.holder, download.order).await?;
        let Some((target, Some(release), OrderState::Sent)) = order else {
            return Ok(false);
        };
        if let Target::Rollout(id) = target
            && is_aborted(reader.on(), id).await?
        {
            return Ok(false);
        }
        if is_withdrawn(reader.on(), release).await?
            || !mender_devices::is_served(reader.on(), &download.holder).await?
        {
            return Ok(false);
        }
        drop(reader);
        Ok(!self.signer_ended(download.digest).await?)
    }
}

/// Takes one of a device's share.
fn within(shares: &Shares, device: &str) -> Result<(), Error> {
    let taken = shares.take(&device);
    taken.map_err(|wait| Error::Crowded {
        wait_secs: secs(wait),
    })
}

/// What a device calls its order.
pub(crate) fn deployment_id(order: u64, device: &str) -> String {
    uuid(&[
        b"kusabi.server.mender-deployment",
        &order.to_be_bytes(),
        device.as_bytes(),
    ])
}

fn device_type_of(provides: &Provides) -> Option<&str> {
    provides.get("device_type").map(String::as_str)
}

/// Why nothing follows from the name that a client says.
fn unclear(name: &str) -> String {
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

/// What such a device can say of itself. Its counter is kept for it: `before`, until it runs a release with which it rises.
fn facts(runs: Option<(Hex32, u64)>, before: u64) -> Facts {
    Facts {
        inventory: None,
        release: runs.map(|(release, _)| Digest::new(release.0)),
        counter: runs.map_or(0, |(_, rises_to)| rises_to).max(before),
        freshness: Freshness::Unknown,
    }
}

/// What a device was given under this ID.
async fn given(tx: &mut Tx<'_>, device: &str, id: &str) -> Result<Deployment, Error> {
    let deployment = rows::find(tx.on(), id).await?;
    deployment
        .filter(|deployment| deployment.device == device)
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Error {
    Error::Unknown {
        what: "deployment of this device",
        id: id.chars().take(64).collect(),
    }
}

/// Notes a status; says why the client has to stop, if it has.
async fn hear_status(
    batch: &mut Batch,
    tx: &mut Tx<'_>,
    deployment: &Deployment,
    status: Status,
    unsigned: bool,
) -> Result<Option<String>, Error> {
    let (device, order) = (&*deployment.device, deployment.order);
    let now_ms = batch.now_ms;
    let Some((target, release, state)) = rows::order(tx.on(), device, order).await? else {
        return Ok(Some(String::from("there is no such order any more")));
    };
    match state {
        OrderState::Sent => {}
        OrderState::Waiting | OrderState::Dropped => {
            return Ok(Some(format!("order {order} was taken back")));
        }
        // It has its end: whatever is said once more changes nothing.
        _ => return Ok(None),
    }
    let Some(outcome) = status.outcome() else {
        let why = match stopped(tx, target, release).await? {
            None if unsigned => Some(String::from("the key that signed the artifact has ended")),
            why => why,
        };
        if let Some(why) = why {
            let state = OrderState::Dropped;
            batch.settle(tx, device, order, state, Some(&why)).await?;
            return Ok(Some(why));
        }
        rows::set_status(tx.on(), &deployment.id, status.name(), now_ms).await?;
        return Ok(None);
    };
    // What a device has done it has done, whatever became of its order meanwhile.
    let artifact = match status {
        Status::AlreadyInstalled => artifacts::find(tx.on(), deployment.digest).await?,
        _ => None,
    };
    let (outcome, why) = match artifact {
        // The client has compared names, and downloaded nothing.
        Some(artifact) => {
            let of_type = devices::find(tx.on(), device)
                .await?
                .and_then(|device| device.device_type);
            let (of_type, name) = (
                of_type.as_ref().map(|of_type| of_type.as_str()),
                &*artifact.name,
            );
            match has(tx.on(), device, of_type, name, &artifact).await? {
                Has::Unclear => (OrderState::Failed, Some(unclear(name))),
                Has::This | Has::Other => (outcome, None),
            }
        }
        None if outcome == OrderState::Failed => {
            let why = "the Mender client reports a failure; its log says why";
            (outcome, Some(String::from(why)))
        }
        None => (outcome, None),
    };
    rows::set_status(tx.on(), &deployment.id, status.name(), now_ms).await?;
    batch
        .settle(tx, device, order, outcome, why.as_deref())
        .await?;
    let runs = match (outcome, release) {
        (OrderState::Done, Some(release)) => releases::signed(tx.on(), release).await?,
        _ => None,
    };
    if let Some(signed) = runs {
        let says = facts(about(&signed), rows::counter(tx.on(), device).await?);
        batch.heard(tx, &[(device.into(), Some(says))]).await?;
    }
    Ok(None)
}

/// Why an order that is under way must not go on.
async fn stopped(
    tx: &mut Tx<'_>,
    target: Target,
    release: Option<Hex32>,
) -> Result<Option<String>, Error> {
    if let Some(release) = release
        && is_withdrawn(tx.on(), release).await?
    {
        return Ok(Some(format!("the release {release} is withdrawn")));
    }
    let Target::Rollout(id) = target else {
        return Ok(None);
    };
    let aborted = is_aborted(tx.on(), id).await?;
    Ok(aborted.then(|| format!("the rollout {id} was aborted")))
}

/// Whether nobody goes on with a rollout. Those that have begun under one that is paused may finish: told to stop, a client reports a
/// failure.
async fn is_aborted(on: On<'_>, rollout: u64) -> Result<bool, StoreError> {
    let kept = rollout_rows::find(on, rollout).await?;
    Ok(kept.is_some_and(|kept| kept.standing.state == RolloutState::Aborted))
}

fn no_log(order: u64) -> Error {
    Error::Unknown {
        what: "log of this device's order",
        id: order.to_string(),
    }
}
