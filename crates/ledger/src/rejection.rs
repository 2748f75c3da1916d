//! Why a well-formed transaction is refused.

use core::fmt;

/// The rule that a transaction breaks. A number is never used for another rule; the same number reaches the API and logs.
///
/// Nothing has changed when a transaction is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum Rejection {
    /// It is meant for another chain.
    WrongChain = 0x1001,
    /// Its organisation is not on this ledger.
    UnknownOrganisation = 0x1002,
    /// A record that it names is not on this ledger.
    UnknownRecord = 0x1003,
    /// A key that signed it has no record.
    UnknownSigner = 0x1004,
    /// The release that it names was never published.
    UnknownRelease = 0x1005,
    /// The organisation has no art policy.
    UnknownPolicy = 0x1006,
    /// A handle has a record already.
    HandleTaken = 0x1007,
    /// The release was published before.
    ReleaseExists = 0x1008,
    /// The digest was anchored before.
    AnchorExists = 0x1009,
    /// A row has changed since the transaction was made.
    StaleVersion = 0x100a,
    /// A record that it names has ended.
    RecordEnded = 0x100b,
    /// A record that it names belongs to another organisation.
    ForeignRecord = 0x100c,
    /// A record that it names has a purpose that the action does not take.
    RecordPurpose = 0x100d,
    /// The release was withdrawn before.
    ReleaseWithdrawn = 0x100e,
    /// A key that signed it has ended.
    SignerEnded = 0x100f,
    /// A key that signed it belongs to another organisation.
    ForeignSigner = 0x1010,
    /// A key that signed it has a purpose that may not do this.
    SignerPurpose = 0x1011,
    /// Fewer keys signed than must.
    TooFewSignatures = 0x1012,
    /// More keys signed than must, or keys that have no part in it.
    SuperfluousSignature = 0x1013,
    /// A signature is not by the key that it is said to be of.
    BadSignature = 0x1014,
    /// The organisation's quota of rows would be exceeded.
    Quota = 0x1015,
    /// More revocations in this window than one signature may make.
    SecondOfficer = 0x1016,
    /// Fewer officers would be left than must sign.
    LastOfficers = 0x1017,
    /// The organisation would have more than 16 officers.
    TooManyOfficers = 0x1018,
    /// The policy would ask for more release keys than there are.
    PolicyThreshold = 0x1019,
    /// The organisation would have more than 16 release keys.
    TooManyArtKeys = 0x101a,
    /// A key is said to be compromised since a height that has not come yet.
    CompromisedInFuture = 0x101b,
    /// A holder's own signature says that its key was compromised earlier.
    HolderCannotDate = 0x101c,
    /// A row has changed 2^32 times.
    VersionExhausted = 0x101d,
    /// A genesis transaction anywhere but first at height 1.
    GenesisPlace = 0x101e,
    /// At height 1 anything but the genesis transaction.
    NotFounded = 0x101f,
    /// The genesis document is not the one whose hash names the chain.
    GenesisDocument = 0x1020,
    /// The genesis entries are not those of the document's officers.
    GenesisEntries = 0x1021,
    /// A recovery or a handover anywhere but first in the first block of the epoch that it opens.
    EpochPlace = 0x1022,
    /// The recovery is malformed, or its recovery set did not sign it.
    RecoveryRefused = 0x1023,
    /// The recovery does not fit the block that carries it.
    RecoveryMismatch = 0x1024,
    /// A row of the node's own state cannot be read.
    DamagedState = 0x1025,
    /// The genesis document is malformed, or gives a quota of 2^48 or more.
    GenesisMalformed = 0x1026,
    /// The block has no room left for it; nothing is wrong with the transaction.
    BlockFull = 0x1027,
    /// A public key that it brings is not a key: a point off its curve, or of small order.
    BadKey = 0x1028,
    /// The key took another's place less than 64 heights ago.
    Resting = 0x1029,
    /// The validators of the next epoch are appointed already.
    EpochEnds = 0x102a,
    /// The set that it brings is not that of the present epoch.
    OldSet = 0x102b,
    /// The appointment is malformed, or the officers of too few organisations signed it.
    AppointmentRefused = 0x102c,
    /// The list of nodes is malformed, not the one that was signed for, or not one for each validator.
    AppointmentNodes = 0x102d,
    /// A vote key of the epoch that ends stands in the next set, too.
    VoteKeyUsed = 0x102e,
    /// The handover is malformed, or too few of the old set signed it.
    HandoverRefused = 0x102f,
    /// The handover does not fit the block that carries it, or is not to the set that was appointed.
    HandoverMismatch = 0x1030,
    /// The proposal is not on this ledger.
    UnknownProposal = 0x1031,
    /// The same was proposed before.
    ProposalExists = 0x1032,
    /// The proposal's deadline has passed, or is more than 90 days away.
    ProposalDeadline = 0x1033,
    /// The proposal's deadline has passed.
    ProposalExpired = 0x1034,
    /// The proposal was carried before.
    ProposalCarried = 0x1035,
    /// The organisation is no member: it has no vote.
    NoSeat = 0x1036,
    /// The organisation has voted so before, or has said yes, which stands.
    VoteStands = 0x1037,
    /// An officer of a candidate has not signed its admission to this ledger.
    AdmissionUnsigned = 0x1038,
    /// An organisation of this name is on the ledger already.
    OrganisationExists = 0x1039,
    /// No member would be left.
    LastMember = 0x103a,
    /// There are 16 members already, or all 256 seats were given.
    NoSeatLeft = 0x103b,
    /// The quota would be below what the organisation has.
    QuotaBelowRows = 0x103c,
    /// The members have removed the organisation: it adds nothing.
    Removed = 0x103d,
    /// The members have frozen the organisation for some time: it adds nothing.
    Frozen = 0x103e,
    /// It would change nothing.
    NoEffect = 0x103f,
    /// The heartbeat would be longer than the genesis document's.
    HeartbeatTooLong = 0x1040,
    /// The next set names an organisation that is no member.
    SetMembers = 0x1041,
    /// More officers would have to sign than there are.
    OfficersThreshold = 0x1042,
    /// The vote is of a seat that the organisation has no more.
    OtherSeat = 0x1043,
    /// The organisation has made as many proposals as it may for now.
    TooManyProposals = 0x1044,
}

impl Rejection {
    /// Every rejection, for documentation and tests.
    pub const ALL: [Self; 68] = [
        Self::WrongChain,
        Self::UnknownOrganisation,
        Self::UnknownRecord,
        Self::UnknownSigner,
        Self::UnknownRelease,
        Self::UnknownPolicy,
        Self::HandleTaken,
        Self::ReleaseExists,
        Self::AnchorExists,
        Self::StaleVersion,
        Self::RecordEnded,
        Self::ForeignRecord,
        Self::RecordPurpose,
        Self::ReleaseWithdrawn,
        Self::SignerEnded,
        Self::ForeignSigner,
        Self::SignerPurpose,
        Self::TooFewSignatures,
        Self::SuperfluousSignature,
        Self::BadSignature,
        Self::Quota,
        Self::SecondOfficer,
        Self::LastOfficers,
        Self::TooManyOfficers,
        Self::PolicyThreshold,
        Self::TooManyArtKeys,
        Self::CompromisedInFuture,
        Self::HolderCannotDate,
        Self::VersionExhausted,
        Self::GenesisPlace,
        Self::NotFounded,
        Self::GenesisDocument,
        Self::GenesisEntries,
        Self::EpochPlace,
        Self::RecoveryRefused,
        Self::RecoveryMismatch,
        Self::DamagedState,
        Self::GenesisMalformed,
        Self::BlockFull,
        Self::BadKey,
        Self::Resting,
        Self::EpochEnds,
        Self::OldSet,
        Self::AppointmentRefused,
        Self::AppointmentNodes,
        Self::VoteKeyUsed,
        Self::HandoverRefused,
        Self::HandoverMismatch,
        Self::UnknownProposal,
        Self::ProposalExists,
        Self::ProposalDeadline,
        Self::ProposalExpired,
        Self::ProposalCarried,
        Self::NoSeat,
        Self::VoteStands,
        Self::AdmissionUnsigned,
        Self::OrganisationExists,
        Self::LastMember,
        Self::NoSeatLeft,
        Self::QuotaBelowRows,
        Self::Removed,
        Self::Frozen,
        Self::NoEffect,
        Self::HeartbeatTooLong,
        Self::SetMembers,
        Self::OfficersThreshold,
        Self::OtherSeat,
        Self::TooManyProposals,
    ];

    /// Its number.
    pub const fn code(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongChain => "the transaction is meant for another ledger; make it again with this ledger's chain ID",
            Self::UnknownOrganisation => "the organisation is not on this ledger; check its name",
            Self::UnknownRecord => "a key that the transaction names is not on this ledger; check the handle",
            Self::UnknownSigner => "a key that signed the transaction is not on this ledger; register it or sign with one that is",
            Self::UnknownRelease => "the release was never published by this organisation; check the digest",
            Self::UnknownPolicy => "the organisation has no art policy; set one before publishing",
            Self::HandleTaken => "a handle has a record already and is never used again; make a new kusabi-ID, or look the key up if this is a repeat",
            Self::ReleaseExists => "the organisation has published this release before; look it up",
            Self::AnchorExists => "this digest is anchored already; look the anchor up, it serves everyone",
            Self::StaleVersion => "a row has changed since the transaction was made; look it up and make the transaction again",
            Self::RecordEnded => "a key that the transaction names has ended; nothing brings it back, register a new one",
            Self::ForeignRecord => "a key that the transaction names belongs to another organisation; name the organisation's own",
            Self::RecordPurpose => "a key that the transaction names has a purpose that this action does not take; use the action that does",
            Self::ReleaseWithdrawn => "the release has been withdrawn already; there is nothing left to do",
            Self::SignerEnded => "a key that signed the transaction has ended; sign with an active one",
            Self::ForeignSigner => "a key that signed the transaction belongs to another organisation; sign with the organisation's own",
            Self::SignerPurpose => "a key that signed the transaction has a purpose that may not do this; sign with the right one",
            Self::TooFewSignatures => "fewer keys signed the transaction than must; let the others sign it",
            Self::SuperfluousSignature => "more keys signed the transaction than must, or one that has no part in it; leave those signatures out",
            Self::BadSignature => "a signature is not by the key that it is said to be of, over this transaction; sign again",
            Self::Quota => "the organisation's quota of rows would be exceeded; register fewer, or have the quota raised",
            Self::SecondOfficer => "one signature may end no more keys in this window of 1,000 heights; let a second officer sign",
            Self::LastOfficers => "fewer officers would be left than must sign; grant another officer key first",
            Self::TooManyOfficers => "an organisation has at most 16 officers; withdraw one first",
            Self::PolicyThreshold => "the art policy would ask for more release keys than the organisation has; add keys or lower k",
            Self::TooManyArtKeys => "an organisation has at most 16 release keys; remove one first",
            Self::CompromisedInFuture => "a key is said to be compromised since a height that has not come yet; name one that has",
            Self::HolderCannotDate => "a key cannot say of itself that it was compromised earlier; let a revoker or an officer say it",
            Self::VersionExhausted => "a row has changed as often as it can; it cannot change again",
            Self::GenesisPlace => "a genesis transaction stands first at height 1 and nowhere else",
            Self::NotFounded => "at height 1 there is the genesis transaction and nothing else; submit again afterwards",
            Self::GenesisDocument => "the genesis document is not the one that this chain ID names; use the original file",
            Self::GenesisEntries => "the genesis entries are not one for each officer key of the document, in its order; make the transaction again",
            Self::EpochPlace => "a recovery or a handover stands first in the first block of the epoch that it opens and nowhere else",
            Self::RecoveryRefused => "the recovery is malformed or its recovery set did not sign it; have enough recovery keys sign it again",
            Self::RecoveryMismatch => "the recovery does not fit the block that carries it: height, parent, epoch, set or skipped heights differ",
            Self::GenesisMalformed => "the genesis document breaks its format or gives a quota of 2^48 or more; found the ledger with a correct one",
            Self::BlockFull => "the block has no room left for the transaction; it can stand in a later one",
            Self::Resting => "the key took another's place less than 64 heights ago; replace it later, or revoke it now",
            Self::EpochEnds => "the validators of the next epoch are appointed already; appoint others once it has begun",
            Self::OldSet => "the validator set that the transaction brings is not that of the present epoch; make it again from the newest one",
            Self::AppointmentRefused => "the appointment is malformed, or not signed by enough officers of two thirds of the organisations; have the others sign it",
            Self::AppointmentNodes => "the nodes are not those that the officers, or the recovery keys, signed for, or not one for each validator with a key of its own; make the appointment or the recovery again",
            Self::VoteKeyUsed => "a vote key of the present epoch stands in the next set; each validator votes with a fresh key in each epoch",
            Self::HandoverRefused => "the handover is malformed, or too few of the epoch's vote keys and officers signed it",
            Self::HandoverMismatch => "the handover does not fit the block that carries it, or leads to another set than was appointed",
            Self::UnknownProposal => "the proposal is not on this ledger; propose it first, or use the file that was proposed, unchanged",
            Self::ProposalExists => "the same was proposed before; vote on it, or propose it with another deadline",
            Self::ProposalDeadline => "the proposal's deadline has passed already or is more than 90 days away; propose it with another one",
            Self::ProposalExpired => "the proposal's deadline has passed; nobody votes on it any more, propose it again",
            Self::ProposalCarried => "the proposal was carried already; there is nothing left to vote on",
            Self::NoSeat => "the organisation is no member of this ledger and has no vote; members decide on proposals",
            Self::VoteStands => "the organisation has voted already, and a yes stands; what is not wanted runs out at its deadline",
            Self::AdmissionUnsigned => "an officer of the organisation to be admitted has not signed for this ledger; have its application made again",
            Self::OrganisationExists => "an organisation of this name is on the ledger already; give it a seat instead, or choose another name",
            Self::LastMember => "no member would be left on the ledger; seat another one first",
            Self::NoSeatLeft => "there are 16 members already or every seat was given; remove a member first, or admit a guest",
            Self::QuotaBelowRows => "the quota would be below the rows that the organisation has; nothing on the ledger is deleted, so name a higher one",
            Self::Removed => "the members have removed the organisation and it adds nothing any more; it still revokes, withdraws and gives its devices away",
            Self::Frozen => "the members have frozen the organisation for at most 72 hours and it adds nothing meanwhile; it still revokes and withdraws",
            Self::NoEffect => "it would change nothing; look at how things stand",
            Self::HeartbeatTooLong => "the heartbeat would be longer than the one that the ledger was founded with, which devices count on; name a shorter one",
            Self::SetMembers => "the next validator set names an organisation that is no member of the ledger; have the members admit or seat it first",
            Self::OfficersThreshold => "more officers would have to sign than the organisation has; grant another officer key first",
            Self::OtherSeat => "the vote is of a seat that the organisation has no more; vote again with its present one",
            Self::TooManyProposals => "a member makes at most 16 proposals at once and then one an hour; propose it later, or as acts of one proposal",
            Self::BadKey => "a public key in the transaction is not a key of its suite; make the key pair again",
            Self::DamagedState => "a row of this node's own state cannot be read; stop the node and run the audit",
        })
    }
}

impl core::error::Error for Rejection {}
