//! A line for each thing that happened, for the journal: what, then `name=value`, each line whole.
//!
//! Values may come from a server or a disk: what is not a visible ASCII character is escaped, so that no value makes a second
//! line or speaks to a terminal. No secret is ever a value; the types that hold secrets have no `Display`.

use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::Arc;

pub use crate::config::LogLevel;

/// Longest value that is shown, in bytes.
const VALUE_BYTES_MAX: usize = 400;

type LineSink = dyn Fn(LogLevel, &str) + Send + Sync;

/// Where lines go, and which.
#[derive(Clone)]
pub struct Log {
    level: LogLevel,
    sink: Arc<LineSink>,
}

impl Log {
    /// Lines of this level and graver ones to standard error; with the journal's level marks when that is where it leads.
    #[must_use]
    pub fn to_stderr(level: LogLevel) -> Self {
        let marked = std::env::var_os("JOURNAL_STREAM").is_some();
        Self::new(level, move |level, line| {
            let mark = match (marked, level) {
                (false, _) => "",
                (true, LogLevel::Error) => "<3>",
                (true, LogLevel::Warn) => "<4>",
                (true, LogLevel::Info) => "<6>",
                (true, LogLevel::Debug) => "<7>",
            };
            // Whoever closes standard error does not stop a device.
            let _ = std::io::stderr().write_all(format!("{mark}{line}\n").as_bytes());
        })
    }

    /// Lines of this level and graver ones, without a line end, to `sink`.
    pub fn new(level: LogLevel, sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) -> Self {
        Self {
            level,
            sink: Arc::new(sink),
        }
    }

    /// Something that someone has to do something about.
    pub(crate) fn error(&self, what: &str, values: &[(&str, &dyn Display)]) {
        self.line(LogLevel::Error, what, values);
    }

    /// Something that did not go as it should.
    pub(crate) fn warn(&self, what: &str, values: &[(&str, &dyn Display)]) {
        self.line(LogLevel::Warn, what, values);
    }

    /// Something that happened.
    pub(crate) fn info(&self, what: &str, values: &[(&str, &dyn Display)]) {
        self.line(LogLevel::Info, what, values);
    }

    /// A detail.
    pub(crate) fn debug(&self, what: &str, values: &[(&str, &dyn Display)]) {
        self.line(LogLevel::Debug, what, values);
    }

    fn line(&self, level: LogLevel, what: &str, values: &[(&str, &dyn Display)]) {
        if level > self.level {
            return;
        }
        let mut line = format!("{level} {what}");
        for (name, value) in values {
            // Writing to a string does not fail.
            let _ = write!(line, " {name}={}", Shown(&value.to_string()));
        }
        (self.sink)(level, &line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// A value as it is shown: in quotes unless it is one plain word, escaped, and cut when it is long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        let cut = self.0.len() > VALUE_BYTES_MAX;
        let end = (0..=VALUE_BYTES_MAX.min(self.0.len()))
            .rev()
            .find(|end| self.0.is_char_boundary(*end));
        let shown = self.0.get(..end.unwrap_or(0)).unwrap_or_default();
        if !shown.is_empty() && !cut && shown.bytes().all(plain) {
            return f.write_str(shown);
        }
        f.write_char('"')?;
        for char in shown.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                ' '..='~' => f.write_char(char)?,
                char => write!(f, "{}", char.escape_default())?,
            }
        }
        f.write_str(if cut { "…\"" } else { "\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_hostile_value_stays_in_its_line() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let log = Log::new(LogLevel::Info, move |_, line| {
            kept.lock().unwrap().push(line.to_owned());
        });
        let long = "x".repeat(500);
        log.info(
            "tried",
            &[
                ("plain", &"http://a:1"),
                ("hostile", &"a\nerror b=\"\u{1b}[2J\u{202e}"),
                ("quoted", &"the server's \\ answer"),
                ("empty", &""),
                ("long", &long),
            ],
        );
        log.debug("not shown", &[]);
        let lines = lines.lock().unwrap();
        let [line] = lines.as_slice() else {
            panic!("one line, not {lines:?}");
        };
        let start = "info tried plain=http://a:1 hostile=\"a\\nerror b=\\\"\\u{1b}[2J\\u{202e}\" quoted=\"the server's \\\\ answer\" empty=\"\" long=\"xxx";
        assert!(line.starts_with(start), "{line}");
        assert!(line.ends_with("x…\"") && line.len() < 600);
    }
}
