use super::*;
use crate::config::Config;

const HEAD: &str = "state = \"/s\"\n[device]\ntype = \"t\"\n[update]\nrestart = [\"/sbin/reboot\"]\nrestarts = \"machine\"\n";

/// The samples in the documentation of the module.
fn samples() -> Vec<String> {
    let source = include_str!("../update.rs");
    let docs = source
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .fold(String::new(), |text, line| {
            text + line.trim_start_matches("//!").trim_start() + "\n"
        });
    docs.split("```toml\n")
        .skip(1)
        .map(|sample| sample.split("```").next().unwrap().to_owned())
        .collect()
}

fn parse(section: &str) -> Result<UpdateConfig, String> {
    let parsed = Config::parse(&format!("{HEAD}{section}"));
    let config = parsed.map_err(|error| error.to_string())?;
    Ok(config.update.unwrap())
}

#[test]
fn each_sample_is_an_update_system() {
    let samples = samples();
    let systems: Vec<UpdaterConfig> = samples
        .iter()
        .map(|sample| {
            parse(sample)
                .unwrap_or_else(|error| panic!("{sample}: {error}"))
                .updater
        })
        .collect();
    let [
        UpdaterConfig::Slots(_),
        UpdaterConfig::Partitions(partitions),
        UpdaterConfig::Rauc(rauc),
        UpdaterConfig::Swupdate(swupdate),
        UpdaterConfig::Mender(mender),
        UpdaterConfig::Script(script),
    ] = systems.as_slice()
    else {
        panic!("{systems:?}");
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(partitions.boot.names.as_ref(), Some(&partitions.devices));
    assert_eq!(
        (rauc.program.as_str(), rauc.install_deadline),
        ("/usr/bin/rauc", hour)
    );
    assert_eq!(swupdate.select, ["stable,a", "stable,b"]);
    assert_eq!(mender.options, ["--no-syslog"]);
    assert_eq!(
        (script.install.deadline, script.commit.deadline),
        (hour, Duration::from_secs(120))
    );
    // One device has one of them.
    for (number, sample) in samples.iter().enumerate() {
        let other = &samples[(number + 1) % samples.len()];
        let error = parse(&format!("{sample}\n{other}")).unwrap_err();
        assert!(error.contains("a device has one update system"), "{error}");
        let line = HEAD.lines().count() + sample.lines().count() + 2;
        assert!(
            error.starts_with(&format!("line {line}, ")),
            "line {line}: {error}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let samples = samples();
    for (from, to, said) in [
        (
            "b = \"/dev/mmcblk0p3\"",
            "b = \"/dev/mmcblk0p2\"",
            "line 9, update.partitions.b: it is the same",
        ),
        (
            "a = \"/dev/mmc",
            "a = \"mmc",
            "update.partitions.a: an absolute path",
        ),
        (
            "\"slot\", \"{slot}\"",
            "\"slot\"",
            "activate: one of its arguments",
        ),
        (
            "current = [\"/usr/bin/findmnt",
            "current = [\"findmnt",
            "current: a list of words",
        ),
        (
            "program = \"/usr/bin/rauc\"",
            "program = \"rauc\"",
            "update.rauc.program: the absolute path",
        ),
        (
            "program = \"/usr/bin/rauc\"",
            "programme = \"rauc\"",
            "unknown field `programme`",
        ),
        (
            "\"stable,b\"",
            "\"stable,a\"",
            "select-b: it is what fills slot a",
        ),
        ("\"stable,b\"", "\"stable\"", "select-b: a selection is"),
        ("is-switched = ", "switched = ", "unknown field `switched`"),
        (
            "commit = [\"",
            "commit = [\"./",
            "update.script.commit: a list of words",
        ),
    ] {
        let sample = samples.iter().find(|sample| sample.contains(from));
        let sample = sample.unwrap_or_else(|| panic!("{from}"));
        let error = parse(&sample.replace(from, to)).unwrap_err();
        assert!(error.contains(said), "{to}: {error}");
    }
    let rauc = "[update.rauc]\n";
    for (from, to, said) in [
        (
            "restart = [\"/sbin/reboot\"]\n",
            "",
            "line 6, update.restart: it is missing",
        ),
        (
            "restarts = \"machine\"\n",
            "",
            "line 6, update.restarts: it is missing",
        ),
        (
            "restarts = ",
            "tool-deadline-s = 0\nrestarts = ",
            "line 6, update.tool-deadline-s: 1 to",
        ),
        (
            "restarts = ",
            "install-deadline-s = 86401\nrestarts = ",
            "install-deadline-s: 1 to",
        ),
    ] {
        assert!(HEAD.contains(from));
        let error = Config::parse(&(HEAD.replace(from, to) + rauc))
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn configurations_of_before_are_read() {
    let before = "state = \"/s\"\n[device]\ntype = \"t\"\n[update.slots]\ndirectory = \"/d\"\nrestart = [\"/r\"]\nrestarts = \"service\"\nself-test = [\"/t\"]\nstarts-max = 5\n";
    let update = Config::parse(before).unwrap().update.unwrap();
    assert_eq!(update.settings.restarts, Restart::Service);
    assert_eq!(update.settings.starts_max, 5);
    assert_eq!(update.settings.self_test.unwrap().program, "/t");
    let error = parse("[update.slots]\ndirectory = \"/d\"\nrestart = [\"/r\"]").unwrap_err();
    assert!(
        error.contains("line 9, update.slots.restart: it stands in [update] already"),
        "{error}"
    );
}
