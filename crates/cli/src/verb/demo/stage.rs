//! What the demo plays on: a folder, the ledger and the server as a process of their own, and the operator's commands, each
//! of them a real `kusabi` command.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use futures::StreamExt as _;
use kusabi_api::{HttpLedger, Ledger as _, Problem};
use kusabi_core::id::Height;
use serde_json::Value;

use super::{children, consortium::Consortium};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

/// A block each so many seconds when nothing else happens: a demo has no time for a minute.
pub(super) const HEARTBEAT_S: u64 = 2;

/// Where a kept stage notes its addresses: devices, people, ledger.
const ADDRESSES: &str = "addresses";

/// A step could not be played: something is missing, or broke.
pub(super) fn broke(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("the demo broke off: {what}"))
}

/// Where everything lies.
pub(super) struct Stage {
    pub(super) root: PathBuf,
    kusabi: PathBuf,
    pub(super) agent: PathBuf,
    /// The addresses stay the same over restarts, for devices know them.
    pub(super) devices: SocketAddr,
    admin: SocketAddr,
    ledger: SocketAddr,
    /// Whether it is there when the play has ended.
    keep: bool,
    /// The process of ledger and server; among several organisations that of the server alone.
    running: Option<Running>,
    /// The nodes of all organisations, where there are several.
    pub(super) consortium: Option<Consortium>,
}

/// A process that has said that it is ready.
pub(super) struct Running {
    child: Child,
    /// Kept open: it may say more.
    _out: BufReader<ChildStdout>,
}

/// A process that has not said so yet.
pub(super) struct Starting {
    child: Child,
    out: BufReader<ChildStdout>,
    line: String,
    log: PathBuf,
}

impl Starting {
    /// Waits until it says that it is ready.
    pub(super) fn ready(mut self) -> Result<Running> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.out.read_line(&mut line).map_err(broke)? == 0 {
                children::reap(&mut self.child);
                return Err(
                    broke(format!("`kusabi {}` ended before it was ready", self.line))
                        .advise(format!("{} says why", self.log.display())),
                );
            }
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if said["event"] == "ready" {
                return Ok(Running {
                    child: self.child,
                    _out: self.out,
                });
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        children::reap(&mut self.child);
    }
}

impl Stage {
    /// A stage in an empty folder.
    pub(super) fn new(root: &Path) -> Result<Self> {
        Self::of(root, None)
    }

    /// The same for several organisations, each with a validator.
    pub(super) fn among(root: &Path) -> Result<Self> {
        Self::of(root, Some(Consortium::new()?))
    }

    fn of(root: &Path, consortium: Option<Consortium>) -> Result<Self> {
        let kusabi = std::env::current_exe().map_err(broke)?;
        let agent = agent(&kusabi)?;
        Ok(Self {
            root: root.to_owned(),
            kusabi,
            agent,
            devices: free()?,
            admin: free()?,
            ledger: match &consortium {
                Some(consortium) => consortium.own_node(),
                None => free()?,
            },
            keep: false,
            running: None,
            consortium,
        })
    }

    /// The directory of ledger and server.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("site")
    }

    pub(super) fn profile(&self) -> PathBuf {
        self.data().join("profile.toml")
    }

    /// A stage that was kept.
    pub(super) fn kept(root: &Path) -> Result<Self> {
        let root = root
            .canonicalize()
            .map_err(|error| Failure::io("read", root, &error))?;
        let path = root.join(ADDRESSES);
        let text = fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))?;
        let mut addresses = text.lines().map(str::parse);
        let mut next = || match addresses.next() {
            Some(Ok(address)) => Ok(address),
            _ => Err(broke(format!("{} is damaged", path.display()))),
        };
        let kusabi = std::env::current_exe().map_err(broke)?;
        Ok(Self {
            agent: agent(&kusabi)?,
            kusabi,
            devices: next()?,
            admin: next()?,
            ledger: next()?,
            keep: true,
            running: None,
            consortium: None,
            root,
        })
    }

    /// Writes down how the stage is found again.
    pub(super) fn keep(&mut self) -> Result<()> {
        let path = self.root.join(ADDRESSES);
        let text = format!("{}\n{}\n{}\n", self.devices, self.admin, self.ledger);
        fs::write(&path, text).map_err(|error| Failure::io("written", &path, &error))?;
        self.keep = true;
        Ok(())
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.keep
    }

    /// The first start founds, every one ends when both answer.
    pub(super) fn up(&mut self) -> Result<()> {
        let Some(mut consortium) = self.consortium.take() else {
            return self.up_as("home");
        };
        let up = consortium.up(self);
        self.consortium = Some(consortium);
        up?;
        self.serve()
    }

    /// The server beside the organisation's node; one that runs ends first.
    pub(super) fn serve(&mut self) -> Result<()> {
        let mut arguments =
            super::consortium::server(&self.data(), &self.profile(), self.devices, self.admin);
        if let Some(consortium) = &self.consortium {
            arguments.extend(consortium.successors());
        }
        self.start(&arguments)
    }

    /// Address for people and tools.
    pub(super) const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The same for an organisation of this name.
    pub(super) fn up_as(&mut self, org: &str) -> Result<()> {
        let arguments = [
            "up".into(),
            "--data".into(),
            self.data().display().to_string(),
            "--listen".into(),
            self.devices.to_string(),
            "--admin-listen".into(),
            self.admin.to_string(),
            "--ledger-listen".into(),
            self.ledger.to_string(),
            "--org".into(),
            org.into(),
            "--heartbeat".into(),
            HEARTBEAT_S.to_string(),
            "--device-url".into(),
            format!("http://{}", self.devices),
        ];
        self.start(&arguments)
    }

    /// The ledger alone: somebody else answers in the server's place.
    pub(super) fn up_without_server(&mut self) -> Result<()> {
        if self.consortium.is_some() {
            self.running = None;
            return Ok(());
        }
        let arguments = [
            "node".into(),
            "run".into(),
            "--data".into(),
            self.data().display().to_string(),
            "--listen".into(),
            self.ledger.to_string(),
        ];
        self.start(&arguments)
    }

    fn start(&mut self, arguments: &[String]) -> Result<()> {
        self.running = None;
        self.running = Some(self.begin("site.log", arguments)?.ready()?);
        Ok(())
    }

    /// Starts a process that says when it is ready.
    pub(super) fn begin(&self, log: &str, arguments: &[String]) -> Result<Starting> {
        let log = self.root.join(log);
        let to_log = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|error| Failure::io("written", &log, &error))?;
        let mut child = children::spawn(
            self.kusabi()
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(to_log),
        )
        .map_err(broke)?;
        let out = child.stdout.take().ok_or_else(|| broke("no output"))?;
        Ok(Starting {
            child,
            out: BufReader::new(out),
            line: arguments.join(" "),
            log,
        })
    }

    /// A command that leaves the profile of whoever plays the demo alone.
    fn kusabi(&self) -> Command {
        let mut command = Command::new(&self.kusabi);
        command
            .env("KUSABI_HOME", self.root.join("home"))
            .arg("--json")
            .stdin(Stdio::null());
        command
    }

    /// Ends server and ledger, among several organisations the own node, without warning, as a power cut would.
    pub(super) fn kill(&mut self) {
        self.running = None;
        if let Some(consortium) = &mut self.consortium {
            consortium.kill_own();
        }
    }

    /// The process of ledger and server.
    pub(super) fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// The ledger's address for a client.
    pub(super) fn ledger(&self) -> String {
        format!("http://{}", self.ledger)
    }

    /// Asks the ledger something, as anyone may.
    pub(super) fn ask<T>(
        &self,
        question: impl AsyncFnOnce(HttpLedger) -> std::result::Result<T, Problem>,
    ) -> Result<T> {
        self.ask_at(&self.ledger(), question)
    }

    /// Asks a node something.
    pub(super) fn ask_at<T>(
        &self,
        node: &str,
        question: impl AsyncFnOnce(HttpLedger) -> std::result::Result<T, Problem>,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(broke)?;
        let ledger = HttpLedger::new(node).map_err(broke)?;
        runtime.block_on(question(ledger)).map_err(broke)
    }

    /// Waits until a node has a block of this height.
    pub(super) fn wait_for_height_at(&self, node: &str, height: u64) -> Result<()> {
        let after = Height::new(height.saturating_sub(1)).map_err(broke)?;
        let came = self.ask_at(node, async move |ledger| {
            let mut blocks = ledger.events(after).await?;
            blocks.next().await.transpose()
        })?;
        came.map(|_| ())
            .ok_or_else(|| broke(format!("{node} ended before height {height}")))
    }

    /// Waits until the ledger has a block of this height.
    pub(super) fn wait_for_height(&self, height: u64) -> Result<()> {
        self.wait_for_height_at(&self.ledger(), height)
    }

    /// The operator types a command; its answers are lines of JSON.
    pub(super) fn operator(&self, arguments: &[&str]) -> Result<Value> {
        self.operator_of(&self.profile(), arguments)
    }

    /// The same for another organisation's.
    pub(super) fn operator_of(&self, profile: &Path, arguments: &[&str]) -> Result<Value> {
        let profile = profile.display().to_string();
        let mut all = vec!["--profile", &*profile];
        all.extend(arguments);
        self.types(&all)
    }

    /// How a command ends, whatever it says.
    pub(super) fn output(&self, arguments: &[&str]) -> Result<Output> {
        children::output(self.kusabi().args(arguments)).map_err(broke)
    }

    /// Somebody types a command.
    pub(super) fn types(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.output(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout);
        // An answer of “no” is an answer.
        let answered = output.status.success()
            || (output.status.code() == Some(Exit::Negative as i32) && !said.trim().is_empty());
        if !answered {
            return Err(broke(format!(
                "`kusabi {}` failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim_end()
            )));
        }
        let last = said.lines().last().unwrap_or("null");
        serde_json::from_str(last).map_err(broke)
    }
}

/// A free port of this machine; whoever takes it first has it.
pub(in crate::verb) fn free() -> Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map_err(broke)
}

/// The agent's program: beside this one, else built by the cargo that runs this one.
fn agent(kusabi: &Path) -> Result<PathBuf> {
    let agent = kusabi.with_file_name("kusabi-agent");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "kusabi-agent"]);
        if kusabi
            .parent()
            .is_some_and(|folder| folder.ends_with("release"))
        {
            build.arg("--release");
        }
        let built = build.status().map_err(broke)?;
        if !built.success() {
            return Err(broke("kusabi-agent cannot be built"));
        }
    }
    if agent.is_file() {
        Ok(agent)
    } else {
        Err(Failure::new(
            Exit::File,
            format!("{} is not there: it runs on the cameras", agent.display()),
        )
        .advise("build it: cargo build --package kusabi-agent"))
    }
}
