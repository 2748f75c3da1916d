//! What went wrong, in words: what happened, to what, and what to do about it.

use std::{borrow::Cow, error::Error, fmt, io, path::Path};

use serde::Serialize;

use crate::exit::Exit;

/// The result of everything that can end the command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The reason why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    excerpt: Option<String>,
    advice: Option<String>,
}

impl Failure {
    /// `what` says in one sentence, without a full stop, what happened and to what.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            excerpt: None,
            advice: None,
        }
    }

    /// Adds lines that show where the fault is; `what` itself is one line.
    pub(crate) fn excerpt(mut self, lines: impl Into<String>) -> Self {
        self.excerpt = Some(lines.into());
        self
    }

    /// Adds what a person can do about it.
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same failure, in these words.
    pub(crate) fn saying(mut self, what: String) -> Self {
        self.what = what;
        self
    }

    /// Adds a further line to the advice.
    pub(crate) fn advise_also(self, advice: &str) -> Self {
        let all = match &self.advice {
            Some(first) => format!("{first}\n{advice}"),
            None => advice.to_owned(),
        };
        self.advise(all)
    }

    /// The file at `path` could not be `done` (“read”, “written”, …).
    pub(crate) fn io(done: &str, path: &Path, error: &io::Error) -> Self {
        let path = path.display();
        let failure =
            |exit, why: &str| Self::new(exit, format!("{path} could not be {done}: {why}"));
        match error.kind() {
            io::ErrorKind::NotFound => failure(Exit::File, "it does not exist")
                .advise("check the path; relative paths count from the current directory"),
            io::ErrorKind::AlreadyExists => failure(Exit::File, "it exists already")
                .advise("choose another name: kusabi never overwrites a key or a proof"),
            io::ErrorKind::PermissionDenied => failure(Exit::File, "permission denied")
                .advise("run as the user who owns it, or choose another place"),
            io::ErrorKind::ReadOnlyFilesystem => {
                failure(Exit::NotWritable, "the file system is read-only")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                failure(Exit::DiskFull, "the disk is full").advise(
                    "free some space and run the same command again: nothing half-written is left behind",
                )
            }
            _ => failure(Exit::File, &error.to_string()),
        }
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The sentence.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The advice, if there is any.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.advice.as_deref()
    }

    /// The lines that show where the fault is, if there are any.
    pub(crate) fn lines(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// The form that `--json` prints on standard error.
    pub(crate) fn json(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Document<'a> {
            error: Body<'a>,
        }
        #[derive(Serialize)]
        struct Body<'a> {
            code: &'static str,
            exit: u8,
            what: Cow<'a, str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            advice: Option<&'a str>,
        }
        Document {
            error: Body {
                code: self.exit.word(),
                exit: self.exit as u8,
                what: match &self.excerpt {
                    None => Cow::Borrowed(&self.what),
                    Some(lines) => Cow::Owned(format!("{}\n\n{lines}", self.what)),
                },
                advice: self.advice.as_deref(),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {}
