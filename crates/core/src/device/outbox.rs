//! What a device wants done, as data.

use crate::id::{Digest, Handle, Height, KusabiId, OrgId};
use crate::keystore::{KeyStoreError, Seed};
use crate::protocol::Time;
use crate::protocol::frame::Problem;
use crate::protocol::hello::Enrolment;
use crate::protocol::reply::SealedProblem;
use crate::receipt::Text;
use crate::row::{Release, Status};
use crate::suite::{Signature, Suite};

use super::{Kept, Slot};

/// Something to be done before the next input; see the module's contract.
#[derive(Debug)]
pub enum Output<'d> {
    /// Store this state in place of the last one, so that it survives a power cut, before going on.
    Persist(&'d Kept),
    /// Make a key of this suite and a new kusabi-ID in this slot, over what lies there; when both are durable,
    /// [`Input::KeyMade`](super::Input::KeyMade).
    MakeKey {
        /// Where.
        slot: Slot,
        /// Of which suite.
        suite: Suite,
    },
    /// Store this key and ID in this slot, over what lies there; when both are durable,
    /// [`Input::KeyMade`](super::Input::KeyMade).
    StoreKey {
        /// Where.
        slot: Slot,
        /// Of which suite.
        suite: Suite,
        /// The kusabi-ID.
        id: KusabiId,
        /// The private half.
        seed: Seed,
    },
    /// Wipe the key in this slot, if there is one.
    Wipe(Slot),
    /// Send this request to this address. Its answer, or [`Input::Lost`](super::Input::Lost), is an input; neither must come.
    Send {
        /// Index of the address.
        server: usize,
        /// The request.
        request: &'d [u8],
        /// When the device gives it up.
        answer_by: Time,
    },
    /// This release may be installed now.
    Install {
        /// What the ledger holds about it.
        release: ProvenRelease,
        /// The order that asks for it.
        order: u64,
        /// Whether it is to be installed even over itself.
        repair: bool,
    },
    /// The device may reboot into this release now.
    Reboot(ProvenRelease),
    /// This release may be committed now: the counter may rise.
    Commit(ProvenRelease),
    /// The server signed that it heard this: to be kept, for the day when it denies it.
    Receipt(&'d SignedReceipt),
    /// Where a server of the device's new owner may be: an address to be kept and tried beside the others
    /// ([`Input::Reach`](super::Input::Reach)). Nothing is believed of it.
    Hint(&'d str),
    /// Something happened.
    Event(Event),
    /// Nothing more to do: give an input, at the latest [`Input::Tick`](super::Input::Tick) at this time.
    Wait(Time),
}

/// What the ledger holds about a release of the device's organisation: published, not withdrawn, at a height that is of
/// now. Only the device makes it, from a proof. The manifest behind the digest is checked apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenRelease {
    pub(super) release: Release,
    pub(super) height: Height,
}

impl ProvenRelease {
    /// Digest of the manifest.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.release.digest()
    }

    /// The ledger's row.
    #[must_use]
    pub const fn row(&self) -> &Release {
        &self.release
    }

    /// Height at which the ledger held it.
    #[must_use]
    pub const fn height(&self) -> Height {
        self.height
    }
}

/// A server's receipt, verified (spec/evidence.md, "Receipts").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The signed inventory statement that it is about (SHA-256); none when it is about outcomes.
    pub statement: Option<Digest>,
    /// What is signed.
    pub text: Text,
    /// The server's handle.
    pub signer: Handle,
    /// Its signature.
    pub signature: Signature,
}

/// A step of an update that needs the ledger's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// Before anything is written.
    Install,
    /// Before the device boots into it.
    Reboot,
    /// Before there is no way back.
    Commit,
}

/// Why an update does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The ledger does not hold such a release of this organisation.
    Unlisted,
    /// It was withdrawn.
    Withdrawn,
    /// Nothing shows that what the device is shown is of now.
    Stale,
}

/// Why a device is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Staleness {
    /// The ledger has not grown for too long.
    Standstill,
    /// No freshness receipt was to be had.
    NoReceipt,
}

/// Something that happened, for the log and the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A session is open and the server's key proven.
    Connected {
        /// Index of the address.
        server: usize,
    },
    /// A key took the place of the last one.
    Succeeded {
        /// The key that counts now.
        handle: Handle,
    },
    /// The key that was to follow stands on the ledger, but has ended there.
    SuccessorEnded(Status),
    /// Another key stands under the next key's handle; another one is made.
    SuccessorTaken,
    /// The ledger does not hold the next key, although it was asked to.
    SuccessorAbsent,
    /// The enrolment stands like this.
    Enrolment(Enrolment),
    /// The enrolled key stands on the ledger.
    Enrolled,
    /// A server key is used from now on.
    ServerAdopted {
        /// Index of the address.
        server: usize,
        /// Its handle.
        handle: Handle,
    },
    /// The ledger does not hold the server's key as active any more (or not for this organisation).
    ServerEnded {
        /// Index of the address.
        server: usize,
    },
    /// The ledger says that the device is this organisation's now. What the last owner ordered is forgotten; an update that is
    /// under way goes on only if the new one has published it.
    Moved {
        /// The owner.
        to: OrgId,
    },
    /// A freshness receipt came: at this height or above stands whatever is believed from now on.
    Present {
        /// The floor.
        height: Height,
    },
    /// Someone may be holding the ledger back: nothing is installed and no server adopted.
    Stale(Staleness),
    /// No more.
    Fresh,
    /// A signed inventory is wanted: make it, and give it part by part as [`Input::Report`](super::Input::Report).
    ReportWanted {
        /// The order.
        order: u64,
        /// The nonce that it covers.
        nonce: [u8; 32],
    },
    /// The report was received up to here; give the next part, unless that was all.
    ReportReceived {
        /// Bytes.
        offset: u32,
    },
    /// The report is to be given from its beginning.
    ReportAgain,
    /// The server does not take the report.
    ReportStopped,
    /// A poll was answered, with so many orders.
    Polled {
        /// How many.
        orders: u8,
    },
    /// An update does not go on.
    Stopped {
        /// Which release.
        digest: Digest,
        /// At which step.
        gate: Gate,
        /// Why.
        why: Stop,
    },
    /// The server cannot or will not, outside of a session. It may not even be the server who says so.
    Problem(Problem),
    /// The server cannot or will not.
    SealedProblem(SealedProblem),
    /// No answer came in time, or the transport failed.
    Unreachable {
        /// Index of the address.
        server: usize,
    },
    /// A private key did not do its part.
    KeyStore(KeyStoreError),
    /// A slot that should hold a key is empty.
    KeyMissing(Slot),
}
