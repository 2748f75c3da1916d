//! Runs `kusabi` in a folder of its own, as a person with an empty home would.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use snapbox::assert_data_eq;

/// A folder in which commands run.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Ran {
    output: Output,
    line: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `kusabi` with these arguments, ready to run; nothing of the caller's environment but the path.
    pub(crate) fn command(&self, line: &str) -> Command {
        self.command_through(&[], line)
    }

    /// The same, started through another command.
    pub(crate) fn command_through(&self, through: &[String], line: &str) -> Command {
        self.command_of(crate::kusabi(), through, line)
    }

    /// The same of another copy of the program.
    pub(crate) fn command_of(&self, program: PathBuf, through: &[String], line: &str) -> Command {
        let mut words: Vec<_> = through.iter().map(Into::into).collect();
        words.push(program.into_os_string());
        let mut command = Command::new(words.remove(0));
        command
            .args(words)
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `kusabi` with arguments that hold no spaces.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran {
            output: self.command(line).output().unwrap(),
            line: line.to_owned(),
        }
    }

    /// The same, started through another command.
    #[allow(dead_code, reason = "for the slow rounds")]
    pub(crate) fn run_through(&self, through: &[String], line: &str) -> Ran {
        Ran {
            output: self.command_through(through, line).output().unwrap(),
            line: line.to_owned(),
        }
    }

    /// The same by somebody else: with another home, in this folder.
    pub(crate) fn run_at(&self, home: &str, line: &str) -> Ran {
        let mut command = self.command(line);
        command.env("KUSABI_HOME", self.path(home));
        Ran {
            output: command.output().unwrap(),
            line: line.to_owned(),
        }
    }

    /// The same with text on standard input.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> Ran {
        use std::io::Write as _;
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        Ran {
            output: child.wait_with_output().unwrap(),
            line: line.to_owned(),
        }
    }
}

impl Ran {
    /// Standard output.
    pub(crate) fn out(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    /// Standard error.
    pub(crate) fn err(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// The first JSON object on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        self.jsons().next().unwrap()
    }

    /// All JSON objects on standard output, one per line.
    pub(crate) fn jsons(&self) -> impl Iterator<Item = serde_json::Value> {
        let out = self.ok().out();
        let lines: Vec<_> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines.into_iter()
    }

    /// The exit code.
    pub(crate) fn code(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    /// It went well and said nothing on standard error.
    pub(crate) fn ok(&self) -> &Self {
        self.exits(0);
        assert_eq!(self.err(), "", "kusabi {}", self.line);
        self
    }

    /// It ended with this code.
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "kusabi {}\n{}{}",
            self.line,
            self.out(),
            self.err()
        );
        self
    }

    /// It said this on standard output, with [HASH] for what is random.
    pub(crate) fn says(&self, expected: impl snapbox::IntoData) -> &Self {
        assert_data_eq!(plain(&self.out()), expected);
        self
    }

    /// It said this on standard error.
    pub(crate) fn complains(&self, expected: impl snapbox::IntoData) -> &Self {
        assert_data_eq!(plain(&self.err()), expected);
        self
    }
}

/// Replaces what differs from run to run: long hex numbers, ports, times.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let hex = rest
            .find(|c: char| !matches!(c, '0'..='9' | 'a'..='f'))
            .unwrap_or(rest.len());
        let time = rest.get(..20).filter(|time| is_time(time));
        let taken = if hex >= 32 {
            plain.push_str("[HASH]");
            hex
        } else if time.is_some() {
            plain.push_str("[TIME]");
            20
        } else if hex > 0 && plain.ends_with("127.0.0.1:") {
            plain.push_str("[PORT]");
            hex
        } else if hex > 0 {
            plain.push_str(&rest[..hex]);
            hex
        } else {
            plain.push(first);
            first.len_utf8()
        };
        rest = &rest[taken..];
    }
    plain
}

fn is_time(text: &str) -> bool {
    text.bytes()
        .zip(*b"0000-00-00T00:00:00Z")
        .all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            _ => byte == form,
        })
}
