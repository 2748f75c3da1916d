//! Naming a key on the command line: by its handle, by its file, or by its ID on standard input.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    str::FromStr,
};

use kusabi_core::id::{Handle, KusabiId};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
    keyfile::KeyFile,
};

/// A key as it was named.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// By its handle, which is public.
    Handle(Handle),
    /// By its key file.
    File(PathBuf),
    /// By its ID, which comes on standard input.
    Standard,
    /// By its ID in plain sight, where the shell's history and other users see it: refused, and not repeated.
    InPlainSight,
}

impl FromStr for Who {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        if text == "-" {
            return Ok(Self::Standard);
        }
        if text.len() >= 4 && text.is_char_boundary(4) && text[..4].eq_ignore_ascii_case("kid1") {
            return Ok(Self::InPlainSight);
        }
        Ok(text
            .parse()
            .map_or_else(|_| Self::File(text.into()), Self::Handle))
    }
}

/// A key with what the command knows of it.
pub(crate) enum Known {
    /// Only the handle.
    Handle(Handle),
    /// The ID, so that the record's binding can be checked.
    Id(KusabiId),
    /// The whole key.
    Key(Box<KeyFile>),
}

impl Who {
    /// Reads the file or standard input.
    pub(crate) fn resolve(&self) -> Result<Known> {
        match self {
            Self::Handle(handle) => Ok(Known::Handle(*handle)),
            Self::File(path) => KeyFile::read(path)
                .map(|key| Known::Key(Box::new(key)))
                .map_err(|failure| match shortened(path) {
                    Some(digits) if !path.exists() => failure.advise(format!(
                        "if this is a handle: it has 64 hex digits, and here are {digits}; give the whole of it"
                    )),
                    _ => failure,
                }),
            Self::InPlainSight => Err(Failure::new(
                Exit::Usage,
                "a kusabi-ID stands on the command line, where the shell's history and other users see it",
            )
            .advise("give `-` and write the ID to standard input; or name the key by its file or handle")),
            Self::Standard => {
                let line = files::read_secret_line("a kusabi-ID")?;
                // The text is not quoted: a mistyped ID is nearly a secret.
                line.parse()
                    .map(Known::Id)
                    .map_err(|why| Failure::new(Exit::Usage, format!("standard input: {why}")))
            }
        }
    }
}

impl Known {
    /// The handle.
    pub(crate) fn handle(&self) -> Handle {
        match self {
            Self::Handle(handle) => *handle,
            Self::Id(id) => id.handle(),
            Self::Key(key) => key.handle(),
        }
    }

    /// The ID, where it is known.
    pub(crate) fn id(&self) -> Option<&KusabiId> {
        match self {
            Self::Handle(_) => None,
            Self::Id(id) => Some(id),
            Self::Key(key) => key.id(),
        }
    }

    /// The key pair, where it is at hand.
    pub(crate) fn key(&self) -> Option<&KeyFile> {
        match self {
            Self::Key(key) => Some(key),
            _ => None,
        }
    }
}

/// How many digits there are of what looks like a handle that was cut, as pages and people shorten it.
fn shortened(path: &Path) -> Option<usize> {
    let text = path.to_str()?;
    let digits = text.trim_end_matches(['…', '.']);
    let cut = digits.len() < text.len();
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    // A file may be called `cafe`; few are called by eight digits and more.
    (hex && (digits.len() >= 8 || (cut && digits.len() >= 4))).then_some(digits.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_was_cut_is_told_from_a_file() {
        for (text, digits) in [("5ac1d2e3", 8), ("5ac1…", 4), ("5AC1d2e39f...", 10)] {
            assert_eq!(shortened(Path::new(text)), Some(digits), "{text}");
            let failure = text.parse::<Who>().unwrap().resolve().err().unwrap();
            assert_eq!(failure.exit(), Exit::File);
            assert!(
                failure.advice().unwrap().contains("64 hex digits"),
                "{text}"
            );
        }
        for text in ["cafe", "camera.key", "keys/5ac1d2e3", "…", "5ac1d2e3.key"] {
            assert_eq!(shortened(Path::new(text)), None, "{text}");
        }
        let failure = "camera.key"
            .parse::<Who>()
            .unwrap()
            .resolve()
            .err()
            .unwrap();
        assert!(!failure.advice().unwrap().contains("64 hex digits"));
    }

    #[test]
    fn an_id_is_no_argument() {
        for text in ["kid1qqqq", "KID1QQQQ"] {
            let failure = text.parse::<Who>().unwrap().resolve().err().unwrap();
            assert_eq!(failure.exit(), Exit::Usage);
            assert!(!failure.to_string().contains("qqqq"));
        }
        assert!(matches!("-".parse(), Ok(Who::Standard)));
        assert!(matches!("camera.key".parse(), Ok(Who::File(_))));
        assert!(matches!("00".repeat(32).parse(), Ok(Who::Handle(_))));
    }
}
