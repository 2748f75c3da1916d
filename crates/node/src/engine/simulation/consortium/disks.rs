//! What happens to members' disks while they do not run.

use super::{Fleet, Kept};
use crate::engine::{disk, votes};
use commonware_runtime::{
    Blob as _, Clock as _, Error, ReadOptions, Storage as _, WriteOptions, deterministic::Context,
};
use std::time::Duration;

/// A copy of a member's directory, as it was at one time.
#[derive(Debug)]
pub struct DiskCopy {
    kept: Kept,
    /// Partition, name and bytes of each file.
    files: Vec<(String, Vec<u8>, Vec<u8>)>,
}

impl Fleet {
    /// Takes the votes of the first epoch from a member's disk, while it does not run. Its directory still notes that it voted.
    pub async fn lose_votes(&self, member: usize) {
        let disk = self.child("disk");
        let votes = votes::partition(self.0.outline.epochs()[0].number);
        // There may be none.
        let _ = disk.remove(&format!("{member}-{votes}"), None).await;
    }

    /// Takes all from a member, while it does not run, but its keys and what it was founded with.
    pub async fn lose_all(&self, member: usize) {
        let disk = self.child("disk");
        for partition in self.files_of(member) {
            // There may be nothing in it.
            let _ = disk.remove(&partition, None).await;
        }
        if let Some((_, kept)) = self.0.members.get(member) {
            *kept.lock() = Kept {
                outline: self.0.outline.clone(),
                voted: false,
            };
        }
    }

    /// A copy of all that a member has, which does not run.
    pub async fn copy(&self, member: usize) -> Option<DiskCopy> {
        let (_, kept) = self.0.members.get(member)?;
        let kept = kept.lock().clone();
        let disk = self.child("disk");
        let mut files = Vec::new();
        for partition in self.files_of(member) {
            for name in disk.scan(&partition).await.unwrap_or_default() {
                let bytes = read(&disk, &partition, &name).await?;
                files.push((partition.clone(), name, bytes));
            }
        }
        Some(DiskCopy { kept, files })
    }

    /// Puts a copy in the place of what a member has, which does not run.
    pub async fn bring_back(&self, member: usize, copy: &DiskCopy) {
        self.lose_all(member).await;
        if let Some((_, kept)) = self.0.members.get(member) {
            *kept.lock() = copy.kept.clone();
        }
        let disk = self.child("disk");
        for (partition, name, bytes) in &copy.files {
            if let Ok((blob, _)) = disk.open(partition, name).await {
                // A disk of the simulation fails where it was told to, and here it was not.
                let _ = blob.write_at(0, bytes.clone(), WriteOptions::SYNC).await;
            }
        }
    }

    fn files_of(&self, member: usize) -> Vec<String> {
        let opened = self.partitions(member).into_iter();
        opened
            // Those of a notebook stand in its file: votes in one of their own name.
            .filter(|(name, in_notebook)| !in_notebook || name.starts_with(votes::VOTES))
            .map(|(name, _)| name)
            .chain([disk::NOTES.to_owned()])
            .map(|name| format!("{member}-{name}"))
            .collect()
    }
}

async fn read(disk: &Context, partition: &str, name: &[u8]) -> Option<Vec<u8>> {
    // Whatever a node that was killed had open is closed once its tasks are gone.
    let mut opened = disk.open(partition, name).await;
    for _ in 0..100 {
        if !matches!(opened, Err(Error::BlobAlreadyOpen(..))) {
            break;
        }
        disk.sleep(Duration::from_millis(1)).await;
        opened = disk.open(partition, name).await;
    }
    let (blob, size) = opened.ok()?;
    let size = usize::try_from(size).ok()?;
    if size == 0 {
        return Some(Vec::new());
    }
    let bytes = blob.read_at(0, size, ReadOptions::default()).await.ok()?;
    Some(bytes.coalesce().as_ref().to_vec())
}
