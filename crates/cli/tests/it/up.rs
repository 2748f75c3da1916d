//! A real `kusabi up` process.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command},
};

use serde_json::Value;

use crate::command::Place;

/// A ledger and a server that serve; killed when dropped.
pub(crate) struct Up {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// What it said when it founded, if it did.
    pub(crate) founded: Option<Value>,
    /// What it said when everything answered.
    pub(crate) ready: Value,
}

impl Up {
    /// Starts `kusabi up --data fleet` on free ports and waits until it says that it is ready.
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_as(
            place,
            "up --data fleet --ledger-listen 127.0.0.1:0 --device-url http://127.0.0.1:9",
        )
    }

    /// Starts a verb that serves devices and people.
    pub(crate) fn start_as(place: &Place, line: &str) -> Self {
        let listen = "--json --admin-listen 127.0.0.1:0 --listen 127.0.0.1:0";
        let mut child = place.command(&format!("{line} {listen}")).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut founded = None;
        loop {
            let Some(line) = lines.next() else {
                let mut err = String::new();
                let mut stderr = child.stderr.take().unwrap();
                stderr.read_to_string(&mut err).unwrap();
                child.wait().unwrap();
                panic!("it ended before it was ready: {err}");
            };
            let said: Value = serde_json::from_str(&line.unwrap()).unwrap();
            match said["event"].as_str() {
                Some("founded") => founded = Some(said),
                Some("ready") => {
                    return Self {
                        child,
                        lines,
                        founded,
                        ready: said,
                    };
                }
                _ => {}
            }
        }
    }

    /// `kill -9`, and the end of it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it has to end by itself and say so.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let last = self.lines.next().unwrap().unwrap();
        assert!(last.contains("\"event\":\"stopped\""), "{last}");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
