//! The folder of a batch: its files, and the table that says what is in them.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use kusabi_api::admin::Text;
use kusabi_core::{
    id::{ChainId, OrgId},
    tx::Entry,
};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    roster::{self, Wanted},
};

/// Says which ledger and organisation the folder is for, and is locked by the run that writes.
const MARK: &str = ".provision";
const TABLE: &str = "devices.csv";
const LIST: &str = "devices.list";

pub(super) struct Folder {
    path: PathBuf,
    table: PathBuf,
    /// Open at its end.
    journal: File,
    /// By serial.
    devices: BTreeMap<Text, Wanted>,
    /// Locked as long as this lives.
    _lock: File,
}

impl Folder {
    /// Opens the folder of a batch for one organisation on one ledger; makes it if it is not there.
    pub(super) fn open(path: &Path, chain: &ChainId, org: &OrgId) -> Result<Self> {
        files::make_folder(path)?;
        let lock = claim(path, chain, org)?;
        let table = path.join(TABLE);
        let failed = |error: std::io::Error| Failure::io("opened", &table, &error);
        let mut journal = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&table)
            .map_err(failed)?;
        let mut bytes = Vec::new();
        journal.read_to_end(&mut bytes).map_err(failed)?;
        // A power cut may have left half a line: its device's file is there and is found again.
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.truncate(whole);
        journal
            .set_len(whole as u64)
            .and_then(|()| journal.seek(SeekFrom::End(0)))
            .map_err(failed)?;
        if bytes.is_empty() {
            journal
                .write_all(roster::heading().as_bytes())
                .map_err(failed)?;
        }
        let rows = if bytes.iter().filter(|&&byte| byte == b'\n').count() > 1 {
            roster::read(&table)?
        } else {
            Vec::new()
        };
        let mut devices = BTreeMap::new();
        for row in rows {
            if row.entry.is_none() {
                return Err(Failure::new(
                    Exit::File,
                    format!("{}, line {}: the device has no key", table.display(), row.line),
                )
                .advise("kusabi provision writes this table, and reads it to go on: name another folder with --out"));
            }
            devices.insert(row.serial.clone(), row);
        }
        Ok(Self {
            path: path.to_owned(),
            table,
            journal,
            devices,
            _lock: lock,
        })
    }

    /// Refuses what says something else of a device than what was provisioned.
    pub(super) fn refuse_contradiction(
        &self,
        wanted: &[Wanted],
        table: Option<&Path>,
    ) -> Result<()> {
        for device in wanted {
            if let Some(noted) = self.devices.get(&device.serial)
                && !noted.agrees(device)
            {
                let place = table.map_or_else(String::new, |table| {
                    format!("{}, line {}: ", table.display(), device.line)
                });
                return Err(Failure::new(
                    Exit::Negative,
                    format!(
                        "{place}{} was provisioned with another type, group or name ({}, line {})",
                        device.serial,
                        self.table.display(),
                        noted.line
                    ),
                )
                .advise("nothing was done: say the same as before, and change it on the server; or name another folder"));
            }
        }
        Ok(())
    }

    /// The device's file.
    pub(super) fn file(&self, serial: &Text) -> PathBuf {
        self.path.join(format!("{serial}.device"))
    }

    pub(super) fn table(&self) -> &Path {
        &self.table
    }

    pub(super) fn list(&self) -> PathBuf {
        self.path.join(LIST)
    }

    /// What is public about the device's key, if it has one.
    pub(super) fn entry(&self, serial: &Text) -> Option<&Entry> {
        self.devices.get(serial)?.entry.as_ref()
    }

    /// Writes down a device whose file is on the disk.
    pub(super) fn note(&mut self, device: &Wanted, entry: Entry) -> Result<()> {
        let noted = Wanted {
            entry: Some(entry),
            ..device.clone()
        };
        self.journal
            .write_all(noted.to_line().as_bytes())
            .map_err(|error| Failure::io("written", &self.table, &error))?;
        self.devices.insert(noted.serial.clone(), noted);
        Ok(())
    }

    /// All lines are on the disk when it returns.
    pub(super) fn sync(&self) -> Result<()> {
        self.journal
            .sync_all()
            .map_err(|error| Failure::io("written", &self.table, &error))
    }

    /// Every device of the folder.
    pub(super) fn devices(&self) -> impl ExactSizeIterator<Item = &Wanted> {
        self.devices.values()
    }

    /// Every key of the folder, ascending by handle, so that each run cuts them into the same transactions.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self
            .devices
            .values()
            .filter_map(|device| device.entry.clone())
            .collect();
        entries.sort_by_key(Entry::handle);
        entries
    }
}

/// Takes the folder for this run, for one ledger and organisation.
fn claim(folder: &Path, chain: &ChainId, org: &OrgId) -> Result<File> {
    let path = folder.join(MARK);
    let mark = format!("kusabi-provision-v1 {chain} {org}\n");
    if !path.exists() {
        match files::create(&path, mark.as_bytes(), Mode::Public) {
            // Another run was quicker; what it wrote is compared.
            Err(_) if path.exists() => {}
            created => created?,
        }
    }
    if files::read(&path, 1_024)? != mark.as_bytes() {
        return Err(Failure::new(
            Exit::OtherChain,
            format!(
                "{} holds devices of another organisation or ledger",
                folder.display()
            ),
        )
        .advise("choose another folder with --out"));
    }
    let lock = File::open(&path).map_err(|error| Failure::io("opened", &path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Failure::new(
            Exit::InUse,
            format!("another kusabi provision writes to {}", folder.display()),
        )
        .advise("wait for it, or choose another folder with --out")),
        Err(TryLockError::Error(error)) => Err(Failure::io("locked", &path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(serial: &str, device_type: &str) -> Wanted {
        roster::parse(format!("serial,type\n{serial},{device_type}\n").as_bytes())
            .unwrap()
            .remove(0)
    }

    fn entry(seed: u8) -> Entry {
        use kusabi_core::{
            id::{Binding, Handle},
            keystore::{KeyStore as _, Seed, SoftKey},
            suite::{Purpose, Suite},
        };
        let key = SoftKey::from_seed(Suite::Curve25519, &Seed::new([seed; 32])).unwrap();
        let (handle, binding) = (Handle::new([seed; 32]), Binding::new([seed; 16]));
        Entry::new(handle, Purpose::Pre, key.public_keys(), binding, None).unwrap()
    }

    fn open(path: &Path) -> Result<Folder> {
        Folder::open(path, &ChainId::new([1; 32]), &OrgId::new([2; 16]))
    }

    #[test]
    fn what_was_noted_is_found_again_and_half_a_line_is_not() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let mut folder = open(&path).unwrap();
        folder.note(&device("C2", "a"), entry(2)).unwrap();
        folder.note(&device("C1", "a"), entry(1)).unwrap();
        folder.sync().unwrap();
        drop(folder);
        let table = path.join(TABLE);
        let whole = std::fs::read(&table).unwrap();
        for cut in [1, 40, 200] {
            std::fs::write(&table, &whole[..whole.len() - cut]).unwrap();
            let mut folder = open(&path).unwrap();
            assert_eq!(folder.entries(), [entry(2)], "{cut}");
            folder.note(&device("C1", "a"), entry(1)).unwrap();
            drop(folder);
            assert_eq!(std::fs::read(&table).unwrap(), whole);
        }
        let folder = open(&path).unwrap();
        assert_eq!(folder.entries(), [entry(1), entry(2)]);
        assert!(
            folder
                .refuse_contradiction(&[device("C1", "a")], None)
                .is_ok()
        );
        let other = folder.refuse_contradiction(&[device("C1", "b")], None);
        assert_eq!(other.unwrap_err().exit(), Exit::Negative);
    }

    #[test]
    fn a_folder_is_for_one_run_one_ledger_and_one_organisation() {
        let place = tempfile::tempdir().unwrap();
        let first = open(place.path()).unwrap();
        assert_eq!(open(place.path()).err().unwrap().exit(), Exit::InUse);
        drop(first);
        let foreign = Folder::open(place.path(), &ChainId::new([9; 32]), &OrgId::new([2; 16]));
        assert_eq!(foreign.err().unwrap().exit(), Exit::OtherChain);
        assert!(open(place.path()).is_ok());
    }
}
