//! Counters in the text format of Prometheus.

use axum::http::StatusCode;
use kusabi_api::{ledger::Status, serve::Counts};
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A number that only this module reads.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }
}

/// What the API counts.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Answers by the hundreds of their status; the first stands for all others.
    answers: [Counter; 6],
    pub(super) lookups: Counter,
    pub(super) submissions: Counter,
    pub(super) receipts: Counter,
    pub(super) subscribers: Counter,
    pub(super) followers: Counter,
    pub(super) listener: Arc<Counts>,
}

impl Metrics {
    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        self.answers.get(class).unwrap_or(&self.answers[0]).add(1);
    }

    /// The page; without `status` what the ledger says is left out.
    pub(super) fn page(&self, status: Option<&Status>) -> String {
        let mut page = String::with_capacity(2048);
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                page,
                "# HELP kusabi_{name} {help}\n# TYPE kusabi_{name} {kind}"
            );
            for (labels, value) in values {
                let _ = writeln!(page, "kusabi_{name}{labels} {value}");
            }
        };
        let read = |counter: &Counter| counter.0.load(Relaxed);
        let labels =
            ["other", "1xx", "2xx", "3xx", "4xx", "5xx"].map(|c| format!("{{class=\"{c}\"}}"));
        let answers: Vec<_> = labels
            .iter()
            .zip(&self.answers)
            .map(|(label, counter)| (label.as_str(), read(counter)))
            .collect();
        metric(
            "http_answers_total",
            "counter",
            "Answers by class of status.",
            &answers,
        );
        for (name, kind, help, value) in [
            (
                "lookups_total",
                "counter",
                "Proofs served.",
                read(&self.lookups),
            ),
            (
                "submissions_total",
                "counter",
                "Transactions received.",
                read(&self.submissions),
            ),
            (
                "freshness_receipts_total",
                "counter",
                "Freshness receipts given.",
                read(&self.receipts),
            ),
            (
                "http_cut_total",
                "counter",
                "Connections cut because the client took nothing.",
                self.listener.cut(),
            ),
            (
                "http_connections",
                "gauge",
                "Open connections.",
                self.listener.connections(),
            ),
            (
                "event_subscribers",
                "gauge",
                "Open event streams.",
                read(&self.subscribers),
            ),
            (
                "followers",
                "gauge",
                "Open streams of blocks.",
                read(&self.followers),
            ),
        ] {
            metric(name, kind, help, &[("", value)]);
        }
        if let Some(status) = status {
            for (name, help, value) in [
                (
                    "height",
                    "Height of the newest final and durable block.",
                    status.height,
                ),
                (
                    "block_time_ms",
                    "Its time, in milliseconds since 1970.",
                    status.time_ms,
                ),
                ("epoch", "Epoch of the validator set.", status.epoch),
                (
                    "view",
                    "The leader's turn in which the newest block was made, within the epoch.",
                    status.view,
                ),
                (
                    "validators",
                    "Validators of the epoch.",
                    status.validators.into(),
                ),
                (
                    "transactions_waiting",
                    "Transactions in the pool.",
                    status.waiting,
                ),
                (
                    "transactions_waiting_max",
                    "Room of the pool.",
                    status.waiting_max,
                ),
                (
                    "epoch_overdue",
                    "1 when the epoch has lasted longer than it should.",
                    u64::from(status.epoch_overdue.is_some()),
                ),
                (
                    "ready",
                    "1 when the node serves a ledger that goes on.",
                    u64::from(status.ready),
                ),
            ] {
                metric(name, "gauge", help, &[("", value)]);
            }
            let known = [
                (
                    "block_age_ms",
                    "Age of the newest block by the node's clock, in milliseconds.",
                    status.age_ms,
                ),
                (
                    "peers_connected",
                    "Other validators' nodes that are connected.",
                    status.peers.as_ref().map(|peers| peers.connected),
                ),
                (
                    "view_time_ms",
                    "How long one of the newest views took on average, in milliseconds.",
                    status.view_time_ms,
                ),
                (
                    "epoch_age_seconds",
                    "Age of the epoch by the node's clock.",
                    status.epoch_age_ms.map(|age_ms| age_ms / 1_000),
                ),
                (
                    "votes_counted",
                    "Newest certificates of the epoch in which votes are counted, 1,000 at most.",
                    status.votes.as_ref().map(|votes| votes.counted),
                ),
                (
                    "votes_missed",
                    "How many of these are without this node's vote.",
                    status.votes.as_ref().and_then(|votes| votes.missed),
                ),
                (
                    "behind",
                    "Heights from a follower's newest block to the newest that it knows of.",
                    status.following.as_ref().map(|following| following.behind),
                ),
            ];
            for (name, help, value) in known {
                if let Some(value) = value {
                    metric(name, "gauge", help, &[("", value)]);
                }
            }
            let validators = status.votes.iter().flat_map(|votes| &votes.validators);
            let missed: Vec<_> = validators
                .map(|of| {
                    let (vote_key, address) = (&of.vote_key, &of.address);
                    let labels = format!("{{vote_key=\"{vote_key}\",address=\"{address}\"}}");
                    (labels, of.missed)
                })
                .collect();
            let missed: Vec<_> = missed.iter().map(|(of, n)| (of.as_str(), *n)).collect();
            if !missed.is_empty() {
                metric(
                    "validator_votes_missed",
                    "gauge",
                    "How many of the counted certificates are without this validator's vote.",
                    &missed,
                );
            }
        }
        page
    }
}
