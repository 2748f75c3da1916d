//! The file.
//!
//! ```text
//! "kusabi-store-v1\n" ‖ check 32 ‖ body
//! body = value*           ascending by name
//! value = name length u8 ‖ name ‖ value length u32 ‖ value
//! check = H("kusabi.store.v1" ‖ body)
//! ```
//! It is always written whole and takes its place by a rename, so that a power cut never leaves a part of it; whatever does not
//! check is damage.

use kusabi_core::crypto::sha256;
use kusabi_core::wire::{Reader, Sink as _, WireError};
use zeroize::Zeroizing;

use super::{FIRST_LINE, Values};

/// The bytes are not what was written.
#[derive(Debug)]
pub(super) struct Damaged;

impl From<WireError> for Damaged {
    fn from(_: WireError) -> Self {
        Self
    }
}

pub(super) fn decode(file: &[u8]) -> Result<Values, Damaged> {
    let mut r = Reader::new(file.strip_prefix(FIRST_LINE).ok_or(Damaged)?);
    let check: [u8; 32] = r.array()?;
    if check != check_of(r.rest()) {
        return Err(Damaged);
    }
    let mut values = Values::new();
    while !r.rest().is_empty() {
        let length = r.u8()?;
        let name = core::str::from_utf8(r.bytes(length.into())?).map_err(|_| Damaged)?;
        let length = usize::try_from(r.u32()?).map_err(|_| Damaged)?;
        let value = Zeroizing::new(r.bytes(length)?.to_vec());
        if values.insert(name.to_owned(), value).is_some() {
            return Err(Damaged);
        }
    }
    Ok(values)
}

pub(super) fn encode(values: &Values) -> Zeroizing<Vec<u8>> {
    let body = values
        .iter()
        .map(|(name, value)| 5 + name.len() + value.len());
    // Room for all of it at once: growing would leave copies of a secret behind.
    let head = FIRST_LINE.len() + 32;
    let mut file = Zeroizing::new(Vec::with_capacity(head + body.sum::<usize>()));
    file.put(FIRST_LINE);
    file.put(&[0; 32]);
    for (name, value) in values {
        // `commit` measured both.
        file.u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        file.put(name.as_bytes());
        file.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        file.put(value);
    }
    let (front, body) = file.split_at_mut(head);
    let check = check_of(body);
    for (to, from) in front.iter_mut().skip(FIRST_LINE.len()).zip(check) {
        *to = from;
    }
    file
}

fn check_of(body: &[u8]) -> [u8; 32] {
    sha256(&[b"kusabi.store.v1", body])
}
