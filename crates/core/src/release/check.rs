//! The one check of releases (spec/firmware.md, "When a device installs"); the numbers are those of its table.

use core::fmt;

use super::{ArtSignature, Content, Label, Manifest, Payload, SIGNERS_MAX, SignedManifest, Target};
use crate::id::{ChainId, Digest, Handle, Height, OrgId, StateKey};
use crate::proof::VerifiedProof;
use crate::quorum::{self, Quorum, QuorumError};
use crate::row::{ArtPolicy, Record, Release, RowError};
use crate::suite::{Purpose, Signature, VerificationKey};

/// What one of the proofs is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// The release row.
    Release,
    /// The art policy.
    Policy,
    /// The record of a signer.
    Signer(Handle),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release => f.write_str("the release"),
            Self::Policy => f.write_str("the art policy"),
            Self::Signer(handle) => write!(f, "the release key {handle}"),
        }
    }
}

/// Why a device does not install a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It is another organisation's.
    ForeignOrganisation,
    /// It is not for devices of this type.
    DeviceType,
    /// It is on another channel than the device.
    Channel,
    /// Its counter is below the device's.
    CounterBelowDevice {
        /// The release's counter.
        release: u64,
        /// The device's counter.
        device: u64,
    },
    /// Its counter is below the channel's minimum.
    CounterBelowChannel {
        /// The release's counter.
        release: u64,
        /// The channel's minimum.
        channel: u64,
    },
    /// There is not one proof for each signature.
    ProofCount,
    /// A proof is of another chain.
    OtherChain(Subject),
    /// A proof is older than what the device has seen.
    BelowFloor(Subject),
    /// A proof is about another state key.
    OtherProof(Subject),
    /// A row is not what its state key says.
    Row(Subject, RowError),
    /// The ledger does not list it.
    Unlisted,
    /// The ledger says that it was withdrawn.
    Withdrawn {
        /// Height of the withdrawal.
        at: Height,
    },
    /// The ledger's row has another counter than the manifest.
    RowCounter,
    /// The organisation has no art policy.
    NoPolicy,
    /// A signer has no record.
    UnknownSigner(Handle),
    /// A signer's key is no release key.
    SignerPurpose(Handle),
    /// A signer's key is another organisation's.
    ForeignSigner(Handle),
    /// A signer's key was not valid when the release was published.
    SignerNotValid(Handle),
    /// Two signers have the same key.
    SameKey(Handle),
    /// The signatures are too few, or one of them is not good.
    Signatures(QuorumError),
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignOrganisation => {
                f.write_str("the release is another organisation's than the device")
            }
            Self::DeviceType => f.write_str("the release is not for devices of this type"),
            Self::Channel => f.write_str("the release is on another channel than the device"),
            Self::CounterBelowDevice { release, device } => write!(
                f,
                "the release has counter {release}, and the device has committed to {device}: a hole that is closed would open again"
            ),
            Self::CounterBelowChannel { release, channel } => write!(
                f,
                "the release has counter {release}, and its channel takes none below {channel}"
            ),
            Self::ProofCount => f.write_str("there is not one proof for each signature"),
            Self::OtherChain(subject) => write!(f, "the proof of {subject} is of another ledger"),
            Self::BelowFloor(subject) => write!(
                f,
                "the proof of {subject} is older than what the device has seen; fetch a newer one"
            ),
            Self::OtherProof(subject) => {
                write!(f, "where {subject} should be proven, something else is")
            }
            Self::Row(subject, error) => write!(f, "the row of {subject} is refused: {error}"),
            Self::Unlisted => f.write_str("the ledger does not list the release; publish it first"),
            Self::Withdrawn { at } => write!(f, "the release was withdrawn at height {at}"),
            Self::RowCounter => f.write_str(
                "the release was published with another counter than its manifest has; publish it again",
            ),
            Self::NoPolicy => f.write_str("the organisation has no art policy"),
            Self::UnknownSigner(signer) => write!(f, "the signer {signer} is not on the ledger"),
            Self::SignerPurpose(signer) => write!(f, "the key of {signer} is no release key"),
            Self::ForeignSigner(signer) => {
                write!(f, "the key of {signer} is another organisation's")
            }
            Self::SignerNotValid(signer) => write!(
                f,
                "the key of {signer} was not valid when the release was published; let another release key sign, and publish it again"
            ),
            Self::SameKey(signer) => {
                write!(f, "the key of {signer} stands under another signer's handle too")
            }
            Self::Signatures(error) => write!(f, "the release is not signed as the art policy asks: {error}"),
        }
    }
}

impl core::error::Error for ReleaseError {}

/// What a device knows of itself when it checks a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceFacts<'a> {
    /// Its chain.
    pub chain: ChainId,
    /// Its organisation.
    pub org: OrgId,
    /// Its type.
    pub device_type: Label<'a>,
    /// Its channel.
    pub channel: Label<'a>,
    /// Its counter: see [`VerifiedRelease::counter_after_commit`].
    pub counter: u64,
    /// The channel's minimum, as the order says; 0 for none.
    pub channel_minimum: u64,
    /// Its floor: the height of its anchor, with all that it has verified before.
    pub floor: Height,
}

/// The proofs that come with a release, checked under the device's anchor.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseProofs<'p, 'r> {
    /// Of the release row.
    pub release: &'p VerifiedProof<'r>,
    /// Of the art policy.
    pub policy: &'p VerifiedProof<'r>,
    /// Of the signers' records, in the order of the signatures.
    pub signers: &'p [VerifiedProof<'r>],
}

/// A release that this device may install, as far as it knows; only [`VerifiedRelease::check`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedRelease<'a> {
    manifest: Manifest<'a>,
    target: Target<'a>,
    published: Height,
    known_at: Height,
    signers: Quorum,
}

impl<'a> VerifiedRelease<'a> {
    /// Checks everything that makes a release installable on a device. Called again before install, before reboot and before
    /// commit, with the newest proofs and the counter as they are then.
    ///
    /// # Errors
    /// The first rule broken, in the order of the table.
    pub fn check(
        signed: &SignedManifest<'a>,
        proofs: &ReleaseProofs<'_, '_>,
        device: &DeviceFacts<'_>,
    ) -> Result<Self, ReleaseError> {
        let manifest = signed.manifest();
        let target = check_device(manifest, device)?;
        let known_at = check_proofs(signed, proofs, device)?;
        let release = check_release(manifest, proofs.release)?;
        let signers = check_signers(signed, proofs, device, release.published_at())?;
        Ok(Self {
            manifest: *manifest,
            target,
            published: release.published_at(),
            known_at,
            signers,
        })
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest<'a> {
        &self.manifest
    }

    /// The release digest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.manifest.digest()
    }

    /// The payloads that this device takes, in the order in which they are installed.
    pub fn payloads(&self) -> impl Iterator<Item = Payload<'a>> + Clone + use<'a> {
        self.manifest.payloads_of(&self.target)
    }

    /// The inventory that this device has after the release was installed.
    #[must_use]
    pub const fn expected_inventory(&self) -> Option<Content> {
        self.target.inventory
    }

    /// Height at which it was published.
    #[must_use]
    pub const fn published_at(&self) -> Height {
        self.published
    }

    /// The lowest height of the proofs: up to there the device knows that the release is not withdrawn and its signers are
    /// not known to be compromised.
    #[must_use]
    pub const fn known_at(&self) -> Height {
        self.known_at
    }

    /// The signers.
    #[must_use]
    pub const fn signers(&self) -> &Quorum {
        &self.signers
    }

    /// Whether a device with this counter may still install it (rule 5), should the counter have risen since the check.
    #[must_use]
    pub const fn admits(&self, device_counter: u64) -> bool {
        self.manifest.counter() >= device_counter
    }

    /// What the device's counter becomes when it commits the release; before that it does not change.
    #[must_use]
    pub const fn counter_after_commit(&self, device_counter: u64) -> u64 {
        let minimum = self.manifest.minimum_counter();
        if minimum > device_counter {
            minimum
        } else {
            device_counter
        }
    }
}

/// Rules 2 to 6: what the manifest says by itself.
fn check_device<'a>(
    manifest: &Manifest<'a>,
    device: &DeviceFacts<'_>,
) -> Result<Target<'a>, ReleaseError> {
    if manifest.org() != device.org {
        return Err(ReleaseError::ForeignOrganisation);
    }
    let target = manifest
        .target(&device.device_type)
        .ok_or(ReleaseError::DeviceType)?;
    if manifest.channel().as_str() != device.channel.as_str() {
        return Err(ReleaseError::Channel);
    }
    let release = manifest.counter();
    if release < device.counter {
        return Err(ReleaseError::CounterBelowDevice {
            release,
            device: device.counter,
        });
    }
    if release < device.channel_minimum {
        return Err(ReleaseError::CounterBelowChannel {
            release,
            channel: device.channel_minimum,
        });
    }
    Ok(target)
}

/// Rules 7 to 10: the proofs are the ones that are needed, and not older than what the device has seen. Gives their lowest
/// height.
fn check_proofs(
    signed: &SignedManifest<'_>,
    proofs: &ReleaseProofs<'_, '_>,
    device: &DeviceFacts<'_>,
) -> Result<Height, ReleaseError> {
    if proofs.signers.len() != signed.signature_count() {
        return Err(ReleaseError::ProofCount);
    }
    let digest = signed.manifest().digest();
    let rows = [
        (
            Subject::Release,
            StateKey::release(&device.org, &digest),
            proofs.release,
        ),
        (
            Subject::Policy,
            StateKey::art_policy(&device.org),
            proofs.policy,
        ),
    ];
    let records = signed
        .signatures()
        .zip(proofs.signers)
        .map(|(signature, proof)| {
            let signer = signature.signer;
            (Subject::Signer(signer), StateKey::record(&signer), proof)
        });
    let all = rows.into_iter().chain(records);
    for (subject, _, proof) in all.clone() {
        if *proof.checkpoint().chain() != device.chain {
            return Err(ReleaseError::OtherChain(subject));
        }
    }
    let mut known_at = Height::MAX;
    for (subject, _, proof) in all.clone() {
        let height = proof.checkpoint().header().height;
        if height < device.floor {
            return Err(ReleaseError::BelowFloor(subject));
        }
        known_at = known_at.min(height);
    }
    for (subject, key, proof) in all {
        if *proof.key() != key {
            return Err(ReleaseError::OtherProof(subject));
        }
    }
    Ok(known_at)
}

/// Rules 11 to 13: the ledger lists the release.
fn check_release(
    manifest: &Manifest<'_>,
    proof: &VerifiedProof<'_>,
) -> Result<Release, ReleaseError> {
    let row = proof.row().ok_or(ReleaseError::Unlisted)?;
    let release =
        Release::decode(row).map_err(|error| ReleaseError::Row(Subject::Release, error))?;
    if release.org() != manifest.org() || release.digest() != manifest.digest() {
        return Err(ReleaseError::Unlisted);
    }
    if let Some(at) = release.withdrawn_at() {
        return Err(ReleaseError::Withdrawn { at });
    }
    if release.minimum_counter() != manifest.counter() {
        return Err(ReleaseError::RowCounter);
    }
    Ok(release)
}

/// Rules 14 to 18: k of the organisation's release keys signed it.
fn check_signers(
    signed: &SignedManifest<'_>,
    proofs: &ReleaseProofs<'_, '_>,
    device: &DeviceFacts<'_>,
    published: Height,
) -> Result<Quorum, ReleaseError> {
    let policy = proofs.policy.row().ok_or(ReleaseError::NoPolicy)?;
    let policy =
        ArtPolicy::decode(policy).map_err(|error| ReleaseError::Row(Subject::Policy, error))?;
    if policy.org != device.org {
        return Err(ReleaseError::NoPolicy);
    }

    // Kept, because decoding a record decompresses its points.
    let mut keys: [Option<VerificationKey>; SIGNERS_MAX] = [None; SIGNERS_MAX];
    let signers = signed.signatures().zip(proofs.signers);
    for ((ArtSignature { signer, .. }, proof), slot) in signers.zip(&mut keys) {
        *slot = Some(release_key(signer, proof, device.org, published)?);
    }
    for (at, signature) in signed.signatures().enumerate() {
        let (earlier, rest) = keys.split_at(at.min(SIGNERS_MAX));
        if rest.first().is_some_and(|key| earlier.contains(key)) {
            return Err(ReleaseError::SameKey(signature.signer));
        }
    }

    let signatures = signed
        .signatures()
        .map(|signature| signature.signature)
        .enumerate();
    let mut handles = signed.signatures().map(|signature| signature.signer);
    quorum::count(policy.k.into(), signatures, |index, signature| {
        // The counter asks for each signature once, in their order.
        let statement = signed.manifest().statement(&device.chain, &handles.next()?);
        let key = keys.get(index)?.as_ref()?;
        Some(key.verify(&statement, &Signature::new(*signature)).is_ok())
    })
    .map_err(ReleaseError::Signatures)
}

/// The key of a signer, if it may speak for the organisation's releases at the height of publication.
fn release_key(
    signer: Handle,
    proof: &VerifiedProof<'_>,
    org: OrgId,
    published: Height,
) -> Result<VerificationKey, ReleaseError> {
    let row = proof.row().ok_or(ReleaseError::UnknownSigner(signer))?;
    let record =
        Record::decode(row).map_err(|error| ReleaseError::Row(Subject::Signer(signer), error))?;
    if record.purpose() != Purpose::Art {
        return Err(ReleaseError::SignerPurpose(signer));
    }
    if record.owner() != org {
        return Err(ReleaseError::ForeignSigner(signer));
    }
    if !record.valid_at(published).is_valid() {
        return Err(ReleaseError::SignerNotValid(signer));
    }
    // A foreign release key signs other systems' artifacts, and no manifest.
    record
        .keys()
        .verification_key()
        .ok_or(ReleaseError::SignerPurpose(signer))
}
