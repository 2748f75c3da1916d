//! The servers' receipts (spec/evidence.md, "Receipts"): the newest ones, for the day when a server denies what it heard.

use std::io;
use std::path::Path;

use kusabi_core::device::SignedReceipt;
use kusabi_core::inventory::SignedInventory;

use crate::disk::{self, Disk};

/// Most receipts that are kept.
const KEPT_MAX: usize = 32;
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// Adds a receipt to the file: a line of signer, signature, the signed inventory statement that it is about (or `-`), and
/// the text. The oldest ones give way.
pub(super) fn keep(
    disk: &impl Disk,
    path: &Path,
    receipt: &SignedReceipt,
    statement: Option<&[u8; SignedInventory::LEN]>,
) -> io::Result<()> {
    let kept = disk.read(path, FILE_BYTES_MAX)?.unwrap_or_default();
    let kept = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = kept.lines().collect();
    let statement = statement.map_or_else(|| String::from("-"), |bytes| hex(bytes));
    let line = format!(
        "{} {} {statement} {}",
        receipt.signer,
        hex(receipt.signature.as_ref()),
        receipt.text
    );
    let from = (lines.len() + 1).saturating_sub(KEPT_MAX);
    let mut kept: String = lines
        .iter()
        .skip(from)
        .flat_map(|line| [*line, "\n"])
        .collect();
    kept.push_str(&line);
    kept.push('\n');
    disk::replace(disk, path, kept.as_bytes(), 0o600)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::Sim;
    use kusabi_core::id::Handle;
    use kusabi_core::receipt::Text;
    use kusabi_core::suite::Signature;

    #[test]
    fn the_newest_receipts_are_kept() {
        let disk = Sim::with_dirs(&["/state"]);
        let path = Path::new("/state/receipts");
        for number in 0..KEPT_MAX + 3 {
            let receipt = SignedReceipt {
                statement: None,
                text: Text::from(&number.to_string()).unwrap(),
                signer: Handle::ZERO,
                signature: Signature::new([1; 64]),
            };
            keep(&disk, path, &receipt, None).unwrap();
        }
        let kept = disk.read(path, FILE_BYTES_MAX).unwrap().unwrap();
        let kept = String::from_utf8(kept).unwrap();
        let lines: Vec<&str> = kept.lines().collect();
        assert_eq!(lines.len(), KEPT_MAX);
        assert!(lines[0].ends_with(" - 3"), "{}", lines[0]);
        assert!(lines[KEPT_MAX - 1].ends_with(" - 34"));
    }
}
