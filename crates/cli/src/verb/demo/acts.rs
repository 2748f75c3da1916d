//! What an honest fleet lives through, in the order of its life.

use std::{fs, iter::once, path::Path, time::Instant};

use serde_json::Value;

use super::{
    camera::{Camera, TYPE},
    play::{PATIENCE, Play, Seen, image},
    stage::broke,
};
use crate::failure::{Failure, Result};

/// The group that all cameras are in.
const GROUP: &str = "cameras";
/// The one that malware gets into.
const TAMPERED: usize = 1;
/// The one whose flash chip is copied.
const CLONED: usize = 2;
/// The one that gets a bad release, and is sold where there is somebody who buys it.
pub(super) const UNLUCKY: usize = 3;
/// The one that is stolen.
const STOLEN: usize = 4;
/// How many stay in their boxes: the one that sleeps, and the one that a hostile server meets first.
pub(super) const BOXED: usize = 2;

/// How often each polls.
const ROUNDS: usize = 3;
/// How many recordings are signed.
const CLIPS: usize = 40;
/// A key that took another's place is not replaced before so many heights have passed (spec/ledger.md).
const REST: u64 = 64;

/// Where they hang.
const PLACES: [&str; 6] = [
    "Front gate",
    "Loading dock",
    "Car park",
    "Roof",
    "Back door",
    "Stairs",
];

/// What `usr/bin/camera` is replaced by.
const MALWARE: &str = "#!/bin/sh\n# mines coins\n";

pub(super) fn activated(line: &str) -> bool {
    line.starts_with("info the device key has taken its place")
}

fn reported(line: &str) -> bool {
    line.starts_with("info inventory reported")
}

fn done(line: &str) -> bool {
    line.starts_with("info order ended") && line.ends_with("outcome=done")
}

pub(super) fn found(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    play.stage.up()?;
    let words = match &play.stage.consortium {
        None => "a ledger, an organisation and its server, from an empty folder".to_owned(),
        Some(consortium) => format!(
            "a ledger that {} organisations run together, each with its own keys and validator; {} has the cameras and a server",
            consortium.members().len(),
            consortium.members().first().map_or("one", |own| own.name),
        ),
    };
    Ok(Seen::once(true, start, words))
}

/// The build environment: one file for each camera, its factory key on the ledger.
pub(super) fn provision(play: &mut Play, devices: usize, paper: bool) -> Result<Seen> {
    let start = Instant::now();
    let factory = play.folder("factory")?;
    let root = factory.join("image");
    image(&root, "1.0", "exit 0")?;
    let config = play.stage.root.join("agent.toml");
    fs::write(&config, SAMPLE).map_err(|error| Failure::io("written", &config, &error))?;
    let (table, files) = (factory.join("cameras.csv"), factory.join("files"));
    let lines = (1..=devices).map(|number| {
        let place = PLACES[(number - 1) % PLACES.len()];
        format!("CAM-{number:06},{TYPE},{GROUP},{place} {number}\n")
    });
    let text: String = once("serial,type,group,name\n".to_owned())
        .chain(lines)
        .collect();
    fs::write(&table, text).map_err(|error| Failure::io("written", &table, &error))?;
    play.stage.operator(&[
        "provision",
        &table.display().to_string(),
        "--key-origin",
        if paper { "server" } else { "device" },
        "--expected",
        &root.display().to_string(),
        "--agent-config",
        &config.display().to_string(),
        "--out",
        &files.display().to_string(),
    ])?;
    let mut made: Vec<_> = fs::read_dir(&files)
        .map_err(|error| Failure::io("read", &files, &error))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "device")
        })
        .collect();
    made.sort();
    let shelf = play.folder("cameras")?;
    for file in &made {
        let serial = file.file_stem().unwrap_or_default().to_string_lossy();
        let camera = Camera::build(&shelf.join(&*serial), &serial, &root, file)?;
        play.cameras.push(camera);
    }
    let elapsed = start.elapsed() / u32::try_from(devices.max(1)).unwrap_or(1);
    Ok(Seen::each(
        vec![elapsed; play.cameras.len()],
        devices,
        format!(
            "{} files, one for each camera: its ID, its factory key (pre), what it is to believe; the public halves on the ledger",
            made.len()
        ),
    ))
}

/// The agent's configuration as far as it says what is inventoried.
const SAMPLE: &str = r#"state = "/var/lib/kusabi"
[device]
type = "camera"
channel = "stable"
[inventory]
root = "/"
paths = ["/"]
"#;

/// The cameras that are at work: all but those in their boxes.
pub(super) fn at_work(play: &Play) -> Vec<usize> {
    (0..play.cameras.len().saturating_sub(BOXED)).collect()
}

pub(super) fn activate(play: &mut Play, paper: bool) -> Result<Seen> {
    let which = at_work(play);
    let agent = play.stage.agent.clone();
    let mut starts = Vec::new();
    for index in &which {
        if let Some(camera) = play.cameras.get_mut(*index) {
            starts.push(camera.power_on(&agent)?);
        }
    }
    let mut times = Vec::new();
    for (index, start) in which.iter().zip(starts) {
        if let Some(line) = play.camera(*index)?.hear(0, PATIENCE, activated) {
            times.push(line.at.duration_since(start));
        }
    }
    let handles = play
        .camera(0)?
        .said(0)
        .into_iter()
        .find(|line| activated(line))
        .unwrap_or_default();
    Ok(Seen::each(
        times,
        which.len(),
        format!(
            "{}\n{}",
            if paper {
                "the server made a device key (act) for each, had it put on the ledger in the place of its factory key, handed it over and deleted it"
            } else {
                "each made its device key (act), had it put on the ledger in the place of its factory key, and wiped that"
            },
            handles.trim_start_matches("info ")
        ),
    ))
}

pub(super) fn poll(play: &mut Play) -> Result<Seen> {
    let which = at_work(play);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.extend(play.each(
            &which,
            || {
                for index in &which {
                    play.camera(*index)?.poll();
                }
                Ok(())
            },
            |line| line.starts_with("debug polled"),
        )?);
    }
    Ok(Seen::each(
        times,
        ROUNDS * which.len(),
        "each three times, in its session with the server: nothing to do",
    ))
}

/// The inventory of every camera, signed, as the factory made it.
pub(super) fn inventory(play: &mut Play) -> Result<Seen> {
    let which = at_work(play);
    let times = play.each(
        &which,
        || {
            play.stage
                .operator(&["device", "order", "report", "--group", GROUP])?;
            Ok(())
        },
        reported,
    )?;
    let list = play.stage.operator(&["device", "list"])?;
    let matching = verdicts(&list, "expected");
    let mut seen = Seen::each(
        times,
        which.len(),
        format!("ordered for the group, signed by each device: {matching} match the factory image"),
    );
    seen.ok &= matching == which.len();
    Ok(seen)
}

fn verdicts(list: &Value, verdict: &str) -> usize {
    let devices = list["devices"].as_array().map_or(&[][..], Vec::as_slice);
    devices
        .iter()
        .filter(|device| device["inventory"] == verdict)
        .count()
}

/// A release: signed by the release key, listed on the ledger, stored on the server.
pub(super) fn release(play: &mut Play) -> Result<Seen> {
    let start = Instant::now();
    let release = play.release("1.1", 1, "exit 0")?;
    let published = play
        .stage
        .operator(&["release", "publish", &release.file])?;
    Ok(Seen::once(
        published["height"].as_u64().is_some(),
        start,
        format!(
            "camera-os 1.1, signed by the release key (art), on the ledger at height {}\ndigest {}",
            published["height"], release.digest
        ),
    ))
}

/// The release that the fleet runs.
fn current(play: &Play) -> String {
    let file = play.stage.root.join("releases/1.1/camera-os-1.1.release");
    file.display().to_string()
}

pub(super) fn update(play: &mut Play) -> Result<Seen> {
    let which = at_work(play);
    let release = current(play);
    let times = play.each(
        &which,
        || {
            play.stage.operator(&[
                "device",
                "order",
                "update",
                "--group",
                GROUP,
                "--release",
                &release,
            ])?;
            Ok(())
        },
        done,
    )?;
    let running = which
        .iter()
        .filter(|index| version(play, **index).is_some_and(|version| version == "1.1"))
        .count();
    let mut seen = Seen::each(
        times,
        which.len(),
        format!(
            "ordered for the group: fetched, checked against the ledger three times, installed in the other slot, rebooted, tested, committed: {running} run 1.1"
        ),
    );
    seen.ok &= running == which.len();
    Ok(seen)
}

/// What a camera's disk says it runs.
fn version(play: &Play, index: usize) -> Option<String> {
    let path = play.cameras.get(index)?.root().join("etc/os-release");
    let text = fs::read_to_string(path).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION="))?;
    Some(line.to_owned())
}

/// A release whose self-test fails.
pub(super) fn rollback(play: &mut Play) -> Result<Seen> {
    let release = play.release("1.2-bad", 1, "echo no picture; exit 1")?;
    play.stage
        .operator(&["release", "publish", &release.file])?;
    let serial = play.camera(UNLUCKY)?.serial.clone();
    let times = play.each(
        &[UNLUCKY],
        || {
            play.stage.operator(&[
                "device",
                "order",
                "update",
                &serial,
                "--release",
                &release.file,
            ])?;
            Ok(())
        },
        |line| line.starts_with("info order ended") && line.ends_with("outcome=failed"),
    )?;
    let runs = version(play, UNLUCKY).unwrap_or_default();
    let mut seen = Seen::each(
        times,
        1,
        format!(
            "camera-os 1.2-bad does not pass its self-test: {serial} went back by itself and runs {runs}"
        ),
    );
    seen.ok &= runs == "1.1";
    Ok(seen)
}

/// Malware in one camera.
pub(super) fn tamper(play: &mut Play) -> Result<Seen> {
    let camera = play.camera(TAMPERED)?;
    let (serial, root) = (camera.serial.clone(), camera.root());
    for (name, content) in [("usr/bin/camera", MALWARE), ("usr/bin/miner", MALWARE)] {
        let path = root.join(name);
        fs::write(&path, content).map_err(|error| Failure::io("written", &path, &error))?;
    }
    let removed = root.join("etc/camera.conf");
    fs::remove_file(&removed).map_err(|error| Failure::io("removed", &removed, &error))?;
    let times = play.each(
        &[TAMPERED],
        || {
            play.stage
                .operator(&["device", "order", "report", &serial])?;
            Ok(())
        },
        reported,
    )?;
    let shown = play.shown(&serial)?;
    let differences = play.stage.operator(&["device", "inventory", &serial])?;
    let items: Vec<String> = differences["differences"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .map(|item| {
            format!(
                "{:8} {}",
                item["kind"].as_str().unwrap_or_default(),
                item["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    let mut seen = Seen::each(
        times,
        1,
        format!(
            "three files of {serial} were changed; its signed inventory says so, item by item\n{}",
            items.join("\n")
        ),
    );
    seen.ok &= shown["inventory"] == "differs" && items.len() == 3;
    Ok(seen)
}

/// The forced repair.
pub(super) fn repair(play: &mut Play) -> Result<Seen> {
    let camera = play.camera(TAMPERED)?;
    let (serial, mark) = (camera.serial.clone(), camera.mark());
    let release = current(play);
    let times = play.each(
        &[TAMPERED],
        || {
            play.stage
                .operator(&["device", "order", "repair", &serial, "--release", &release])?;
            Ok(())
        },
        done,
    )?;
    let camera = play.camera(TAMPERED)?;
    let told = camera.hear(mark, PATIENCE, reported).is_some();
    let clean = fs::read_to_string(camera.root().join("usr/bin/camera"))
        .is_ok_and(|content| content != MALWARE);
    let shown = play.shown(&serial)?;
    let mut seen = Seen::each(
        times,
        1,
        format!("{serial} installed 1.1 over itself and rebooted: what it reports matches again"),
    );
    seen.ok &= told && clean && shown["inventory"] == "expected";
    Ok(seen)
}

/// A thief copies a camera's flash chip and runs the copy.
pub(super) fn copy(play: &mut Play) -> Result<Seen> {
    let agent = play.stage.agent.clone();
    let folder = play.stage.root.join("thief");
    let original = play
        .cameras
        .get_mut(CLONED)
        .ok_or_else(|| broke("no camera to copy"))?;
    // Copied once it has been answered in its session: the first message of one it would say once more, and so would the copy, and
    // only when they speak next would they be told from each other.
    let polls = |camera: &mut Camera| {
        let mark = camera.mark();
        camera.power_on(&agent)?;
        let says = |words: &str| {
            camera
                .hear(mark, PATIENCE, |line| line.starts_with(words))
                .ok_or_else(|| broke(format!("the camera does not say “{words}”")))
        };
        says("info connected")?;
        camera.poll();
        says("debug polled").map(|_| ())
    };
    original.power_off();
    polls(original)?;
    original.power_off();
    let mut copy = original.copied(&folder)?;
    polls(original)?;
    let serial = original.serial.clone();
    let start = copy.power_on(&agent)?;
    let fork = copy.hear(0, PATIENCE, |line| {
        line.starts_with("warn the server cannot") && line.contains("two devices with this key")
    });
    let shown = play.shown(&serial)?;
    let alarms = play.stage.operator(&["alarm", "list"])?;
    let alarm = alarms["alarms"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .any(|alarm| alarm["kind"] == "fork" && alarm["device"] == shown["id"]);
    play.cameras.push(copy);
    let times: Vec<_> = fork
        .iter()
        .map(|line| line.at.duration_since(start))
        .collect();
    let mut seen = Seen::each(
        times,
        1,
        format!(
            "{serial} was copied with all its keys; at the copy's first poll the server knew that there are two\nalarm: fork; {serial} is {} until its owner says which one is his",
            shown["state"].as_str().unwrap_or_default()
        ),
    );
    seen.ok &= alarm && shown["state"] == "quarantined";
    Ok(seen)
}

/// Recordings that are to be believed years later, whatever becomes of the key that signed them.
pub(super) fn evidence(play: &mut Play) -> Result<Seen> {
    let folder = play.folder("recordings")?;
    let key = folder.join("recorder.key").display().to_string();
    let stage = &play.stage;
    stage.operator(&["key", "new", &key])?;
    stage.operator(&["key", "register", &key])?;
    let mut times = Vec::new();
    for number in 1..=CLIPS {
        let clip = folder.join(format!("clip-{number:02}.mp4"));
        fs::write(&clip, format!("frames of clip {number}\n"))
            .map_err(|error| Failure::io("written", &clip, &error))?;
        let start = Instant::now();
        let clip = clip.display().to_string();
        let signed = stage.operator(&["sign", "--key", &key, "--anchor", &clip])?;
        if signed["anchored_at"].is_u64() {
            times.push(start.elapsed());
        }
    }
    stage.operator(&["key", "revoke", &key, "--reason", "compromised"])?;
    let clip = folder.join("clip-01.mp4");
    let told = |clip: &Path| -> Result<String> {
        let told = stage.operator(&["verify", &clip.display().to_string()])?;
        Ok(told["verdict"].as_str().unwrap_or_default().to_owned())
    };
    let honest = told(&clip)?;
    let edited = folder.join("edited.mp4");
    fs::write(&edited, "frames that never were\n")
        .and_then(|()| {
            fs::copy(
                clip.with_extension("mp4.kusabi"),
                edited.with_extension("mp4.kusabi"),
            )
        })
        .map_err(|error| Failure::io("written", &edited, &error))?;
    let forged = told(&edited)?;
    let mut seen = Seen::each(
        times,
        CLIPS,
        format!(
            "{CLIPS} recordings signed, each signature on the ledger; then the recorder's key is revoked as compromised\n`kusabi verify` says of a recording: {honest}; of one that was edited: {forged}"
        ),
    );
    seen.ok &= honest == "anchored-while-valid" && forged == "invalid";
    Ok(seen)
}

/// Waits until the key of a camera has rested: one that took another's place is not replaced at once.
pub(super) fn rest(play: &Play, camera: usize) -> Result<()> {
    let activated = play.camera(camera)?.serial.clone();
    let shown = play.shown(&activated)?;
    let since = shown["keys"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(|key| key["registered"].as_u64())
        .max()
        .unwrap_or_default();
    play.stage.wait_for_height(since + REST)
}

/// The owner says that the one that answers is his: it takes a new key, and the copy holds a dead one.
pub(super) fn readmit(play: &mut Play) -> Result<Seen> {
    let serial = play.camera(CLONED)?.serial.clone();
    let thief = play.cameras.len() - 1;
    rest(play, CLONED)?;
    let times = play.each(
        &[CLONED],
        || {
            play.stage.operator(&["device", "readmit", &serial])?;
            Ok(())
        },
        activated,
    )?;
    let agent = play.stage.agent.clone();
    let copy = play
        .cameras
        .get_mut(thief)
        .ok_or_else(|| broke("the copy is gone"))?;
    let mark = copy.mark();
    copy.power_on(&agent)?;
    let shut = copy
        .hear(mark, PATIENCE, |line| {
            line.starts_with("warn the server cannot") || line.starts_with("error")
        })
        .map(|line| line.text)
        .unwrap_or_default();
    if let Some(mut copy) = play.cameras.pop() {
        copy.power_off();
    }
    let shown = play.shown(&serial)?;
    let mut seen = Seen::each(
        times,
        1,
        format!(
            "{serial} took a new key where it hangs; the copy: {}",
            shut.trim_start_matches("warn ")
        ),
    );
    seen.ok &= !shut.is_empty() && shown["state"] == "active";
    Ok(seen)
}

/// A stolen camera: its key is revoked while its session is open.
pub(super) fn revoke(play: &mut Play) -> Result<Seen> {
    let serial = play.camera(STOLEN)?.serial.clone();
    let times = play.each(
        &[STOLEN],
        || {
            play.stage
                .operator(&["device", "revoke", &serial, "--reason", "compromised"])?;
            play.camera(STOLEN)?.poll();
            Ok(())
        },
        |line| line.starts_with("warn the server cannot") && line.contains("problem=Refused"),
    )?;
    let shown = play.shown(&serial)?;
    let mut seen = Seen::each(
        times,
        1,
        format!(
            "{serial} was stolen: its key is revoked, its open session ended with it, and it is refused from now on"
        ),
    );
    seen.ok &= shown["state"] == "revoked";
    Ok(seen)
}

/// A camera that lay in its box all the while.
pub(super) fn sleeper(play: &mut Play) -> Result<Seen> {
    let index = play.cameras.len() - BOXED;
    let agent = play.stage.agent.clone();
    let camera = play
        .cameras
        .get_mut(index)
        .ok_or_else(|| broke("no camera is in its box"))?;
    let start = camera.power_on(&agent)?;
    let served = camera.hear(0, PATIENCE, activated);
    let floor = camera
        .said(0)
        .iter()
        .find_map(|line| word(line, "floor="))
        .unwrap_or_default();
    let serial = camera.serial.clone();
    let times: Vec<_> = served
        .iter()
        .map(|line| line.at.duration_since(start))
        .collect();
    Ok(Seen::each(
        times,
        1,
        format!(
            "{serial} slept in its box while keys, releases and the ledger went on (it knew height {floor}); it has no clock that counts, and was served at its first poll"
        ),
    ))
}

/// Power cut at the server.
pub(super) fn restart(play: &mut Play) -> Result<Seen> {
    let which = alive(play);
    play.stage.kill();
    play.stage.up()?;
    let times = play.each(
        &which,
        || press(play, &which),
        |line| line.starts_with("debug polled"),
    )?;
    Ok(Seen::each(
        times,
        which.len(),
        "server and ledger node were killed and started again; every camera is served at its next poll",
    ))
}

pub(super) fn press(play: &Play, which: &[usize]) -> Result<()> {
    for index in which {
        play.camera(*index)?.poll();
    }
    Ok(())
}

/// Those at work that were neither stolen nor sold.
pub(super) fn alive(play: &Play) -> Vec<usize> {
    at_work(play)
        .into_iter()
        .filter(|index| *index != STOLEN && play.sold != Some(*index))
        .collect()
}

/// The database is gone; the ledger is not.
pub(super) fn rebuild(play: &mut Play) -> Result<Seen> {
    let which = alive(play);
    let before = known(&play.stage.operator(&["device", "list"])?);
    play.stage.kill();
    let folder = play.stage.data().join("server");
    let entries = fs::read_dir(&folder).map_err(|error| Failure::io("read", &folder, &error))?;
    for entry in entries.filter_map(|entry| entry.ok()) {
        let name = entry.file_name();
        if name.to_string_lossy().contains(".sqlite") {
            let path = entry.path();
            fs::remove_file(&path).map_err(|error| Failure::io("removed", &path, &error))?;
        }
    }
    let start = Instant::now();
    play.stage.up()?;
    play.stage.operator(&["rebuild"])?;
    let took = start.elapsed();
    let table = play.stage.root.join("factory/files/devices.csv");
    play.stage
        .operator(&["device", "import", &table.display().to_string()])?;
    let after = known(&play.stage.operator(&["device", "list"])?);
    let polled = play.each(
        &which,
        || press(play, &which),
        |line| line.starts_with("debug polled"),
    )?;
    // An order of the new database is none that the device has done for the old one.
    let camera = play.camera(0)?;
    let mark = camera.mark();
    let ordered = play
        .stage
        .operator(&["device", "order", "report", &camera.serial])?;
    let ended = format!("info order ended order={} outcome=done", ordered["id"]);
    let obeyed = camera.hear(mark, PATIENCE, |line| line == ended).is_some();
    // The tripwire begins anew with each device, and that is no alarm.
    let alarms = play.stage.operator(&["alarm", "list"])?;
    let quiet = alarms["alarms"].as_array().is_some_and(Vec::is_empty);
    let ok = before == after && obeyed && quiet && polled.len() == which.len();
    Ok(Seen {
        ok,
        times: vec![took],
        words: format!(
            "the database was deleted: {} devices are known again from the ledger, in the same states, served, and do what they are ordered; their names came from the factory's table",
            after.len()
        ),
    })
}

/// What stands behind `name` in a line, up to the next space.
fn word(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(name)?;
    rest.split(' ').next().map(str::to_owned)
}

/// Devices, their serials and states.
fn known(list: &Value) -> Vec<[String; 3]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let devices = list["devices"].as_array().map_or(&[][..], Vec::as_slice);
    let mut known: Vec<_> = devices
        .iter()
        .map(|device| ["id", "serial", "state"].map(|field| text(&device[field])))
        .collect();
    known.sort();
    known
}
