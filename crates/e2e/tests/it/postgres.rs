//! PostgreSQL in the place of SQLite: a cluster of each test's own, on a socket in its own folder, gone with the test.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use escargot::format::Message;
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::fleet::{Device, PATIENCE, POLLED, Site};

/// What a missing program is told with.
const INSTALL: &str = "PostgreSQL is needed: apt-get install postgresql";

/// What is used of it; distributions keep some of them out of the path.
const PROGRAMS: [&str; 4] = ["initdb", "postgres", "createdb", "dropdb"];

/// PostgreSQL says so when it takes connections.
const READY: &str = "database system is ready to accept connections";

/// A cluster of PostgreSQL.
struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// User and group that it runs as, where this process is root: PostgreSQL refuses to be that.
    runs_as: Option<(u32, u32)>,
    running: Option<(Child, Receiver<String>)>,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runs_as = geteuid().is_root().then(somebody);
        if let Some((user, group)) = runs_as {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut cluster = Self {
            folder,
            programs: programs(),
            runs_as,
            running: None,
        };
        let data = cluster.data();
        let made = cluster
            .command("initdb")
            .args(["--auth=trust", "--username=kusabi", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "-D"])
            .arg(data)
            .output();
        succeeded("initdb", made);
        cluster.start();
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some((user, group)) = self.runs_as {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts it, and waits until it takes connections.
    fn start(&mut self) {
        let mut child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=1000"])
            // Its own care for power cuts is not what is tested.
            .args(["-c", "fsync=off"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let (heard, hears) = channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                // Once it is ready nobody listens until it fails.
                let _ = heard.send(line);
            }
        });
        let mut lines = Vec::new();
        while let Ok(line) = hears.recv_timeout(PATIENCE) {
            if line.contains(READY) {
                self.running = Some((child, hears));
                return;
            }
            lines.push(line);
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("PostgreSQL does not start:\n{}", lines.join("\n"));
    }

    /// Ends it in order: connections are broken off, what was committed is on disk.
    fn stop(&mut self) {
        let (mut child, _) = self.running.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Does this to a database, as `createdb` or `dropdb`.
    fn does(&self, program: &str, arguments: &[&str]) {
        let done = self
            .command(program)
            .args(["-U", "kusabi", "-h"])
            .arg(self.folder.path())
            .args(arguments)
            .output();
        succeeded(program, done);
    }

    /// Where its databases are reached, as far as the name of one.
    fn server(&self) -> String {
        let socket = self.folder.path().display().to_string();
        format!("postgres://kusabi@{}", socket.replace('/', "%2F"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some((mut child, said)) = self.running.take() else {
            return;
        };
        // At once; its files go, too.
        let _ = kill_process(Pid::from_child(&child), Signal::QUIT);
        let _ = child.wait();
        if std::thread::panicking() {
            let said: Vec<_> = said.try_iter().collect();
            let last = &said[said.len().saturating_sub(20)..];
            eprintln!("PostgreSQL said last:\n{}\n", last.join("\n"));
        }
    }
}

/// The folder of its programs: that of the path, or Debian's newest.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path())
        .collect();
    folders.sort_by_key(|folder| {
        let version = folder.file_name().and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let debian = folders.iter().rev().map(|folder| folder.join("bin"));
    std::env::split_paths(&path)
        .chain(debian)
        .find(|folder| PROGRAMS.iter().all(|name| folder.join(name).exists()))
        .unwrap_or_else(|| panic!("{INSTALL}"))
}

/// A user that is not root, and his group: PostgreSQL's own, which its package makes.
fn somebody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &str| {
        let user = users.lines().find_map(|line| line.strip_prefix(name))?;
        let mut fields = user.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    id("postgres")
        .or_else(|| id("nobody"))
        .expect("there is a user beside root")
}

fn succeeded(what: &str, ran: std::io::Result<std::process::Output>) {
    let ran = ran.unwrap_or_else(|why| panic!("`{what}` cannot be run ({why}). {INSTALL}"));
    assert!(
        ran.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// The tests of `crates/server`, built as `cargo test --workspace` builds them.
fn the_servers_tests() -> PathBuf {
    let build = crate::workspace().test("it");
    let fails = "cargo build --workspace --test it has to succeed first";
    let messages = build.exec().unwrap_or_else(|why| panic!("{fails}: {why}"));
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server");
    let server = server.canonicalize().unwrap();
    for message in messages {
        let message = message.unwrap_or_else(|why| panic!("{fails}: {why}"));
        if let Ok(Message::CompilerArtifact(built)) = message.decode()
            && built.target.src_path.starts_with(&server)
            && let Some(tests) = built.executable
        {
            return tests.into_owned();
        }
    }
    panic!("cargo names the tests that it built")
}

#[test]
fn the_servers_tests_pass_on_postgresql() {
    let _with_others = crate::fleet::with_others();
    let cluster = Cluster::new();
    let tests = Command::new(the_servers_tests())
        // It takes the database away once nothing is left to be written, and cannot tell when that is on a slow one.
        .args(["--skip", "a_quiet_poll_asks_neither_database_nor_ledger"])
        .env("KUSABI_TEST_POSTGRES", cluster.server())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tests.stdout);
    // Of hundreds of tests only those that failed are worth reading.
    let failures = said.find("\nfailures:").map_or(&*said, |at| &said[at..]);
    assert!(
        tests.status.success(),
        "{failures}\n{}",
        String::from_utf8_lossy(&tests.stderr)
    );
    let closing = said.lines().rfind(|line| line.starts_with("test result"));
    println!("{}", closing.unwrap_or_default());
}

#[test]
fn a_fleet_on_postgresql() {
    let _with_others = crate::fleet::with_others();
    let mut cluster = Cluster::new();
    cluster.does("createdb", &["fleet"]);
    let database = format!("database = \"{}/fleet\"\n", cluster.server());
    let mut site = Site::found_apart(&database);
    site.provision(&["CAM-0001", "CAM-0002"], "");
    let mut device = Device::build(&site, "CAM-0001");
    device.activate();
    let mut other = Device::build(&site, "CAM-0002");
    other.activate();
    let shown = site.shown("CAM-0001");
    assert_eq!(
        (&shown["state"], &shown["inventory"]),
        (&"active".into(), &"expected".into())
    );

    let release = site.release("2.0", 1);
    let order = site.order(&format!("update --group lobby --release {release}"));
    site.answered(order);
    assert_eq!(device.camera(), "camera 2.0\n");
    assert_eq!(other.camera(), "camera 2.0\n");

    // The server is killed: what it had said was done is there.
    site.kill();
    site.up();
    assert_eq!(site.waiting(order), 0);
    let mark = device.mark();
    device.poll();
    device.hear(mark, POLLED);
    let order = site.order("report CAM-0001");
    site.answered(order);

    // The database goes, and comes back: the server needs nobody to tell it.
    cluster.stop();
    let refused = site.run("device list");
    assert_eq!(refused.code(), 4, "{}{}", refused.out(), refused.err());
    cluster.start();
    let order = site.order("report CAM-0002");
    site.answered(order);

    // It is lost: what the ledger knows is read again.
    site.kill();
    cluster.does("dropdb", &["fleet"]);
    cluster.does("createdb", &["fleet"]);
    site.up();
    let rebuilt = site.operator("rebuild");
    assert_eq!(rebuilt["devices"], 2, "{rebuilt:#}");
    let listed = site.operator("device list");
    let states: Vec<_> = listed["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| &device["state"])
        .collect();
    assert_eq!(states, ["active", "active"]);
    for device in [&device, &other] {
        let mark = device.mark();
        device.poll();
        device.hear(mark, POLLED);
    }
    assert_eq!(site.alarms(), Vec::<String>::new());
}
