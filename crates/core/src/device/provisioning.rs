//! The file with which a device leaves its build environment (spec/device-protocol.md, "Provisioning file").
//!
//! It holds a private key, so whoever reads it is the device: it is copied onto the device once and wiped there when it was
//! taken in. Without a key it is an organisation's public file, with which devices in the field enrol.

use core::fmt;

use arrayvec::{ArrayString, ArrayVec};
use zeroize::Zeroizing;

use super::kept::{SERVER_LEN, TRUST_LEN_MAX};
use super::{Kept, KeptError, KeyOrigin, SERVERS_MAX, Server, Trust};
use crate::crypto::sha256;
use crate::id::{KusabiId, OrgId};
use crate::keystore::{KeyStore as _, Seed, SoftKey};
use crate::protocol::hello::LABEL_LEN_MAX;
use crate::protocol::{URL_LEN_MAX, is_address};
use crate::suite::{PublicKeys, Purpose, Suite};
use crate::wire::{Reader, Sink, WireError, Writer};

/// Longest serial number in bytes: it is the label of an enrolment, too.
pub const SERIAL_LEN_MAX: usize = LABEL_LEN_MAX;

const FIRST_LINE: &[u8] = b"kusabi-device-v1\n";
const DOMAIN: &[u8] = b"kusabi.device.v1";
const CHECK_LEN: usize = 32;

/// Why a provisioning file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProvisioningError {
    /// It does not begin as one.
    NotOne,
    /// It was changed or cut after it was made.
    Damaged,
    /// A value that has no meaning, or a part that does not fit the others.
    Value,
    /// What the device is to believe does not hold together.
    Trust,
    /// The buffer is too small.
    Full,
}

impl fmt::Display for ProvisioningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOne => "this is no provisioning file (or one of a newer version)",
            Self::Damaged => {
                "the provisioning file was changed or cut after it was made; copy it again, or provision again"
            }
            Self::Value => "the provisioning file holds a value that has no meaning",
            Self::Trust => {
                "the provisioning file's anchor and validator set do not belong together"
            }
            Self::Full => "the buffer is too small for a provisioning file",
        })
    }
}

impl core::error::Error for ProvisioningError {}

impl From<WireError> for ProvisioningError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Full => Self::Full,
            _ => Self::Value,
        }
    }
}

/// A server: where it listens, and the `ps` key that the ledger proved when the file was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http://` or `https://`, host, perhaps port and path; no `/` at its end.
    pub url: ArrayString<URL_LEN_MAX>,
    /// Its key.
    pub server: Server,
}

/// The key that a device leaves the factory with.
#[derive(Clone, Debug)]
pub struct FactoryKey {
    /// `pre`, or `act` for a device that is not to activate.
    pub purpose: Purpose,
    /// 1 or 2.
    pub suite: Suite,
    /// Its kusabi-ID.
    pub id: KusabiId,
    /// The private half.
    pub seed: Seed,
}

/// What a provisioning file says.
#[derive(Clone)]
pub struct Provisioning {
    /// The newest checkpoint that its maker verified, as the anchor that it leads to.
    pub trust: Trust,
    /// Whose the device is.
    pub org: OrgId,
    /// Who makes the device key at activation.
    pub key_origin: KeyOrigin,
    /// Serial number; empty if it has none. For people, and the label of an enrolment.
    pub serial: ArrayString<SERIAL_LEN_MAX>,
    /// One to four servers.
    pub servers: ArrayVec<Address, SERVERS_MAX>,
    /// The key; none in a file for enrolments.
    pub key: Option<FactoryKey>,
}

impl Provisioning {
    /// Longest file in bytes.
    pub const LEN_MAX: usize = FIRST_LINE.len()
        + CHECK_LEN
        + TRUST_LEN_MAX
        + OrgId::LEN
        + 1
        + 1
        + SERIAL_LEN_MAX
        + 1
        + SERVERS_MAX * (SERVER_LEN + 1 + URL_LEN_MAX)
        + 1
        + 2
        + KusabiId::LEN
        + Seed::LEN;

    /// Writes the file; returns its length. Whoever gave `out` wipes it.
    ///
    /// # Errors
    /// [`ProvisioningError::Full`] for a buffer shorter than [`LEN_MAX`](Self::LEN_MAX), perhaps; what
    /// [`decode`](Self::decode) would refuse.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, ProvisioningError> {
        self.check()?;
        let head = FIRST_LINE.len() + CHECK_LEN;
        let (front, body) = out
            .split_at_mut_checked(head)
            .ok_or(ProvisioningError::Full)?;
        let len = {
            let mut w = Writer::new(body);
            self.write(&mut w)?;
            w.finish()?
        };
        let body = body.get(..len).unwrap_or_default();
        let check = sha256(&[DOMAIN, body]);
        for (to, from) in front.iter_mut().zip(FIRST_LINE.iter().chain(&check)) {
            *to = *from;
        }
        Ok(head + len)
    }

    fn write(&self, w: &mut impl Sink) -> Result<(), WireError> {
        self.trust.put(w)?;
        w.put(self.org.as_bytes());
        w.u8(match self.key_origin {
            KeyOrigin::Device => 0,
            KeyOrigin::Server => 1,
        });
        text(w, &self.serial)?;
        w.u8(u8::try_from(self.servers.len()).map_err(|_| WireError::OutOfRange)?);
        for Address { url, server } in &self.servers {
            server.put(w);
            text(w, url)?;
        }
        w.flag(self.key.is_some());
        if let Some(key) = &self.key {
            w.u8(key.purpose.into());
            w.u8(key.suite.into());
            w.put(key.id.expose());
            w.put(key.seed.expose());
        }
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ProvisioningError`]
    pub fn decode(file: &[u8]) -> Result<Self, ProvisioningError> {
        let rest = file
            .strip_prefix(FIRST_LINE)
            .ok_or(ProvisioningError::NotOne)?;
        let (check, body) = rest
            .split_first_chunk::<CHECK_LEN>()
            .ok_or(ProvisioningError::Damaged)?;
        // No authentication: it finds what an editor or a bad disk did, and says so before anything else does.
        if *check != sha256(&[DOMAIN, body]) {
            return Err(ProvisioningError::Damaged);
        }
        let mut r = Reader::new(body);
        let trust = Trust::read(&mut r)?.map_err(|_| ProvisioningError::Trust)?;
        let org = OrgId::new(r.array()?);
        let key_origin = match r.u8()? {
            0 => KeyOrigin::Device,
            1 => KeyOrigin::Server,
            _ => return Err(ProvisioningError::Value),
        };
        let serial = read_text(&mut r)?;
        let mut servers = ArrayVec::new();
        for _ in 0..r.u8()? {
            let server = Server::read(&mut r).map_err(|_| ProvisioningError::Value)?;
            let url = read_text(&mut r)?;
            servers
                .try_push(Address { url, server })
                .map_err(|_| ProvisioningError::Value)?;
        }
        let key = if r.flag()? {
            let purpose = Purpose::try_from(r.u8()?).map_err(|_| ProvisioningError::Value)?;
            let suite = Suite::try_from(r.u8()?).map_err(|_| ProvisioningError::Value)?;
            let id = Zeroizing::new(r.array()?);
            let seed = Zeroizing::new(r.array()?);
            Some(FactoryKey {
                purpose,
                suite,
                id: KusabiId::new(*id),
                seed: Seed::new(*seed),
            })
        } else {
            None
        };
        r.finish()?;
        let provisioning = Self {
            trust,
            org,
            key_origin,
            serial,
            servers,
            key,
        };
        provisioning.check()?;
        Ok(provisioning)
    }

    fn check(&self) -> Result<(), ProvisioningError> {
        let url = |address: &Address| is_address(&address.url);
        let key = |key: &FactoryKey| {
            key.suite != Suite::Foreign && matches!(key.purpose, Purpose::Pre | Purpose::Act)
        };
        let good = !self.servers.is_empty()
            && self.servers.iter().all(url)
            && self
                .servers
                .iter()
                .all(|address| address.server.can_agree())
            && !self.serial.chars().any(char::is_control)
            && self.key.as_ref().is_none_or(key);
        good.then_some(()).ok_or(ProvisioningError::Value)
    }

    /// The server keys, in the order of the addresses.
    #[must_use]
    pub fn known_servers(&self) -> ArrayVec<Server, SERVERS_MAX> {
        self.servers.iter().map(|address| address.server).collect()
    }

    /// The state that a device with the file's key begins with; the key lies in slot A.
    ///
    /// # Errors
    /// [`KeptError::Value`] for a file without a key.
    pub fn kept(&self) -> Result<Kept, KeptError> {
        let key = self.key.as_ref().ok_or(KeptError::Value)?;
        let servers = self.known_servers();
        Kept::provisioned(
            self.trust.clone(),
            self.org,
            &servers,
            key.id.handle(),
            key.purpose,
        )
    }
}

impl FactoryKey {
    /// The private operations.
    ///
    /// # Errors
    /// [`ProvisioningError::Value`] for a seed of suite 2 that is none (one of 2^32).
    pub fn soft_key(&self) -> Result<SoftKey, ProvisioningError> {
        SoftKey::from_seed(self.suite, &self.seed).map_err(|_| ProvisioningError::Value)
    }

    /// The public halves.
    ///
    /// # Errors
    /// As [`soft_key`](Self::soft_key).
    pub fn public_keys(&self) -> Result<PublicKeys, ProvisioningError> {
        Ok(self.soft_key()?.public_keys())
    }
}

impl fmt::Debug for Provisioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisioning")
            .field("trust", &self.trust)
            .field("serial", &self.serial)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

fn text<const N: usize>(w: &mut impl Sink, text: &ArrayString<N>) -> Result<(), WireError> {
    w.u8(u8::try_from(text.len()).map_err(|_| WireError::OutOfRange)?);
    w.put(text.as_bytes());
    Ok(())
}

fn read_text<const N: usize>(r: &mut Reader<'_>) -> Result<ArrayString<N>, ProvisioningError> {
    let len = r.u8()?;
    let text = core::str::from_utf8(r.bytes(len.into())?).map_err(|_| ProvisioningError::Value)?;
    ArrayString::from(text).map_err(|_| ProvisioningError::Value)
}
