//! What several organisations live through together, in the middle of the play: one is away, one joins, one sells a camera, one
//! turns hostile.

use std::time::Instant;

use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::{
    anchor::AnchorError,
    id::{Height, StateKey},
    quorum::QuorumError,
};
use serde_json::Value;

use super::{
    acts,
    consortium::{Consortium, text},
    play::{PATIENCE, Play, Seen},
    stage::{Stage, broke},
    turncoat::Turncoat,
};
use crate::{exit::Exit, failure::Result, keyfile::KeyFile};

/// Whose machine fails.
const AWAY: &str = "corp";
/// Who joins.
const FIFTH: &str = "echo";
/// Whose machine turns hostile.
const HOSTILE: &str = "delta";
/// Who buys a camera.
const BUYER: &str = "beta";
/// How many keys are registered while one is away.
const MEANWHILE: usize = 20;

pub(super) fn all(play: &mut Play) -> Result<()> {
    play.step("validator-returns", away)?;
    let joined = play.step("fifth-organisation", fifth)?;
    play.step("new-owner", new_owner)?;
    if joined {
        play.step("validator-hostile", hostile)?;
    }
    Ok(())
}

fn consortium(stage: &Stage) -> Result<&Consortium> {
    stage
        .consortium
        .as_ref()
        .ok_or_else(|| broke("there is one organisation only"))
}

/// What is done with the consortium, which the stage holds.
fn with<T>(play: &mut Play, act: impl FnOnce(&mut Consortium, &Stage) -> Result<T>) -> Result<T> {
    let consortium = play.stage.consortium.take();
    let mut consortium = consortium.ok_or_else(|| broke("there is one organisation only"))?;
    let done = act(&mut consortium, &play.stage);
    play.stage.consortium = Some(consortium);
    done
}

/// Registers a new key; at which height.
fn register(play: &Play, name: &str) -> Result<u64> {
    let folder = play.folder("meanwhile")?;
    let key = folder.join(format!("{name}.key")).display().to_string();
    play.stage
        .operator(&["key", "new", "--purpose", "app", &key])?;
    let registered = play.stage.operator(&["key", "register", &key])?;
    let at = registered["keys"][0]["registered"].as_u64();
    at.ok_or_else(|| broke(format!("{key} is not on the ledger")))
}

/// One of four is killed: the ledger goes on, and it comes back.
fn away(play: &mut Play) -> Result<Seen> {
    with(play, |consortium, _| consortium.kill(AWAY))?;
    let mut times = Vec::new();
    let mut height = 0;
    for number in 1..=MEANWHILE {
        let start = Instant::now();
        height = register(play, &format!("away-{number:02}"))?;
        times.push(start.elapsed());
    }
    let which = acts::alive(play);
    let served = play.each(
        &which,
        || acts::press(play, &which),
        |line| line.starts_with("debug polled"),
    )?;
    let start = Instant::now();
    with(play, |consortium, stage| consortium.start(stage, AWAY))?;
    let back = consortium(&play.stage)?.member(AWAY)?.clients;
    play.stage
        .wait_for_height_at(&format!("http://{back}"), height)?;
    let took = start.elapsed();
    let mut seen = Seen::each(
        times,
        MEANWHILE,
        format!(
            "{AWAY}'s node was killed: the other three wrote {MEANWHILE} keys and served {} cameras; started again, it had caught up after {:.1} s",
            served.len(),
            took.as_secs_f64()
        ),
    );
    seen.ok &= served.len() == which.len();
    Ok(seen)
}

/// A fifth organisation is voted in, and its node joins with the next epoch.
fn fifth(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    let admitted = with(play, |consortium, stage| consortium.admit(stage, FIFTH))?;
    let validators = play.stage.operator(&["epoch", "show"])?;
    let count = validators["validators"].as_array().map_or(0, Vec::len);
    let height = register(play, "fifth")?;
    let node = consortium(&play.stage)?.member(FIFTH)?.clients;
    play.stage
        .wait_for_height_at(&format!("http://{node}"), height)?;
    let which = acts::alive(play);
    let served = play.each(
        &which,
        || acts::press(play, &which),
        |line| line.starts_with("debug polled"),
    )?;
    let mut seen = Seen::once(
        admitted.carried,
        start,
        format!(
            "{FIFTH} applied, {} of {} members voted it in; with the next epoch its node is one of {count} validators\n{} cameras followed the epoch with their next poll, and nobody touched them",
            admitted.votes,
            admitted.members,
            served.len()
        ),
    );
    seen.ok &= count == admitted.members + 1 && served.len() == which.len();
    Ok(seen)
}

/// A camera is sold: both organisations sign, and it follows to its new owner's server by itself.
fn new_owner(play: &mut Play) -> Result<Seen> {
    let sold = acts::UNLUCKY;
    with(play, |consortium, stage| consortium.serve(stage, BUYER))?;
    // From now on home's server knows where beta's is.
    play.stage.serve()?;
    acts::rest(play, sold)?;
    let serial = play.camera(sold)?.serial.clone();
    let before = in_force(&play.shown(&serial)?)?;
    let offer = play.folder("meanwhile")?.join("camera.transfer");
    let offer = offer.display().to_string();
    let give = ["key", "transfer", &before, "--to", BUYER, "--out", &offer];
    play.stage.operator(&give)?;
    let mark = play.camera(sold)?.mark();
    let start = Instant::now();
    let buyer = consortium(&play.stage)?.member(BUYER)?;
    buyer.operator(&play.stage, &["key", "accept", &offer])?;
    play.sold = Some(sold);
    let camera = play.camera(sold)?;
    camera.poll();
    // It asks at each address who serves there, and waits between.
    let replaced = camera.hear(mark, 2 * PATIENCE, acts::activated);
    let polled = camera.hear(mark, PATIENCE, |line| line.starts_with("debug polled"));
    let took = start.elapsed();
    let buyer = consortium(&play.stage)?.member(BUYER)?;
    let theirs = buyer.operator(&play.stage, &["device", "list"])?;
    let theirs = theirs["devices"].as_array().cloned().unwrap_or_default();
    let id = theirs
        .first()
        .map(|device| text(device, "id"))
        .transpose()?
        .unwrap_or_default();
    let shown = buyer.operator(&play.stage, &["device", "show", &id])?;
    let after = in_force(&shown)?;
    let given = play.shown(&serial)?;
    let ordered = play
        .stage
        .operator(&["device", "order", "report", &serial])?;
    Ok(Seen {
        ok: replaced.is_some()
            && polled.is_some()
            && theirs.len() == 1
            && shown["state"] == "active"
            && given["state"] == "moved"
            && after != before
            && ordered["devices"] == 0,
        times: vec![took],
        words: format!(
            "{serial} was sold to {BUYER}, both signed: it found {BUYER}'s server, made a new key as {BUYER}'s and wiped the old one\nat home it is {}, and an order to it reaches {} cameras; at {BUYER} it is {}",
            given["state"].as_str().unwrap_or_default(),
            ordered["devices"],
            shown["state"].as_str().unwrap_or_default(),
        ),
    })
}

/// The key of a device that is in force, as its server shows it.
fn in_force(shown: &Value) -> Result<String> {
    let keys = shown["keys"].as_array().map_or(&[][..], Vec::as_slice);
    let active = keys.iter().find(|key| key["status"] == "active");
    text(active.unwrap_or(&Value::Null), "handle")
}

/// One validator's machine, its vote key with it, is in other hands.
fn hostile(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    register(play, "stolen")?;
    let path = play.folder("meanwhile")?.join("stolen.key");
    let key = KeyFile::read(&path)?;
    let state_key = StateKey::record(&key.handle());
    let before = play
        .stage
        .ask(async |ledger| ledger.lookup(state_key, Height::ZERO).await)?;
    let file = path.display().to_string();
    let revoke = ["key", "revoke", &file, "--reason", "compromised"];
    let revoked = play.stage.operator(&revoke)?;
    let handle = key.handle().to_string();
    with(play, |consortium, _| consortium.kill(HOSTILE))?;
    let member = consortium(&play.stage)?.member(HOSTILE)?;
    let vote_key = member.folder(&play.stage).join("node/vote.key");
    let address = member.clients;
    let epoch = play.stage.operator(&["epoch", "show"])?;
    let chain = consortium(&play.stage)?.chain(&play.stage)?;
    let chain = chain.parse().map_err(broke)?;
    let validators = epoch["validators"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let seats: Vec<_> = validators
        .iter()
        .map(|validator| text(validator, "vote_key"))
        .collect::<Result<_>>()?;
    let ledger = HttpLedger::new(&play.stage.ledger()).map_err(broke)?;
    let turncoat = Turncoat::start(address, ledger, chain, &seats, &vote_key)?;
    let mut said = String::new();
    let mut refused = 0;
    // Why each is refused counts: what is refused for something else would be believed when that is put right.
    let lies = [
        (
            "the day before, proven by all",
            Some(before),
            AnchorError::BelowFloor.to_string(),
        ),
        (
            "a state of its own in which the key is active, signed with its vote key",
            None,
            QuorumError::TooFew.to_string(),
        ),
    ];
    for (lie, shown, because) in lies {
        turncoat.shows(shown);
        let profile = play.stage.profile().display().to_string();
        let url = format!("http://{address}");
        let lookup = [
            "--profile",
            &profile,
            "key",
            "lookup",
            &handle,
            "--ledger",
            &url,
        ];
        let ended = play.stage.output(&lookup)?;
        let why: serde_json::Value = serde_json::from_slice(&ended.stderr).unwrap_or_default();
        let why = why["error"]["what"].as_str().unwrap_or("nothing");
        if ended.status.code() == Some(Exit::Unproven as i32) && why.contains(&because) {
            refused += 1;
        }
        said += &format!("\n{HOSTILE} shows: {lie}\nrefused: {why}");
    }
    drop(turncoat);
    // Nobody needs it.
    register(play, "without")?;
    let truth = play.stage.operator(&["key", "lookup", &handle])?;
    Ok(Seen {
        ok: refused == 2 && truth["record"]["status"] == "revoked" && !revoked.is_null(),
        times: vec![start.elapsed()],
        words: format!(
            "{HOSTILE}'s machine and its vote key are in a thief's hands; the other four go on, and no lie of one is believed{said}"
        ),
    })
}
