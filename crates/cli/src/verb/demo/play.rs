//! The play: cameras on a stage, steps that are timed and noted, and how each is said as it happens.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kusabi_core::id::Digest;
use serde_json::Value;

use super::{
    camera::{Camera, TYPE},
    children,
    report::Step,
    stage::{Stage, broke},
};
use crate::{
    failure::{Failure, Result},
    page::{Answer, Output, Page},
};

/// Longest wait for anything that a camera does.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What is on the stage.
pub(super) struct Play {
    pub(super) stage: Stage,
    pub(super) cameras: Vec<Camera>,
    /// The camera that is another organisation's now.
    pub(super) sold: Option<usize>,
    pub(super) steps: Vec<Step>,
    output: Output,
}

/// What a step saw.
pub(super) struct Seen {
    /// Whether it held.
    pub(super) ok: bool,
    /// How long each took.
    pub(super) times: Vec<Duration>,
    /// What was seen, in words; further lines are shown below.
    pub(super) words: String,
}

impl Seen {
    /// One thing that took so long.
    pub(super) fn once(ok: bool, start: Instant, words: impl Into<String>) -> Self {
        Self {
            ok,
            times: vec![start.elapsed()],
            words: words.into(),
        }
    }

    /// What `wanted` cameras did, each in its time.
    pub(super) fn each(times: Vec<Duration>, wanted: usize, words: impl Into<String>) -> Self {
        Self {
            ok: times.len() == wanted && wanted > 0,
            times,
            words: words.into(),
        }
    }
}

impl Answer for Step {
    fn page(&self, page: &mut Page) {
        let mut lines = self.seen.lines();
        let first = lines.next().unwrap_or_default();
        if self.ok {
            page.good(&format!("✓ {}", self.name), first);
        } else {
            page.bad(&format!("✗ {}", self.name), first);
        }
        for line in lines {
            page.text(&format!("    {line}"));
        }
    }
}

impl Play {
    pub(super) const fn new(stage: Stage, output: Output) -> Self {
        Self {
            stage,
            cameras: Vec::new(),
            sold: None,
            steps: Vec::new(),
            output,
        }
    }

    /// Plays a step, notes it and says it. What breaks off a step is a step that did not hold; the play goes on.
    pub(super) fn step(
        &mut self,
        name: &'static str,
        act: impl FnOnce(&mut Self) -> Result<Seen>,
    ) -> Result<bool> {
        let seen = act(self);
        children::wait_if_ended();
        let seen = seen.unwrap_or_else(|failure| Seen {
            ok: false,
            times: Vec::new(),
            words: match failure.advice() {
                Some(advice) => format!("{}\n{advice}", failure.what()),
                None => failure.what().to_owned(),
            },
        });
        let step = Step::new(name, seen.ok, seen.times, seen.words);
        self.output.say_unless_json(&step)?;
        self.steps.push(step);
        Ok(seen.ok)
    }

    /// How things are said.
    pub(super) const fn output(&self) -> Output {
        self.output
    }

    /// The digest of a release that was made.
    pub(super) fn digest_of(&self, version: &str) -> Result<Digest> {
        let file = format!("releases/{version}/camera-os-{version}.release");
        let file = self.stage.root.join(file).display().to_string();
        let shown = self
            .stage
            .operator(&["release", "show", "--offline", &file])?;
        let digest = shown["digest"].as_str().unwrap_or_default();
        digest.parse().map_err(broke)
    }

    /// A folder below the stage's, made.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.stage.root.join(name);
        fs::create_dir_all(&path).map_err(|error| Failure::io("made", &path, &error))?;
        Ok(path)
    }

    /// Every camera of `which` hears `button`; the times from there until each says something that `is` accepts.
    pub(super) fn each(
        &self,
        which: &[usize],
        button: impl FnOnce() -> Result<()>,
        is: impl Fn(&str) -> bool + Copy,
    ) -> Result<Vec<Duration>> {
        let cameras: Vec<_> = which
            .iter()
            .filter_map(|index| self.cameras.get(*index))
            .map(|camera| (camera, camera.mark()))
            .collect();
        let start = Instant::now();
        button()?;
        // One patience for all of them: whoever hangs does not make the others wait again.
        let end = Instant::now() + PATIENCE;
        let left = || end.saturating_duration_since(Instant::now());
        Ok(cameras
            .into_iter()
            .filter_map(|(camera, mark)| camera.hear(mark, left(), is))
            .map(|line| line.at.duration_since(start))
            .collect())
    }

    /// A camera by its number.
    pub(super) fn camera(&self, index: usize) -> Result<&Camera> {
        self.cameras
            .get(index)
            .ok_or_else(|| broke(format!("there is no camera {index}")))
    }

    /// What the server shows of a camera.
    pub(super) fn shown(&self, serial: &str) -> Result<Value> {
        self.stage.operator(&["device", "show", serial])
    }

    /// A release of the camera software, from its files to the ledger and the server; its digest and its file.
    pub(super) fn release(&self, version: &str, counter: u64, self_test: &str) -> Result<Release> {
        let folder = self.folder(&format!("releases/{version}"))?;
        let root = folder.join("root");
        image(&root, version, self_test)?;
        let payload = folder.join("camera.tar");
        pack(&root, &payload)?;
        let counter = counter.to_string();
        let text = |path: &Path| path.display().to_string();
        let made = self.stage.operator(&[
            "release",
            "new",
            "--name",
            "camera-os",
            "--version",
            version,
            "--counter",
            &counter,
            "--type",
            TYPE,
            "--payload",
            &text(&payload),
            "--rootfs",
            &text(&root),
            "--agent-config",
            &text(&self.stage.root.join("agent.toml")),
            "--out",
            &text(&folder),
        ])?;
        let manifest = made["file"].as_str().unwrap_or_default().to_owned();
        let signed = self.stage.operator(&["release", "sign", &manifest])?;
        let file = signed["file"].as_str().unwrap_or_default().to_owned();
        let digest = signed["digest"].as_str().unwrap_or_default();
        Ok(Release {
            digest: digest.parse().map_err(broke)?,
            file,
        })
    }
}

/// A release that was signed.
pub(super) struct Release {
    pub(super) digest: Digest,
    pub(super) file: String,
}

/// The root file system of a camera.
pub(super) fn image(root: &Path, version: &str, self_test: &str) -> Result<()> {
    let files: [(&str, String); 5] = [
        (
            "etc/camera.conf",
            "resolution = 1080p\nretention = 30d\n".to_owned(),
        ),
        (
            "etc/os-release",
            format!("NAME=camera-os\nVERSION={version}\n"),
        ),
        (
            "usr/bin/camera",
            format!("#!/bin/sh\n# camera {version}\nexec sleep infinity\n"),
        ),
        ("usr/lib/codec.so", "h265 ".repeat(20_000)),
        ("self-test", format!("#!/bin/sh\n{self_test}\n")),
    ];
    for (name, content) in files {
        let path = root.join(name);
        let folder = path.parent().unwrap_or(root);
        fs::create_dir_all(folder).map_err(|error| Failure::io("made", folder, &error))?;
        fs::write(&path, content).map_err(|error| Failure::io("written", &path, &error))?;
    }
    Ok(())
}

/// Packs a folder's content.
fn pack(root: &Path, to: &Path) -> Result<()> {
    let failed = |error: &std::io::Error| Failure::io("written", to, error);
    let file = fs::File::create(to).map_err(|error| failed(&error))?;
    let mut tar = tar::Builder::new(file);
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all(".", root)
        .map_err(|error| failed(&error))?;
    tar.into_inner()
        .and_then(|file| file.sync_all())
        .map_err(|error| failed(&error))
}
