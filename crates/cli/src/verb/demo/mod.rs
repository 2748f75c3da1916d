//! `kusabi demo`: the life of a fleet, with a real ledger and server, real agents on disks of their own, and a liar at the end.
//!
//! [`play`] is how steps are timed, noted and said; [`acts`] what an honest fleet lives through; [`hostile`] what a seized
//! server tries; [`council`] what several organisations live through together ([`consortium`] is who they are, [`turncoat`] the one
//! of them that lies); [`stage`] the processes, [`camera`] one device, [`children`] how none of them is left running, [`liar`] the server that lies, [`report`] what is said last.

mod acts;
mod camera;
mod children;
mod consortium;
mod council;
mod hostile;
mod liar;
mod paper;
mod play;
mod report;
mod stage;
mod turncoat;

use std::{path::PathBuf, time::Instant};

pub(super) use self::stage::free;
use self::{play::Play, report::Report, stage::Stage};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    session::Session,
};

/// Watch a fleet of cameras live: built, activated, updated, tampered with, repaired, cloned, revoked, lied to
///
/// Everything is real: a ledger, a server, an agent for each camera, all on this machine, in a folder that is taken away at
/// the end. Needs less than a minute and no network. Ends with 1 if a step did not hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many cameras
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(8..=200))]
    devices: u16,
    /// How many validators: one, or four of four organisations, of which one fails, one turns hostile, and to which a fifth comes;
    /// not with --keep
    #[arg(long, value_name = "1|4", default_value = "1", value_parser = ["1", "4"], conflicts_with = "keep")]
    validators: String,
    /// Keep everything in this new folder, to look at it and to try the attacks again; with one validator only
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    /// The paper's own mode: the server makes the device keys; then its disk and memory are searched for them
    ///
    /// The attack `minted-act` is left out: there the server makes that key in any case.
    #[arg(long)]
    paper: bool,
    /// With the folder of an earlier --keep: try this attack again
    #[arg(long, value_name = "ATTACK", requires = "keep", value_parser = hostile::NAMES)]
    again: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let start = Instant::now();
    let output = session.output();
    if let (Some(attack), Some(kept)) = (&args.again, &args.keep) {
        children::end_on_signals(None)?;
        let mut play = Play::new(Stage::kept(kept)?, output);
        hostile::again(&mut play, attack)?;
        return Ok(ended(&play));
    }
    // The folder goes when the play has ended, whatever ends it.
    let (folder, root) = match &args.keep {
        Some(path) => {
            std::fs::create_dir(path).map_err(|error| Failure::io("made", path, &error))?;
            (None, path.clone())
        }
        None => {
            let folder = tempfile::Builder::new()
                .prefix("kusabi-demo-")
                .tempdir()
                .map_err(stage::broke)?;
            let root = folder.path().to_owned();
            (Some(folder), root)
        }
    };
    let root = root.canonicalize().map_err(stage::broke)?;
    children::end_on_signals(folder.is_some().then(|| root.clone()))?;
    let mut stage = if args.validators == "4" {
        Stage::among(&root)?
    } else {
        Stage::new(&root)?
    };
    if args.keep.is_some() {
        stage.keep()?;
    }
    let mut play = Play::new(stage, output);
    perform(&mut play, args)?;
    let report = Report {
        ok: play.steps.iter().all(|step| step.ok),
        devices: args.devices,
        seconds: start.elapsed().as_secs_f64(),
        steps: play.steps.clone(),
        kept: args.keep.clone(),
    };
    output.say(&report)?;
    let exit = ended(&play);
    drop(play);
    drop(folder);
    Ok(exit)
}

fn ended(play: &Play) -> Exit {
    if play.steps.iter().all(|step| step.ok) {
        Exit::Ok
    } else {
        Exit::Negative
    }
}

/// The whole play. Where nothing can follow, it ends.
fn perform(play: &mut Play, args: &Args) -> Result<()> {
    let devices = usize::from(args.devices);
    let stands = play.step("found", acts::found)?
        && play.step("provision", |play| {
            acts::provision(play, devices, args.paper)
        })?
        && play.step("activate", |play| acts::activate(play, args.paper))?;
    if !stands {
        return Ok(());
    }
    if args.paper {
        play.step("paper-keys-gone", paper::keys_gone)?;
    }
    play.step("poll", acts::poll)?;
    play.step("inventory", acts::inventory)?;
    if play.step("release", acts::release)? && play.step("update", acts::update)? {
        play.step("rollback", acts::rollback)?;
        play.step("tamper", acts::tamper)?;
        play.step("repair", acts::repair)?;
    }
    play.step("evidence", acts::evidence)?;
    play.step("revoke", acts::revoke)?;
    play.step("sleeper", acts::sleeper)?;
    play.step("restart", acts::restart)?;
    if play.stage.consortium.is_some() {
        council::all(play)?;
    }
    if play.step("clone", acts::copy)? {
        play.step("readmit", acts::readmit)?;
    }
    play.step("rebuild", acts::rebuild)?;
    hostile::all(play, args.paper)
}
