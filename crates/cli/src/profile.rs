//! Where the ledger is and whose keys to use: a small TOML file.
//!
//! ```toml
//! ledger = "http://127.0.0.1:7040"
//! chain = "5ac1…"
//! org = "home"
//! writer = "/srv/ledger/keys/writer.key"
//! officers = ["/srv/ledger/keys/officer.key"]
//! server = "http://127.0.0.1:7042"
//! token_file = "/srv/ledger/token"
//! ```
//! Paths count from the profile's own folder. Keys stand here by path only.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files,
};

/// A profile has a few lines.
const LIMIT: u64 = 64 * 1024;

/// Name of the profile in the home folder.
const NAME: &str = "profile.toml";

/// The profile file. Everything is optional; the command line comes first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Address of a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ledger: Option<String>,
    /// Chain ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<String>,
    /// Name of the organisation in whose name keys are registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) org: Option<String>,
    /// Key file of a writer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) writer: Option<PathBuf>,
    /// Key files of officers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) officers: Vec<PathBuf>,
    /// Key files of release keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) art: Vec<PathBuf>,
    /// Address of a server's admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// File that holds the token for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificates that the server's may come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_ca: Option<PathBuf>,
}

impl Profile {
    /// Reads the profile at `path`; its relative paths become absolute or relative to the current directory.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = files::read(path, LIMIT)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Failure::new(Exit::Config, format!("{} is not text", path.display())))?;
        let mut profile: Self =
            toml::from_str(&text).map_err(|error| toml_failure(path, &error))?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let paths = [
            &mut profile.writer,
            &mut profile.token_file,
            &mut profile.server_ca,
        ];
        let lists = profile.officers.iter_mut().chain(&mut profile.art);
        for path in paths.into_iter().flatten().chain(lists) {
            *path = folder.join(&*path);
        }
        Ok(profile)
    }

    /// The file's text.
    pub(crate) fn to_toml(&self) -> String {
        // A struct of strings and paths always has a TOML form; an unreadable path would lose its odd bytes.
        toml::to_string(self).unwrap_or_default()
    }
}

/// `kusabi`'s own folder: `$KUSABI_HOME`, else `$XDG_CONFIG_HOME/kusabi`, else `~/.config/kusabi`.
pub(crate) fn home() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("KUSABI_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("XDG_CONFIG_HOME").map(|path| Path::new(&path).join("kusabi")))
        .or_else(|| variable("HOME").map(|path| Path::new(&path).join(".config/kusabi")))
        .ok_or_else(|| {
            Failure::new(
                Exit::Config,
                "there is no home directory to keep the profile and the anchor in",
            )
            .advise("set HOME or KUSABI_HOME")
        })
}

/// Where the profile is when none is named.
pub(crate) fn default_path() -> Result<PathBuf> {
    Ok(home()?.join(NAME))
}

/// A TOML error as a sentence with the line that is wrong.
pub(crate) fn toml_failure(path: &Path, error: &toml::de::Error) -> Failure {
    Failure::new(Exit::Config, format!("{} is not valid", path.display()))
        .excerpt(error.to_string().trim_end())
        .advise("mend the line; docs/cli.md lists every setting")
}

/// A TOML file that somebody sent.
pub(crate) struct Sent<'a> {
    pub(crate) path: &'a Path,
    /// What it is meant to be, such as "member file".
    pub(crate) what: &'static str,
    /// Who makes it anew.
    pub(crate) advice: &'static str,
}

impl Sent<'_> {
    /// The sentence for what is wrong with it.
    pub(crate) fn wrong(&self, why: impl std::fmt::Display) -> Failure {
        let (path, what) = (self.path.display(), self.what);
        Failure::new(Exit::File, format!("{path} is no {what}: {why}")).advise(self.advice)
    }

    /// Its content, of at most `limit` bytes; what it says is not looked at yet.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, limit: u64) -> Result<T> {
        let bytes = files::read(self.path, limit)?;
        let text = String::from_utf8(bytes).map_err(|_| self.wrong("it is not text"))?;
        toml::from_str(&text).map_err(|error| {
            let failure = toml_failure(self.path, &error);
            self.wrong("a line of it is not valid")
                .excerpt(failure.lines().unwrap_or_default())
        })
    }
}

/// A packaged file with what is commented out as well, and how many settings it has: behind a `#` that no space follows stands one.
#[cfg(test)]
pub(crate) fn with_comments(packaged: &str) -> (String, usize) {
    let lines = packaged.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let lines: Vec<_> = lines.collect();
    let table = lines.iter().position(|line| line.starts_with('['));
    // A table is one setting, and stands last.
    let (settings, tables) = lines.split_at(table.unwrap_or(lines.len()));
    let count = |lines: &[&str], sign: char| {
        let settings = lines.iter().filter(|line| !line.starts_with("# "));
        settings.filter(|line| line.contains(sign)).count()
    };
    let settings = count(settings, '=') + count(tables, '[');
    (lines.join("\n"), settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut profile = Profile {
            ledger: Some("http://127.0.0.1:7040".into()),
            chain: Some("00".repeat(32)),
            org: Some("home".into()),
            writer: Some("keys/writer.key".into()),
            officers: vec!["/abs/officer.key".into()],
            art: vec!["/abs/art.key".into()],
            server: Some("http://127.0.0.1:7042".into()),
            token_file: Some("/abs/token".into()),
            server_ca: None,
        };
        std::fs::write(&path, profile.to_toml()).unwrap();
        profile.writer = Some(folder.path().join("keys/writer.key"));
        assert_eq!(Profile::read(&path).unwrap(), profile);
    }

    #[test]
    fn the_manual_names_every_setting() {
        let manual = include_str!("../../../docs/cli.md");
        let profile = Profile {
            ledger: Some(String::new()),
            chain: Some(String::new()),
            org: Some(String::new()),
            writer: Some(PathBuf::new()),
            officers: vec![PathBuf::new()],
            art: vec![PathBuf::new()],
            server: Some(String::new()),
            token_file: Some(PathBuf::new()),
            server_ca: Some(PathBuf::new()),
        };
        let settings: toml::Table = toml::from_str(&profile.to_toml()).unwrap();
        assert_eq!(settings.len(), 9);
        for setting in settings.keys() {
            assert!(manual.contains(&format!("`{setting}`")), "{setting}");
        }
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        std::fs::write(&path, "ledgre = \"http://127.0.0.1:7040\"\n").unwrap();
        let failure = Profile::read(&path).unwrap_err();
        assert_eq!(failure.exit(), Exit::Config);
        assert!(failure.lines().unwrap().contains("ledgre"), "{failure}");
    }
}
