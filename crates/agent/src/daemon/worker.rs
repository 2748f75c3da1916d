//! What takes long: downloads, installing, self-tests, inventories. One task at a time, beside the conversation with the
//! server.
//!
//! A worker decides nothing. It is handed what the device believes at that time ([`Trust`]), checks a release under it anew in
//! every step, and says what came of it.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use kusabi_core::device::Trust;
use kusabi_core::id::{Digest, OrgId};
use kusabi_core::inventory::{RULES_BYTES_MAX, RULES_KIND, Rules};
use kusabi_core::protocol::Time;
use kusabi_core::protocol::request::OutcomeCode;
use kusabi_core::release::{
    DeviceFacts, Label, PROOF_BUNDLE_BYTES_MAX, ProofBundle, ProofBundleError, ReleaseError,
    SIGNED_MANIFEST_BYTES_MAX, SignedManifest, VerifiedRelease,
};

use super::fetch::{Brought, Fetcher, Learnt};
use super::inventory::{self, Taken};
use super::net::{Net, NetError};
use super::stop::Stop;
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::updater::{AnyUpdater, Next, Record, Staged, Staging, System, UpdateError, Updates};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// After the start: how far did an update come?
    Resume,
    /// Bring everything that a release needs.
    Fetch(Under),
    /// Install what was brought.
    Install(Under),
    /// Start it.
    Restart(Under),
    /// See whether it works.
    SelfTest,
    /// Keep it.
    Commit(Under),
    /// Drop it, or go back.
    Refuse,
    /// Nothing of a download is needed any more.
    Clear,
    /// Take the inventory.
    Inventory {
        /// Every file is read, whether it looks changed or not.
        full: bool,
    },
}

impl Task {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Fetch(_) => "fetch",
            Self::Install(_) => "install",
            Self::Restart(_) => "restart",
            Self::SelfTest => "self-test",
            Self::Commit(_) => "commit",
            Self::Refuse => "refuse",
            Self::Clear => "clear",
            Self::Inventory { .. } => "inventory",
        }
    }
}

/// A release, what the device believes, and where to ask.
#[derive(Debug)]
pub(crate) struct Under {
    pub(crate) digest: Digest,
    pub(crate) trust: Box<Trust>,
    pub(crate) org: OrgId,
    /// Addresses, the one that served last first.
    pub(crate) urls: Vec<String>,
}

/// What came of a task.
#[derive(Debug)]
pub(crate) enum Worked {
    /// A step of an update: what is next, and what is recorded.
    Step(Next, Record),
    /// Everything was brought.
    Fetched(Brought),
    /// Downloads are gone.
    Cleared,
    /// The inventory was taken; none when nothing is configured.
    Inventory(Result<Option<Taken>, String>),
    /// The task did not succeed.
    Failed(&'static str, Failure, Record),
}

/// Why a task did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may another time: a server is gone, or its proofs are older than what the device knows by now.
    Later(String),
    /// It has taken as long as a task may; what came is kept, and other tasks have their turn.
    Turn(String),
    /// A server lied, or its store is damaged. It may succeed with another one.
    Lie(String),
    /// It will not.
    Refused(String, OutcomeCode),
    /// Something on this device is in the way.
    Broken(String),
}

/// How long a download may be at work before others have their turn, and how long a walk may take.
const TURN_MS: u64 = 1_800_000;
const WALK_MS: u64 = 4 * TURN_MS;

/// The time, as the heart is told it.
pub(crate) type Clock = Box<dyn Fn() -> Time + Send>;

/// The worker.
pub(crate) struct Worker<D: Disk, S> {
    disk: D,
    config: Arc<Config>,
    net: Arc<dyn Net>,
    stop: Stop,
    updates: Option<Updates<D, AnyUpdater<D, S>, S>>,
    staging: Staging<D>,
    learnt: Learnt,
    clock: Clock,
}

impl<D: Disk + Clone, S: System + Clone> Worker<D, S> {
    /// Reads the record of updates and makes what is missing of the directories.
    pub(crate) fn open(
        disk: D,
        config: Arc<Config>,
        net: Arc<dyn Net>,
        stop: Stop,
        system: S,
        clock: Clock,
    ) -> Result<Self, UpdateError> {
        let dir = config.staging_dir();
        let at = |error| UpdateError::Disk {
            path: dir.clone(),
            error,
        };
        if disk.node(&dir).map_err(at)?.is_none() {
            disk.make_dir(&dir, 0o700).map_err(at)?;
            disk.sync_dir(&config.state).map_err(at)?;
        }
        let updates = match &config.update {
            None => None,
            Some(update) => {
                let how = &update.updater;
                let updater = AnyUpdater::new(disk.clone(), &config.state, how, system.clone());
                updater.found()?;
                let settings = update.settings.clone();
                let file = config.update_file();
                Some(Updates::open(
                    disk.clone(),
                    file,
                    settings,
                    updater,
                    system,
                )?)
            }
        };
        Ok(Self {
            staging: Staging::new(disk.clone(), dir),
            disk,
            config,
            net,
            stop,
            updates,
            learnt: Learnt::default(),
            clock,
        })
    }

    /// What is recorded of updates.
    pub(crate) fn record(&self) -> Record {
        self.updates
            .as_ref()
            .map_or_else(Record::default, |updates| updates.record().clone())
    }

    /// Does a task.
    pub(crate) fn work(&mut self, task: &Task) -> Worked {
        let done = match task {
            Task::Resume => self.step(|updates| updates.resume()),
            Task::SelfTest => self.step(|updates| updates.self_test()),
            Task::Refuse => self.step(|updates| updates.refuse()),
            Task::Fetch(under) => self.fetch(under).map(Worked::Fetched),
            Task::Install(under) => self.install(under),
            Task::Restart(under) => self.with_release(under, Updates::restart),
            Task::Commit(under) => self.with_release(under, Updates::commit),
            Task::Clear => self.clear().map(|()| Worked::Cleared),
            Task::Inventory { full } => {
                let until = (self.clock)().plus_ms(WALK_MS);
                let ends = || match self.stop.is_stopped() {
                    true => Some("the agent ends"),
                    false => ((self.clock)() >= until).then_some("it takes too long"),
                };
                let running = self.record().running;
                return Worked::Inventory(inventory::take(
                    &self.disk,
                    &self.config,
                    running,
                    *full,
                    &ends,
                ));
            }
        };
        done.unwrap_or_else(|failure| Worked::Failed(task.name(), failure, self.record()))
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut Updates<D, AnyUpdater<D, S>, S>) -> Result<Next, UpdateError>,
    ) -> Result<Worked, Failure> {
        let Some(updates) = &mut self.updates else {
            return Ok(Worked::Step(Next::Nothing, Record::default()));
        };
        let next = step(updates).map_err(broken)?;
        Ok(Worked::Step(next, updates.record().clone()))
    }

    /// Checks the release again, with the newest proofs, and lets the updater do a step with it.
    fn with_release(
        &mut self,
        under: &Under,
        step: impl FnOnce(
            &mut Updates<D, AnyUpdater<D, S>, S>,
            &VerifiedRelease<'_>,
        ) -> Result<Next, UpdateError>,
    ) -> Result<Worked, Failure> {
        let signed = self.manifest(under)?;
        let signed = decode(&signed)?;
        let release = self.verify(under, &signed)?;
        self.step(|updates| step(updates, &release))
    }

    fn fetch(&mut self, under: &Under) -> Result<Brought, Failure> {
        let mut fetched = self.fetch_all(under);
        if matches!(fetched, Err(Failure::Broken(_)))
            && self.staging.drop_seeds().map_err(broken)?
        {
            // A full disk, mostly, and there was something that may be fetched again.
            self.learnt.forget_places();
            fetched = self.fetch_all(under);
        }
        if matches!(fetched, Err(Failure::Broken(_))) {
            // What has to be stored next needs the room.
            self.learnt.forget_places();
            let _ = self.clear();
        }
        fetched
    }

    fn fetch_all(&mut self, under: &Under) -> Result<Brought, Failure> {
        let signed = self.manifest(under)?;
        let signed = decode(&signed)?;
        let release = self.verify(under, &signed)?;
        self.drop_others(&release)?;
        self.fetch_rules(under, &signed)?;
        let mut brought = Brought::default();
        let fetcher = Fetcher {
            disk: &self.disk,
            net: &*self.net,
            stop: &self.stop,
            staging: &self.staging,
            urls: &under.urls,
            seeds: &self.config.seeds,
            bytes_per_s: self.config.bytes_per_s,
            server: Cell::new(0),
            clock: &self.clock,
            until: (self.clock)().plus_ms(TURN_MS),
        };
        for payload in release.payloads() {
            let name = payload.name.as_str();
            let receiving = self.staging.receive(&release, name).map_err(broken)?;
            let receiving = receiving.ok_or_else(|| missing(name))?;
            fetcher.payload(&payload, receiving, &mut self.learnt, &mut brought)?;
        }
        self.learnt = Learnt::default();
        self.staging.drop_seeds().map_err(broken)?;
        Ok(brought)
    }

    /// The rules of the inventory that go with a release, if there are any; they lie in their file then.
    fn fetch_rules(&self, under: &Under, signed: &SignedManifest<'_>) -> Result<(), Failure> {
        let mut documents = signed.manifest().documents();
        let Some(document) = documents.find(|document| document.kind.as_str() == RULES_KIND) else {
            return Ok(());
        };
        let content = document.content;
        let limit = match usize::try_from(content.size()) {
            Ok(size) if content.size() <= RULES_BYTES_MAX => size,
            _ => {
                let why = "its rules of the inventory are too long".into();
                return Err(Failure::Refused(why, OutcomeCode::Failed));
            }
        };
        let running = self.record().running;
        let here = inventory::rules_of(&self.disk, &self.config, under.digest).map_err(broken)?;
        // Those that are damaged come anew.
        if here.is_some_and(|rules| Digest::of(&rules) == content.digest()) {
            return Ok(());
        }
        let what = format!("payloads/{}", content.digest());
        let bytes = self.ask_all(under, &what, limit, |bytes| {
            if Digest::of(&bytes) == content.digest() {
                Ok(bytes)
            } else {
                Err("what came does not have this digest".into())
            }
        })?;
        // Signed, and no rules all the same: whoever made the release made a mistake.
        Rules::decode(&bytes)
            .map_err(|why| Failure::Refused(why.to_string(), OutcomeCode::Failed))?;
        inventory::keep_rules(&self.disk, &self.config, running, under.digest, &bytes)
            .map_err(broken)
    }

    fn install(&mut self, under: &Under) -> Result<Worked, Failure> {
        let signed = self.manifest(under)?;
        let signed = decode(&signed)?;
        let release = self.verify(under, &signed)?;
        let mut staged: Vec<Staged<'_>> = Vec::new();
        for payload in release.payloads() {
            let name = payload.name.as_str();
            let receiving = self.staging.receive(&release, name).map_err(broken)?;
            let receiving = receiving.ok_or_else(|| missing(name))?;
            if receiving.remaining() > 0 {
                return Err(missing(name));
            }
            staged.push(receiving.finish().map_err(broken)?);
        }
        self.step(|updates| updates.install(&release, &staged))
    }

    /// The signed manifest of a release: the one that is kept, or a server's, kept from now on.
    fn manifest(&self, under: &Under) -> Result<Vec<u8>, Failure> {
        let path = self.config.manifest_file();
        let is_it = |bytes: &[u8]| {
            SignedManifest::decode(bytes)
                .is_ok_and(|signed| signed.manifest().digest() == under.digest)
        };
        let limit = SIGNED_MANIFEST_BYTES_MAX as u64;
        if let Ok(Some(bytes)) = self.disk.read(&path, limit)
            && is_it(&bytes)
        {
            return Ok(bytes);
        }
        let what = format!("releases/{}", under.digest);
        let bytes = self.ask_all(under, &what, SIGNED_MANIFEST_BYTES_MAX, |bytes| {
            if is_it(&bytes) {
                Ok(bytes)
            } else {
                Err("what came is not the manifest with this digest".into())
            }
        })?;
        disk::replace(&self.disk, &path, &bytes, 0o600)
            .map_err(|error| broken(UpdateError::Disk { path, error }))?;
        Ok(bytes)
    }

    /// Has the signed manifest fetched anew.
    fn drop_manifest(&self) -> Result<(), Failure> {
        let path = self.config.manifest_file();
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(broken(UpdateError::Disk { path, error }))
            }
            _ => Ok(()),
        }
    }

    /// Checks the release under the newest proofs. Servers are asked in turn: one of them may be behind, or lie.
    fn verify<'m>(
        &self,
        under: &Under,
        signed: &SignedManifest<'m>,
    ) -> Result<VerifiedRelease<'m>, Failure> {
        let label = |text| Label::new(text).map_err(|error| Failure::Broken(format!("{error}")));
        let device = DeviceFacts {
            chain: under.trust.anchor().chain(),
            org: under.org,
            device_type: label(&self.config.device_type)?,
            channel: label(&self.config.channel)?,
            counter: self.record().counter,
            channel_minimum: 0,
            floor: under.trust.floor().height,
        };
        let mut refused = None;
        let mut spoiled = false;
        let what = format!("releases/{}/proofs", under.digest);
        let found = self.ask_all(under, &what, PROOF_BUNDLE_BYTES_MAX, |bytes| {
            let checked = ProofBundle::decode(&bytes)
                .and_then(|proofs| proofs.check(signed, &under.trust, &device));
            match checked {
                Ok(release) => Ok(Some(release)),
                // Proven, whoever sent it: asking another one does not change it.
                Err(ProofBundleError::Release(error)) if is_final(&error) => {
                    refused = Some(Failure::Refused(error.to_string(), outcome(&error)));
                    Ok(None)
                }
                Err(error) => {
                    spoiled = true;
                    Err(error.to_string())
                }
            }
        });
        // The signatures are no part of the digest that the manifest was fetched by: they may be what does not fit.
        if spoiled && found.is_err() {
            self.drop_manifest()?;
        }
        match (found?, refused) {
            (Some(release), _) => Ok(release),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::Later("no server answered".into())),
        }
    }

    /// Asks the servers in turn until one gives something that `take` takes.
    fn ask_all<T>(
        &self,
        under: &Under,
        what: &str,
        limit: usize,
        mut take: impl FnMut(Vec<u8>) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut worst = Failure::Later("there is no server address".into());
        for url in &under.urls {
            if self.stop.is_stopped() {
                return Err(Failure::Later("stopped".into()));
            }
            let url = format!("{url}/device/v1/{what}");
            match self.net.get(&url, limit) {
                Ok(bytes) => match take(bytes) {
                    Ok(taken) => return Ok(taken),
                    Err(why) => worst = Failure::Lie(format!("{url}: {why}")),
                },
                Err(NetError::TooLong) => {
                    worst = Failure::Lie(format!("{url}: {}", NetError::TooLong));
                }
                Err(error) => {
                    if !matches!(worst, Failure::Lie(_)) {
                        worst = Failure::Later(format!("{url}: {error}"));
                    }
                }
            }
        }
        Err(worst)
    }

    /// Downloads of other releases only take up room, unless chunks of this one may be among them.
    fn drop_others(&self, release: &VerifiedRelease<'_>) -> Result<(), Failure> {
        let wanted: Vec<Digest> = release
            .payloads()
            .map(|payload| payload.content.digest())
            .collect();
        let mut payloads = release.payloads();
        if payloads.any(|payload| payload.chunk_index.is_some()) {
            self.staging.set_aside(&wanted).map_err(broken)?;
        } else {
            self.staging.drop_seeds().map_err(broken)?;
        }
        self.staging.retain(&wanted).map_err(broken)
    }

    fn clear(&self) -> Result<(), Failure> {
        self.staging.clear().map_err(broken)?;
        let path = self.config.manifest_file();
        self.disk
            .remove(&path)
            .map_err(|error| broken(UpdateError::Disk { path, error }))
    }
}

fn decode(signed: &[u8]) -> Result<SignedManifest<'_>, Failure> {
    SignedManifest::decode(signed).map_err(|error| Failure::Lie(error.to_string()))
}

fn missing(name: &str) -> Failure {
    Failure::Later(format!("payload {name} is not here yet"))
}

pub(super) fn broken(error: UpdateError) -> Failure {
    match error {
        UpdateError::Format { .. }
        | UpdateError::OnePayload { .. }
        | UpdateError::TooLarge { .. }
        | UpdateError::Missing { .. } => {
            Failure::Refused(error.to_string(), OutcomeCode::Unsupported)
        }
        error => Failure::Broken(error.to_string()),
    }
}

/// Whether a refusal stands whatever another server may have: what the device knows by itself, and what a proof at or above its floor
/// says of the release. Proofs may be of something else, and signatures may have been changed on the way.
const fn is_final(error: &ReleaseError) -> bool {
    !matches!(
        error,
        ReleaseError::ProofCount
            | ReleaseError::OtherChain(_)
            | ReleaseError::BelowFloor(_)
            | ReleaseError::OtherProof(_)
            | ReleaseError::UnknownSigner(_)
            | ReleaseError::SignerPurpose(_)
            | ReleaseError::ForeignSigner(_)
            | ReleaseError::SameKey(_)
            | ReleaseError::Signatures(_)
    )
}

const fn outcome(error: &ReleaseError) -> OutcomeCode {
    match error {
        ReleaseError::DeviceType
        | ReleaseError::Channel
        | ReleaseError::CounterBelowDevice { .. }
        | ReleaseError::CounterBelowChannel { .. } => OutcomeCode::Unsupported,
        _ => OutcomeCode::Unproven,
    }
}
