//! A release for what is measured, made as a person would make it.

use std::{fs, path::Path};

use kusabi_api::Hex32;

use super::{server::program, unmeasurable};
use crate::failure::Result;

/// Makes a release of one payload, signs it, and publishes it at the server of `kusabi up` in `data`; its digest.
pub(super) fn publish(data: &Path, payload: &Path, more: &[&str]) -> Result<Hex32> {
    let folder = data.join("bench-release");
    fs::create_dir_all(&folder).map_err(unmeasurable)?;
    let run = |words: &[&str]| -> Result<serde_json::Value> {
        let ran = program(data)?.args(words).output().map_err(unmeasurable)?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            return Err(unmeasurable(said));
        }
        serde_json::from_slice(&ran.stdout).map_err(unmeasurable)
    };
    let (payload, out) = (payload.display().to_string(), folder.display().to_string());
    let mut words = vec!["release", "new", "--name", "bench", "--version", "1"];
    words.extend(["--counter", "1", "--type", "bench"]);
    words.extend(["--payload", &payload, "--out", &out]);
    words.extend(more);
    let made = run(&words)?;
    let manifest = made["file"].as_str().unwrap_or_default();
    let signed = run(&["release", "sign", manifest])?;
    let file = signed["file"].as_str().unwrap_or_default();
    run(&["release", "publish", file, "--from", &payload])?;
    let digest = signed["digest"].as_str().unwrap_or_default();
    digest.parse().map_err(unmeasurable)
}
