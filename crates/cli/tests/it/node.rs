//! A real `kusabi node run` process.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::Duration,
};

use crate::command::{Place, Ran};

/// Longest time until a node is ready.
const PATIENCE: Duration = Duration::from_secs(180);

/// A node that serves; killed when dropped.
pub(crate) struct Node {
    child: Child,
    lines: Lines,
    pub(crate) address: String,
    pub(crate) chain: String,
}

impl Node {
    /// Starts `kusabi node run --data ledger` and waits until it says that it is ready.
    pub(crate) fn start(place: &Place) -> Self {
        Self::start_with(place, "")
    }

    /// The same with more arguments.
    pub(crate) fn start_with(place: &Place, more: &str) -> Self {
        Self::begin(place, "ledger", more).ready()
    }

    /// Starts `kusabi node run --data DATA` and does not wait: one of several is ready only with the others.
    pub(crate) fn begin(place: &Place, data: &str, more: &str) -> Starting {
        let line = format!("node run --data {data} --listen 127.0.0.1:0 --json {more}");
        Self::spawn(place.command(&line))
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Starts `kusabi node join --data DATA` and does not wait: it is ready once the others have appointed it.
    pub(crate) fn begin_joining(place: &Place, data: &str, from: &str, chain: &str) -> Starting {
        let line = format!(
            "node join --data {data} --from {from} --chain {chain} --listen 127.0.0.1:0 --json"
        );
        Self::spawn(place.command(&line))
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Starts `kusabi node follow --data DATA` and does not wait: it is ready once it has caught up.
    pub(crate) fn begin_following(
        place: &Place,
        data: &str,
        from: &[&str],
        more: &str,
    ) -> Starting {
        let from: Vec<_> = from.iter().map(|url| format!("--from {url}")).collect();
        let from = from.join(" ");
        let line = format!("node follow --data {data} {from} --listen 127.0.0.1:0 --json {more}");
        Self::spawn(place.command(&line))
    }

    /// The same with a command that is ready to run.
    pub(crate) fn spawn(mut command: Command) -> Starting {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Starting(Some((child, lines)))
    }

    /// Runs a command that asks this node.
    pub(crate) fn run(&self, place: &Place, line: &str) -> Ran {
        place.run(&format!("{line} --ledger {}", self.address))
    }

    /// `kill -9`, and the end of it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Waits until it ends by itself, with this in its last words.
    pub(crate) fn ends_with(mut self, words: &str) {
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        assert!(err.contains(words), "{err}");
        assert_ne!(self.child.wait().unwrap().code(), Some(0));
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Waits until it ends by itself: its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// SIGTERM; it has to end by itself and say so.
    pub(crate) fn stop(mut self) {
        terminate(&mut self.child, &mut self.lines);
    }

    /// What it logs from here on, line by line.
    pub(crate) fn log(&mut self) -> std::io::Lines<BufReader<ChildStderr>> {
        BufReader::new(self.child.stderr.take().unwrap()).lines()
    }
}

type Lines = std::io::Lines<BufReader<ChildStdout>>;

fn terminate(child: &mut Child, lines: &mut Lines) {
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    // It may have said something else meanwhile.
    let stopped = lines.any(|line| line.unwrap().contains("\"event\":\"stopped\""));
    assert!(stopped, "it says that it stopped");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A node that may not be ready yet; killed when dropped.
pub(crate) struct Starting(Option<(Child, Lines)>);

impl Starting {
    /// Waits until it says that it is ready. One that never is ends after a while, so that the test says so.
    pub(crate) fn ready(mut self) -> Node {
        let pid = self.0.as_ref().unwrap().0.id().to_string();
        let (ready, waiting) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("a node is not ready within {PATIENCE:?}");
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let _until_here = ready;
        loop {
            let said = self.says();
            if said["event"] == "ready" {
                let (child, lines) = self.0.take().unwrap();
                return Node {
                    child,
                    lines,
                    address: said["address"].as_str().unwrap().to_owned(),
                    chain: said["chain"].as_str().unwrap().to_owned(),
                };
            }
        }
    }

    /// What it says next.
    pub(crate) fn says(&mut self) -> serde_json::Value {
        let (child, lines) = self.0.as_mut().unwrap();
        let Some(line) = lines.next() else {
            let mut err = String::new();
            // What goes to a file is there.
            if let Some(mut stderr) = child.stderr.take() {
                stderr.read_to_string(&mut err).unwrap();
            }
            child.wait().unwrap();
            panic!("the node ended before it was ready: {err}");
        };
        serde_json::from_str(&line.unwrap()).unwrap()
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Waits until it ends before it was ready: its exit code.
    pub(crate) fn fails(mut self) -> Option<i32> {
        let (mut child, lines) = self.0.take().unwrap();
        for line in lines {
            let line = line.unwrap();
            assert!(!line.contains("\"event\":\"ready\""), "{line}");
        }
        child.wait().unwrap().code()
    }

    #[allow(dead_code, reason = "for the slow rounds")]
    /// Waits until it ends by itself, ready or not: its exit code.
    pub(crate) fn ended(mut self) -> Option<i32> {
        let (mut child, lines) = self.0.take().unwrap();
        lines.for_each(|line| drop(line.unwrap()));
        child.wait().unwrap().code()
    }

    /// SIGTERM while it waits; it has to end by itself and say so.
    pub(crate) fn stop(mut self) {
        let (mut child, mut lines) = self.0.take().unwrap();
        terminate(&mut child, &mut lines);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Ended already, most of the time.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
