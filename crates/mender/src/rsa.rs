//! RSA keys: PKCS#1 v1.5 over SHA-256, the only form that Mender's tools know.

use der::{Decode as _, Reader as _, SliceReader, asn1::UintRef};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::key::KeyError;

pub(crate) const RSA_ENCRYPTION: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Bytes of a modulus of 2,048 to 8,192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Modulus and exponent, big-endian.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// The key of a SubjectPublicKeyInfo whose algorithm is [`RSA_ENCRYPTION`].
    pub(crate) fn of(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        // RFC 3279, 2.3.1: the parameters are NULL.
        if info.algorithm.parameters.is_none_or(|any| !any.is_null()) {
            return Err(KeyError::Spki);
        }
        Self::from_der(info.subject_public_key.as_bytes().ok_or(KeyError::Spki)?)
    }

    /// `RSAPublicKey` (RFC 8017, A.1.1).
    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let read = || -> der::Result<_> {
            let mut reader = SliceReader::new(der)?;
            let (modulus, exponent) = reader.sequence(|reader| -> der::Result<_> {
                Ok((
                    UintRef::decode(reader)?.as_bytes().to_vec(),
                    UintRef::decode(reader)?.as_bytes().to_vec(),
                ))
            })?;
            reader.finish()?;
            Ok((modulus, exponent))
        };
        let (modulus, exponent) = read().map_err(|_| KeyError::Spki)?;
        let value = exponent
            .iter()
            .try_fold(0_u32, |value, byte| {
                value.checked_mul(256)?.checked_add((*byte).into())
            })
            .ok_or(KeyError::Rsa)?;
        if !MODULUS_BYTES.contains(&modulus.len()) || value < 3 || value % 2 == 0 {
            return Err(KeyError::Rsa);
        }
        Ok(Self { modulus, exponent })
    }

    /// Whether it signed `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        }
        .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        .is_ok()
    }

    /// Bytes of its modulus.
    pub(crate) const fn len(&self) -> usize {
        self.modulus.len()
    }
}
