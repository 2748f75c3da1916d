//! Verifying an artifact, against `zcat` of the same payload: processor time, of each in turn.
//!
//! `cargo bench -p kusabi-mender`. The payload is what lies in /usr/bin and /usr/lib, up to 256 MiB.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on fails there"
)]

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use kusabi_mender::{
    ArtifactKey, Compression, Limits,
    testing::{self, Parts},
};

const PAYLOAD_BYTES: usize = 256 << 20;
const ROUNDS: usize = 5;
/// Clock ticks a second, as proc(5) counts processor time on Linux.
const TICKS: f64 = 100.0;

fn main() {
    let payload = payload();
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("payload.tar");
    let parts = Parts::new("app-1", &payload);
    fs::write(&tar, testing::tar(&parts.payloads[0])).unwrap();
    let gz = folder.path().join("payload.tar.gz");
    let made = Command::new("gzip").arg("-k").arg(&tar).status();
    assert!(made.unwrap().success(), "gzip is needed");

    let plain = artifact(
        &parts,
        Compression::None,
        &fs::read(&tar).unwrap(),
        folder.path(),
    );
    let gzip = artifact(
        &parts,
        Compression::Gzip,
        &fs::read(&gz).unwrap(),
        folder.path(),
    );
    let zstd = testing::compress(Compression::Zstd, &fs::read(&tar).unwrap());
    let zstd = artifact(&parts, Compression::Zstd, &zstd, folder.path());
    drop(parts);

    let megabytes = payload.len() as f64 / 1e6;
    println!(
        "payload: {megabytes:.0} MB, gzip {:.0} MB",
        gz.metadata().unwrap().len() as f64 / 1e6
    );
    let mut seconds = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        let times = [
            own(|| verify(&plain)),
            own(|| verify(&gzip)),
            children(|| zcat(&gz)),
            own(|| verify(&zstd)),
        ];
        // The first round fills caches.
        if round > 0 {
            seconds
                .iter_mut()
                .zip(times)
                .for_each(|(all, time)| all.push(time));
        }
    }
    let names = [
        "verify, uncompressed",
        "verify, gzip",
        "zcat",
        "verify, zstd -1",
    ];
    for (name, times) in names.iter().zip(&mut seconds) {
        times.sort_by(f64::total_cmp);
        let (least, most) = (times[0], times[ROUNDS - 1]);
        let middle = times[ROUNDS / 2];
        println!(
            "{name}: {middle:.2} s of a processor ({least:.2} to {most:.2}), {:.0} MB/s",
            megabytes / middle
        );
    }
    println!(
        "zcat / verify, gzip: {:.2}",
        seconds[2][ROUNDS / 2] / seconds[1][ROUNDS / 2]
    );
}

fn payload() -> Vec<u8> {
    let mut payload = Vec::new();
    let mut folders = vec![
        Path::new("/usr/lib").to_owned(),
        Path::new("/usr/bin").to_owned(),
    ];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && payload.len() < PAYLOAD_BYTES {
                let file = File::open(path).unwrap();
                let room = (PAYLOAD_BYTES - payload.len()) as u64;
                file.take(room).read_to_end(&mut payload).unwrap();
            }
        }
    }
    payload
}

/// Writes an artifact whose payload's member is this.
fn artifact(
    parts: &Parts,
    compression: Compression,
    member: &[u8],
    folder: &Path,
) -> std::path::PathBuf {
    // The manifest names the payload; what is compressed here is thrown away.
    let mut small = Parts::new("app-1", b"");
    small.compression = compression;
    let mut parts = parts.clone();
    parts.compression = Compression::None;
    let digest = parts.manifest()[..64].to_vec();
    let manifest = [&digest, &small.manifest()[64..]].concat();
    let mut members = small.members_under(&manifest, Some(1));
    members[4].1 = member.to_vec();
    let path = folder.join(format!("artifact{}", compression.suffix()));
    File::create(&path)
        .unwrap()
        .write_all(&testing::tar(&members))
        .unwrap();
    path
}

fn verify(path: &Path) {
    let file = File::open(path).unwrap();
    let artifact = kusabi_mender::read(file, &Limits::default(), &mut ()).unwrap();
    let key = ArtifactKey::from_spki(&testing::spki(1)).unwrap();
    artifact.verify(&[key]).unwrap();
}

fn zcat(path: &Path) {
    let status = Command::new("zcat")
        .arg(path)
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "zcat is needed");
}

fn own(work: impl FnOnce()) -> f64 {
    let before = processor();
    work();
    (processor()[0] - before[0]) / TICKS
}

fn children(work: impl FnOnce()) -> f64 {
    let before = processor();
    work();
    (processor()[1] - before[1]) / TICKS
}

/// Ticks of this process, and of its children that have ended (proc_pid_stat(5), fields 14 to 17).
fn processor() -> [f64; 2] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().unwrap())
        .collect();
    [ticks[0] + ticks[1], ticks[2] + ticks[3]]
}
