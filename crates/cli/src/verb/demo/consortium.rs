//! Several organisations on the stage: each with a folder, a node of its own, and people who type commands in its name.
//!
//! "home" is the one whose cameras are shown; its folder is that of the stage's server. Nothing here is the demo's own: each
//! organisation does what docs/consortium.md tells it to.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use kusabi_core::suite::Purpose;
use serde_json::Value;

use super::stage::{HEARTBEAT_S, Running, Stage, Starting, broke, free};
use crate::{
    failure::Result,
    files::{self, Mode},
    profile::Profile,
};

/// Who founds the ledger; the first one's folder is the stage's.
const FOUNDERS: [&str; 4] = ["home", "beta", "corp", "delta"];

/// An organisation.
pub(super) struct Member {
    pub(super) name: &'static str,
    /// Where the other nodes reach its node.
    peers: SocketAddr,
    /// Where clients do.
    pub(super) clients: SocketAddr,
    node: Option<Running>,
    /// Its server, where it is not the stage's.
    server: Option<Server>,
}

/// A server of an organisation whose cameras are not shown.
struct Server {
    /// Where devices reach it.
    devices: SocketAddr,
    _running: Running,
}

impl Member {
    fn new(name: &'static str) -> Result<Self> {
        Ok(Self {
            name,
            peers: free()?,
            clients: free()?,
            node: None,
            server: None,
        })
    }

    /// Its folder.
    pub(super) fn folder(&self, stage: &Stage) -> PathBuf {
        if self.name == FOUNDERS[0] {
            stage.data()
        } else {
            stage.root.join(self.name)
        }
    }

    pub(super) fn profile(&self, stage: &Stage) -> PathBuf {
        self.folder(stage).join("profile.toml")
    }

    fn file(&self, stage: &Stage, name: &str) -> String {
        self.folder(stage).join(name).display().to_string()
    }

    /// Makes its keys, and the member file beside them.
    fn init(&self, stage: &Stage) -> Result<()> {
        let folder = self.folder(stage).display().to_string();
        let peers = self.peers.to_string();
        let init = [
            "org",
            "init",
            &folder,
            "--name",
            self.name,
            "--address",
            &peers,
        ];
        stage.types(&init).map(|_| ())
    }

    /// What its people say to the ledger through its own node.
    pub(super) fn operator(&self, stage: &Stage, arguments: &[&str]) -> Result<Value> {
        stage.operator_of(&self.profile(stage), arguments)
    }

    fn begin(&self, stage: &Stage, verb: &str, more: &[&str]) -> Result<Starting> {
        let mut arguments = vec!["node".to_owned(), verb.to_owned(), "--data".to_owned()];
        arguments.push(self.folder(stage).display().to_string());
        arguments.extend(["--listen".to_owned(), self.clients.to_string()]);
        arguments.extend(more.iter().map(ToString::to_string));
        stage.begin(&format!("{}.log", self.name), &arguments)
    }
}

/// All of them.
pub(super) struct Consortium {
    members: Vec<Member>,
}

impl Consortium {
    pub(super) fn new() -> Result<Self> {
        let members = FOUNDERS.into_iter().map(Member::new);
        Ok(Self {
            members: members.collect::<Result<_>>()?,
        })
    }

    /// Where clients reach the node of the organisation whose cameras are shown.
    pub(super) fn own_node(&self) -> SocketAddr {
        self.members
            .first()
            .map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), |own| own.clients)
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// A member by its name.
    pub(super) fn member(&self, name: &str) -> Result<&Member> {
        let mut members = self.members.iter();
        members
            .find(|member| member.name == name)
            .ok_or_else(|| broke(format!("there is no {name}")))
    }

    fn member_mut(&mut self, name: &str) -> Result<&mut Member> {
        let mut members = self.members.iter_mut();
        members
            .find(|member| member.name == name)
            .ok_or_else(|| broke(format!("there is no {name}")))
    }

    /// The ledger's chain ID.
    pub(super) fn chain(&self, stage: &Stage) -> Result<String> {
        let path = self.member(FOUNDERS[0])?.folder(stage).join("chain");
        let text = fs::read_to_string(path).map_err(broke)?;
        Ok(text.trim().to_owned())
    }

    pub(super) fn kill_own(&mut self) {
        if let Some(own) = self.members.first_mut() {
            own.node = None;
        }
    }

    /// Ends a member's node without warning.
    pub(super) fn kill(&mut self, name: &str) -> Result<()> {
        self.member_mut(name)?.node = None;
        Ok(())
    }

    /// Starts the nodes that do not run; the first time the organisations found the ledger before.
    pub(super) fn up(&mut self, stage: &Stage) -> Result<()> {
        let founds = !stage.data().exists();
        let genesis = stage.root.join("demo.genesis").display().to_string();
        if founds {
            self.found(stage, &genesis)?;
        }
        // One alone is not ready before the others are there.
        let mut starting = Vec::new();
        for member in self.members.iter().filter(|member| member.node.is_none()) {
            let more: &[&str] = if founds {
                &["--genesis", &genesis]
            } else {
                &[]
            };
            starting.push((member.name, member.begin(stage, "run", more)?));
        }
        for (name, node) in starting {
            self.member_mut(name)?.node = Some(node.ready()?);
        }
        if founds {
            self.equip(stage)?;
        }
        Ok(())
    }

    /// From four folders to one genesis that all have signed.
    fn found(&self, stage: &Stage, genesis: &str) -> Result<()> {
        let draft = stage.root.join("draft.genesis").display().to_string();
        let heartbeat = format!("{HEARTBEAT_S}s");
        let mut new = vec![
            "genesis",
            "new",
            "--name",
            "demo",
            "--heartbeat",
            &heartbeat,
        ];
        let mut files = Vec::new();
        for member in &self.members {
            member.init(stage)?;
            files.push(member.file(stage, &format!("{}.member", member.name)));
        }
        new.extend(["--out", &draft]);
        new.extend(files.iter().map(String::as_str));
        stage.types(&new)?;
        let mut signatures = Vec::new();
        for member in &self.members {
            let folder = member.folder(stage).display().to_string();
            let signature = member.file(stage, "genesis.signature");
            stage.types(&["genesis", "sign", &folder, &draft, "--out", &signature])?;
            signatures.push(signature);
        }
        let mut finish = vec!["genesis", "finish", &draft];
        finish.extend(signatures.iter().map(String::as_str));
        finish.extend(["--out", genesis]);
        stage.types(&finish).map(|_| ())
    }

    /// What `kusabi up` does for an organisation of one: keys for its server and for releases.
    fn equip(&self, stage: &Stage) -> Result<()> {
        let own = self.member(FOUNDERS[0])?;
        equip(stage, own, stage.admin())?;
        let art = own.file(stage, "keys/art.key");
        own.operator(stage, &["key", "new", "--purpose", "art", &art])?;
        own.operator(stage, &["org", "art", "--sign", "1", "--add", &art])?;
        Ok(())
    }

    /// An organisation that was not there at the founding: it applies, the members vote, its node joins with the next epoch.
    pub(super) fn admit(&mut self, stage: &Stage, name: &'static str) -> Result<Admitted> {
        let member = Member::new(name)?;
        member.init(stage)?;
        let own = self.member(FOUNDERS[0])?;
        let chain = self.chain(stage)?;
        let chain = chain.as_str();
        let folder = member.folder(stage).display().to_string();
        let application = member.file(stage, "application");
        let apply = [
            "org",
            "apply",
            &folder,
            "--chain",
            chain,
            "--out",
            &application,
        ];
        stage.types(&apply)?;
        let propose = [
            "org",
            "propose",
            "--admit",
            &application,
            "--quota",
            "1000000",
        ];
        let proposal = own.operator(stage, &propose)?;
        let id = text(&proposal, "id")?;
        let mut votes = 1;
        let mut carried = false;
        for voter in self.members.iter().skip(1) {
            if carried {
                break;
            }
            let vote = voter.operator(stage, &["org", "vote", &id, "--yes"])?;
            votes += 1;
            carried = vote["state"] == "carried";
        }
        let from = format!("http://{}", own.clients);
        let joining = member.begin(stage, "join", &["--from", &from, "--chain", chain])?;
        let added = member.file(stage, &format!("{name}.member"));
        self.turn(stage, &["--add", &added], &["--agreed", name])?;
        let node = joining.ready()?;
        let members = self.members.len();
        self.members.push(Member {
            node: Some(node),
            ..member
        });
        Ok(Admitted {
            carried,
            votes,
            members,
        })
    }

    /// The next epoch, with more of `kusabi epoch new`, and what is agreed on by all who sign.
    fn turn(&self, stage: &Stage, more: &[&str], agreed: &[&str]) -> Result<()> {
        let own = self.member(FOUNDERS[0])?;
        let draft = stage.root.join("next.epoch").display().to_string();
        let mut new = vec!["epoch", "new", "--out", &draft];
        let others: Vec<_> = self.members.iter().skip(1).collect();
        let urls: Vec<_> = others
            .iter()
            .map(|member| format!("http://{}", member.clients))
            .collect();
        for url in &urls {
            new.extend(["--node", url]);
        }
        new.extend(more);
        own.operator(stage, &new)?;
        let mut files = Vec::new();
        for member in &self.members {
            let signed = member.file(stage, "next.signature");
            let sign = ["epoch", "sign", &draft, "--out", &signed];
            member.operator(stage, &[&sign, agreed].concat())?;
            files.push(signed);
        }
        let mut submit = vec!["epoch", "submit"];
        submit.extend(files.iter().map(String::as_str));
        own.operator(stage, &submit).map(|_| ())
    }

    /// Keys for a member's server, and the server beside its node.
    pub(super) fn serve(&mut self, stage: &Stage, name: &str) -> Result<()> {
        let member = self.member(name)?;
        let (devices, admin) = (free()?, free()?);
        equip(stage, member, admin)?;
        let arguments = server(
            &member.folder(stage),
            &member.profile(stage),
            devices,
            admin,
        );
        let log = format!("{name}-server.log");
        let running = stage.begin(&log, &arguments)?.ready()?;
        self.member_mut(name)?.server = Some(Server {
            devices,
            _running: running,
        });
        Ok(())
    }

    /// What the stage's server is told of where the other organisations' servers are.
    pub(super) fn successors(&self) -> Vec<String> {
        let servers = self.members.iter().filter_map(|member| {
            let server = member.server.as_ref()?;
            let named = format!("{}=http://{}", member.name, server.devices);
            Some(["--successor".to_owned(), named])
        });
        servers.flatten().collect()
    }

    /// Starts a member's node again.
    pub(super) fn start(&mut self, stage: &Stage, name: &str) -> Result<()> {
        let node = self.member(name)?.begin(stage, "run", &[])?.ready()?;
        self.member_mut(name)?.node = Some(node);
        Ok(())
    }
}

/// How an organisation came in.
pub(super) struct Admitted {
    pub(super) carried: bool,
    pub(super) votes: usize,
    pub(super) members: usize,
}

/// A text in an answer.
pub(super) fn text(answer: &Value, name: &str) -> Result<String> {
    answer[name]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| broke(format!("no {name} in {answer}")))
}

/// Keys for an organisation's writer and its server, granted, and a profile that finds the server.
pub(super) fn equip(stage: &Stage, member: &Member, admin: SocketAddr) -> Result<()> {
    let writer = member.file(stage, "keys/writer.key");
    member.operator(stage, &["org", "grant", &writer])?;
    for (purpose, name) in [(Purpose::Ps, "ps"), (Purpose::Writer, "server-writer")] {
        let key = member.file(stage, &format!("keys/{name}.key"));
        member.operator(stage, &["key", "new", "--purpose", purpose.name(), &key])?;
        member.operator(stage, &["org", "grant", &key])?;
    }
    let path = member.profile(stage);
    let folder = member.folder(stage);
    let mut profile = Profile::read(&path)?;
    profile.server = Some(format!("http://{admin}"));
    profile.token_file = Some(folder.join("server/token"));
    profile.art = vec![folder.join("keys/art.key")];
    files::replace(&path, profile.to_toml().as_bytes(), Mode::Public)
}

/// How a server is started that stands beside its organisation's node.
pub(super) fn server(
    folder: &Path,
    profile: &Path,
    devices: SocketAddr,
    admin: SocketAddr,
) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let words = [
        ("--profile", profile.display().to_string()),
        ("server", "run".to_owned()),
        ("--data", file("server")),
        ("--ps", file("keys/ps.key")),
        ("--writer", file("keys/server-writer.key")),
        ("--listen", devices.to_string()),
        ("--admin-listen", admin.to_string()),
        ("--device-url", format!("http://{devices}")),
    ];
    let words = words.into_iter();
    words
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
}
