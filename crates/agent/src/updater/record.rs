//! What is recorded of updates: `[1, counter, running / null, failed / null, phase, digest / null, boot / null, starts]`.

use kusabi_core::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor, decode_canonical};
use kusabi_core::id::Digest;
use kusabi_core::wire::Sink;

const VERSION: u64 = 1;
const BOOT_BYTES_MAX: usize = 64;

/// How far an update has come.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// No update is under way.
    #[default]
    Idle,
    /// A release is being installed.
    Installing(Digest),
    /// A release is installed and not started.
    Installed(Digest),
    /// It is switched to, and the restart has been asked for.
    Restarting {
        /// The release.
        release: Digest,
        /// Boot ID at that time: another one says that the restart has happened.
        boot: String,
    },
    /// It runs, and is not committed.
    Trial {
        /// The release.
        release: Digest,
        /// How often the agent was started with it.
        starts: u8,
    },
    /// It is to be kept: nothing leads back from here.
    Committing(Digest),
    /// What was committed before is switched back to, and the restart has been asked for.
    RollingBack {
        /// The release that failed.
        release: Digest,
        /// Boot ID at that time.
        boot: String,
    },
}

impl Phase {
    /// Its word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Installing(_) => "installing",
            Self::Installed(_) => "installed",
            Self::Restarting { .. } => "restarting",
            Self::Trial { .. } => "trial",
            Self::Committing(_) => "committing",
            Self::RollingBack { .. } => "rolling back",
        }
    }

    /// The release that it is about.
    #[must_use]
    pub const fn release(&self) -> Option<Digest> {
        match self {
            Self::Idle => None,
            Self::Installing(release) | Self::Installed(release) | Self::Committing(release) => {
                Some(*release)
            }
            Self::Restarting { release, .. }
            | Self::Trial { release, .. }
            | Self::RollingBack { release, .. } => Some(*release),
        }
    }

    fn parts(&self) -> (u64, Option<Digest>, Option<&str>, u8) {
        match self {
            Self::Idle => (0, None, None, 0),
            Self::Installing(release) => (1, Some(*release), None, 0),
            Self::Installed(release) => (2, Some(*release), None, 0),
            Self::Restarting { release, boot } => (3, Some(*release), Some(boot), 0),
            Self::Trial { release, starts } => (4, Some(*release), None, *starts),
            Self::Committing(release) => (5, Some(*release), None, 0),
            Self::RollingBack { release, boot } => (6, Some(*release), Some(boot), 0),
        }
    }
}

/// What a device remembers of its updates.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// The device's counter: releases below it are refused.
    pub counter: u64,
    /// The release that was committed last; `None` is the factory image.
    pub running: Option<Digest>,
    /// The release that was rolled back or refused last, since one was committed.
    pub failed: Option<Digest>,
    /// The update that is under way.
    pub phase: Phase,
}

impl Record {
    /// Longest record in bytes.
    pub const BYTES_MAX: u64 = 256;

    /// Reads a record.
    ///
    /// # Errors
    /// [`CborError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_canonical(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.to_cbor_vec()
    }
}

impl<'b> FromCbor<'b> for Record {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        fn digest(d: &mut Decoder<'_>) -> Result<Option<Digest>, CborError> {
            d.optional(|d| d.array_of().map(Digest::new))
        }
        d.array(8)?;
        if d.u64()? != VERSION {
            return Err(CborError::OutOfBounds);
        }
        let (counter, running, failed) = (d.u64()?, digest(d)?, digest(d)?);
        let (code, release) = (d.u64()?, digest(d)?);
        let boot = d.optional(|d| d.text(1..=BOOT_BYTES_MAX))?;
        let starts = d.u8()?;
        let phase = match (code, release, boot, starts) {
            (0, None, None, 0) => Phase::Idle,
            (1, Some(release), None, 0) => Phase::Installing(release),
            (2, Some(release), None, 0) => Phase::Installed(release),
            (3, Some(release), Some(boot), 0) => Phase::Restarting {
                release,
                boot: boot.into(),
            },
            (4, Some(release), None, starts @ 1..) => Phase::Trial { release, starts },
            (5, Some(release), None, 0) => Phase::Committing(release),
            (6, Some(release), Some(boot), 0) => Phase::RollingBack {
                release,
                boot: boot.into(),
            },
            _ => return Err(CborError::OutOfBounds),
        };
        Ok(Self {
            counter,
            running,
            failed,
            phase,
        })
    }
}

impl ToCbor for Record {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        let (code, release, boot, starts) = self.phase.parts();
        e.array(8).u64(VERSION).u64(self.counter);
        for digest in [self.running, self.failed] {
            e.optional(digest, |e, digest| {
                e.bytes(digest);
            });
        }
        e.u64(code);
        e.optional(release, |e, digest| {
            e.bytes(digest);
        });
        e.optional(boot, |e, boot| {
            e.text(boot);
        });
        e.u64(starts.into());
    }
}
