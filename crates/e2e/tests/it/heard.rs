//! Processes whose words are heard.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::{LAST_LINES, eventually};

#[derive(Default)]
struct Watch {
    heard: Mutex<Vec<String>>,
    changed: Condvar,
}

/// A program, one process after the other, and all that it said on standard error; it ends with its value.
#[derive(Default)]
pub(crate) struct Heard {
    watch: Arc<Watch>,
    running: Option<(Child, JoinHandle<()>)>,
}

impl Heard {
    /// Starts it; one that runs is ended first.
    pub(crate) fn start(&mut self, command: &mut Command) {
        self.kill();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let watch = self.watch.clone();
        let listener = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                watch.heard.lock().unwrap().push(line);
                watch.changed.notify_all();
            }
        });
        self.running = Some((child, listener));
    }

    /// `kill -9`; what it said until then has been heard.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, listener)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            listener.join().unwrap();
        }
    }

    /// Waits until it ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let (mut child, listener) = self.running.take().expect("it runs");
        let status = eventually("the program's end", || child.try_wait().unwrap());
        listener.join().unwrap();
        status.code()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let (child, _) = self.running.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// How much it has said so far.
    pub(crate) fn mark(&self) -> usize {
        self.watch.heard.lock().unwrap().len()
    }

    /// What it said from `mark` on.
    pub(crate) fn said(&self, mark: usize) -> Vec<String> {
        self.watch.heard.lock().unwrap()[mark..].to_vec()
    }

    /// Waits until it says such a line, from `mark` on, if it does within this time.
    pub(crate) fn hear_within(
        &self,
        mark: usize,
        is_it: impl Fn(&str) -> bool,
        within: Duration,
    ) -> Option<String> {
        let heard = self.watch.heard.lock().unwrap();
        let find = |lines: &[String]| {
            let mut lines = lines[mark..].iter();
            lines.find(|line| is_it(line)).cloned()
        };
        let (heard, _) = self
            .watch
            .changed
            .wait_timeout_while(heard, within, |lines| find(lines).is_none())
            .unwrap();
        find(&heard)
    }

    /// Shows what it said last, where the test fails.
    pub(crate) fn show_last(&self, name: &str) {
        if std::thread::panicking() {
            let said = self.said(0);
            let last = &said[said.len().saturating_sub(LAST_LINES)..];
            eprintln!("{name} said last:\n{}\n", last.join("\n"));
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
