//! Commands of the owner: the self-test, the restart.

use std::fmt;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A program with its arguments, run without a shell, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, by absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
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
}

/// The machine that this program runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    boot_id: PathBuf,
}

impl Machine {
    /// A machine that writes this file anew, with something else in it, each time that it starts.
    #[must_use]
    pub const fn new(boot_id: PathBuf) -> Self {
        Self { boot_id }
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
        let mut child = process::Command::new(&command.program)
            .args(&command.arguments)
            .stdin(Stdio::null())
            // A group of its own, so that what it starts ends with it.
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the child has no process ID"))?;
        let (ended, wait) = mpsc::channel();
        // It only waits and leaves the child to be reaped below, so that the ID stays the child's until then.
        let waiter = thread::spawn(move || {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            let _ = ended.send(());
        });
        let late = wait.recv_timeout(command.deadline).is_err();
        if late {
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
}
