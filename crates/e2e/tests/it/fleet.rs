//! A ledger with its server and devices with their agents: real processes, each in a folder of its own, that speak HTTP on
//! loopback. None of them outlives its test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command},
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    command::{Place, Ran},
    heard::Heard,
    node::Node,
};

/// Longest wait for anything that a process is to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at what no process announces.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Lines of each process's log that a test shows when it fails.
pub(crate) const LAST_LINES: usize = 80;

/// The devices' type.
pub(crate) const TYPE: &str = "cam-a";

/// Tests of processes may run side by side, but not beside a flood.
static MACHINE: RwLock<()> = RwLock::new(());

/// The machine, for a test that bears others beside it.
pub(crate) fn with_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The machine, for one alone.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Looks until something is there.
#[expect(
    clippy::disallowed_methods,
    reason = "what is looked at is announced by nobody"
)]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A loopback address that no other process of these tests uses: ports on it stay free while a server is down.
fn host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    // 127.0.x.y is left to others.
    Ipv4Addr::new(127, high | 1, low, next)
}

/// An organisation: its ledger and server, one process or two, and the folder in which its people work.
pub(crate) struct Site {
    pub(crate) place: Place,
    /// Where the server listens to devices.
    pub(crate) devices: SocketAddr,
    /// Where it listens to people.
    pub(crate) admin: SocketAddr,
    ledger: SocketAddr,
    /// What devices are told.
    device_url: String,
    /// What else it is started with.
    options: String,
    running: Option<(Child, BufReader<ChildStdout>)>,
    /// The ledger, where it is a process of its own.
    node: Option<Node>,
}

impl Site {
    /// Founds one whose devices reach it at its own address.
    pub(crate) fn found() -> Self {
        Self::found_at(SocketAddr::from((host(), 7041)), None)
    }

    /// Founds one whose devices are told another address: somebody stands between.
    pub(crate) fn found_behind(url: &str) -> Self {
        Self::found_at(SocketAddr::from((host(), 7041)), Some(url))
    }

    /// Founds one that listens to devices at this address.
    pub(crate) fn found_at(devices: SocketAddr, url: Option<&str>) -> Self {
        let url = url.map_or_else(|| format!("http://{devices}"), str::to_owned);
        Self::found_in(Place::new(), host(), devices, url, String::new())
    }

    /// Founds one with options that depend on its folder and its address.
    pub(crate) fn found_with(options: impl FnOnce(&Place, Ipv4Addr) -> String) -> Self {
        let (place, host) = (Place::new(), host());
        let devices = SocketAddr::from((host, 7041));
        let options = options(&place, host);
        Self::found_in(place, host, devices, format!("http://{devices}"), options)
    }

    fn found_in(
        place: Place,
        host: Ipv4Addr,
        devices: SocketAddr,
        device_url: String,
        options: String,
    ) -> Self {
        let mut site = Self {
            place,
            devices,
            admin: SocketAddr::from((host, 7042)),
            ledger: SocketAddr::from((host, 7040)),
            device_url,
            options,
            running: None,
            node: None,
        };
        site.up();
        site
    }

    /// Founds one whose server is a process apart from the ledger's, with this configuration.
    pub(crate) fn found_apart(config: &str) -> Self {
        Self::found_apart_from(config, |node| node.to_owned())
    }

    /// The same where server and commands reach the ledger at an address that is told for the node's.
    pub(crate) fn found_apart_from(config: &str, reach: impl FnOnce(&str) -> String) -> Self {
        let place = Place::new();
        fs::write(place.path("node.toml"), "heartbeat_s = 1\n").unwrap();
        fs::write(place.path("server.toml"), config).unwrap();
        fs::create_dir(place.path("fleet")).unwrap();
        let node = Node::start_with(&place, "--config node.toml");
        for line in [
            "key new fleet/ps.key --purpose ps",
            "org grant fleet/ps.key",
            "key new art.key --purpose art",
            "org art --sign 1 --add art.key",
        ] {
            node.run(&place, line).ok();
        }
        let host = host();
        let (devices, admin) = (
            SocketAddr::from((host, 7041)),
            SocketAddr::from((host, 7042)),
        );
        let profile = place.path(".config/kusabi/profile.toml");
        let text = fs::read_to_string(&profile).unwrap();
        let reached = reach(&node.address);
        fs::write(&profile, text.replace(&node.address, &reached)).unwrap();
        let mut more = fs::File::options().append(true).open(profile).unwrap();
        let (art, token) = (place.path("art.key"), place.path("fleet/token"));
        writeln!(
            more,
            "art = [{art:?}]\nserver = \"http://{admin}\"\ntoken_file = {token:?}"
        )
        .unwrap();
        let mut site = Self {
            devices,
            admin,
            ledger: node.address.trim_start_matches("http://").parse().unwrap(),
            device_url: format!("http://{devices}"),
            options: String::new(),
            running: None,
            node: Some(node),
            place,
        };
        site.up();
        site
    }

    /// Starts ledger and server, or a server alone that is a process of its own, and waits until all answer.
    pub(crate) fn up(&mut self) {
        self.kill();
        let log = self.place.path("site.log");
        let log = fs::File::options().create(true).append(true).open(log);
        let what = match &self.node {
            None => format!("up --ledger-listen {} --heartbeat 1", self.ledger),
            Some(_) => "server run --config server.toml".to_owned(),
        };
        let mut child = self
            .place
            .command(&format!(
                "{what} --json --data fleet --listen {} --admin-listen {} --device-url {} {}",
                self.devices, self.admin, self.device_url, self.options
            ))
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            let said: Value = serde_json::from_str(&line).unwrap();
            if said["event"] == "ready" {
                self.running = Some((child, out));
                return;
            }
            line.clear();
        }
        let ended = child.wait().unwrap();
        panic!("it ended before it was ready: {ended}\n{}", self.log());
    }

    /// What the process said on standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.place.path("site.log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Where anyone asks the ledger.
    pub(crate) fn ledger_url(&self) -> String {
        format!("http://{}", self.ledger)
    }

    /// Resident memory of the process, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let (child, _) = self.running.as_ref().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
            .unwrap();
        kib << 10
    }

    /// A command of an operator.
    pub(crate) fn run(&self, line: &str) -> Ran {
        self.place.run(&format!("{line} --json"))
    }

    /// The answer to a command that has to succeed.
    pub(crate) fn operator(&self, line: &str) -> Value {
        let ran = self.run(line);
        ran.exits(0);
        last(&ran)
    }

    /// The answer to a question that may be answered with "no".
    pub(crate) fn asked(&self, line: &str) -> Value {
        let ran = self.run(line);
        assert!(
            [0, 1].contains(&ran.code()),
            "{line}: {}{}",
            ran.out(),
            ran.err()
        );
        last(&ran)
    }

    /// What the server shows of a device.
    pub(crate) fn shown(&self, serial: &str) -> Value {
        self.operator(&format!("device show {serial}"))
    }

    /// The kinds of all alarms that were ever raised.
    pub(crate) fn alarms(&self) -> Vec<String> {
        let listed = self.operator("alarm list --all");
        let alarms = listed["alarms"].as_array().unwrap();
        alarms
            .iter()
            .map(|alarm| alarm["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Gives an order; its number.
    pub(crate) fn order(&self, line: &str) -> u64 {
        let given = self.operator(&format!("device order {line}"));
        given["id"].as_u64().unwrap()
    }

    /// How many devices have not answered an order yet.
    pub(crate) fn waiting(&self, order: u64) -> u64 {
        let listed = self.operator("order list");
        let orders = listed["orders"].as_array().unwrap();
        let found = orders.iter().find(|found| found["id"] == order);
        found.unwrap()["waiting"].as_u64().unwrap()
    }

    /// Waits until every device has answered an order.
    pub(crate) fn answered(&self, order: u64) {
        eventually(&format!("the answer to order {order}"), || {
            (self.waiting(order) == 0).then_some(())
        });
    }

    /// Asks the server for something as an operator's program does.
    pub(crate) fn get(&self, path: &str) -> Value {
        let token = fs::read_to_string(self.place.path("fleet/token")).unwrap();
        let head = format!("authorization: Bearer {}\r\n", token.trim());
        let (status, body) = crate::wire::get(self.admin, path, &head);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Makes the factory image and the files of these devices, and tells ledger and server of them.
    pub(crate) fn provision(&self, serials: &[&str], more: &str) {
        let image = self.place.path("image");
        fs::create_dir_all(image.join("etc")).unwrap();
        fs::create_dir_all(image.join("data/slots/a")).unwrap();
        fs::write(image.join("etc/camera.conf"), "mode = \"day\"\n").unwrap();
        fs::write(image.join("data/slots/a/camera"), "camera 1.0\n").unwrap();
        let mut table = "serial,type,group,name\n".to_owned();
        for serial in serials {
            table.push_str(&format!("{serial},{TYPE},lobby,Camera {serial}\n"));
        }
        fs::write(self.place.path("devices.csv"), table).unwrap();
        let config = self.place.path("agent.toml");
        fs::write(config, toml(&self.place.path("device"))).unwrap();
        self.operator(&format!(
            "provision devices.csv --out out --expected image --agent-config agent.toml {more}"
        ));
    }

    /// A release of this payload in this format, signed and published; the name of its file.
    pub(crate) fn release_of(&self, version: &str, payload: &Path, format: &str) -> String {
        let name = payload.file_name().unwrap().to_str().unwrap();
        fs::copy(payload, self.place.path(name)).unwrap();
        let payload = name;
        self.operator(&format!(
            "release new --name camera --version {version} --counter 0 --type {TYPE} --payload {payload} --format {format} --rootfs image --agent-config agent.toml"
        ));
        self.operator(&format!("release sign camera-{version}.manifest"));
        let release = format!("camera-{version}.release");
        self.operator(&format!("release publish {release}"));
        release
    }

    /// A release of one file, signed and published; the name of its file.
    pub(crate) fn release(&self, version: &str, counter: u64) -> String {
        let folder = self.place.path(format!("new-{version}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("camera"), format!("camera {version}\n")).unwrap();
        let payload = self.place.path(format!("camera-{version}.tar"));
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&folder)
            .arg("-cf")
            .arg(&payload)
            .arg("camera")
            .status();
        assert!(packed.unwrap().success());
        self.operator(&format!(
            "release new --name camera --version {version} --counter {counter} --type {TYPE} --payload camera-{version}.tar --rootfs image --agent-config agent.toml"
        ));
        self.operator(&format!("release sign camera-{version}.manifest"));
        let release = format!("camera-{version}.release");
        self.operator(&format!("release publish {release}"));
        release
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("the site said last:\n{}\n", last.join("\n"));
        }
    }
}

/// The last JSON object of an answer.
fn last(ran: &Ran) -> Value {
    let out = ran.out();
    serde_json::from_str(out.lines().last().unwrap_or("null")).unwrap()
}

/// The agent's configuration of a device in this folder.
fn toml(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"state = "{folder}/state"
provisioning = "{folder}/device.kusabi"
log = "debug"

[device]
type = "{TYPE}"

[server]
poll-s = 30
hold-s = 30

[inventory]
root = "{folder}"
paths = ["/etc"]

[update.slots]
directory = "{folder}/data/slots"
restart = ["/bin/true"]
restarts = "service"
"#
    )
}

/// A device: a folder that is its disk, and the agent that runs on it.
pub(crate) struct Device {
    pub(crate) serial: String,
    pub(crate) folder: PathBuf,
    /// What the agent is started through: nothing, or a command that gives it a network of its own.
    through: Vec<String>,
    heard: Heard,
}

impl Device {
    /// A device as the factory made it: image, configuration and its own file.
    pub(crate) fn build(site: &Site, serial: &str) -> Self {
        let device = Self::bare(site, serial);
        let file = site.place.path(format!("out/{serial}.device"));
        fs::copy(file, device.folder.join("device.kusabi")).unwrap();
        device
    }

    /// One that has the image and no file of its own.
    pub(crate) fn bare(site: &Site, serial: &str) -> Self {
        let folder = site.place.path(format!("devices/{serial}"));
        copy_tree(&site.place.path("image"), &folder);
        symlink("a", folder.join("data/slots/current")).unwrap();
        fs::create_dir(folder.join("state")).unwrap();
        fs::write(folder.join("agent.toml"), toml(&folder)).unwrap();
        Self {
            serial: serial.to_owned(),
            folder,
            through: Vec::new(),
            heard: Heard::default(),
        }
    }

    /// Has its releases installed as this section says, in place of two directories.
    pub(crate) fn update_by(&self, section: &str) {
        let text = toml(&self.folder);
        let (rest, _) = text.split_once("[update.slots]").unwrap();
        fs::write(self.folder.join("agent.toml"), format!("{rest}{section}")).unwrap();
    }

    /// Says that its disk lies elsewhere now.
    pub(crate) fn moved(&mut self, folder: PathBuf) {
        fs::write(folder.join("agent.toml"), toml(&folder)).unwrap();
        self.folder = folder;
    }

    /// The same device, its agent started through another command.
    pub(crate) fn through(mut self, command: &[&str]) -> Self {
        self.through = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts its agent, and waits until it hears signals.
    pub(crate) fn start(&mut self) {
        let mark = self.mark();
        self.start_as(&["run"]);
        self.hear(mark, "info started");
    }

    /// Starts its agent with these arguments.
    pub(crate) fn start_as(&mut self, arguments: &[&str]) {
        let mut words: Vec<_> = self.through.iter().map(Into::into).collect();
        words.push(crate::agent().into_os_string());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("--config")
            .arg(self.folder.join("agent.toml"))
            .args(arguments);
        self.heard.start(&mut command);
    }

    /// `kill -9`; what it said until then has been heard.
    pub(crate) fn kill(&mut self) {
        self.heard.kill();
    }

    /// Waits until its agent ends by itself; its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.heard.ended()
    }

    /// Makes it poll now.
    pub(crate) fn poll(&self) {
        self.heard.signal(Signal::USR1);
    }

    /// How much it has said so far.
    pub(crate) fn mark(&self) -> usize {
        self.heard.mark()
    }

    /// What it said from `mark` on.
    pub(crate) fn said(&self, mark: usize) -> Vec<String> {
        self.heard.said(mark)
    }

    /// Waits until it says a line, from `mark` on, that begins like this.
    pub(crate) fn hear(&self, mark: usize, begins: &str) -> String {
        self.hear_within(mark, begins, PATIENCE).unwrap_or_else(|| {
            panic!(
                "{} never said `{begins}`:\n{}",
                self.serial,
                self.said(0).join("\n")
            )
        })
    }

    /// The same, if it says it within this time.
    pub(crate) fn hear_within(
        &self,
        mark: usize,
        begins: &str,
        within: Duration,
    ) -> Option<String> {
        let begins = |line: &str| line.starts_with(begins);
        self.heard.hear_within(mark, begins, within)
    }

    /// Starts it for the first time; when it has its device key and has told what it holds.
    pub(crate) fn activate(&mut self) {
        self.start();
        self.hear(0, ACTIVATED);
        self.hear(0, REPORTED);
    }

    /// The program that it runs.
    pub(crate) fn camera(&self) -> String {
        fs::read_to_string(self.folder.join("data/slots/current/camera")).unwrap()
    }

    /// Where its keys lie.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("state/keys")
    }
}

/// What an agent says when its device key is in force.
pub(crate) const ACTIVATED: &str = "info the device key has taken its place";
/// What it says when the server has its inventory.
pub(crate) const REPORTED: &str = "info inventory reported";
/// What it says of a poll that was answered.
pub(crate) const POLLED: &str = "debug polled";
/// What it says of a session that has begun.
pub(crate) const CONNECTED: &str = "info connected";

impl Drop for Device {
    fn drop(&mut self) {
        self.heard.show_last(&self.serial);
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
