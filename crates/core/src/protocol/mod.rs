//! The device protocol's formats and cryptography (spec/device-protocol.md); both ends use them.
//!
//! Bytes in, values out, and back, without an allocator. Who may say what and when is the business of the two ends,
//! [`device`](crate::device) and `server`.

pub mod frame;
pub mod hello;
pub mod noise;
pub mod reply;
pub mod request;
pub mod seal;
pub mod succession;
pub mod tripwire;

use crate::cbor::{CborError, Decoder, Encoder, FromCbor, ToCbor};
use crate::id::{Epoch, Height};
use crate::wire::Sink;

/// Version of the protocol, the first element of every frame.
pub const VERSION: u8 = 1;
/// Longest request in bytes.
pub const REQUEST_LEN_MAX: usize = 4096;
/// Longest answer in bytes.
pub const ANSWER_LEN_MAX: usize = 16_384;
/// Longest step (handover or recovery) in bytes.
pub const STEP_LEN_MAX: usize = 10_240;
/// Most steps in one answer.
pub const STEPS_MAX: usize = 16;
/// Longest proof in bytes.
pub const PROOF_LEN_MAX: usize = 6_144;
/// Longest checkpoint in bytes.
pub const CHECKPOINT_LEN_MAX: usize = 3_584;
/// Shortest server address in bytes.
pub const URL_LEN_MIN: usize = 8;
/// Longest server address in bytes.
pub const URL_LEN_MAX: usize = 200;
/// Longest wait that one end asks of the other, in seconds.
pub const WAIT_SECS_MAX: u16 = 3600;

/// A time of the monotonic clock of one machine, in milliseconds since whenever it likes; never compared with another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// Wraps milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The time so many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since an earlier time; 0 if it is not earlier.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whether a text is the address of a server: `http://` or `https://`, host, perhaps port and path; visible ASCII, no `/` at
/// its end.
#[must_use]
pub fn is_address(url: &str) -> bool {
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty())
        && (URL_LEN_MIN..=URL_LEN_MAX).contains(&url.len())
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && !url.ends_with('/')
}

/// Where a device stands: epoch and height of its anchor. `[epoch, height]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Floor {
    /// The epoch whose set it trusts.
    pub epoch: Epoch,
    /// Below this it believes nothing.
    pub height: Height,
}

impl FromCbor<'_> for Floor {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'_>) -> Result<Self, CborError> {
        d.array(2)?;
        Ok(Self {
            epoch: Epoch::new(d.u64()?),
            height: d.height()?,
        })
    }
}

impl ToCbor for Floor {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(2).u64(self.epoch.get()).u64(self.height.get());
    }
}

/// Handovers and recoveries that lead a device from its epoch to the present one: `[0..16 step]`, each
/// `kind u8 ‖ bytes`, as received or to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Steps<'a> {
    count: usize,
    /// The list's elements, encoded.
    elements: &'a [u8],
}

impl<'a> Steps<'a> {
    /// No steps.
    pub const NONE: Self = Self {
        count: 0,
        elements: &[],
    };

    /// Encodes as many of `steps` as fit `buffer` and `room`, in order, and at most 16.
    pub fn pack<'s>(
        steps: impl IntoIterator<Item = &'s [u8]>,
        room: usize,
        buffer: &'a mut [u8],
    ) -> Self {
        let room = room.min(buffer.len());
        let mut count = 0;
        let mut used = 0;
        for step in steps.into_iter().take(STEPS_MAX) {
            if step.is_empty() || step.len() > STEP_LEN_MAX {
                break;
            }
            let Some(rest) = buffer.get_mut(used..room) else {
                break;
            };
            let mut writer = crate::wire::Writer::new(rest);
            Encoder::new(&mut writer).bytes(step);
            let Ok(len) = writer.finish() else { break };
            used += len;
            count += 1;
        }
        Self {
            count,
            elements: buffer.get(..used).unwrap_or_default(),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The steps, each `kind u8 ‖ bytes`.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut d = Decoder::new(self.elements);
        // Decoding has read them all, so each is there.
        (0..self.count).map_while(move |_| d.bytes(1..=STEP_LEN_MAX).ok())
    }
}

impl<'b> FromCbor<'b> for Steps<'b> {
    type Error = CborError;

    fn from_cbor(d: &mut Decoder<'b>) -> Result<Self, CborError> {
        let count = d.list(0..=STEPS_MAX)?;
        let start = d.position();
        for _ in 0..count {
            d.bytes(1..=STEP_LEN_MAX)?;
        }
        Ok(Self {
            count,
            elements: d.since(start),
        })
    }
}

impl ToCbor for Steps<'_> {
    fn to_cbor<S: Sink>(&self, e: &mut Encoder<S>) {
        e.array(self.count);
        for step in self.iter() {
            e.bytes(step);
        }
    }
}

fn proof<'b>(d: &mut Decoder<'b>) -> Result<&'b [u8], CborError> {
    d.bytes(1..=PROOF_LEN_MAX)
}

fn wait(d: &mut Decoder<'_>) -> Result<u16, CborError> {
    let wait = d.u16()?;
    if wait > WAIT_SECS_MAX {
        return Err(CborError::OutOfBounds);
    }
    Ok(wait)
}
