//! The inventory is taken: by which rules, with what is remembered of the last one, and where it lies then.
//!
//! | file | holds |
//! |---|---|
//! | `inventory` | the inventory that was taken last |
//! | `hashed` | what was hashed for it (`crate::inventory::HashCache`): it saves reads, and may be removed at any time |
//! | `rules`, `rules.next` | `release digest ‖ rules` of two releases: the one that runs, and the one that is being installed or was tried |

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kusabi_core::id::Digest;
use kusabi_core::inventory::{RULES_BYTES_MAX, Rules};

use crate::config::{Config, own_state};
use crate::disk::{self, Disk};
use crate::inventory::{Bounds, HashCache, Walk, WalkError, Walked};
use crate::updater::UpdateError;

/// Most bytes that are read for an inventory: more than a device's storage has, and less than a sparse file can pretend to.
const READ_BYTES_MAX: u64 = 256 << 30;

/// An inventory that lies in its file.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) walked: Walked,
    /// The release that ran.
    pub(crate) release: Option<Digest>,
    /// Whose rules said what was walked.
    pub(crate) rules: &'static str,
    /// Every file was read.
    pub(crate) full: bool,
    /// What did not go as it should, and did not stop it.
    pub(crate) trouble: Vec<String>,
}

/// Takes the inventory; none when nothing is configured.
pub(super) fn take(
    disk: &impl Disk,
    config: &Config,
    running: Option<Digest>,
    full: bool,
    ends: &dyn Fn() -> Option<&'static str>,
) -> Result<Option<Taken>, String> {
    if config.inventory.is_empty() {
        return Ok(None);
    }
    let mut trouble = Vec::new();
    let signed = match running {
        Some(release) => walk_of(disk, config, release),
        None => Ok(None),
    };
    let signed = signed.unwrap_or_else(|why| {
        trouble.push(format!(
            "the rules that came with the release cannot be used, the configuration's are: {why}"
        ));
        None
    });
    let (walk, rules) = match &signed {
        Some(walk) => (walk, "release"),
        None => (&config.inventory, "configuration"),
    };
    let bounds = Bounds {
        bytes: READ_BYTES_MAX,
        ends,
    };
    let walked = match remembering(disk, config, (walk, &bounds), full, &mut trouble) {
        // A full disk, mostly. What only saves reads makes room for what is wanted.
        Err(Failed::Room(_)) => {
            forget(disk, config);
            written(disk, config, (walk, &bounds), &mut HashCache::none())
        }
        walked => walked,
    };
    let walked = walked.map_err(|failed| failed.why(config))?;
    Ok(Some(Taken {
        walked,
        release: running,
        rules,
        full,
        trouble,
    }))
}

enum Failed {
    /// The inventory cannot be written.
    Room(io::Error),
    Walk(WalkError),
}

impl Failed {
    fn why(self, config: &Config) -> String {
        match self {
            Self::Room(error) => format!("{}: {error}", config.inventory_file().display()),
            Self::Walk(error) => error.to_string(),
        }
    }
}

/// Takes the inventory with what is remembered, and remembers what is found.
fn remembering(
    disk: &impl Disk,
    config: &Config,
    walk: (&Walk, &Bounds<'_>),
    full: bool,
    trouble: &mut Vec<String>,
) -> Result<Walked, Failed> {
    let path = config.hashed_file();
    let new = path.with_extension("new");
    let mut before = match full {
        true => None,
        false => disk.open(&path).ok(),
    };
    let made = disk.remove(&new).and_then(|()| disk.create(&new, 0o600));
    let mut after = made.is_ok().then_some(Appending { disk, path: &new });
    let mut cache = HashCache::new(
        before.as_mut().map(|file| file as &mut dyn Read),
        after.as_mut().map(|file| file as &mut dyn Write),
        stamping_clock(),
    );
    let walked = written(disk, config, walk, &mut cache);
    let failed = cache.trouble().map(ToString::to_string);
    let failed = failed.or_else(|| made.err().map(|error| error.to_string()));
    match (failed, &walked) {
        // No sync: one that is torn ends where it is torn.
        (None, Ok(_)) => {
            if let Err(error) = disk.rename(&new, &path) {
                trouble.push(format!("{}: {error}", path.display()));
            }
        }
        (failed, _) => {
            // It goes on being true as it was before.
            let _ = disk.remove(&new);
            trouble.extend(failed.map(|why| format!("{}: {why}", new.display())));
        }
    }
    walked
}

/// The clock by which the kernel stamps files.
fn stamping_clock() -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let (Ok(secs), Ok(nanos)) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec)) else {
        return SystemTime::UNIX_EPOCH;
    };
    SystemTime::UNIX_EPOCH + Duration::new(secs, nanos)
}

fn written(
    disk: &impl Disk,
    config: &Config,
    (walk, bounds): (&Walk, &Bounds<'_>),
    cache: &mut HashCache<'_>,
) -> Result<Walked, Failed> {
    let path = config.inventory_file();
    let new = path.with_extension("new");
    disk.remove(&new).map_err(Failed::Room)?;
    disk.create(&new, 0o600).map_err(Failed::Room)?;
    let mut out = Appending { disk, path: &new };
    let walked = walk
        .take_within(&mut out, cache, bounds)
        .map_err(|error| match error {
            WalkError::Write(error) => Failed::Room(error),
            error => Failed::Walk(error),
        })?;
    // No sync: after a power cut another one is taken.
    disk.rename(&new, &path).map_err(Failed::Room)?;
    Ok(walked)
}

fn forget(disk: &impl Disk, config: &Config) {
    let path = config.hashed_file();
    let _ = disk.remove(&path.with_extension("new"));
    let _ = disk.remove(&path);
}

/// Where the inventory lies that was taken last.
pub(super) fn open_inventory(
    disk: &impl Disk,
    config: &Config,
) -> io::Result<Box<dyn Read + Send>> {
    disk.open(&config.inventory_file())
}

/// Both files of rules: the one that is written to next is the second.
fn files(config: &Config) -> [PathBuf; 2] {
    let first = config.rules_file();
    let next = first.with_extension("next");
    [first, next]
}

/// The rules that a file holds for a release.
fn read_rules(disk: &impl Disk, path: &Path, release: Digest) -> io::Result<Option<Vec<u8>>> {
    let limit = RULES_BYTES_MAX + release.as_bytes().len() as u64;
    let bytes = match disk.read(path, limit) {
        // No rules, whatever it is.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => None,
        read => read?,
    };
    Ok(bytes.and_then(|bytes| {
        let rules = bytes.strip_prefix(release.as_bytes())?;
        Some(rules.to_vec())
    }))
}

/// What the rules of a release say is to be walked, if it has some for this device's type: never beyond the configured root, and never what
/// the agent keeps for itself.
fn walk_of(disk: &impl Disk, config: &Config, release: Digest) -> Result<Option<Walk>, String> {
    for path in files(config) {
        let at = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let Some(bytes) = read_rules(disk, &path, release).map_err(|error| at(&error))? else {
            continue;
        };
        let rules = Rules::decode(&bytes).map_err(|error| at(&error))?;
        let Some(rules) = rules.of(&config.device_type) else {
            return Ok(None);
        };
        let root = config.inventory.root();
        return Walk::by(root, rules, own_state(root, &config.state))
            .map(Some)
            .map_err(|error| at(&error));
    }
    Ok(None)
}

/// What is here as the rules of a release, damaged or not.
pub(super) fn rules_of(
    disk: &impl Disk,
    config: &Config,
    release: Digest,
) -> Result<Option<Vec<u8>>, UpdateError> {
    for path in files(config) {
        let read = read_rules(disk, &path, release);
        let rules = read.map_err(|error| UpdateError::Disk { path, error })?;
        if rules.is_some() {
            return Ok(rules);
        }
    }
    Ok(None)
}

/// Keeps the rules of a release beside those of the one that runs: whichever of them runs then has its own, wherever the power is cut.
pub(super) fn keep_rules(
    disk: &impl Disk,
    config: &Config,
    running: Option<Digest>,
    release: Digest,
    rules: &[u8],
) -> Result<(), UpdateError> {
    let [first, next] = files(config);
    fn of(path: &Path) -> impl FnOnce(io::Error) -> UpdateError + use<> {
        let path = path.into();
        |error| UpdateError::Disk { path, error }
    }
    let mut bytes = release.as_bytes().to_vec();
    bytes.extend_from_slice(rules);
    // Damaged ones are replaced where they are found first.
    if read_rules(disk, &first, release)
        .map_err(of(&first))?
        .is_some()
    {
        return disk::replace(disk, &first, &bytes, 0o600).map_err(of(&first));
    }
    if let Some(running) = running.filter(|running| *running != release)
        && read_rules(disk, &next, running)
            .map_err(of(&next))?
            .is_some()
    {
        disk.rename(&next, &first).map_err(of(&first))?;
        disk.sync_dir(disk::folder(&first)).map_err(of(&first))?;
    }
    disk::replace(disk, &next, &bytes, 0o600).map_err(of(&next))
}

/// Writes to the end of a file on a [`Disk`].
struct Appending<'a, D> {
    disk: &'a D,
    path: &'a Path,
}

impl<D: Disk> Write for Appending<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.append(self.path, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
