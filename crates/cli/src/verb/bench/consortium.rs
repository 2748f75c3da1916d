//! A ledger of several organisations: each with a validator in a process of its own, founded as docs/consortium.md says. All of
//! them, and the client that measures, share this machine.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use kusabi_api::{HttpLedger, Ledger as _, ledger::Status};
use kusabi_core::id::OrgName;

use super::{
    Args,
    fleet::{BATCH, Fleet},
    idle, machine, reads,
    report::{Idle, Several},
    revocations::{self, Place},
    server::{Server, Starting, program},
    size, unmeasurable,
    writes::{self, Nodes},
};
use crate::{failure::Result, keyfile::KeyFile, session::Session, verb::demo::free};

/// Single registrations under way at once.
const AT_ONCE: usize = 256;
/// Single registrations that begin in each second, in three windows.
const OFFERED: [u32; 3] = [200, 1_000, 1_500];
/// How long each of these windows is.
const OFFERED_S: u64 = 10;
/// Offered while a node that was killed comes back, so that there are blocks to vote for.
const MEANWHILE: u32 = 100;
/// How long a node has to come back, or to fetch the ledger.
const RETURN_MAX: Duration = Duration::from_secs(600);
/// Between two looks at what no node announces.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Rows that an organisation may have.
const QUOTA: &str = "1000000000";

/// An organisation with its node.
struct Member {
    name: String,
    folder: PathBuf,
    peers: SocketAddr,
    clients: SocketAddr,
}

impl Member {
    fn new(root: &Path, number: u8) -> Result<Self> {
        let name = format!("org{number}");
        Ok(Self {
            folder: root.join(&name),
            peers: free()?,
            clients: free()?,
            name,
        })
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn run(&self, more: &[&str]) -> Result<Starting> {
        let listen = self.clients.to_string();
        let mut command = vec!["node", "run", "--listen", &listen];
        command.extend(more);
        Starting::begin(&command, &self.folder)
    }
}

/// Runs a command to its end.
fn types(root: &Path, arguments: &[&str]) -> Result<()> {
    let ran = program(root)?
        .args(arguments)
        .output()
        .map_err(unmeasurable)?;
    if ran.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    Err(unmeasurable(format!(
        "kusabi {}: {said}",
        arguments.join(" ")
    )))
}

/// From empty folders to one genesis that all have signed.
fn found(root: &Path, members: &[Member]) -> Result<String> {
    let path = |name: &str| root.join(name).display().to_string();
    let (draft, genesis) = (path("draft"), path("genesis"));
    let mut new = vec!["genesis", "new", "--name", "bench", "--out", &draft];
    let mut signatures = Vec::new();
    let files: Vec<_> = members
        .iter()
        .map(|member| member.file(&format!("{}.member", member.name)))
        .collect();
    for member in members {
        let (folder, address) = (member.file(""), member.peers.to_string());
        let init = ["org", "init", &folder, "--name", &member.name];
        types(
            root,
            &[&init[..], &["--address", &address, "--quota", QUOTA]].concat(),
        )?;
    }
    new.extend(files.iter().map(String::as_str));
    types(root, &new)?;
    for member in members {
        let signature = member.file("genesis.signature");
        types(
            root,
            &[
                "genesis",
                "sign",
                &member.file(""),
                &draft,
                "--out",
                &signature,
            ],
        )?;
        signatures.push(signature);
    }
    let mut finish = vec!["genesis", "finish", &draft];
    finish.extend(signatures.iter().map(String::as_str));
    finish.extend(["--out", &genesis]);
    types(root, &finish)?;
    Ok(genesis)
}

fn nodes(servers: &[Server]) -> Result<Nodes> {
    Ok(Nodes {
        ledgers: servers.iter().map(Server::ledger).collect::<Result<_>>()?,
        processes: servers.iter().map(Server::process).collect(),
    })
}

/// Looks at a node until it says what is waited for.
async fn until(ledger: &HttpLedger, what: &str, is: impl Fn(&Status) -> bool) -> Result<()> {
    let end = Instant::now() + RETURN_MAX;
    loop {
        // While it starts it may not answer.
        if let Ok(status) = ledger.status().await
            && is(&status)
        {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(unmeasurable(format!(
                "{what} takes longer than {RETURN_MAX:?}"
            )));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Measures a ledger of so many validators in a new folder.
pub(super) async fn measure(
    args: &Args,
    validators: u8,
    root: &Path,
    session: &Session,
) -> Result<Several> {
    let step = |what: &str| {
        if session.output().progress() {
            anstream::eprintln!("{what} …");
        }
    };
    step("founding a ledger");
    let members: Vec<_> = (0..validators)
        .map(|number| Member::new(root, number))
        .collect::<Result<_>>()?;
    let genesis = found(root, &members)?;
    // None of them is ready before enough of them are there.
    let starting: Vec<_> = members
        .iter()
        .map(|member| member.run(&["--genesis", &genesis]))
        .collect::<Result<_>>()?;
    let mut servers: Vec<_> = starting
        .into_iter()
        .map(Starting::server)
        .collect::<Result<_>>()?;
    let [first, ..] = &members[..] else {
        return Err(unmeasurable("no member"));
    };
    let writer = first.file("keys/writer.key");
    types(
        root,
        &[
            "--profile",
            &first.file("profile.toml"),
            "org",
            "grant",
            &writer,
        ],
    )?;
    let all = nodes(&servers)?;
    let [own, ..] = &all.ledgers[..] else {
        return Err(unmeasurable("no node"));
    };
    let document = own.genesis().await.map_err(unmeasurable)?;
    let org = OrgName::new(&first.name).map_err(unmeasurable)?.id();
    let chain = servers
        .first()
        .map(Server::chain)
        .ok_or_else(|| unmeasurable("no node"))?;
    let fleet = Fleet::new(chain, org, KeyFile::read(Path::new(&writer))?);

    step("watching them do nothing");
    let window = Duration::from_secs(args.idle_seconds);
    let watched = try_join_all(servers.iter().map(|server| idle(server, window))).await?;
    let most = |one: Idle, other: Idle| {
        if one.cpu_percent < other.cpu_percent {
            other
        } else {
            one
        }
    };
    let idle = watched
        .into_iter()
        .reduce(most)
        .ok_or_else(|| unmeasurable("no node"))?;

    step("revoking");
    // Before there are many keys: these servers follow all of them.
    let profile = first.file("profile.toml");
    let mut places = Vec::new();
    for member in &members {
        let place = Place {
            key: member.folder.join("ps.key"),
            folder: member.folder.join("server"),
            ledger: format!("http://{}", member.clients),
        };
        let key = place.key.display().to_string();
        types(root, &["key", "new", &key, "--purpose", "ps"])?;
        types(root, &["--profile", &profile, "org", "grant", &key])?;
        places.push(place);
    }
    let revocations = revocations::measure(&all, &fleet, &profile, &writer, &places).await?;

    step("registering in batches");
    let batches = args.keys.div_ceil(BATCH);
    let registered = writes::batches(&all, &fleet, batches, |_| {}).await?;
    let mut next = batches * BATCH;
    let mut more = |count: u64| {
        let numbers = next..next + count;
        next = numbers.end;
        numbers
    };
    step("registering single keys");
    let singles = writes::singles(&all, &fleet, more(args.singles), AT_ONCE).await?;
    let mut paced = Vec::new();
    for offered in OFFERED {
        let numbers = more(u64::from(offered) * OFFERED_S);
        paced.push(writes::paced(&all, &fleet, numbers, offered).await?);
    }

    step("killing one");
    let last = members.last().ok_or_else(|| unmeasurable("no member"))?;
    servers
        .pop()
        .ok_or_else(|| unmeasurable("no node"))?
        .kill()?;
    let without = nodes(&servers)?;
    let one_dead = writes::singles(&without, &fleet, more(args.singles), AT_ONCE).await?;
    step("starting it again");
    let began = Instant::now();
    let begun = last.run(&[])?;
    let height = own.status().await.map_err(unmeasurable)?.height;
    let address = last.peers.to_string();
    let votes = until(own, "its return", |status| {
        let votes = status.votes.iter().flat_map(|votes| &votes.validators);
        let mut its = votes.filter(|votes| votes.address == address);
        its.any(|votes| votes.newest.is_some_and(|newest| newest > height))
    });
    let returned = async {
        votes.await?;
        Ok(began.elapsed().as_secs_f64())
    };
    let meanwhile = writes::paced(
        &without,
        &fleet,
        more(u64::from(MEANWHILE) * OFFERED_S),
        MEANWHILE,
    );
    let (returned_s, _) = tokio::try_join!(returned, meanwhile)?;
    servers.push(begun.server()?);

    step("following from the beginning");
    let height = own.status().await.map_err(unmeasurable)?.height;
    let (from, chain) = (format!("http://{}", first.clients), chain.to_string());
    let began = Instant::now();
    let follow = [
        "node",
        "follow",
        "--from",
        &from,
        "--chain",
        &chain,
        "--listen",
        "127.0.0.1:0",
    ];
    let follower = Starting::begin(&follow, &root.join("follower"))?.server()?;
    until(&follower.ledger()?, "following", |status| {
        status.height >= height
    })
    .await?;
    let followed_s = began.elapsed().as_secs_f64();
    follower.kill()?;

    step("looking up");
    let server = servers.first().ok_or_else(|| unmeasurable("no node"))?;
    let keys = next;
    let window = Duration::from_secs(args.seconds);
    let lookups =
        reads::lookups(server.address(), server.process(), &document, keys, window).await?;
    let mut resident = 0;
    for server in &servers {
        resident = resident.max(server.process().resident().map_err(unmeasurable)?.0);
    }
    Ok(Several {
        version: env!("CARGO_PKG_VERSION"),
        machine: machine(),
        folder: root.parent().unwrap_or(root).display().to_string(),
        validators: members.len(),
        batches: registered,
        singles,
        paced,
        lookups,
        revocations,
        one_dead,
        returned_s,
        followed_s,
        resident,
        size: size(server, keys)?,
        idle,
    })
}
