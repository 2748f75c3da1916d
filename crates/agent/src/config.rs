//! The agent's configuration: one TOML file, in which an unknown key is an error.
//!
//! ```toml
//! state = "/var/lib/kusabi"                # keys, updates, downloads; for the agent's user alone
//! provisioning = "/var/lib/kusabi/device.kusabi"   # taken in at the first start, then wiped; this is the default
//! log = "info"                             # "error", "warn", "info" or "debug"
//!
//! [device]
//! type = "cam-a"
//! channel = "stable"
//!
//! [server]
//! poll-s = 1800                            # unless the server says otherwise
//! hold-s = 240                             # how long the server may keep a poll waiting for an order; 0: not at all
//! # addresses = ["http://kusabi.example:7041"]     # in place of those that the device was provisioned with, in their order
//! # ca = "/etc/kusabi/ca.pem"              # whom certificates of https:// addresses come from, in place of Mozilla's list; feature "tls"
//!
//! [inventory]
//! root = "/"
//! paths = ["/usr", "/etc"]
//! excluded = ["/etc/mtab", "/etc/*.cache"] # "*" stands for anything within one part
//! every-s = 86400
//! full-every-s = 604800                    # on average: files that look unchanged are read as well; 0: each time
//!
//! [update]
//! restart = ["/usr/bin/systemctl", "restart", "camera.service"]
//! restarts = "service"                     # or "machine"
//! # boot-id = "/run/boot-id"               # "machine" in a container: a file that is written anew at each of its starts
//! self-test = ["/usr/bin/camera", "--self-test"]
//! self-test-deadline-s = 120
//! starts-max = 3
//! commit-deadline-s = 3600                 # a new release that does not reach a server for so long is rolled back
//! install-deadline-s = 3600                # how long a tool may take to install
//! tool-deadline-s = 120                    # and for anything else
//! # max-bytes-per-s = 262144               # most that downloads take of the line; without it, all that there is
//! # seeds = ["/data/slots/current"]        # where the version before lies: files, directories, partitions; this is the default
//!
//! [update.slots]                           # or partitions, rauc, swupdate, mender, script: see `update`
//! directory = "/data/slots"
//! ```

mod update;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kusabi_core::device::{SERVERS_MAX, URL_LEN_MAX};
use kusabi_core::protocol::request::HOLD_SECS_MAX;
use kusabi_core::release::Label;
use serde::Deserialize;
use toml::Spanned;

use crate::inventory::{Walk, WalkError};
use crate::updater::Command;
pub use update::UpdateConfig;
use update::UpdateFile;

/// Longest configuration in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 10;
/// The longest deadline of a command or a commit: one day.
const DEADLINE_S_MAX: u64 = 86_400;
/// Shortest and longest time between polls, in seconds.
const POLL_S: std::ops::RangeInclusive<u32> = 10..=86_400;
/// Longest time between inventories for which every file is read, on average, in seconds.
const FULL_S_MAX: u64 = 90 * 86_400;
/// Shortest and longest time between inventories, in seconds.
const INVENTORY_S: std::ops::RangeInclusive<u64> = 60..=30 * 86_400;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        #[source]
        error: std::io::Error,
    },
    /// It is not TOML, a key is unknown or missing, or a value is of another type.
    #[error("{0}")]
    Toml(#[from] Box<toml::de::Error>),
    /// A value has no meaning.
    #[error("line {line}, {key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The line that it stands on, from 1.
        line: usize,
        /// What is wrong with its value.
        why: &'static str,
    },
    /// The paths of the inventory contradict each other.
    #[error("line {line}, inventory: {error}")]
    Inventory {
        /// The line of the paths, from 1; 0 when there are none.
        line: usize,
        /// Which, and why.
        #[source]
        error: WalkError,
    },
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What someone has to do something about.
    Error,
    /// And what did not go as it should.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And each request.
    Debug,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the agent keeps what it must not lose.
    pub state: PathBuf,
    /// Where the provisioning file lies until the first start has taken it in.
    pub provisioning: PathBuf,
    /// How much is logged.
    pub log: LogLevel,
    /// The device's type.
    pub device_type: String,
    /// The channel that it follows.
    pub channel: String,
    /// How it speaks to its servers.
    pub server: ServerConfig,
    /// What is inventoried; without paths nothing is.
    pub inventory: Walk,
    /// How often, at least.
    pub inventory_every: Duration,
    /// How often, on average, files are read that look unchanged; zero: each time.
    pub inventory_full_every: Duration,
    /// After so long without the ledger's word an update on trial is rolled back.
    pub commit_deadline: Duration,
    /// Most bytes of downloads in a second; without it there is no limit.
    pub bytes_per_s: Option<u64>,
    /// Files, directories and partitions that chunks of a new version may lie in.
    pub seeds: Vec<PathBuf>,
    /// How releases are installed; without it none are.
    pub update: Option<UpdateConfig>,
}

/// How the agent speaks to its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Time between polls unless the server says otherwise, in seconds.
    pub poll_secs: u32,
    /// How long the server may hold a poll back, in seconds.
    pub hold_secs: u16,
    /// Addresses in place of the provisioned ones, in their order; the servers' keys stay what the ledger proves.
    pub addresses: Vec<String>,
    /// Certificates (PEM) that those of `https://` addresses come from, in place of Mozilla's list.
    pub ca: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            poll_secs: 1800,
            hold_secs: 240,
            addresses: Vec::new(),
            ca: None,
        }
    }
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |error| ConfigError::File {
            path: path.into(),
            error,
        };
        let file = std::fs::File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(CONFIG_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        Self::parse(&text)
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(Box::new)?;
        let lines = Lines(text);
        let state = lines.absolute("state", file.state)?;
        let provisioning = match file.provisioning {
            Some(path) => lines.absolute("provisioning", path)?,
            None => state.join("device.kusabi"),
        };
        let update = file.update.unwrap_or_default();
        Ok(Self {
            provisioning,
            log: file.log,
            device_type: lines.label("device.type", file.device.device_type)?,
            channel: match file.device.channel {
                Some(channel) => lines.label("device.channel", channel)?,
                None => "stable".into(),
            },
            server: file.server.check(&lines)?,
            inventory_every: match &file.inventory.every_s {
                Some(every) if !INVENTORY_S.contains(every.get_ref()) => {
                    return lines.wrong("inventory.every-s", every, "60 to 2592000 seconds");
                }
                Some(every) => Duration::from_secs(*every.get_ref()),
                None => Duration::from_secs(86_400),
            },
            inventory_full_every: match &file.inventory.full_every_s {
                Some(every) if *every.get_ref() > FULL_S_MAX => {
                    return lines.wrong("inventory.full-every-s", every, "0 to 7776000 seconds");
                }
                Some(every) => Duration::from_secs(*every.get_ref()),
                None => Duration::from_secs(7 * 86_400),
            },
            inventory: file.inventory.check(&lines, &state)?,
            commit_deadline: update.commit_deadline(&lines)?,
            bytes_per_s: update.bytes_per_s(&lines)?,
            seeds: update.seeds(&lines)?,
            update: update.check(&lines)?,
            state,
        })
    }

    /// The file of keys.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.state.join("keys")
    }

    /// The record of updates.
    #[must_use]
    pub fn update_file(&self) -> PathBuf {
        self.state.join("update")
    }

    /// The signed manifest of the update that is under way.
    #[must_use]
    pub fn manifest_file(&self) -> PathBuf {
        self.state.join("manifest")
    }

    /// The inventory that was taken last.
    #[must_use]
    pub fn inventory_file(&self) -> PathBuf {
        self.state.join("inventory")
    }

    /// What was hashed for it.
    #[must_use]
    pub fn hashed_file(&self) -> PathBuf {
        self.state.join("hashed")
    }

    /// The rules of the inventory that came with the release that runs, or with the one before.
    #[must_use]
    pub fn rules_file(&self) -> PathBuf {
        self.state.join("rules")
    }

    /// The directory of downloads.
    #[must_use]
    pub fn staging_dir(&self) -> PathBuf {
        self.state.join("staging")
    }

    /// The servers' receipts.
    #[must_use]
    pub fn receipts_file(&self) -> PathBuf {
        self.state.join("receipts")
    }

    /// Whether the device knows the present, for whoever only looks; its age is that of the last change.
    #[must_use]
    pub fn freshness_file(&self) -> PathBuf {
        self.state.join("freshness")
    }

    /// Written when a server has answered a poll; its age is that of the last contact.
    #[must_use]
    pub fn contact_file(&self) -> PathBuf {
        self.state.join("contact")
    }

    /// Locked by the agent that runs.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.state.join("lock")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state: Spanned<PathBuf>,
    provisioning: Option<Spanned<PathBuf>>,
    #[serde(default)]
    log: LogLevel,
    device: DeviceFile,
    #[serde(default)]
    server: ServerFile,
    #[serde(default)]
    inventory: InventoryFile,
    update: Option<UpdateFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    #[serde(rename = "type")]
    device_type: Spanned<String>,
    channel: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServerFile {
    poll_s: Option<Spanned<u32>>,
    hold_s: Option<Spanned<u16>>,
    addresses: Option<Spanned<Vec<String>>>,
    ca: Option<Spanned<PathBuf>>,
}

impl ServerFile {
    fn check(self, lines: &Lines<'_>) -> Result<ServerConfig, ConfigError> {
        let mut server = ServerConfig::default();
        if let Some(poll) = self.poll_s {
            if !POLL_S.contains(poll.get_ref()) {
                return lines.wrong("server.poll-s", &poll, "10 to 86400 seconds");
            }
            server.poll_secs = poll.into_inner();
        }
        if let Some(hold) = self.hold_s {
            if *hold.get_ref() > HOLD_SECS_MAX {
                return lines.wrong("server.hold-s", &hold, "0 to 300 seconds");
            }
            server.hold_secs = hold.into_inner();
        }
        if let Some(addresses) = self.addresses {
            let good = |url: &String| {
                let rest = url
                    .strip_prefix("http://")
                    .or_else(|| url.strip_prefix("https://"));
                rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
                    && url.len() <= URL_LEN_MAX
                    && url.bytes().all(|byte| byte.is_ascii_graphic())
            };
            if !(1..=SERVERS_MAX).contains(&addresses.get_ref().len())
                || !addresses.get_ref().iter().all(good)
            {
                let why = "1 to 4 addresses like \"http://kusabi.example:7041\", without a '/' at the end";
                return lines.wrong("server.addresses", &addresses, why);
            }
            server.addresses = addresses.into_inner();
        }
        if let Some(ca) = self.ca {
            if !cfg!(feature = "tls") {
                let why = "this agent was built without TLS; build it with the feature \"tls\", or leave the key out";
                return lines.wrong("server.ca", &ca, why);
            }
            server.ca = Some(lines.absolute("server.ca", ca)?);
        }
        Ok(server)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct InventoryFile {
    root: Option<Spanned<PathBuf>>,
    paths: Option<Spanned<Vec<PathBuf>>>,
    excluded: Vec<PathBuf>,
    every_s: Option<Spanned<u64>>,
    full_every_s: Option<Spanned<u64>>,
}

impl InventoryFile {
    /// What the agent keeps for itself is no part of the inventory: it changes with each poll.
    fn check(self, lines: &Lines<'_>, state: &Path) -> Result<Walk, ConfigError> {
        let root = match self.root {
            Some(root) => lines.absolute("inventory.root", root)?,
            None => "/".into(),
        };
        let line = self.paths.as_ref().map_or(0, |paths| lines.of(paths));
        let paths = self.paths.map(Spanned::into_inner).unwrap_or_default();
        let mut excluded = self.excluded;
        excluded.extend(own_state(&root, state));
        Walk::new(&root, &paths, &excluded).map_err(|error| ConfigError::Inventory { line, error })
    }
}

/// The agent's state below the root of the inventory, if it lies there.
pub(crate) fn own_state(root: &Path, state: &Path) -> Option<PathBuf> {
    let below = state.strip_prefix(root).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.into())
}

/// The text, to say on which line a value stands.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn of<T>(&self, value: &Spanned<T>) -> usize {
        let before = self.0.as_bytes().get(..value.span().start);
        1 + before.map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count())
    }

    fn wrong<T, V>(
        &self,
        key: &'static str,
        value: &Spanned<V>,
        why: &'static str,
    ) -> Result<T, ConfigError> {
        let line = self.of(value);
        Err(ConfigError::Value { key, line, why })
    }

    fn absolute(&self, key: &'static str, path: Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        if path.get_ref().is_absolute() {
            Ok(path.into_inner())
        } else {
            let why = "an absolute path is needed: the agent may be started anywhere";
            self.wrong(key, &path, why)
        }
    }

    fn deadline(&self, key: &'static str, secs: &Spanned<u64>) -> Result<Duration, ConfigError> {
        if (1..=DEADLINE_S_MAX).contains(secs.get_ref()) {
            Ok(Duration::from_secs(*secs.get_ref()))
        } else {
            self.wrong(key, secs, "1 to 86400 seconds")
        }
    }

    fn label(&self, key: &'static str, text: Spanned<String>) -> Result<String, ConfigError> {
        if Label::new(text.get_ref()).is_ok() {
            return Ok(text.into_inner());
        }
        let why =
            "1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first";
        self.wrong(key, &text, why)
    }

    fn command(
        &self,
        key: &'static str,
        words: Spanned<Vec<String>>,
        deadline: Duration,
    ) -> Result<Command, ConfigError> {
        match words.get_ref().first() {
            Some(program) if Path::new(program).is_absolute() => {
                let mut words = words.into_inner();
                let program = words.remove(0);
                Ok(Command {
                    program,
                    arguments: words,
                    environment: vec![],
                    deadline,
                })
            }
            _ => {
                let why = "a list of words is needed, the first of which is the absolute path of a program";
                self.wrong(key, &words, why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::updater::{Restart, UpdaterConfig};

    /// The sample in the documentation of this module.
    fn sample() -> String {
        let source = include_str!("config.rs");
        let lines = source
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1);
        let lines = lines.take_while(|line| *line != "//! ```");
        lines.fold(String::new(), |text, line| {
            text + line.trim_start_matches("//!").trim_start() + "\n"
        })
    }

    #[test]
    fn the_sample_is_what_it_says() {
        let config = Config::parse(&sample()).unwrap();
        assert_eq!(config.device_type, "cam-a");
        assert_eq!(config.key_file(), Path::new("/var/lib/kusabi/keys"));
        let update = config.update.unwrap();
        let slots = UpdaterConfig::Slots("/data/slots".into());
        assert_eq!(update.updater, slots);
        let settings = update.settings;
        assert_eq!(settings.restarts, Restart::Service);
        assert_eq!(
            settings.restart.to_string(),
            "/usr/bin/systemctl restart camera.service"
        );
        assert_eq!(
            settings.self_test.unwrap().deadline,
            Duration::from_secs(120)
        );
    }

    #[test]
    fn little_is_needed() {
        let config = Config::parse("state = \"/s\"\n[device]\ntype = \"t\"").unwrap();
        assert_eq!((config.channel.as_str(), &config.update), ("stable", &None));
        assert_eq!(config.provisioning, Path::new("/s/device.kusabi"));
        assert_eq!(config.server, ServerConfig::default());
        assert_eq!(config.log, LogLevel::Info);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let sample = sample();
        for (from, to, said) in [
            (
                "type = \"cam-a\"",
                "type = \"cam a\"",
                "device.type: 1 to 64",
            ),
            (
                "type = \"cam-a\"",
                "kind = \"cam-a\"",
                "unknown field `kind`",
            ),
            (
                "state = \"/var",
                "state = \"var",
                "line 1, state: an absolute path",
            ),
            ("starts-max = 3", "starts-max = 0", "at least one start"),
            ("starts-max = 3", "starts-max = 256", "starts-max"),
            ("deadline-s = 120", "deadline-s = 0", "1 to 86400"),
            ("\"service\"", "\"device\"", "unknown variant `device`"),
            (
                "[\"/usr/bin/systemctl\",",
                "[\"systemctl\",",
                "absolute path of a program",
            ),
            (
                "restart = [",
                "restart = [] #",
                "absolute path of a program",
            ),
            ("\"/etc\"]", "\"/usr/bin\"]", "lies within"),
            ("\"/etc\"]", "\"/etc/..\"]", "without '.' and '..'"),
            ("[update.slots]", "[update.opkg]", "unknown field `opkg`"),
            ("[device]", "[devices]", "unknown field `devices`"),
            (
                "hold-s = 240",
                "hold-s = 301",
                "line 11, server.hold-s: 0 to 300",
            ),
            ("poll-s = 1800", "poll-s = 9", "line 10, server.poll-s"),
            ("poll-s = 1800", "polls = 9", "unknown field `polls`"),
            ("# addresses", "addresses = [] #", "1 to 4 addresses"),
            ("7041\"]", "7041/\"]", "1 to 4 addresses"),
            ("example:7041", "ex ample:7041", "1 to 4 addresses"),
            (
                "# ca = \"/etc",
                "ca = \"etc",
                if cfg!(feature = "tls") {
                    "line 13, server.ca: an absolute path"
                } else {
                    "line 13, server.ca: this agent was built without TLS"
                },
            ),
            (
                "every-s = 86400",
                "every-s = 1",
                "line 19, inventory.every-s",
            ),
            (
                "commit-deadline-s = 3600",
                "commit-deadline-s = 0",
                "line 29, update.commit-deadline-s",
            ),
            (
                "# max-bytes-per-s = 262144",
                "max-bytes-per-s = 1000",
                "update.max-bytes-per-s: 1024 to",
            ),
            (
                "# seeds = [\"/data",
                "seeds = [\"data",
                "update.seeds: an absolute path",
            ),
            ("log = \"info\"", "log = \"loud\"", "unknown variant `loud`"),
        ] {
            assert!(sample.contains(from), "{from}");
            let wrong = sample.replace("# addresses", "addresses").replace(from, to);
            let wrong = if from == "# addresses" {
                sample.replace(from, to)
            } else {
                wrong
            };
            let error = Config::parse(&wrong).unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
    }
}
