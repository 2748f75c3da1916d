//! Key files: a key pair with its ID, as text.
//!
//! ```text
//! kusabi-key-v1
//! # Device key. …
//! purpose: act
//! suite: 1
//! handle: 64 hex digits          of the ID, or of the bare key where the purpose has no record
//! public: 132 hex digits         the 66-byte `keys` field of spec/identity.md
//! protection: none               how what follows is kept; later also under a passphrase
//! id: kid1…                      not for purposes without a record
//! secret: 64 hex digits          the suite's seed
//! ```
//! One field per line, each once, `#` begins a comment line. `handle` and `public` follow from the rest and are checked, so
//! a damaged line is noticed, and so that what is public can be read while the rest is protected. Several keys in one file
//! follow one another, each with its first line. The file is for its owner alone (0600).

use std::path::Path;

use kusabi_core::{
    id::{Handle, KusabiId, parse_hex},
    keystore::{KeyStore as _, Seed, SoftKey},
    suite::{KeyError, PublicKeys, Purpose, Suite},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
};

/// First line of every key.
pub(crate) const FIRST_LINE: &str = "kusabi-key-v1";

/// A single key has some 400 bytes; comments may be longer.
const LIMIT: u64 = 16 * 1024;

/// A key pair from a file or on its way into one. Never printed, wiped when dropped.
pub(crate) struct KeyFile {
    purpose: Purpose,
    id: Option<KusabiId>,
    seed: Seed,
    key: SoftKey,
}

impl KeyFile {
    /// A new key from the operating system's randomness.
    pub(crate) fn generate(
        purpose: Purpose,
        suite: Suite,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, KeyError> {
        let seed = Seed::generate(rng);
        Ok(Self {
            purpose,
            id: purpose.has_record().then(|| KusabiId::generate(rng)),
            key: SoftKey::from_seed(suite, &seed)?,
            seed,
        })
    }

    /// Reads the key at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read_secret(path, LIMIT)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| not_a_key(path, "it is not text"))?;
        let mut keys = Self::parse_all(text);
        match (keys.next(), keys.next()) {
            (Some(key), None) => key.map_err(|why| not_a_key(path, &why)),
            (Some(_), Some(_)) => Err(Failure::new(
                Exit::Usage,
                format!("{} holds several keys, and one is needed", path.display()),
            )),
            (None, _) => Err(not_a_key(path, "it is empty")),
        }
    }

    /// Reads one key from each file.
    pub(crate) fn read_all(paths: &[impl AsRef<Path>]) -> Result<Vec<Self>> {
        paths.iter().map(|path| Self::read(path.as_ref())).collect()
    }

    /// Writes a key that was not there; never over another one.
    pub(crate) fn create(&self, path: &Path) -> Result<()> {
        files::create(path, self.to_text(true).as_bytes(), Mode::Secret)
    }

    /// The keys of a text, one after the other.
    pub(crate) fn parse_all(text: &str) -> impl Iterator<Item = Result<Self, String>> {
        let mut lines = text.lines().peekable();
        std::iter::from_fn(move || {
            while lines.next_if(|line| is_idle(line)).is_some() {}
            let first = lines.next()?;
            if first.trim_end() != FIRST_LINE {
                // What follows cannot be understood either.
                lines.by_ref().for_each(drop);
                return Some(Err(format!("its first line is not {FIRST_LINE}")));
            }
            let mut fields = Fields::default();
            let mut wrong = None;
            while let Some(line) = lines.next_if(|line| line.trim_end() != FIRST_LINE) {
                if let Err(why) = fields.take(line) {
                    wrong.get_or_insert(why);
                }
            }
            Some(wrong.map_or_else(|| fields.key(), Err))
        })
    }

    /// The text, for people with a comment.
    pub(crate) fn to_text(&self, comment: bool) -> Zeroizing<String> {
        // Room for all of it at once: growing would leave copies of the secret behind.
        let mut text = Zeroizing::new(String::with_capacity(1_024));
        text.push_str(FIRST_LINE);
        text.push('\n');
        if comment {
            let purpose = words(self.purpose);
            text.push_str(&format!(
                "# {purpose}. Secret: whoever reads this file can act in its place.\n"
            ));
        }
        text.push_str(&format!("purpose: {}\n", self.purpose));
        text.push_str(&format!("suite: {}\n", u8::from(self.suite())));
        text.push_str(&format!("handle: {}\n", self.handle()));
        text.push_str("public: ");
        push_hex(&mut text, self.public().as_bytes());
        text.push_str("\nprotection: none\n");
        if let Some(id) = &self.id {
            text.push_str("id: ");
            text.push_str(id.to_text().expose());
            text.push('\n');
        }
        text.push_str("secret: ");
        push_hex(&mut text, self.seed.expose());
        text.push('\n');
        text
    }

    /// What the key is for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Its suite.
    pub(crate) fn suite(&self) -> Suite {
        self.public().suite()
    }

    /// The public keys.
    pub(crate) fn public(&self) -> PublicKeys {
        self.key.public_keys()
    }

    /// The ID; none where the purpose has no record.
    pub(crate) fn id(&self) -> Option<&KusabiId> {
        self.id.as_ref()
    }

    /// The handle under which it signs.
    pub(crate) fn handle(&self) -> Handle {
        self.id.as_ref().map_or_else(
            || {
                self.public()
                    .verification_key()
                    .map_or(Handle::ZERO, |key| key.bare_handle())
            },
            KusabiId::handle,
        )
    }

    /// The private operations, for a process that acts with the key as long as it runs.
    pub(crate) fn into_key(self) -> SoftKey {
        self.key
    }

    /// The private operations.
    pub(crate) fn key(&self) -> &SoftKey {
        &self.key
    }
}

/// What a purpose is called on a page.
pub(crate) fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Pre => "Factory key",
        Purpose::Act => "Device key",
        Purpose::Art => "Release key",
        Purpose::Ps => "Server key",
        Purpose::Writer => "Writer key",
        Purpose::Officer => "Officer key",
        Purpose::Revoker => "Revoker key",
        Purpose::App => "Signing key",
        Purpose::Vote => "Vote key",
        Purpose::Node => "Node identity",
        Purpose::Recovery => "Recovery key",
    }
}

/// The fields of one key as they are read.
#[derive(Default)]
struct Fields<'a>([Option<&'a str>; NAMES.len()]);

const NAMES: [&str; 7] = [
    "purpose",
    "suite",
    "handle",
    "public",
    "protection",
    "id",
    "secret",
];

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a str) -> Result<(), String> {
        if is_idle(line) {
            return Ok(());
        }
        // The line itself is never quoted: it may hold the secret.
        let (name, value) = line.split_once(':').ok_or("a line is no `name: value`")?;
        let place = NAMES.iter().position(|known| *known == name.trim());
        let field = place
            .and_then(|place| self.0.get_mut(place))
            .ok_or("it has a field that this version does not know")?;
        match field.replace(value.trim()) {
            None => Ok(()),
            Some(_) => Err(format!("the field `{}` stands twice", name.trim())),
        }
    }

    fn key(self) -> Result<KeyFile, String> {
        let [purpose, suite, handle, public, protection, id, secret] = self.0;
        let need = |field: Option<&'a str>, name: &str| {
            field.ok_or_else(|| format!("the field `{name}` is missing"))
        };
        match need(protection, "protection")? {
            "none" => {}
            other => {
                return Err(format!(
                    "its protection `{other}` is not known to this version"
                ));
            }
        }
        let purpose = purpose_named(need(purpose, "purpose")?)
            .ok_or("its purpose is none that this version knows")?;
        let suite = need(suite, "suite")?
            .parse::<u8>()
            .ok()
            .and_then(|number| Suite::try_from(number).ok())
            .ok_or("its suite is none that this version knows")?;
        let seed = parse_hex(need(secret, "secret")?)
            .map(Seed::new)
            .map_err(|why| format!("`secret`: {why}"))?;
        let id = match (purpose.has_record(), id) {
            (true, id) => Some(
                need(id, "id")?
                    .parse::<KusabiId>()
                    .map_err(|why| format!("`id`: {why}"))?,
            ),
            (false, None) => None,
            (false, Some(_)) => return Err("a key of this purpose has no ID".to_owned()),
        };
        let file = KeyFile {
            purpose,
            id,
            key: SoftKey::from_seed(suite, &seed).map_err(|why| why.to_string())?,
            seed,
        };
        if need(public, "public")? != hex(file.public().as_bytes()) {
            return Err("`public` and `secret` do not belong together".to_owned());
        }
        if need(handle, "handle")? != file.handle().to_string() {
            return Err("`handle` and `id` do not belong together".to_owned());
        }
        Ok(file)
    }
}

/// The purpose with this name.
pub(crate) fn purpose_named(name: &str) -> Option<Purpose> {
    (0..=u8::MAX)
        .filter_map(|number| Purpose::try_from(number).ok())
        .find(|purpose| purpose.name() == name)
}

fn is_idle(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// A key that could not be derived; with suites 1 and 2 it does not happen.
pub(crate) fn underivable(why: KeyError) -> Failure {
    Failure::new(Exit::Internal, format!("no key could be made: {why}"))
}

fn not_a_key(path: &Path, why: &str) -> Failure {
    Failure::new(
        Exit::File,
        format!("{} is not a key file: {why}", path.display()),
    )
    .advise("`kusabi key new FILE` makes one; a damaged one must come from its copy")
}

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    use super::*;

    fn key(purpose: Purpose, suite: Suite) -> KeyFile {
        KeyFile::generate(purpose, suite, &mut UnwrapErr(SysRng)).unwrap()
    }

    fn parse(text: &str) -> Result<KeyFile, String> {
        KeyFile::parse_all(text).next().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        for purpose in [Purpose::Act, Purpose::Officer, Purpose::Recovery] {
            for suite in [Suite::Curve25519, Suite::P256] {
                let key = key(purpose, suite);
                let text = key.to_text(true);
                let read = parse(&text).unwrap();
                assert_eq!(read.purpose(), purpose);
                assert_eq!(read.public(), key.public());
                assert_eq!(read.handle(), key.handle());
                assert_eq!(read.id(), key.id());
                assert_eq!(*read.to_text(true), *text);
            }
        }
    }

    #[test]
    fn a_file_is_read_once_written_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = key(Purpose::Act, Suite::Curve25519);
        key.create(&path).unwrap();
        assert_eq!(KeyFile::read(&path).unwrap().handle(), key.handle());
        assert_eq!(key.create(&path).unwrap_err().exit(), Exit::File);
    }

    #[test]
    fn several_keys_follow_one_another() {
        let keys = [(); 3].map(|()| key(Purpose::Pre, Suite::Curve25519));
        let text: String = keys
            .iter()
            .map(|key| key.to_text(false).to_string())
            .collect();
        let read: Vec<_> = KeyFile::parse_all(&text)
            .map(|key| key.unwrap().handle())
            .collect();
        assert_eq!(read, keys.map(|key| key.handle()));
    }

    #[test]
    fn any_changed_line_is_noticed_and_no_secret_is_repeated() {
        let text = key(Purpose::Act, Suite::Curve25519).to_text(false);
        let secret = text.lines().last().unwrap();
        for (number, line) in text.lines().enumerate() {
            let without: String = text
                .lines()
                .enumerate()
                .filter(|(other, _)| *other != number)
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            assert!(parse(&without).is_err(), "without {number}");
            let (at, old) = line.char_indices().next_back().unwrap();
            let new = if old == '2' { '3' } else { '2' };
            let changed = text.replace(line, &format!("{}{new}", &line[..at]));
            let why = parse(&changed).err().unwrap();
            assert!(!why.contains(&secret[8..]), "{why}");
            let twice = text.replace(line, &format!("{line}\n{line}"));
            assert!(number == 0 || parse(&twice).is_err(), "twice {number}");
        }
        assert!(parse(&text.replace("secret:", "geheim:")).is_err());
    }
}
