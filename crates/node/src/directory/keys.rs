//! The keys that lie in a directory, each as a seed in a file of its own.

use super::{DirectoryError, io_at, write};
use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use kusabi_core::{id::parse_hex, statement::Statement, suite::Signature};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// An Ed25519 key whose seed lies in a file of the directory.
macro_rules! seed_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Zeroizing<[u8; 32]>);

        impl $name {
            /// From its seed.
            #[must_use]
            pub fn new(seed: [u8; 32]) -> Self {
                Self(Zeroizing::new(seed))
            }

            /// The public key.
            #[must_use]
            pub fn public(&self) -> [u8; 32] {
                VerificationKeyBytes::from(&SigningKey::from(*self.0)).into()
            }

            pub(crate) fn seed(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    };
}

seed_key! {
    /// A validator's vote key: fresh in each epoch.
    VoteKey
}

impl VoteKey {
    /// Signs what is said beside the votes: how an epoch ended, what is of now, with which keys this validator goes on.
    pub(crate) fn sign(&self, statement: &Statement) -> Signature {
        let key = Zeroizing::new(SigningKey::from(*self.seed()));
        Signature::new(key.sign(statement.as_bytes()).into())
    }
}

seed_key! {
    /// A node's own key, with which it proves to its peers who it is. It outlives the epochs.
    NodeKey
}

/// The seed in a file, or a new one from the system's randomness where there is no file.
pub(super) fn seed_or_new(
    file: &Path,
    damaged: fn(PathBuf) -> DirectoryError,
) -> Result<[u8; 32], DirectoryError> {
    if let Some(seed) = read_seed(file, damaged)? {
        return Ok(seed);
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| io_at(file)(io::Error::other(error)))?;
    write_seed(file, &seed)?;
    Ok(seed)
}

pub(super) fn write_seed(file: &Path, seed: &[u8; 32]) -> Result<(), DirectoryError> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in seed {
        use fmt::Write as _;
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    write(file, text.as_bytes(), true)
}

pub(super) fn read_seed(
    file: &Path,
    damaged: fn(PathBuf) -> DirectoryError,
) -> Result<Option<[u8; 32]>, DirectoryError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at(file)(error)),
    };
    let seed = parse_hex(text.trim_end()).map_err(|_| damaged(file.to_owned()))?;
    Ok(Some(seed))
}
