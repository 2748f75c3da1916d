//! SHA-256 of files of any size.

use std::{fs::File, io::Read as _, path::Path};

use kusabi_core::id::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    failure::{Failure, Result},
    page::Output,
    progress,
};

/// Below this a bar would only flash, in bytes.
const BAR_FROM: u64 = 256 << 20;

/// SHA-256 of the file at `path`.
pub(crate) fn digest_of_file(path: &Path, output: Output) -> Result<Digest> {
    let failed = |error: std::io::Error| Failure::io("read", path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let bar = (length >= BAR_FROM).then(|| progress::bytes(output, "Reading", length));
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        if let Some(bar) = &bar {
            bar.inc(read as u64);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(Digest::new(hash.finalize().into()))
}
