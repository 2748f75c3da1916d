//! The agent's configuration: one TOML file, in which an unknown key is an error.
//!
//! ```toml
//! state = "/var/lib/kusabi"                # keys, updates, downloads; for the agent's user alone
//!
//! [device]
//! type = "cam-a"
//! channel = "stable"
//!
//! [inventory]
//! root = "/"
//! paths = ["/usr", "/etc"]
//! excluded = ["/etc/mtab"]
//!
//! [update.slots]
//! directory = "/data/slots"
//! restart = ["/usr/bin/systemctl", "restart", "camera.service"]
//! restarts = "service"                     # or "machine"
//! self-test = ["/usr/bin/camera", "--self-test"]
//! self-test-deadline-s = 120
//! starts-max = 3
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use kusabi_core::release::Label;
use serde::Deserialize;

use crate::inventory::{Walk, WalkError};
use crate::updater::{Command, Restart, Settings};

/// Longest configuration in bytes.
pub const CONFIG_BYTES_MAX: u64 = 64 << 10;
/// How long a restart command may take.
const RESTART_DEADLINE: Duration = Duration::from_secs(300);
/// The longest deadline of a self-test: one day.
const SELF_TEST_DEADLINE_S_MAX: u64 = 86_400;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not TOML, a key is unknown or missing, or a value is of another type.
    #[error("{0}")]
    Toml(#[from] Box<toml::de::Error>),
    /// A value has no meaning.
    #[error("{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        why: &'static str,
    },
    /// The paths of the inventory contradict each other.
    #[error("inventory: {0}")]
    Inventory(#[from] WalkError),
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the agent keeps what it must not lose.
    pub state: PathBuf,
    /// The device's type.
    pub device_type: String,
    /// The channel that it follows.
    pub channel: String,
    /// What is inventoried.
    pub inventory: Walk,
    /// How releases are installed; without it none are.
    pub slots: Option<SlotsConfig>,
}

/// The updater of two directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsConfig {
    /// The directory of the slots.
    pub directory: PathBuf,
    /// How to restart and test.
    pub settings: Settings,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(Box::new)?;
        Ok(Self {
            state: absolute("state", file.state)?,
            device_type: label("device.type", file.device.device_type)?,
            channel: label("device.channel", file.device.channel)?,
            inventory: Walk::new(
                &absolute("inventory.root", file.inventory.root)?,
                &file.inventory.paths,
                &file.inventory.excluded,
            )?,
            slots: file
                .update
                .and_then(|update| update.slots)
                .map(SlotsFile::check)
                .transpose()?,
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

    /// The directory of downloads.
    #[must_use]
    pub fn staging_dir(&self) -> PathBuf {
        self.state.join("staging")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    state: PathBuf,
    device: DeviceFile,
    #[serde(default)]
    inventory: InventoryFile,
    update: Option<UpdateFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceFile {
    #[serde(rename = "type")]
    device_type: String,
    #[serde(default = "stable")]
    channel: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct InventoryFile {
    root: PathBuf,
    paths: Vec<PathBuf>,
    excluded: Vec<PathBuf>,
}

impl Default for InventoryFile {
    fn default() -> Self {
        Self {
            root: "/".into(),
            paths: Vec::new(),
            excluded: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateFile {
    slots: Option<SlotsFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SlotsFile {
    directory: PathBuf,
    restart: Vec<String>,
    restarts: Restarts,
    self_test: Option<Vec<String>>,
    #[serde(default = "two_minutes")]
    self_test_deadline_s: u64,
    #[serde(default = "three")]
    starts_max: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Restarts {
    Machine,
    Service,
}

impl SlotsFile {
    fn check(self) -> Result<SlotsConfig, ConfigError> {
        let wrong = |key, why| Err(ConfigError::Value { key, why });
        if self.starts_max == 0 {
            return wrong(
                "update.slots.starts-max",
                "an update needs at least one start",
            );
        }
        if !(1..=SELF_TEST_DEADLINE_S_MAX).contains(&self.self_test_deadline_s) {
            return wrong("update.slots.self-test-deadline-s", "1 to 86400 seconds");
        }
        let deadline = Duration::from_secs(self.self_test_deadline_s);
        Ok(SlotsConfig {
            directory: absolute("update.slots.directory", self.directory)?,
            settings: Settings {
                restart: command("update.slots.restart", self.restart, RESTART_DEADLINE)?,
                restarts: match self.restarts {
                    Restarts::Machine => Restart::Machine,
                    Restarts::Service => Restart::Service,
                },
                self_test: self
                    .self_test
                    .map(|words| command("update.slots.self-test", words, deadline))
                    .transpose()?,
                starts_max: self.starts_max,
            },
        })
    }
}

fn stable() -> String {
    "stable".into()
}

const fn two_minutes() -> u64 {
    120
}

const fn three() -> u8 {
    3
}

fn absolute(key: &'static str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        Ok(path)
    } else {
        let why = "an absolute path is needed: the agent may be started anywhere";
        Err(ConfigError::Value { key, why })
    }
}

fn label(key: &'static str, text: String) -> Result<String, ConfigError> {
    match Label::new(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(ConfigError::Value {
            key,
            why: "1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '+', '-', a letter or digit first",
        }),
    }
}

fn command(
    key: &'static str,
    words: Vec<String>,
    deadline: Duration,
) -> Result<Command, ConfigError> {
    let mut words = words.into_iter();
    match words.next() {
        Some(program) if Path::new(&program).is_absolute() => Ok(Command {
            program,
            arguments: words.collect(),
            deadline,
        }),
        _ => Err(ConfigError::Value {
            key,
            why: "a list of words is needed, the first of which is the absolute path of a program",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let settings = config.slots.unwrap().settings;
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
        assert_eq!((config.channel.as_str(), config.slots), ("stable", None));
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
            ("state = \"/var", "state = \"var", "state: an absolute path"),
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
            ("[update.slots]", "[update.rauc]", "unknown field `rauc`"),
            ("[device]", "[devices]", "unknown field `devices`"),
        ] {
            assert!(sample.contains(from), "{from}");
            let error = Config::parse(&sample.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(said), "{to}: {error}");
        }
    }
}
