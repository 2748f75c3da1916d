//! Help, completions and manual pages.

use std::fs;

use crate::command::Place;

/// Every verb, as words after `kusabi`.
const VERBS: &[&str] = &[
    "alarm",
    "alarm ack",
    "alarm list",
    "audit",
    "audit evidence",
    "audit watch",
    "backup",
    "batch",
    "batch new",
    "batch submit",
    "bench",
    "channel",
    "channel list",
    "channel set",
    "completions",
    "demo",
    "device",
    "device expected",
    "device heard",
    "device import",
    "device inventory",
    "device list",
    "device log",
    "device order",
    "device quarantine",
    "device readmit",
    "device receipt",
    "device revoke",
    "device show",
    "device with",
    "doctor",
    "enrol",
    "enrol accept",
    "enrol list",
    "enrol refuse",
    "enrol serials",
    "enrol token",
    "epoch",
    "epoch new",
    "epoch show",
    "epoch sign",
    "epoch submit",
    "genesis",
    "genesis finish",
    "genesis new",
    "genesis show",
    "genesis sign",
    "key",
    "key accept",
    "key history",
    "key lookup",
    "key new",
    "key register",
    "key revoke",
    "key rotate",
    "key show",
    "key transfer",
    "man",
    "mender",
    "mender accept",
    "mender list",
    "mender preauthorize",
    "mender reject",
    "node",
    "node follow",
    "node join",
    "node prepare",
    "node run",
    "node status",
    "order",
    "order list",
    "org",
    "org apply",
    "org art",
    "org grant",
    "org init",
    "org proposals",
    "org propose",
    "org show",
    "org threshold",
    "org vote",
    "org withdraw",
    "provision",
    "rebuild",
    "recover",
    "recover finish",
    "recover new",
    "recover show",
    "recover sign",
    "release",
    "release import",
    "release list",
    "release merge",
    "release new",
    "release publish",
    "release show",
    "release sign",
    "release upload",
    "release withdraw",
    "restore",
    "rollout",
    "rollout abort",
    "rollout list",
    "rollout new",
    "rollout next",
    "rollout pause",
    "rollout resume",
    "rollout show",
    "server",
    "server run",
    "sign",
    "up",
    "verify",
];

#[test]
fn every_verb_has_help_and_a_page() {
    let place = Place::new();
    place.run("man pages").ok();
    for verb in VERBS {
        place.run(&format!("{verb} --help")).ok();
        let page = place.path(format!("pages/kusabi-{}.1", verb.replace(' ', "-")));
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("EXIT STATUS"), "{}", page.display());
    }
    let pages = fs::read_dir(place.path("pages")).unwrap().count();
    assert_eq!(pages, VERBS.len() + 1, "a verb without a test of its page");
}

#[test]
fn no_argument_shows_the_verbs() {
    let place = Place::new();
    let ran = place.run("");
    ran.exits(2);
    assert!(ran.err().contains("completions"));
    place
        .run("--version")
        .ok()
        .says(concat!("kusabi ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(&format!("completions {shell}"));
        assert!(ran.ok().out().contains("kusabi"), "{shell}");
    }
    place.run("completions tcsh").exits(2);
}

#[test]
fn the_page_lists_every_verb() {
    let page = include_str!("../../../../docs/cli.md");
    let groups = [
        "alarm", "batch", "device", "enrol", "epoch", "genesis", "key", "mender", "node", "order",
        "org", "release", "server",
    ];
    for verb in VERBS.iter().filter(|verb| !groups.contains(verb)) {
        let listed = page
            .lines()
            .any(|line| line.starts_with("| `") && line.contains(&format!("`{verb}")));
        assert!(listed, "docs/cli.md lacks {verb}");
    }
}
