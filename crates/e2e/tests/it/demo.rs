//! `kusabi demo`, played whole.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{command::Place, fleet::eventually};

/// Every step of the demo in its order, but the one that only `--paper` plays.
const STEPS: [&str; 24] = [
    "found",
    "provision",
    "activate",
    "poll",
    "inventory",
    "release",
    "update",
    "rollback",
    "tamper",
    "repair",
    "evidence",
    "revoke",
    "sleeper",
    "restart",
    "clone",
    "readmit",
    "rebuild",
    "seized",
    "swapped-key",
    "old-state",
    "unlisted-release",
    "withdrawn-release",
    "foreign-release",
    "minted-act",
];

/// Where the demo's folder is made; what runs there names it.
fn stage(place: &Place) -> std::path::PathBuf {
    let folder = place.path("tmp");
    fs::create_dir(&folder).unwrap();
    folder
}

/// Plays it; the names of its steps.
fn plays(arguments: &str) -> Vec<String> {
    let place = Place::new();
    let folder = stage(&place);
    crate::programs();
    let played = place
        .command(&format!("demo --devices 8 --json {arguments}"))
        .env("TMPDIR", &folder)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&played.stdout).unwrap();
    let steps = said["steps"].as_array().unwrap();
    for step in steps {
        assert_eq!(step["ok"], true, "{}: {}", step["name"], step["seen"]);
        assert!(step["count"].as_u64() > Some(0), "{step}");
    }
    assert_eq!((&said["ok"], played.status.code()), (&true.into(), Some(0)));
    assert!(processes_of(&folder).is_empty());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    println!(
        "demo {arguments}: {:.0} s",
        said["seconds"].as_f64().unwrap()
    );
    steps
        .iter()
        .map(|step| step["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The processes whose arguments name this folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

#[test]
fn every_step_holds() {
    let _with_others = crate::fleet::with_others();
    assert_eq!(plays(""), STEPS);
}

#[test]
fn every_step_holds_where_the_server_makes_the_keys() {
    let _with_others = crate::fleet::with_others();
    // Whoever lets a server make its device's key has nothing to set against one that a hostile server makes.
    let mut steps: Vec<_> = STEPS
        .into_iter()
        .filter(|&step| step != "minted-act")
        .collect();
    steps.insert(3, "paper-keys-gone");
    assert_eq!(plays("--paper"), steps);
}

#[test]
fn every_step_holds_on_a_ledger_of_four_organisations() {
    let _with_others = crate::fleet::with_others();
    let mut steps = STEPS.to_vec();
    let after = steps.iter().position(|step| *step == "restart").unwrap() + 1;
    let together = [
        "validator-returns",
        "fifth-organisation",
        "new-owner",
        "validator-hostile",
    ];
    steps.splice(after..after, together);
    assert_eq!(plays("--validators 4"), steps);
}

#[test]
fn an_interrupted_one_leaves_nothing() {
    let _with_others = crate::fleet::with_others();
    let place = Place::new();
    let folder = stage(&place);
    let mut demo = place
        .command("demo --devices 8")
        .env("TMPDIR", &folder)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut steps = 0;
    // The third step: ledger, server and cameras run.
    while steps < 3 {
        let line = lines.next().expect("it goes on").unwrap();
        steps += usize::from(line.contains('✓'));
    }
    let running = processes_of(&folder);
    assert!(running.len() > 6, "{running:#?}");
    kill_process(Pid::from_child(&demo), Signal::TERM).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    // They were killed; the kernel takes its time.
    eventually("the end of all processes", || {
        processes_of(&folder).is_empty().then_some(())
    });
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
