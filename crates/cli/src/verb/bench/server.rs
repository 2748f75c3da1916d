//! The node that is measured: a ledger founded for it, in a process of its own.

use std::{
    io::{self, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use kusabi_api::{
    HttpLedger,
    client::{AdminClient, AdminToken, Limits},
};
use kusabi_core::id::ChainId;
use serde::Deserialize;

use super::{process::Process, unmeasurable};
use crate::failure::Result;

/// A running node.
pub(super) struct Server {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    chain: ChainId,
    /// Kept open: the node may say more.
    _out: BufReader<ChildStdout>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; nothing of it is needed any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts `kusabi node run` in a folder, which founds a ledger in an empty one, and waits until it says where it listens.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        Self::run(&["node", "run", "--listen", "127.0.0.1:0"], folder).map(|(server, _)| server)
    }

    /// Starts a command in a folder and waits until it says that it is ready; gives what it says then, too.
    fn run(command: &[&str], folder: &Path) -> Result<(Self, Ready)> {
        Starting::begin(command, folder)?.ready()
    }

    pub(super) fn process(&self) -> Process {
        Process(self.child.id())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn chain(&self) -> ChainId {
        self.chain
    }

    pub(super) fn ledger(&self) -> Result<HttpLedger> {
        HttpLedger::new(&format!("http://{}", self.address)).map_err(unmeasurable)
    }

    /// Ends the process without warning, as a power cut would, and waits until it is gone.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill().map_err(unmeasurable)?;
        self.child.wait().map_err(unmeasurable)?;
        Ok(())
    }
}

/// A process that has not said yet that it is ready.
pub(super) struct Starting {
    child: Child,
    folder: PathBuf,
}

impl Starting {
    /// Starts a command in a folder.
    pub(super) fn begin(command: &[&str], folder: &Path) -> Result<Self> {
        let child = program(folder)?
            .args(command)
            .arg("--data")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(unmeasurable)?;
        let folder = folder.to_owned();
        Ok(Self { child, folder })
    }

    /// Waits until it says where it serves.
    pub(super) fn server(self) -> Result<Server> {
        self.ready().map(|(server, _)| server)
    }

    fn ready(mut self) -> Result<(Server, Ready)> {
        let out = self.child.stdout.take();
        let out = out.ok_or_else(|| io::Error::other("the node's output is not there"));
        let mut out = BufReader::new(out.map_err(unmeasurable)?);
        match ready(&mut out) {
            Ok(((address, chain), said)) => {
                let server = Server {
                    child: self.child,
                    folder: self.folder,
                    address,
                    chain,
                    _out: out,
                };
                Ok((server, said))
            }
            Err(error) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Err(unmeasurable(error))
            }
        }
    }
}

/// This program, with a home of its own: the profile of whoever measures is left alone.
pub(super) fn program(folder: &Path) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().map_err(unmeasurable)?);
    command
        .env("KUSABI_HOME", folder.join("home"))
        .arg("--json");
    Ok(command)
}

/// A server: in one process with its node, or beside it.
pub(super) struct Site {
    pub(super) server: Server,
    /// Where devices are answered.
    devices: Option<String>,
    admin: String,
    token_file: PathBuf,
}

impl Site {
    fn new((server, said): (Server, Ready)) -> Self {
        Self {
            server,
            devices: said.devices.into_iter().next(),
            admin: said.admin.unwrap_or_default(),
            token_file: said.token_file.unwrap_or_default(),
        }
    }

    pub(super) fn devices(&self) -> Result<SocketAddr> {
        let url = self
            .devices
            .as_deref()
            .ok_or_else(|| unmeasurable("the server does not say where devices are answered"))?;
        url.trim_start_matches("http://")
            .parse()
            .map_err(unmeasurable)
    }

    /// Starts `kusabi up` in a folder.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let any = "127.0.0.1:0";
        let command = [
            "up",
            "--listen",
            any,
            "--admin-listen",
            any,
            "--ledger-listen",
            any,
        ];
        Server::run(&command, folder).map(Self::new)
    }

    /// Starts `kusabi server run` in a folder, with the profile's organisation.
    pub(super) fn beside(profile: &str, command: &[&str], folder: &Path) -> Result<Self> {
        let any = "127.0.0.1:0";
        let begins = ["--profile", profile, "server", "run"];
        // No device asks it; a server wants to know its address all the same.
        let ends = [
            "--listen",
            any,
            "--admin-listen",
            any,
            "--device-url",
            "http://localhost:7041",
        ];
        let command = [&begins[..], command, &ends[..]].concat();
        Server::run(&command, folder).map(Self::new)
    }

    /// The admin API, as who runs the measurement.
    pub(super) fn admin(&self) -> Result<AdminClient> {
        let token = std::fs::read_to_string(&self.token_file).map_err(unmeasurable)?;
        let token = AdminToken::parse(&token).map_err(unmeasurable)?;
        AdminClient::new(&self.admin, token, None, Limits::default()).map_err(unmeasurable)
    }
}

/// What `kusabi node run --json`, `kusabi up --json` and `kusabi server run --json` say when they answer.
#[derive(Deserialize)]
struct Ready {
    event: String,
    /// Of the ledger, where there is one.
    #[serde(alias = "ledger")]
    address: Option<String>,
    chain: String,
    #[serde(default)]
    devices: Vec<String>,
    admin: Option<String>,
    token_file: Option<PathBuf>,
}

/// Reads what a process says until it says that it is ready: where it answers, and on which chain.
fn ready(out: &mut impl io::BufRead) -> io::Result<((SocketAddr, ChainId), Ready)> {
    let mut line = String::new();
    while out.read_line(&mut line)? > 0 {
        if let Ok(said) = serde_json::from_str::<Ready>(&line)
            && said.event == "ready"
        {
            let address = said.address.as_deref().or(said.admin.as_deref());
            let address = address.unwrap_or_default().trim_start_matches("http://");
            let place = (
                address.parse().map_err(io::Error::other)?,
                said.chain.parse().map_err(io::Error::other)?,
            );
            return Ok((place, said));
        }
        line.clear();
    }
    Err(io::Error::other("the node ended before it was ready"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_counts_is_found() {
        let chain = "00".repeat(31) + "07";
        let said = format!(
            "{{\"event\":\"waiting\",\"chain\":\"{chain}\",\"address\":\"127.0.0.1:8\"}}\n{{\"event\":\"ready\",\"chain\":\"{chain}\",\"address\":\"http://127.0.0.1:7\",\"height\":2}}\n"
        );
        let ((address, found), _) = ready(&mut said.as_bytes()).unwrap();
        assert_eq!(address.port(), 7);
        assert_eq!(found.to_string(), chain);
        assert!(ready(&mut "no\n".as_bytes()).is_err());
    }
}
