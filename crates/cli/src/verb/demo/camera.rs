//! A camera of the demo: a folder that is its disk, and the real `kusabi-agent` running on it, started again by a watchdog
//! whenever it goes down, as a machine is.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::children;
use crate::failure::{Failure, Result};

/// A camera's type.
pub(super) const TYPE: &str = "camera";

/// Something that the agent said.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// When it was heard.
    pub(super) at: Instant,
    /// What.
    pub(super) text: String,
}

#[derive(Default)]
struct Heard {
    lines: Vec<Line>,
    process: Option<u32>,
    /// The watchdog lets it lie.
    stopping: bool,
    /// How often it was started.
    starts: usize,
}

#[derive(Default)]
struct Watch {
    heard: Mutex<Heard>,
    changed: Condvar,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        // What the agent said stays true when a thread panicked while it was noted.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera.
pub(super) struct Camera {
    /// Its serial number.
    pub(super) serial: String,
    folder: PathBuf,
    watch: Arc<Watch>,
    watchdog: Option<JoinHandle<()>>,
}

impl Camera {
    /// A camera on a new disk: the factory image, the agent's configuration and its provisioning file.
    pub(super) fn build(folder: &Path, serial: &str, image: &Path, file: &Path) -> Result<Self> {
        let camera = Self::open(folder, serial);
        let slots = folder.join("slots");
        let state = folder.join("state");
        for path in [&slots, &state] {
            fs::create_dir_all(path).map_err(|error| Failure::io("made", path, &error))?;
        }
        copy_tree(image, &slots.join("a"))?;
        let current = slots.join("current");
        std::os::unix::fs::symlink("a", &current)
            .map_err(|error| Failure::io("made", &current, &error))?;
        let device = state.join("device.kusabi");
        fs::copy(file, &device).map_err(|error| Failure::io("written", &device, &error))?;
        let config = camera.config();
        fs::write(&config, camera.toml())
            .map_err(|error| Failure::io("written", &config, &error))?;
        Ok(camera)
    }

    /// A camera that was built before.
    pub(super) fn open(folder: &Path, serial: &str) -> Self {
        Self {
            serial: serial.to_owned(),
            folder: folder.to_owned(),
            watch: Arc::default(),
            watchdog: None,
        }
    }

    /// A second camera with everything that this one holds: its thief copied the flash chip.
    pub(super) fn copied(&self, folder: &Path) -> Result<Self> {
        copy_tree(&self.folder, folder)?;
        let copy = Self::open(folder, &format!("{} (copy)", self.serial));
        let config = copy.config();
        fs::write(&config, copy.toml()).map_err(|error| Failure::io("written", &config, &error))?;
        Ok(copy)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("agent.toml")
    }

    fn toml(&self) -> String {
        let folder = toml::Value::from(self.folder.display().to_string());
        let folder = folder.as_str().unwrap_or_default().to_owned();
        format!(
            r#"state = "{folder}/state"
log = "debug"

[device]
type = "{TYPE}"
channel = "stable"

[server]
poll-s = 1800
hold-s = 240

[inventory]
root = "{folder}/slots/current"
paths = ["/"]

[update.slots]
directory = "{folder}/slots"
# The machine goes down hard, and its watchdog starts it again.
restart = ["/bin/sh", "-c", "kill -9 $PPID"]
restarts = "machine"
boot-id = "{folder}/boot-id"
self-test = ["/bin/sh", "{folder}/slots/current/self-test"]
self-test-deadline-s = 10
starts-max = 3
"#
        )
    }

    /// What it runs: which slot is started next, which one is known to work, and what lies in them.
    pub(super) fn disk(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![self.folder.join("slots")];
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
                let path = entry.path();
                if let Ok(target) = fs::read_link(&path) {
                    found.push((path, target.into_os_string().into_encoded_bytes()));
                } else if path.is_dir() {
                    open.push(path);
                } else {
                    let content = fs::read(&path).unwrap_or_default();
                    found.push((path, content));
                }
            }
        }
        found.sort();
        found
    }

    /// Where its keys lie.
    pub(super) fn key_file(&self) -> PathBuf {
        self.folder.join("state").join("keys")
    }

    /// The software that it runs.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("slots").join("current")
    }

    /// Powers it on; its watchdog starts the agent whenever it has gone down.
    pub(super) fn power_on(&mut self, agent: &Path) -> Result<Instant> {
        self.power_off();
        self.watch.lock().stopping = false;
        let start = Instant::now();
        let mut child = self.spawn(agent)?;
        let (watch, agent) = (Arc::clone(&self.watch), agent.to_owned());
        let config = self.config();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("agent.log"))
            .ok();
        self.watchdog = Some(thread::spawn(move || {
            loop {
                listen(&watch, &mut child, log.as_ref());
                // It has closed its standard error: it has ended or is about to.
                children::reap(&mut child);
                let mut heard = watch.lock();
                heard.process = None;
                watch.changed.notify_all();
                if heard.stopping || heard.starts > 50 {
                    return;
                }
                match spawn(&agent, &config) {
                    Ok(next) => {
                        heard.process = Some(next.id());
                        heard.starts += 1;
                        child = next;
                    }
                    Err(_) => return,
                }
            }
        }));
        Ok(start)
    }

    fn spawn(&self, agent: &Path) -> Result<Child> {
        let child =
            spawn(agent, &self.config()).map_err(|error| Failure::io("run", agent, &error))?;
        let mut heard = self.watch.lock();
        heard.process = Some(child.id());
        heard.starts += 1;
        Ok(child)
    }

    /// Cuts its power.
    pub(super) fn power_off(&mut self) {
        {
            let mut heard = self.watch.lock();
            heard.stopping = true;
            if let Some(process) = heard.process {
                children::signal(process, rustix::process::Signal::KILL);
            }
        }
        if let Some(watchdog) = self.watchdog.take() {
            // A panic there has been printed; the camera is off in any case.
            let _ = watchdog.join();
        }
    }

    /// Makes it poll now, as the button on its back does.
    pub(super) fn poll(&self) {
        if let Some(process) = self.watch.lock().process {
            children::signal(process, rustix::process::Signal::USR1);
        }
    }

    /// How much it has said so far.
    pub(super) fn mark(&self) -> usize {
        self.watch.lock().lines.len()
    }

    /// Waits until it says something that `is` accepts, among what it says from `mark` on.
    pub(super) fn hear(
        &self,
        mark: usize,
        within: Duration,
        is: impl Fn(&str) -> bool,
    ) -> Option<Line> {
        let end = Instant::now() + within;
        let mut heard = self.watch.lock();
        let mut from = mark;
        loop {
            let found = heard
                .lines
                .get(from..)
                .and_then(|lines| lines.iter().find(|line| is(&line.text)));
            if let Some(line) = found {
                return Some(line.clone());
            }
            from = heard.lines.len();
            let left = end.checked_duration_since(Instant::now())?;
            heard = self
                .watch
                .changed
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// What it said from `mark` on.
    pub(super) fn said(&self, mark: usize) -> Vec<String> {
        let heard = self.watch.lock();
        let lines = heard.lines.get(mark..).unwrap_or_default();
        lines.iter().map(|line| line.text.clone()).collect()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.power_off();
    }
}

/// Starts the machine: its agent finds that it is another start.
fn spawn(agent: &Path, config: &Path) -> std::io::Result<Child> {
    use rand_core::Rng as _;
    let start = rand_core::UnwrapErr(getrandom::SysRng).next_u64();
    fs::write(config.with_file_name("boot-id"), format!("{start:016x}\n"))?;
    children::spawn(
        Command::new(agent)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    )
}

fn listen(watch: &Watch, child: &mut Child, log: Option<&fs::File>) {
    let Some(said) = child.stderr.take() else {
        return;
    };
    for text in BufReader::new(said).lines().map_while(|line| line.ok()) {
        let at = Instant::now();
        if let Some(log) = log {
            // Kept for a person who looks; the demo goes by what it heard.
            let _ = (&*log).write_all(format!("{text}\n").as_bytes());
        }
        watch.lock().lines.push(Line { at, text });
        watch.changed.notify_all();
    }
}

/// Copies a folder with its files, links and permissions.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|error| Failure::io("made", to, &error))?;
    let entries = fs::read_dir(from).map_err(|error| Failure::io("read", from, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Failure::io("read", from, &error))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry
            .file_type()
            .map_err(|error| Failure::io("read", &source, &error))?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            let link =
                fs::read_link(&source).map_err(|error| Failure::io("read", &source, &error))?;
            std::os::unix::fs::symlink(link, &target)
                .map_err(|error| Failure::io("made", &target, &error))?;
        } else if kind.is_file() {
            fs::copy(&source, &target).map_err(|error| Failure::io("written", &target, &error))?;
        }
    }
    Ok(())
}
