//! `[update]`: how releases are installed, and by which update system. Exactly one of these:
//!
//! ```toml
//! [update.slots]                           # two directories; payloads "tar" and "raw"
//! directory = "/data/slots"
//! ```
//! ```toml
//! [update.partitions]                      # two partitions; payload "image"
//! a = "/dev/mmcblk0p2"
//! b = "/dev/mmcblk0p3"
//! current = ["/usr/bin/findmnt", "-no", "SOURCE", "/"]       # prints a or b, or the partition
//! activate = ["/usr/bin/fw_setenv", "slot", "{slot}"]        # {slot} is a or b
//! mark-good = ["/usr/bin/fw_setenv", "attempts", "0"]        # where the boot loader wants to be told
//! ```
//! ```toml
//! [update.rauc]                            # payload "raucb"
//! program = "/usr/bin/rauc"
//! ```
//! ```toml
//! [update.swupdate]                        # payload "swu"
//! program = "/usr/bin/swupdate"
//! options = ["-k", "/etc/swupdate/key.pem"]
//! select-a = "stable,a"                    # what fills slot a
//! select-b = "stable,b"
//! current = ["/usr/bin/fw_printenv", "-n", "running"]
//! activate = ["/usr/bin/fw_setenv", "slot", "{slot}"]
//! ```
//! ```toml
//! [update.mender]                          # payload "mender"
//! program = "/usr/bin/mender"              # "/usr/bin/mender-update" from 4.0 on
//! options = ["--no-syslog"]
//! ```
//! ```toml
//! [update.script]                          # payloads of any format
//! install = ["/usr/lib/update/install"]    # the payload's path is its last argument
//! switch = ["/usr/lib/update/switch"]
//! is-switched = ["/usr/lib/update/is-switched"]              # prints yes or no
//! commit = ["/usr/lib/update/commit"]
//! switch-back = ["/usr/lib/update/switch-back"]
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{ConfigError, Lines};
use crate::updater::{
    BOOT_ID, BootCommands, MenderConfig, PartitionsConfig, RaucConfig, Restart, SLOT, ScriptConfig,
    Settings, SwupdateConfig, UpdaterConfig,
};

/// Least and greatest limit of downloads, in bytes per second.
const BYTES_PER_S: std::ops::RangeInclusive<u64> = 1024..=1 << 40;

/// How long a restart command may take.
const RESTART_DEADLINE: Duration = Duration::from_secs(300);

/// How releases are installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateConfig {
    /// File whose content is another one after each start of the machine.
    pub boot_id: PathBuf,
    /// How to restart and test.
    pub settings: Settings,
    /// The update system.
    pub updater: UpdaterConfig,
}

type Words = Spanned<Vec<String>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct UpdateFile {
    restart: Option<Words>,
    restarts: Option<Spanned<Restarts>>,
    boot_id: Option<Spanned<PathBuf>>,
    self_test: Option<Words>,
    self_test_deadline_s: Option<Spanned<u64>>,
    starts_max: Option<Spanned<u8>>,
    commit_deadline_s: Option<Spanned<u64>>,
    install_deadline_s: Option<Spanned<u64>>,
    tool_deadline_s: Option<Spanned<u64>>,
    max_bytes_per_s: Option<Spanned<u64>>,
    seeds: Option<Vec<Spanned<PathBuf>>>,
    slots: Option<Spanned<SlotsFile>>,
    partitions: Option<Spanned<PartitionsFile>>,
    rauc: Option<Spanned<RaucFile>>,
    swupdate: Option<Spanned<SwupdateFile>>,
    mender: Option<Spanned<MenderFile>>,
    script: Option<Spanned<ScriptFile>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Restarts {
    Machine,
    Service,
}

/// Once all of these stood here, and configurations of then are in the field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SlotsFile {
    directory: Spanned<PathBuf>,
    restart: Option<Words>,
    restarts: Option<Spanned<Restarts>>,
    boot_id: Option<Spanned<PathBuf>>,
    self_test: Option<Words>,
    self_test_deadline_s: Option<Spanned<u64>>,
    starts_max: Option<Spanned<u8>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PartitionsFile {
    a: Spanned<PathBuf>,
    b: Spanned<PathBuf>,
    current: Words,
    activate: Words,
    mark_good: Option<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RaucFile {
    program: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SwupdateFile {
    program: Option<Spanned<PathBuf>>,
    #[serde(default)]
    options: Vec<String>,
    select_a: Spanned<String>,
    select_b: Spanned<String>,
    current: Words,
    activate: Words,
    mark_good: Option<Words>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MenderFile {
    program: Option<Spanned<PathBuf>>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScriptFile {
    install: Words,
    switch: Words,
    is_switched: Words,
    commit: Words,
    switch_back: Words,
}

/// How long tools may take.
#[derive(Clone, Copy)]
struct Deadlines {
    install: Duration,
    tool: Duration,
}

impl UpdateFile {
    pub(super) fn commit_deadline(&self, lines: &Lines<'_>) -> Result<Duration, ConfigError> {
        let key = "update.commit-deadline-s";
        deadline(lines, key, self.commit_deadline_s.as_ref(), 3600)
    }

    /// The most that downloads take of the line.
    pub(super) fn bytes_per_s(&self, lines: &Lines<'_>) -> Result<Option<u64>, ConfigError> {
        match &self.max_bytes_per_s {
            Some(rate) if !BYTES_PER_S.contains(rate.get_ref()) => {
                lines.wrong("update.max-bytes-per-s", rate, "1024 to 2^40 bytes")
            }
            rate => Ok(rate.as_ref().map(|rate| *rate.get_ref())),
        }
    }

    /// Where the version before lies: where it runs, unless something else is said.
    pub(super) fn seeds(&self, lines: &Lines<'_>) -> Result<Vec<PathBuf>, ConfigError> {
        if let Some(seeds) = &self.seeds {
            return seeds
                .iter()
                .map(|seed| lines.absolute("update.seeds", seed.clone()))
                .collect();
        }
        let slots = self.slots.iter();
        let slots = slots.map(|file| file.get_ref().directory.get_ref().join("current"));
        // Which of the two runs is known to the boot loader; a partition that does not has older pieces, as good as others.
        let partitions = self.partitions.iter().map(Spanned::get_ref);
        let partitions = partitions.flat_map(|file| [&file.a, &file.b]);
        Ok(slots
            .chain(partitions.map(|path| path.get_ref().clone()))
            .collect())
    }

    /// The update system, if one is configured.
    pub(super) fn check(mut self, lines: &Lines<'_>) -> Result<Option<UpdateConfig>, ConfigError> {
        self.one_system(lines)?;
        self.take_over(lines)?;
        let deadlines = Deadlines {
            install: deadline(
                lines,
                "update.install-deadline-s",
                self.install_deadline_s.as_ref(),
                3600,
            )?,
            tool: deadline(
                lines,
                "update.tool-deadline-s",
                self.tool_deadline_s.as_ref(),
                120,
            )?,
        };
        let (line, updater) = if let Some(file) = self.slots.take() {
            let line = lines.of(&file);
            let directory = file.into_inner().directory;
            let directory = lines.absolute("update.slots.directory", directory)?;
            (line, UpdaterConfig::Slots(directory))
        } else if let Some(file) = self.partitions.take() {
            let line = lines.of(&file);
            (line, file.into_inner().check(lines, deadlines)?)
        } else if let Some(file) = self.rauc.take() {
            let line = lines.of(&file);
            (line, file.into_inner().check(lines, deadlines)?)
        } else if let Some(file) = self.swupdate.take() {
            let line = lines.of(&file);
            (line, file.into_inner().check(lines, deadlines)?)
        } else if let Some(file) = self.mender.take() {
            let line = lines.of(&file);
            (line, file.into_inner().check(lines, deadlines)?)
        } else if let Some(file) = self.script.take() {
            let line = lines.of(&file);
            (line, file.into_inner().check(lines, deadlines)?)
        } else {
            return Ok(None);
        };
        self.settings(lines, line, updater).map(Some)
    }

    /// Two update systems on one device would each undo what the other does.
    fn one_system(&self, lines: &Lines<'_>) -> Result<(), ConfigError> {
        let mut found: Vec<usize> = [
            self.slots.as_ref().map(|file| lines.of(file)),
            self.partitions.as_ref().map(|file| lines.of(file)),
            self.rauc.as_ref().map(|file| lines.of(file)),
            self.swupdate.as_ref().map(|file| lines.of(file)),
            self.mender.as_ref().map(|file| lines.of(file)),
            self.script.as_ref().map(|file| lines.of(file)),
        ]
        .into_iter()
        .flatten()
        .collect();
        found.sort_unstable();
        match found.get(1) {
            None => Ok(()),
            Some(&line) => Err(ConfigError::Value {
                key: "update",
                line,
                why: "a device has one update system: exactly one of [update.slots], [update.partitions], [update.rauc], [update.swupdate], [update.mender], [update.script]",
            }),
        }
    }

    /// What stands in `[update.slots]` is taken as if it stood in `[update]`.
    fn take_over(&mut self, lines: &Lines<'_>) -> Result<(), ConfigError> {
        fn one<T>(
            lines: &Lines<'_>,
            key: &'static str,
            here: &mut Option<Spanned<T>>,
            there: Option<Spanned<T>>,
        ) -> Result<(), ConfigError> {
            match (here.is_some(), there) {
                (_, None) => {}
                (false, there) => *here = there,
                (true, Some(there)) => {
                    return lines.wrong(
                        key,
                        &there,
                        "it stands in [update] already; leave this one out",
                    );
                }
            }
            Ok(())
        }
        let Some(slots) = self.slots.as_mut().map(Spanned::get_mut) else {
            return Ok(());
        };
        one(
            lines,
            "update.slots.restart",
            &mut self.restart,
            slots.restart.take(),
        )?;
        one(
            lines,
            "update.slots.restarts",
            &mut self.restarts,
            slots.restarts.take(),
        )?;
        one(
            lines,
            "update.slots.boot-id",
            &mut self.boot_id,
            slots.boot_id.take(),
        )?;
        one(
            lines,
            "update.slots.self-test",
            &mut self.self_test,
            slots.self_test.take(),
        )?;
        one(
            lines,
            "update.slots.self-test-deadline-s",
            &mut self.self_test_deadline_s,
            slots.self_test_deadline_s.take(),
        )?;
        one(
            lines,
            "update.slots.starts-max",
            &mut self.starts_max,
            slots.starts_max.take(),
        )
    }

    fn settings(
        self,
        lines: &Lines<'_>,
        line: usize,
        updater: UpdaterConfig,
    ) -> Result<UpdateConfig, ConfigError> {
        let missing = |key, why| ConfigError::Value { key, line, why };
        let restart = self.restart.ok_or_else(|| {
            missing(
                "update.restart",
                "it is missing: the command that starts a new release",
            )
        })?;
        let restarts = self.restarts.ok_or_else(|| {
            missing(
                "update.restarts",
                "it is missing: what `restart` restarts, \"machine\" or \"service\"",
            )
        })?;
        let self_test_deadline = deadline(
            lines,
            "update.self-test-deadline-s",
            self.self_test_deadline_s.as_ref(),
            120,
        )?;
        let starts_max = match &self.starts_max {
            Some(starts) if *starts.get_ref() == 0 => {
                let why = "an update needs at least one start";
                return lines.wrong("update.starts-max", starts, why);
            }
            Some(starts) => *starts.get_ref(),
            None => 3,
        };
        Ok(UpdateConfig {
            boot_id: match self.boot_id {
                Some(path) => lines.absolute("update.boot-id", path)?,
                None => BOOT_ID.into(),
            },
            settings: Settings {
                restart: lines.command("update.restart", restart, RESTART_DEADLINE)?,
                restarts: match restarts.into_inner() {
                    Restarts::Machine => Restart::Machine,
                    Restarts::Service => Restart::Service,
                },
                self_test: self
                    .self_test
                    .map(|words| lines.command("update.self-test", words, self_test_deadline))
                    .transpose()?,
                starts_max,
            },
            updater,
        })
    }
}

impl PartitionsFile {
    fn check(self, lines: &Lines<'_>, deadlines: Deadlines) -> Result<UpdaterConfig, ConfigError> {
        if self.a.get_ref() == self.b.get_ref() {
            let why =
                "it is the same partition as a; a release is written to the one that does not run";
            return lines.wrong("update.partitions.b", &self.b, why);
        }
        let devices = [
            lines.absolute("update.partitions.a", self.a)?,
            lines.absolute("update.partitions.b", self.b)?,
        ];
        let keys = [
            "update.partitions.current",
            "update.partitions.activate",
            "update.partitions.mark-good",
        ];
        let names = Some(devices.clone());
        let words = (self.current, self.activate, self.mark_good);
        Ok(UpdaterConfig::Partitions(PartitionsConfig {
            devices,
            boot: boot(lines, deadlines, keys, words, names)?,
        }))
    }
}

impl RaucFile {
    fn check(self, lines: &Lines<'_>, deadlines: Deadlines) -> Result<UpdaterConfig, ConfigError> {
        Ok(UpdaterConfig::Rauc(RaucConfig {
            program: program(lines, "update.rauc.program", self.program, "/usr/bin/rauc")?,
            install_deadline: deadlines.install,
            deadline: deadlines.tool,
        }))
    }
}

impl SwupdateFile {
    fn check(self, lines: &Lines<'_>, deadlines: Deadlines) -> Result<UpdaterConfig, ConfigError> {
        let select = |key, select: Spanned<String>| {
            let halves = select.get_ref().split_once(',');
            if halves.is_some_and(|(software, mode)| !software.is_empty() && !mode.is_empty()) {
                Ok(select.into_inner())
            } else {
                let why = "a selection is \"software,mode\", as in sw-description";
                lines.wrong(key, &select, why)
            }
        };
        if self.select_a.get_ref() == self.select_b.get_ref() {
            let why = "it is what fills slot a; SWUpdate would write over what runs";
            return lines.wrong("update.swupdate.select-b", &self.select_b, why);
        }
        let keys = [
            "update.swupdate.current",
            "update.swupdate.activate",
            "update.swupdate.mark-good",
        ];
        let words = (self.current, self.activate, self.mark_good);
        Ok(UpdaterConfig::Swupdate(SwupdateConfig {
            program: program(
                lines,
                "update.swupdate.program",
                self.program,
                "/usr/bin/swupdate",
            )?,
            options: self.options,
            select: [
                select("update.swupdate.select-a", self.select_a)?,
                select("update.swupdate.select-b", self.select_b)?,
            ],
            boot: boot(lines, deadlines, keys, words, None)?,
            install_deadline: deadlines.install,
        }))
    }
}

impl MenderFile {
    fn check(self, lines: &Lines<'_>, deadlines: Deadlines) -> Result<UpdaterConfig, ConfigError> {
        Ok(UpdaterConfig::Mender(MenderConfig {
            program: program(
                lines,
                "update.mender.program",
                self.program,
                "/usr/bin/mender",
            )?,
            options: self.options,
            install_deadline: deadlines.install,
            deadline: deadlines.tool,
        }))
    }
}

impl ScriptFile {
    fn check(self, lines: &Lines<'_>, deadlines: Deadlines) -> Result<UpdaterConfig, ConfigError> {
        let command = |key, words| lines.command(key, words, deadlines.tool);
        Ok(UpdaterConfig::Script(ScriptConfig {
            install: lines.command("update.script.install", self.install, deadlines.install)?,
            switch: command("update.script.switch", self.switch)?,
            is_switched: command("update.script.is-switched", self.is_switched)?,
            commit: command("update.script.commit", self.commit)?,
            switch_back: command("update.script.switch-back", self.switch_back)?,
        }))
    }
}

fn boot(
    lines: &Lines<'_>,
    deadlines: Deadlines,
    [current, activate, mark_good]: [&'static str; 3],
    words: (Words, Words, Option<Words>),
    names: Option<[PathBuf; 2]>,
) -> Result<BootCommands, ConfigError> {
    if !words
        .1
        .get_ref()
        .iter()
        .skip(1)
        .any(|word| word.contains(SLOT))
    {
        let why = "one of its arguments has to hold {slot}, which stands for a or b";
        return lines.wrong(activate, &words.1, why);
    }
    let command = |key, words| lines.command(key, words, deadlines.tool);
    Ok(BootCommands {
        current: command(current, words.0)?,
        activate: command(activate, words.1)?,
        mark_good: words.2.map(|words| command(mark_good, words)).transpose()?,
        names,
    })
}

fn program(
    lines: &Lines<'_>,
    key: &'static str,
    path: Option<Spanned<PathBuf>>,
    otherwise: &str,
) -> Result<String, ConfigError> {
    let Some(path) = path else {
        return Ok(otherwise.into());
    };
    let text = path.get_ref().to_str().map(str::to_owned);
    match text.filter(|text| Path::new(text).is_absolute()) {
        Some(text) => Ok(text),
        None => lines.wrong(key, &path, "the absolute path of a program is needed"),
    }
}

fn deadline(
    lines: &Lines<'_>,
    key: &'static str,
    secs: Option<&Spanned<u64>>,
    otherwise_s: u64,
) -> Result<Duration, ConfigError> {
    match secs {
        Some(secs) => lines.deadline(key, secs),
        None => Ok(Duration::from_secs(otherwise_s)),
    }
}

#[cfg(test)]
mod tests;
