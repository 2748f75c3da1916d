//! Commands: the owner's self-test and restart, and the tools of an update system.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::UpdateError;
use crate::log::Log;

/// Most bytes of a tool's standard output that are kept: more than any answer that is read has.
const OUT_BYTES_MAX: usize = 64 << 10;
/// Most bytes of the end of what a tool said that are kept.
const LAST_BYTES_MAX: usize = 4 << 10;
/// Most lines of it that go into the log.
const LAST_LINES_MAX: usize = 10;
/// Most characters of it in an error.
const SHOWN_MAX: usize = 200;
/// How long a tool's output is waited for when the tool has ended: someone whom it started may hold it open.
const OUTPUT_DEADLINE: Duration = Duration::from_secs(2);

/// A program with its arguments, run without a shell, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, by absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables of its environment beside the agent's.
    pub environment: Vec<(&'static str, String)>,
    /// After this it is killed, with all that it has started.
    pub deadline: Duration,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With exit code 0.
    Success,
    /// With another exit code; `None` when a signal ended it.
    Failure(Option<i32>),
    /// It did not end within its deadline and was killed.
    Late,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("succeeded"),
            Self::Failure(Some(code)) => write!(f, "failed with exit code {code}"),
            Self::Failure(None) => f.write_str("was ended by a signal"),
            Self::Late => f.write_str("did not end within its deadline"),
        }
    }
}

/// How a tool ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// How it ended.
    pub outcome: Outcome,
    /// Its standard output, up to 64 KiB.
    pub out: Vec<u8>,
    /// The end of its standard output and of its standard error, up to 4 KiB each, the latter behind.
    pub last: Vec<u8>,
}

impl Said {
    /// The last lines that say something, in their order.
    pub fn last_lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.last);
        // A progress bar writes over its own line.
        let lines = text.split(['\n', '\r']).map(str::trim_end);
        let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let from = lines.len().saturating_sub(LAST_LINES_MAX);
        let last = lines.get(from..).unwrap_or_default();
        last.iter().map(|&line| line.to_owned()).collect()
    }

    /// Its standard output as one line of text.
    pub(super) fn word(&self) -> Option<&str> {
        std::str::from_utf8(&self.out).ok().map(str::trim)
    }
}

/// Where the kernel says which start of the machine this is.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The machine that an update runs on.
pub trait System {
    /// What is different after each start of the machine; 1 to 64 characters.
    ///
    /// # Errors
    /// Those of the system.
    fn boot_id(&self) -> io::Result<String>;

    /// Runs a command to its end or deadline.
    ///
    /// # Errors
    /// Those of starting it.
    fn run(&mut self, command: &Command) -> io::Result<Outcome>;

    /// Runs a tool to its end or deadline and listens to what it says. What it leaves running is ended with it.
    ///
    /// # Errors
    /// Those of starting it.
    fn ask(&mut self, command: &Command) -> io::Result<Said>;
}

/// Runs a tool that has to succeed.
///
/// # Errors
/// [`UpdateError::Missing`], [`UpdateError::Command`], [`UpdateError::Tool`]
pub(super) fn succeed(system: &mut impl System, command: &Command) -> Result<Said, UpdateError> {
    let said = ask(system, command)?;
    if said.outcome == Outcome::Success {
        Ok(said)
    } else {
        Err(failed(command, &said, None))
    }
}

/// Runs a tool.
///
/// # Errors
/// [`UpdateError::Missing`], [`UpdateError::Command`]
pub(super) fn ask(system: &mut impl System, command: &Command) -> Result<Said, UpdateError> {
    system.ask(command).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            UpdateError::Missing {
                program: command.program.clone(),
            }
        } else {
            UpdateError::Command {
                command: command.to_string(),
                error,
            }
        }
    })
}

/// What a tool's failure is called: by the reason that it gave, or by the last line that it said.
pub(super) fn failed(command: &Command, said: &Said, reason: Option<String>) -> UpdateError {
    let reason = reason.or_else(|| said.last_lines().pop());
    UpdateError::Tool {
        command: command.to_string(),
        outcome: said.outcome,
        said: shown(&reason.unwrap_or_default()),
    }
}

/// The beginning of what somebody else said, fit for a terminal.
pub(super) fn shown(text: &str) -> String {
    let text: String = text.chars().take(SHOWN_MAX).collect();
    text.escape_debug().to_string()
}

/// The machine that this program runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    boot_id: PathBuf,
    log: Option<Log>,
}

impl Machine {
    /// A machine that writes this file anew, with something else in it, each time that it starts.
    #[must_use]
    pub const fn new(boot_id: PathBuf) -> Self {
        Self { boot_id, log: None }
    }

    /// The same; what tools say that fail goes into this log.
    #[must_use]
    pub fn with_log(self, log: Log) -> Self {
        Self {
            log: Some(log),
            ..self
        }
    }

    fn tell(&self, command: &Command, said: &Said) {
        let Some(log) = &self.log else {
            return;
        };
        let tool = &command.program;
        if said.outcome == Outcome::Success {
            return log.debug("tool run", &[("command", command)]);
        }
        for line in said.last_lines() {
            log.warn("tool said", &[("tool", tool), ("line", &line)]);
        }
        self.tell_end(command, &said.outcome);
    }

    /// A command that did not succeed.
    fn tell_end(&self, command: &Command, outcome: &dyn fmt::Display) {
        if let Some(log) = &self.log {
            log.warn("tool ended", &[("command", command), ("outcome", outcome)]);
        }
    }
}

impl Default for Machine {
    /// The one that the kernel knows.
    fn default() -> Self {
        Self::new(BOOT_ID.into())
    }
}

impl System for Machine {
    fn boot_id(&self) -> io::Result<String> {
        let id = std::fs::read_to_string(&self.boot_id)?;
        Ok(id.trim().to_owned())
    }

    fn run(&mut self, command: &Command) -> io::Result<Outcome> {
        let ended = prepared(command)
            .spawn()
            .and_then(|mut child| end(&mut child, command.deadline, false));
        match &ended {
            Ok(Outcome::Success) => {}
            Ok(outcome) => self.tell_end(command, outcome),
            Err(why) => self.tell_end(command, why),
        }
        ended
    }

    fn ask(&mut self, command: &Command) -> io::Result<Said> {
        let mut child = prepared(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().map(|pipe| listen(pipe, OUT_BYTES_MAX));
        let err = child.stderr.take().map(|pipe| listen(pipe, 0));
        let outcome = end(&mut child, command.deadline, true)?;
        let by = Instant::now() + OUTPUT_DEADLINE;
        let heard = |from: Option<Receiver<Heard>>| {
            let within = by.saturating_duration_since(Instant::now());
            from.and_then(|from| from.recv_timeout(within).ok())
                .unwrap_or_default()
        };
        let out = heard(out);
        let mut last = out.last;
        last.push(b'\n');
        last.extend(heard(err).last);
        let said = Said {
            outcome,
            out: out.first,
            last,
        };
        self.tell(command, &said);
        Ok(said)
    }
}

fn prepared(command: &Command) -> process::Command {
    let mut prepared = process::Command::new(&command.program);
    prepared
        .args(&command.arguments)
        .envs(
            command
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        // A group of its own, so that what it starts ends with it.
        .process_group(0);
    prepared
}

/// Waits for a child's end, or ends it at its deadline. `all` of its group end with it even when it ends in time.
fn end(child: &mut Child, deadline: Duration, all: bool) -> io::Result<Outcome> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the child has no process ID"))?;
    let (ended, wait) = mpsc::channel();
    // It only waits and leaves the child to be reaped below, so that the ID stays the child's until then.
    let waiter = thread::spawn(move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
        let _ = ended.send(());
    });
    let late = wait.recv_timeout(deadline).is_err();
    if late || all {
        // It may have ended just now.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let _ = waiter.join();
    let status = child.wait()?;
    Ok(if late {
        Outcome::Late
    } else if status.success() {
        Outcome::Success
    } else {
        Outcome::Failure(status.code())
    })
}

/// What was heard from a pipe.
#[derive(Default)]
struct Heard {
    first: Vec<u8>,
    last: Vec<u8>,
}

/// Reads a pipe to its end, so that whoever writes never waits, and keeps so much of its beginning, and its end.
fn listen(mut pipe: impl Read + Send + 'static, first_max: usize) -> Receiver<Heard> {
    let (send, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Heard::default();
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut piece) {
            let bytes = piece.get(..read).unwrap_or_default();
            let room = first_max.saturating_sub(kept.first.len());
            kept.first
                .extend_from_slice(bytes.get(..room.min(read)).unwrap_or_default());
            kept.last.extend_from_slice(bytes);
            let over = kept.last.len().saturating_sub(LAST_BYTES_MAX);
            kept.last.drain(..over);
        }
        // Nobody may listen any more.
        let _ = send.send(kept);
    });
    heard
}
