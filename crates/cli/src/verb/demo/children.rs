//! The processes of a play. None of them outlives it, whatever ends it.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid},
};

use super::stage::broke;
use crate::{exit::Exit, failure::Result, verb::node::process::Signals};

struct Children {
    alive: BTreeSet<u32>,
    /// The curtain has fallen: nobody comes on any more.
    ended: bool,
}

/// A signal ends a process, so they are the process's.
static CHILDREN: Mutex<Children> = Mutex::new(Children {
    alive: BTreeSet::new(),
    ended: false,
});

fn children() -> MutexGuard<'static, Children> {
    // A set of numbers is whole whoever panicked.
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().and_then(Pid::from_raw)
}

/// Starts a process that does not outlive the play.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut children = children();
    if children.ended {
        return Err(io::Error::other("the play was interrupted"));
    }
    let child = command.spawn()?;
    children.alive.insert(child.id());
    Ok(child)
}

/// Waits until a process has ended, and leaves it to be reaped. One that was reaped has ended.
fn ended(pid: Pid) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(pid), options), Err(Errno::INTR)) {}
}

/// A command that ends by itself, to its end.
pub(super) fn output(command: &mut Command) -> io::Result<Output> {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let process = child.id();
    let output = child.wait_with_output();
    children().alive.remove(&process);
    output
}

/// Waits for a process that has ended or is about to.
pub(super) fn reap(child: &mut Child) {
    // Its number may be another's as soon as it was waited for, so that is done under the lock.
    if let Some(pid) = pid(child.id()) {
        ended(pid);
    }
    let mut children = children();
    // What ended it is no matter here.
    let _ = child.wait();
    children.alive.remove(&child.id());
}

/// Sends a signal to a process of the play; to one that has ended, nothing.
pub(super) fn signal(process: u32, signal: Signal) {
    if let Some(pid) = children()
        .alive
        .contains(&process)
        .then(|| pid(process))
        .flatten()
    {
        // It may have ended and wait to be reaped.
        let _ = kill_process(pid, signal);
    }
}

/// From now on Ctrl-C and SIGTERM end all of them, take `folder` away and end this process with 130.
pub(super) fn end_on_signals(folder: Option<PathBuf>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(broke)?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen()?
    };
    thread::spawn(move || {
        runtime.block_on(signals.asked_to_stop());
        let alive: Vec<_> = {
            let mut children = children();
            children.ended = true;
            let alive = children.alive.iter().filter_map(|process| pid(*process));
            // It may have ended meanwhile.
            alive
                .inspect(|pid| _ = kill_process(*pid, Signal::KILL))
                .collect()
        };
        alive.into_iter().for_each(ended);
        if let Some(folder) = folder {
            take_away(&folder);
        }
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

/// Whoever plays on when the curtain has fallen waits here for the end of the process: what fails now says nothing.
pub(super) fn wait_if_ended() {
    while children().ended {
        thread::park();
    }
}

/// Takes a folder away. The play may still have written a last file into it.
fn take_away(folder: &Path) {
    for attempt in 1.. {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && attempt < 10 => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                eprintln!("{} is left: {error}", folder.display());
                return;
            }
            _ => return,
        }
    }
}
