//! What was measured, and how it is shown.

use std::time::Duration;

use serde::Serialize;

use super::process::Disk;
use crate::page::{Answer, Page, grouped};

/// Two quantiles of a set of times, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Latency {
    /// Of times in microseconds.
    pub(super) fn of(mut times_us: Vec<u32>) -> Self {
        times_us.sort_unstable();
        Self {
            p50_ms: quantile(&times_us, 0.50),
            p99_ms: quantile(&times_us, 0.99),
        }
    }
}

/// The smallest time that at least this share of all does not exceed, in milliseconds.
fn quantile(sorted_us: &[u32], share: f64) -> f64 {
    let rank = (sorted_us.len() as f64 * share).ceil() as usize;
    let time = sorted_us.get(rank.saturating_sub(1));
    f64::from(time.copied().unwrap_or_default()) / 1000.0
}

/// Work done over a window.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Work {
    /// Operations.
    pub(super) operations: u64,
    /// By the clock.
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// CPU time of the node's process per operation, in microseconds.
    pub(super) node_cpu_us: f64,
    /// The same of the measuring process.
    pub(super) client_cpu_us: f64,
}

impl Work {
    pub(super) fn new(
        operations: u64,
        elapsed: Duration,
        node: Duration,
        client: Duration,
    ) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / operations.max(1) as f64;
        Self {
            operations,
            seconds: elapsed.as_secs_f64(),
            per_second: operations as f64 / elapsed.as_secs_f64(),
            node_cpu_us: each(node),
            client_cpu_us: each(client),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Batches {
    #[serde(flatten)]
    pub(super) work: Work,
    pub(super) keys_per_batch: u64,
    pub(super) concurrency: usize,
    /// Of one batch, from sending it to its answer.
    #[serde(flatten)]
    pub(super) latency: Latency,
    /// Keys per second of the slowest and of the fastest group of batches.
    pub(super) slowest_per_second: f64,
    pub(super) fastest_per_second: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Writes {
    #[serde(flatten)]
    pub(super) work: Work,
    pub(super) concurrency: usize,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

#[derive(Debug, Serialize)]
pub(super) struct Paced {
    #[serde(flatten)]
    pub(super) work: Work,
    /// Registrations that began in each second.
    pub(super) offered: u32,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

#[derive(Debug, Serialize)]
pub(super) struct Lookups {
    #[serde(flatten)]
    pub(super) work: Work,
    pub(super) connections: u64,
    #[serde(flatten)]
    pub(super) latency: Latency,
    /// Keys on the ledger.
    pub(super) keys: u64,
    /// Answers that were kept and verified from the genesis document on; one bad one ends the measurement.
    pub(super) verified: u64,
    pub(super) proof_bytes_p50: usize,
    pub(super) proof_bytes_max: usize,
    pub(super) absence_bytes_p50: usize,
    pub(super) absence_bytes_max: usize,
    /// Microseconds to check a proof, everything new.
    pub(super) verify_cold_us: f64,
    /// The same when its checkpoint was checked before.
    pub(super) verify_warm_us: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Restart {
    /// Seconds from starting the process, after it was killed, to the first answer that was verified.
    pub(super) first_proof_s: Vec<f64>,
    /// CPU seconds of the node until then.
    pub(super) cpu_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Memory {
    /// After all of the above.
    pub(super) loaded: u64,
    /// The most while registering.
    pub(super) peak: u64,
    /// After a restart and its first answer.
    pub(super) restarted: u64,
    /// The most while starting again.
    pub(super) restarted_peak: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) seconds: f64,
    /// Blocks in that time.
    pub(super) blocks: u64,
    pub(super) cpu_percent: f64,
    /// Growth of the files.
    pub(super) disk_bytes: i64,
    /// What the operating system wrote, rewriting included.
    pub(super) written_bytes: u64,
    /// Growth of the files in a day, extrapolated from this window.
    pub(super) day_bytes: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Size {
    pub(super) keys: u64,
    #[serde(flatten)]
    pub(super) disk: Disk,
    pub(super) allocated_per_key: f64,
}

/// A ledger of several validators, all of them and the client on this machine. CPU times are those of all nodes together.
#[derive(Debug, Serialize)]
pub(super) struct Several {
    pub(super) version: &'static str,
    pub(super) machine: String,
    pub(super) folder: String,
    pub(super) validators: usize,
    pub(super) batches: Batches,
    pub(super) singles: Writes,
    pub(super) paced: Vec<Paced>,
    pub(super) lookups: Lookups,
    /// From the moment that a revocation is sent until every server of one organisation says that the key has ended.
    pub(super) revocations: Seen,
    /// With one validator killed.
    pub(super) one_dead: Writes,
    /// Seconds from its start until it shows the newest block of the others, and the votes of the newest certificates have its own.
    pub(super) returned_s: f64,
    /// Seconds until a node without a vote has fetched and run the whole ledger.
    pub(super) followed_s: f64,
    /// Bytes in memory of each node after that, the largest.
    pub(super) resident: u64,
    pub(super) size: Size,
    /// Of the node that does most; no block but heartbeats.
    pub(super) idle: Idle,
}

/// How soon something is seen everywhere.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Seen {
    pub(super) count: usize,
    /// Each at a node of another organisation.
    pub(super) servers: usize,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

impl Answer for Several {
    fn page(&self, page: &mut Page) {
        page.good(
            "Measured",
            &format!("kusabi {} in {}", self.version, self.folder),
        )
        .field("machine", &*self.machine)
        .field("validators", self.validators.to_string());
        page.field(
            format!(
                "batches of {}, {} at once",
                self.batches.keys_per_batch, self.batches.concurrency
            ),
            format!(
                "{}\n{} a batch; {} keys",
                rate(&self.batches.work, "keys"),
                times(&self.batches.latency),
                grouped(self.batches.work.operations)
            ),
        );
        for (what, writes) in [
            ("single keys", &self.singles),
            ("with one dead", &self.one_dead),
        ] {
            page.field(
                format!("{what}, {} at once", writes.concurrency),
                format!("{}\n{}", rate(&writes.work, "keys"), times(&writes.latency)),
            );
        }
        for paced in &self.paced {
            page.field(
                format!("single keys, {} offered a second", paced.offered),
                format!("{}\n{}", rate(&paced.work, "keys"), times(&paced.latency)),
            );
        }
        page.field(
            format!("revocations, {}", self.revocations.count),
            format!(
                "seen by all of {} servers: {}",
                self.revocations.servers,
                times(&self.revocations.latency)
            ),
        );
        page.field(
            "lookups at one node",
            format!(
                "{}\n{}",
                rate(&self.lookups.work, "proofs"),
                times(&self.lookups.latency)
            ),
        )
        .field(
            "proof",
            format!(
                "presence p50 {} B, max {} B; absence p50 {} B, max {} B",
                self.lookups.proof_bytes_p50,
                self.lookups.proof_bytes_max,
                self.lookups.absence_bytes_p50,
                self.lookups.absence_bytes_max
            ),
        )
        .field("killed and back", format!("votes after {:.1} s", self.returned_s))
        .field(
            "a node without a vote",
            format!("has fetched and run all after {:.1} s", self.followed_s),
        )
        .field("resident memory", format!("{} at most", mib(self.resident)))
        .field(
            "disk",
            format!(
                "{} a node for {} keys",
                mib(self.size.disk.allocated),
                grouped(self.size.keys)
            ),
        )
        .field(
            "idle",
            format!(
                "{:.3} % of a core, {} B of disk in {:.0} s and {} blocks; a day, extrapolated: {:.1} MB",
                self.idle.cpu_percent,
                self.idle.disk_bytes,
                self.idle.seconds,
                self.idle.blocks,
                self.idle.day_bytes / 1e6
            ),
        );
    }
}

/// Everything that was asked for.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) machine: String,
    pub(super) folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batches: Option<Batches>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) singles: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alone: Option<Writes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lookups: Option<Lookups>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<Restart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idle: Option<Idle>,
}

fn count(number: f64) -> String {
    grouped(number.round() as u64)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn rate(work: &Work, what: &str) -> String {
    format!(
        "{} {what}/s   node {:.1} µs, client {:.1} µs of CPU each",
        count(work.per_second),
        work.node_cpu_us,
        work.client_cpu_us
    )
}

fn times(latency: &Latency) -> String {
    format!("p50 {:.2} ms, p99 {:.2} ms", latency.p50_ms, latency.p99_ms)
}

impl Answer for Report {
    fn page(&self, page: &mut Page) {
        page.good(
            "Measured",
            &format!("kusabi {} in {}", self.version, self.folder),
        )
        .field("machine", &*self.machine);
        if let Some(b) = &self.batches {
            page.field(
                format!("batches of {}, {} at once", b.keys_per_batch, b.concurrency),
                format!(
                    "{}\n{} a batch; groups from {} to {} keys/s; {} keys in {:.1} s",
                    rate(&b.work, "keys"),
                    times(&b.latency),
                    count(b.slowest_per_second),
                    count(b.fastest_per_second),
                    grouped(b.work.operations),
                    b.work.seconds
                ),
            );
        }
        for (name, writes) in [
            ("single keys", &self.singles),
            ("one key alone", &self.alone),
        ] {
            if let Some(w) = writes {
                page.field(
                    format!("{name}, {} at once", w.concurrency),
                    format!("{}\n{}", rate(&w.work, "keys"), times(&w.latency)),
                );
            }
        }
        if let Some(l) = &self.lookups {
            page.field(
                format!("lookups, {} connections", l.connections),
                format!(
                    "{}\n{}; random keys of {}; {} answers verified",
                    rate(&l.work, "proofs"),
                    times(&l.latency),
                    grouped(l.keys),
                    grouped(l.verified)
                ),
            )
            .field(
                "proof",
                format!(
                    "presence p50 {} B, max {} B; absence p50 {} B, max {} B",
                    l.proof_bytes_p50, l.proof_bytes_max, l.absence_bytes_p50, l.absence_bytes_max
                ),
            )
            .field(
                "checking a proof",
                format!(
                    "{:.1} µs, or {:.1} µs when its checkpoint was checked before",
                    l.verify_cold_us, l.verify_warm_us
                ),
            );
        }
        if let Some(s) = &self.size {
            page.field(
                "disk",
                format!(
                    "{} allocated ({} apparent) for {} keys: {:.0} B a key",
                    mib(s.disk.allocated),
                    mib(s.disk.apparent),
                    grouped(s.keys),
                    s.allocated_per_key
                ),
            );
        }
        if let Some(m) = &self.memory {
            page.field(
                "resident memory",
                format!(
                    "{} after the work (at most {}); {} after a restart (at most {})",
                    mib(m.loaded),
                    mib(m.peak),
                    mib(m.restarted),
                    mib(m.restarted_peak)
                ),
            );
        }
        if let Some(r) = &self.restart {
            let times: Vec<_> = r.first_proof_s.iter().map(|s| format!("{s:.2}")).collect();
            page.field(
                "restart",
                format!(
                    "first verified answer after {} s; {:.2} s of CPU",
                    times.join(", "),
                    r.cpu_s
                ),
            );
        }
        if let Some(i) = &self.idle {
            page.field(
                "idle",
                format!(
                    "{:.3} % of a core, {} B of disk in {:.0} s and {} blocks\na day, extrapolated: {:.1} MB",
                    i.cpu_percent,
                    i.disk_bytes,
                    i.seconds,
                    i.blocks,
                    i.day_bytes / 1e6
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let latency = Latency::of((1..=100).rev().map(|ms| ms * 1000).collect());
        assert_eq!((latency.p50_ms, latency.p99_ms), (50.0, 99.0));
        let one = Latency::of(vec![7000]);
        assert_eq!((one.p50_ms, one.p99_ms), (7.0, 7.0));
    }

    #[test]
    fn cpu_is_divided_by_operations() {
        let second = Duration::from_secs(1);
        let work = Work::new(1000, 2 * second, second, second / 2);
        assert_eq!(
            (work.per_second, work.node_cpu_us, work.client_cpu_us),
            (500.0, 1000.0, 500.0)
        );
    }
}
