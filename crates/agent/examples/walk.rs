//! How long a walk takes, the first time and the second: `cargo run --release -p kusabi-agent --example walk -- [FILES] [BYTES]`, for so many
//! files of so many bytes each (50,000 of 20,000). Files lie in the system's cache: a device that reads flash gains more.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it measures"
)]

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use kusabi_agent::inventory::{HashCache, Walk};

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().unwrap());
    let files: u32 = args.next().unwrap_or(50_000);
    let bytes = args.next().unwrap_or(20_000);
    let folder = std::env::temp_dir().join(format!("kusabi-walk-{}", std::process::id()));
    for number in 0..files {
        let dir = folder.join(format!("files/{}", number / 500));
        fs::create_dir_all(&dir).unwrap();
        let content = number.to_be_bytes().repeat(bytes as usize / 4);
        fs::write(dir.join(format!("file-{number}")), content).unwrap();
    }
    let walk = Walk::new(&folder, &[PathBuf::from("files")], &[]).unwrap();
    let mut digests = Vec::new();
    for what in ["first", "second", "third"] {
        let mut before = fs::File::open(folder.join("hashed")).ok();
        let mut after = fs::File::create(folder.join("hashed.new")).unwrap();
        let mut out = fs::File::create(folder.join("inventory")).unwrap();
        let begun = Instant::now();
        let mut cache = HashCache::new(
            before.as_mut().map(|file| file as &mut dyn Read),
            Some(&mut after as &mut dyn Write),
            // Nothing that was made just now is recent.
            SystemTime::now() + Duration::from_secs(60),
        );
        let walked = walk.take_with(&mut out, &mut cache).unwrap();
        println!(
            "{what}: {:.0} ms, {} read, {} unchanged; cache {} bytes",
            begun.elapsed().as_secs_f64() * 1e3,
            walked.read,
            walked.remembered,
            after.metadata().unwrap().len(),
        );
        fs::rename(folder.join("hashed.new"), folder.join("hashed")).unwrap();
        digests.push(walked.summary.digest());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    fs::remove_dir_all(folder).unwrap();
}
