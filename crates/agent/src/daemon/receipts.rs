//! The servers' receipts (spec/evidence.md, "Receipts"): the newest ones, for the day when a server denies what it heard.

use std::io;
use std::path::Path;

use kusabi_core::device::SignedReceipt;
use kusabi_core::inventory::SignedInventory;

use crate::disk::{self, Disk};

/// Most receipts of reports that are kept: they come by themselves, and often.
const REPORTS_MAX: usize = 8;
/// Most receipts of what became of orders that are kept.
const OUTCOMES_MAX: usize = 32;
/// Longest file that is read: it has some 60 KB.
const FILE_BYTES_MAX: u64 = 128 << 10;

/// Adds a receipt, and the signed inventory statement that it is about, to the file (spec/evidence.md, "What a device keeps").
/// The oldest ones give way, reports to reports. What is no line of it gives way, too.
pub(super) fn keep(
    disk: &impl Disk,
    path: &Path,
    receipt: &SignedReceipt,
    statement: Option<&[u8; SignedInventory::LEN]>,
) -> io::Result<()> {
    let kept = match disk.read(path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
        kept => kept?.unwrap_or_default(),
    };
    let statement = statement.map_or_else(|| String::from("-"), |bytes| hex(bytes));
    let line = format!(
        "{} {} {statement} {}",
        receipt.signer,
        hex(receipt.signature.as_ref()),
        receipt.text
    );
    let lines = kept
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| line.is_ascii() && line.splitn(4, ' ').count() == 4);
    let mut lines: Vec<&str> = lines.chain([&*line]).collect();
    let is_report = |line: &str| line.contains("{\"about\":\"report\"");
    for (report, most) in [(true, REPORTS_MAX), (false, OUTCOMES_MAX)] {
        let count = lines
            .iter()
            .filter(|line| is_report(line) == report)
            .count();
        let mut leave = count.saturating_sub(most);
        lines.retain(|line| {
            let leaves = leave > 0 && is_report(line) == report;
            leave -= usize::from(leaves);
            !leaves
        });
    }
    let kept: String = lines.iter().flat_map(|line| [*line, "\n"]).collect();
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

    fn texts(disk: &Sim, path: &Path) -> Vec<String> {
        let kept = disk.read(path, FILE_BYTES_MAX).unwrap().unwrap();
        let kept = String::from_utf8(kept).unwrap();
        let text = |line: &str| line.splitn(4, ' ').nth(3).unwrap().to_owned();
        kept.lines().map(text).collect()
    }

    fn receipt(text: &str) -> SignedReceipt {
        SignedReceipt {
            statement: None,
            text: Text::from(text).unwrap(),
            signer: Handle::ZERO,
            signature: Signature::new([1; 64]),
        }
    }

    #[test]
    fn reports_do_not_push_out_what_was_said_of_orders() {
        let disk = Sim::with_dirs(&["/state"]);
        let path = Path::new("/state/receipts");
        for number in 0..OUTCOMES_MAX + 3 {
            keep(&disk, path, &receipt(&number.to_string()), None).unwrap();
        }
        for number in 0..REPORTS_MAX + 2 {
            let text = format!("{{\"about\":\"report\",\"at\":{number}}}");
            keep(
                &disk,
                path,
                &receipt(&text),
                Some(&[7; SignedInventory::LEN]),
            )
            .unwrap();
        }
        let kept = texts(&disk, path);
        assert_eq!(kept.len(), OUTCOMES_MAX + REPORTS_MAX);
        assert_eq!((&*kept[0], &*kept[OUTCOMES_MAX - 1]), ("3", "34"));
        assert!(kept[OUTCOMES_MAX].ends_with(":2}"), "{kept:?}");
    }

    #[test]
    fn what_is_damaged_gives_way() {
        let disk = Sim::with_dirs(&["/state"]);
        let path = Path::new("/state/receipts");
        keep(&disk, path, &receipt("first"), None).unwrap();
        disk.append(path, b"\xff\xfe and so on\nno receipt\n")
            .unwrap();
        keep(&disk, path, &receipt("second"), None).unwrap();
        assert_eq!(texts(&disk, path), ["first", "second"]);
        disk.append(path, &vec![b'x'; FILE_BYTES_MAX as usize])
            .unwrap();
        keep(&disk, path, &receipt("third"), None).unwrap();
        assert_eq!(texts(&disk, path), ["third"]);
    }
}
