//! The real command.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use kusabi_agent::config::Config;
use kusabi_core::protocol::reply::Task;
use kusabi_core::protocol::request::OutcomeCode;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::Site;

fn agent(site: &Site) -> Command {
    site.put("agent.toml", site.text(300).as_bytes(), 0o644);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kusabi-agent"));
    command.arg("--config").arg(site.path("agent.toml"));
    command.env_remove("JOURNAL_STREAM");
    command
}

fn ended(output: &Output) -> (i32, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), told + &said)
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

#[test]
fn once_says_by_its_exit_code_what_happened() {
    let site = Site::new();
    site.server.leave();
    let (code, said) = ended(&agent(&site).arg("--once").output().unwrap());
    assert_eq!(code, 6, "{said}");
    site.server.come_back();
    let (code, said) = ended(&agent(&site).args(["run", "--once"]).output().unwrap());
    assert_eq!(code, 0, "{said}");
    let (code, said) = ended(&agent(&site).arg("status").output().unwrap());
    assert_eq!(code, 0, "{said}");
    for line in [
        "purpose      act\n",
        "serial       CAM-0001\n",
        "release      factory image\n",
        " s ago, http://127.0.0.1:",
        "present      shown ",
        " s ago, at height ",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let (code, said) = ended(&agent(&site).arg("check").output().unwrap());
    assert_eq!((code, said.as_str()), (0, "in order\n"));
}

#[test]
fn the_daemon_obeys_its_signals() {
    let site = Site::new();
    let mut child = Killed(agent(&site).stderr(Stdio::piped()).spawn().unwrap());
    site.server
        .wait_until("a poll", |world| world.shop.polls > 0);
    let (code, said) = ended(&agent(&site).output().unwrap());
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("another agent runs on"), "{said}");
    let polls = site.server.world().shop.polls;
    signal(&child.0, Signal::USR1);
    site.server
        .wait_until("a poll on demand", |world| world.shop.polls > polls);
    signal(&child.0, Signal::TERM);
    let code = child.0.wait().unwrap().code().unwrap();
    let mut said = String::new();
    let lines = child.0.stderr.as_mut().unwrap();
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("info stopped\n"), "{said}");
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let site = Site::new();
    let order = site.server.world().order(Task::Rotate);
    for requests in [1, 2, 3, 5, 6, 8, 10, 12] {
        let before = site.server.count("/device/v1");
        let polls = site.server.world().shop.polls;
        let mut child = Killed(agent(&site).stderr(Stdio::null()).spawn().unwrap());
        // At the latest when it waits for orders.
        site.server.wait_until("requests", |world| {
            site.server.count("/device/v1") >= before + requests || world.shop.polls > polls
        });
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        site.server.world().heartbeats(100);
    }
    let (code, said) = ended(&agent(&site).arg("--once").output().unwrap());
    assert_eq!(code, 0, "{said}");
    let world = site.server.world();
    assert_eq!(world.shop.alarms, []);
    assert!(world.outcome(order).is_some(), "{said}");
}

#[test]
fn a_next_key_that_the_ledger_refuses_is_said_to_be_one() {
    let site = Site::new();
    let (code, said) = ended(&agent(&site).arg("--once").output().unwrap());
    assert_eq!(code, 0, "{said}");
    // A key rests for some blocks before the next one follows it, and this one is new.
    site.server.world().order(Task::Rotate);
    let (_, said) = ended(&agent(&site).arg("--once").output().unwrap());
    let words = "warn the next key waits, and the ledger refuses it; the server's log says why";
    assert!(said.contains(words), "{said}");
}

#[test]
fn wrong_usage_and_wrong_files_say_what_to_do() {
    let site = Site::new();
    for (arguments, code, says) in [
        (vec!["fly"], 2, "there is no \"fly\" to do"),
        (vec!["--loud"], 2, "invalid option '--loud'"),
        (vec!["status", "--once"], 2, "--once belongs to run"),
        (vec!["run", "--label", "x"], 2, "belong to enrol"),
        (vec!["enrol"], 2, "enrol needs --token-file"),
        (
            vec!["enrol", "--token-file", "/nowhere"],
            1,
            "/nowhere: No such file",
        ),
        (vec!["--help"], 0, "exit codes"),
        (vec!["--version"], 0, "kusabi-agent 0."),
    ] {
        let (ended, said) = ended(&agent(&site).args(&arguments).output().unwrap());
        assert_eq!(ended, code, "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    let mut command = agent(&site);
    site.put(
        "agent.toml",
        b"state = \"/s\"\n[device]\ntype = \"a b\"\n",
        0o644,
    );
    let (code, said) = ended(&command.output().unwrap());
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("agent.toml: line 3, device.type: 1 to 64"),
        "{said}"
    );
    // The provisioning file, edited by hand.
    let mut command = agent(&site);
    let mut file = fs::read(site.path("device.kusabi")).unwrap();
    let at = file
        .windows(8)
        .position(|bytes| bytes == b"CAM-0001")
        .unwrap();
    file[at] = b'D';
    site.put("device.kusabi", &file, 0o600);
    let (code, said) = ended(&command.output().unwrap());
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("changed or cut after it was made"), "{said}");
    assert_eq!(fs::read(site.path("device.kusabi")).unwrap(), file);
}

#[test]
fn the_packaged_example_is_in_order() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging");
    let config = Config::load(&packaging.join("agent.toml")).unwrap();
    assert_eq!(config.state, Path::new("/var/lib/kusabi"));
    let unit = fs::read_to_string(packaging.join("kusabi-agent.service")).unwrap();
    assert!(unit.contains("StateDirectory=kusabi\n") && unit.contains("StateDirectoryMode=0700\n"));
    let command = "ExecStart=/usr/bin/kusabi-agent --config /etc/kusabi/agent.toml run\n";
    assert!(unit.contains(command));
}

/// The agent that is measured.
fn measured(site: &Site) -> Command {
    let Some(program) = std::env::var_os("KUSABI_AGENT") else {
        return agent(site);
    };
    let mut command = Command::new(program);
    command.arg("--config").arg(site.path("agent.toml"));
    command
}

fn print_memory(child: &Killed) {
    let status = fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap();
    for line in status.lines().filter(|line| line.starts_with("Vm")) {
        println!("{line}");
    }
}

/// As `resident_memory`; `KUSABI_MIB` is the size of the image.
#[test]
#[ignore = "a measurement"]
fn resident_memory_by_chunks() {
    let site = Site::new();
    let mib = std::env::var("KUSABI_MIB").map_or(64, |text| text.parse().unwrap());
    let size: usize = mib << 20;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |size: usize| {
        let mut bytes = b"good".to_vec();
        while bytes.len() < size {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.extend_from_slice(&seed.to_le_bytes());
        }
        bytes.truncate(size);
        bytes
    };
    let old = noise(size);
    let mut new = old.clone();
    // A twentieth, in pieces of 256 KiB.
    let pieces = (size / 20) >> 18;
    for piece in 0..pieces {
        let at = piece * (size / pieces) + 12_345;
        new[at..at + (256 << 10)].copy_from_slice(&noise(256 << 10));
    }
    site.self_test("head -c 4 $1/current/system | grep -q good");
    let mut child = Killed(measured(&site).stderr(Stdio::piped()).spawn().unwrap());
    let said = child.0.stderr.take().unwrap();
    for (version, image) in [("1", old), ("2", new)] {
        let order = {
            let mut world = site.server.world();
            world.cuts = kusabi_chunks::sizes(size as u64);
            let release = world.release_of(version, 0, "raw", image);
            world.order(Task::Update(release))
        };
        site.server.ring();
        site.server
            .wait_until("the outcome", |world| world.outcome(order).is_some());
        assert_eq!(site.server.world().outcome(order), Some(OutcomeCode::Done));
    }
    print_memory(&child);
    child.0.kill().unwrap();
    for line in std::io::BufRead::lines(std::io::BufReader::new(said)) {
        let line = line.unwrap();
        if line.contains("update fetched") || line.contains("whole") {
            println!("{line}");
        }
    }
}

/// `KUSABI_AGENT=target/release/kusabi-agent cargo test -p kusabi-agent --test it resident -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn resident_memory() {
    let site = Site::new();
    let mut command = measured(&site);
    let big = vec![5; 16 << 20];
    let (update, report) = {
        let mut world = site.server.world();
        let release = world.release("2", 0, &[("camera", b"good two"), ("big", &big)]);
        let update = world.order(Task::Update(release));
        (update, world.order(Task::ReportInventory([4; 32])))
    };
    let child = Killed(command.stderr(Stdio::null()).spawn().unwrap());
    site.server.wait_until("the outcomes", |world| {
        world.outcome(update).is_some() && world.outcome(report).is_some()
    });
    print_memory(&child);
    assert_eq!(site.server.world().outcome(update), Some(OutcomeCode::Done));
}

#[test]
fn a_tool_that_is_missing_is_named_and_hinders_nothing_else() {
    let site = Site::new();
    let text = site.text(0);
    let (rest, _) = text.split_once("[update.slots]").unwrap();
    let (program, folder) = (site.path("bin/rauc"), site.path("bin"));
    let config = format!(
        "{rest}[update]\nrestart = [\"/bin/true\"]\nrestarts = \"machine\"\n[update.rauc]\nprogram = {program:?}\n"
    );
    site.put("rauc.toml", config.as_bytes(), 0o644);
    let agent = |word: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kusabi-agent"));
        command.arg("--config").arg(site.path("rauc.toml"));
        ended(
            &command
                .env_remove("JOURNAL_STREAM")
                .arg(word)
                .output()
                .unwrap(),
        )
    };
    let advice = "rauc is not there; install RAUC (Debian: apt-get install rauc rauc-service)";
    let (code, said) = agent("check");
    assert!(code == 1 && said.contains(advice), "{code} {said}");
    let (code, said) = agent("--once");
    assert!(
        code == 0 && said.contains("error no release can be installed"),
        "{code} {said}"
    );
    let order = {
        let mut world = site.server.world();
        let release = world.release_of("9.0", 0, "raucb", vec![9; 5000]);
        world.order(Task::Update(release))
    };
    let (code, said) = agent("--once");
    assert!(code == 7 && said.contains(advice), "{code} {said}");
    assert_eq!(
        site.server.world().outcome(order),
        Some(OutcomeCode::Unsupported)
    );

    // One that is there and fails: its own words are in the log.
    fs::create_dir(folder).unwrap();
    let script = "#!/bin/sh\necho 'Error retrieving slot status via D-Bus' >&2\nexit 1\n";
    site.put("bin/rauc", script.as_bytes(), 0o755);
    let (code, said) = agent("check");
    assert!(
        code == 1 && said.contains("it said last: Error retrieving slot status"),
        "{code} {said}"
    );
    let order = {
        let mut world = site.server.world();
        let release = world.release_of("9.1", 0, "raucb", vec![8; 5000]);
        world.order(Task::Update(release))
    };
    let (code, said) = agent("--once");
    assert!(code == 7, "{code} {said}");
    assert!(said.contains("warn tool said tool="), "{said}");
    assert_eq!(
        site.server.world().outcome(order),
        Some(OutcomeCode::Failed)
    );
}
