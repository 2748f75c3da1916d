//! What a seized server tries, one lie after the other, on cameras that run the real agent.

use std::{fs, path::PathBuf, time::Instant};

use kusabi_api::Ledger as _;
use kusabi_core::{
    id::{Digest, Handle, Height, OrgName, StateKey},
    protocol::reply::Task,
    suite::{Purpose, Suite},
};
use serde::{Deserialize, Serialize};

use super::{
    camera::Camera,
    liar::{self, Liar, Lie, Loot},
    play::{PATIENCE, Play, Seen},
    stage::{Stage, broke},
};
use crate::{
    failure::{Failure, Result},
    keyfile::{KeyFile, underivable},
};

/// The attacks, in their order.
pub(super) const NAMES: [&str; 6] = [
    "swapped-key",
    "old-state",
    "unlisted-release",
    "withdrawn-release",
    "foreign-release",
    MINTED_ACT,
];
const MINTED_ACT: &str = "minted-act";

/// What the thief collected while the server was honest; it stands in the folder as `loot.json` and files of proofs.
#[derive(Deserialize, Serialize)]
struct Collected {
    chain: String,
    org: String,
    /// Another server of the organisation, active.
    other_server: String,
    /// One whose key was taken back since.
    ended_server: String,
    listed: String,
    withdrawn: String,
    foreign: String,
    /// The camera that runs, and the one in its box.
    running: String,
    boxed: String,
}

/// Collects what the thief needs, then tries everything. Where servers make the device keys, a stolen one makes them too: nothing to refuse.
pub(super) fn all(play: &mut Play, paper: bool) -> Result<()> {
    let prepared = play.step("seized", prepare)?;
    if !prepared {
        return Ok(());
    }
    for name in NAMES
        .into_iter()
        .filter(|name| !(paper && *name == MINTED_ACT))
    {
        play.step(name, |play| attack(play, name))?;
    }
    Ok(())
}

/// One attack again, on a stage that was kept.
pub(super) fn again(play: &mut Play, name: &str) -> Result<()> {
    let name = NAMES
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| broke("there is no such attack"))?;
    let collected = collected(&play.stage)?;
    let serial = match name {
        MINTED_ACT => collected.boxed,
        _ => collected.running,
    };
    let folder = play.stage.root.join("cameras").join(&serial);
    let camera = Camera::open(&folder, &serial);
    play.cameras.push(camera);
    play.step(name, |play| attack(play, name)).map(|_| ())
}

fn lies(stage: &Stage) -> PathBuf {
    stage.root.join("lies")
}

fn collected(stage: &Stage) -> Result<Collected> {
    let path = lies(stage).join("loot.json");
    let bytes = fs::read(&path).map_err(|error| Failure::io("read", &path, &error))?;
    serde_json::from_slice(&bytes).map_err(broke)
}

/// The proof of a row, as the ledger gives it.
fn proof(stage: &Stage, key: StateKey) -> Result<Vec<u8>> {
    let proof = stage.ask(async move |ledger| ledger.lookup(key, Height::ZERO).await)?;
    Ok(proof.to_vec())
}

fn keep(stage: &Stage, name: &str, bytes: &[u8]) -> Result<()> {
    let path = lies(stage).join(name);
    fs::write(&path, bytes).map_err(|error| Failure::io("written", &path, &error))
}

fn kept(stage: &Stage, name: &str) -> Result<Vec<u8>> {
    let path = lies(stage).join(name);
    fs::read(&path).map_err(|error| Failure::io("read", &path, &error))
}

/// The honest server's last hours: what was true then is what the thief will show.
fn prepare(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    play.folder("lies")?;
    let stage = &play.stage;
    let server = |name: &str| -> Result<Handle> {
        let path = lies(stage).join(name);
        let file = path.display().to_string();
        stage.operator(&["key", "new", "--purpose", "ps", &file])?;
        stage.operator(&["org", "grant", &file])?;
        Ok(KeyFile::read(&path)?.handle())
    };
    let other = server("other.key")?;
    let ended = server("ended.key")?;
    keep(
        stage,
        "ended.proof",
        &proof(stage, StateKey::record(&ended))?,
    )?;
    stage.operator(&["org", "withdraw", &ended.to_string()])?;

    let org: OrgName = "home".parse().map_err(broke)?;
    let listed = play.digest_of("1.1")?;
    let withdrawn = play.digest_of("1.2-bad")?;
    let row = |digest: &Digest| StateKey::release(&org.id(), digest);
    keep(stage, "withdrawn.proof", &proof(stage, row(&withdrawn))?)?;
    stage.operator(&["release", "withdraw", &withdrawn.to_string()])?;

    let foreign = foreign(play)?;
    let stage = &play.stage;
    let chain = stage.operator(&["org", "show"])?["chain"]
        .as_str()
        .map(str::to_owned);
    let chain = match chain {
        Some(chain) => chain,
        None => fs::read_to_string(stage.data().join("chain"))
            .map_err(broke)?
            .trim()
            .to_owned(),
    };
    let running = play.camera(0)?.serial.clone();
    let boxed = play.camera(play.cameras.len() - 1)?.serial.clone();
    let collected = Collected {
        chain,
        org: org.to_string(),
        other_server: other.to_string(),
        ended_server: ended.to_string(),
        listed: listed.to_string(),
        withdrawn: withdrawn.to_string(),
        foreign: foreign.to_string(),
        running,
        boxed,
    };
    let text = serde_json::to_vec_pretty(&collected).map_err(broke)?;
    keep(&play.stage, "loot.json", &text)?;
    // The camera hears of what was withdrawn: its floor is above it from now on.
    let mark = play.camera(0)?.mark();
    play.camera(0)?.poll();
    play.camera(0)?
        .hear(mark, PATIENCE, |line| line.starts_with("debug polled"))
        .ok_or_else(|| broke("the camera does not poll"))?;
    Ok(Seen::once(
        true,
        start,
        "the server is seized: its key, its database, its writer's key are in a thief's hands. No vote key is.\nNow it lies. What it sends, and what the camera answers:",
    ))
}

/// A release of somebody else, on a ledger of his own.
fn foreign(play: &Play) -> Result<Digest> {
    let root = play.folder("rival")?;
    let mut rival = Play::new(Stage::new(&root)?, play.output());
    rival.stage.up_as("rival")?;
    let config = root.join("agent.toml");
    fs::copy(play.stage.root.join("agent.toml"), &config)
        .map_err(|error| Failure::io("written", &config, &error))?;
    let release = rival.release("6.6", 9, "exit 0")?;
    rival
        .stage
        .operator(&["release", "publish", "--no-upload", &release.file])?;
    let org: OrgName = "rival".parse().map_err(broke)?;
    let row = StateKey::release(&org.id(), &release.digest);
    let proof = proof(&rival.stage, row)?;
    keep(&play.stage, "foreign.proof", &proof)?;
    Ok(release.digest)
}

/// The lie of a name, and what is said of it.
fn lie(play: &Play, collected: &Collected, name: &str) -> Result<(Lie, String)> {
    let stage = &play.stage;
    let handle = |text: &str| text.parse::<Handle>().map_err(broke);
    let digest = |text: &str| text.parse::<Digest>().map_err(broke);
    let org: OrgName = collected.org.parse().map_err(broke)?;
    Ok(match name {
        "swapped-key" => {
            let other = handle(&collected.other_server)?;
            let keys = KeyFile::read(&lies(stage).join("other.key"))?.public();
            let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
            let thief = KeyFile::generate(Purpose::Ps, Suite::Curve25519, &mut rng)
                .map_err(underivable)?
                .public();
            (
                Lie::Forged {
                    task: Task::AdoptServer(other),
                    row: StateKey::record(&other),
                    old: keys.as_bytes().to_vec(),
                    new: thief.as_bytes().to_vec(),
                },
                "“speak with our other server from now on”, with the ledger's own proof, in which the thief's key stands in the place of that server's".into(),
            )
        }
        "old-state" => (
            Lie::Shown {
                task: Task::AdoptServer(handle(&collected.ended_server)?),
                proof: kept(stage, "ended.proof")?,
            },
            "“speak with this server from now on”, with a true proof of the day before its key was taken back".into(),
        ),
        "unlisted-release" => {
            let listed = digest(&collected.listed)?;
            let unlisted = liar::unlisted();
            (
                Lie::Forged {
                    task: Task::Update(unlisted),
                    row: StateKey::release(&org.id(), &listed),
                    old: listed.as_bytes().to_vec(),
                    new: unlisted.as_bytes().to_vec(),
                },
                "“install this release”, with the proof of one that is listed and the other's digest in it".into(),
            )
        }
        "withdrawn-release" => (
            Lie::Shown {
                task: Task::Update(digest(&collected.withdrawn)?),
                proof: kept(stage, "withdrawn.proof")?,
            },
            "“install this release”, with a true proof of the day before it was withdrawn".into(),
        ),
        "foreign-release" => (
            Lie::Shown {
                task: Task::Update(digest(&collected.foreign)?),
                proof: kept(stage, "foreign.proof")?,
            },
            "“install this release”, with the true proof that another organisation's ledger lists it".into(),
        ),
        _ => (
            Lie::MintedAct,
            "an act of its own making: it put its own key on the ledger, with the stolen writer's key, under the handle that the camera had chosen, and sent the true proof of that".into(),
        ),
    })
}

/// One lie, told to a camera; and that nothing came of it.
fn attack(play: &mut Play, name: &'static str) -> Result<Seen> {
    let collected = collected(&play.stage)?;
    play.stage.up_without_server()?;
    let (lie, words) = lie(play, &collected, name)?;
    let minted = matches!(lie, Lie::MintedAct);
    let serial = if minted {
        &collected.boxed
    } else {
        &collected.running
    };
    let index = play
        .cameras
        .iter()
        .position(|camera| camera.serial == *serial)
        .ok_or_else(|| broke(format!("{serial} is not there")))?;
    let org: OrgName = collected.org.parse().map_err(broke)?;
    let keys = play.stage.data().join("keys");
    let loot = Loot {
        chain: collected.chain.parse().map_err(broke)?,
        org: org.id(),
        ps: KeyFile::read(&keys.join("ps.key"))?,
        writer: KeyFile::read(&keys.join("server-writer.key"))?,
        ledger: play.stage.ledger(),
    };
    if minted {
        // Switched on once where there is no network: its disk is laid out, and it has asked nobody.
        let agent = play.stage.agent.clone();
        let camera = play
            .cameras
            .get_mut(index)
            .ok_or_else(|| broke("no camera"))?;
        camera.power_on(&agent)?;
        camera
            .hear(0, PATIENCE, |line| line.starts_with("warn no answer"))
            .ok_or_else(|| broke("the camera does not look for its server"))?;
        camera.power_off();
    }
    let before = play.camera(index)?.disk();
    let liar = Liar::start(play.stage.devices, loot, lie)?;
    let start = Instant::now();
    let agent = play.stage.agent.clone();
    let camera = play
        .cameras
        .get_mut(index)
        .ok_or_else(|| broke("no camera"))?;
    let mark = camera.mark();
    // What earlier lies left in its memory is gone; what it keeps is on its disk.
    camera.power_on(&agent)?;
    let refusal = camera.hear(mark, PATIENCE, |line| {
        if minted {
            line.starts_with("warn another key stands under")
        } else {
            line.starts_with("warn answer refused")
        }
    });
    let lines = camera.said(mark);
    let fell_for_it = lines.iter().any(|line| {
        [
            "info server key adopted",
            "info installed",
            "info the device key has taken its place",
        ]
        .iter()
        .any(|gone| line.starts_with(gone))
    });
    if minted {
        camera.power_off();
    }
    let unchanged = before == camera.disk();
    drop(liar);
    let refused = refusal.as_ref().map_or("nothing", |line| &line.text);
    let refused = refused.split_once(' ').map_or(refused, |(_, rest)| rest);
    let mut said = format!("sent: {words}\n{serial}: {refused}");
    if play.stage.is_kept() {
        said.push_str(&format!(
            "\nagain: kusabi demo --keep {} --again {name}",
            play.stage.root.display()
        ));
    }
    Ok(Seen {
        ok: refusal.is_some() && !fell_for_it && unchanged,
        times: refusal
            .map(|line| line.at.duration_since(start))
            .into_iter()
            .collect(),
        words: said,
    })
}
