//! Registrations, over HTTP with the client that every program uses; each is answered when it is final and on disk.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use kusabi_api::{HttpLedger, Ledger as _, ledger::Submitted};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    fleet::{BATCH, Fleet},
    process::Process,
    report::{Batches, Latency, Paced, Work, Writes},
    unmeasurable,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
};

/// Longest wait for one answer.
pub(super) const WAIT: Duration = Duration::from_secs(60);
/// Batches in a group, for each that is under way at once. A group is signed before it is sent; at its end fewer are under way, so
/// it is long.
const GROUP_PER_SLOT: u64 = 16;
/// Batches under way at once, at one node.
const BATCHES_AT_ONCE: usize = 16;
/// Batches under way at once among several nodes, where what is proposed waits for its turn to be voted on.
const BATCHES_AT_ONCE_AMONG_SEVERAL: usize = 32;

/// What happened in one window.
struct Window {
    elapsed: Duration,
    node: Duration,
    client: Duration,
    latencies_us: Vec<u32>,
}

/// The nodes that are measured: what is sent goes to one after the other, and their CPU time is counted together.
pub(super) struct Nodes {
    pub(super) ledgers: Vec<HttpLedger>,
    pub(super) processes: Vec<Process>,
}

impl Nodes {
    fn cpu(&self) -> Result<Duration> {
        self.processes.iter().map(|process| cpu(*process)).sum()
    }
}

/// How transactions follow on one another.
enum Pace {
    /// So many are under way at any time.
    AtOnce(usize),
    /// So many begin in each second, whatever became of those before.
    PerSecond(u32),
}

/// Sends transactions until all are final.
async fn send(nodes: &Nodes, transactions: Vec<Bytes>, pace: Pace) -> Result<Window> {
    let (node_before, client_before) = (nodes.cpu()?, cpu(Process::own())?);
    let start = Instant::now();
    let (at_once, each) = match pace {
        Pace::AtOnce(at_once) => (at_once, Duration::ZERO),
        Pace::PerSecond(rate) => (Semaphore::MAX_PERMITS, Duration::from_secs(1) / rate),
    };
    let turns = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (number, (transaction, ledger)) in transactions
        .into_iter()
        .zip(nodes.ledgers.iter().cycle())
        .enumerate()
    {
        if !each.is_zero() {
            let due = start + each * u32::try_from(number).unwrap_or(u32::MAX);
            tokio::time::sleep_until(due.into()).await;
        }
        let turn = Arc::clone(&turns)
            .acquire_owned()
            .await
            .map_err(unmeasurable)?;
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let before = Instant::now();
            let submitted = ledger.submit(transaction, WAIT).await;
            let took = before.elapsed().as_micros();
            drop(turn);
            match submitted {
                Ok(Submitted::Final(_)) => Ok(u32::try_from(took).unwrap_or(u32::MAX)),
                Ok(Submitted::Pending { .. }) => Err(Failure::new(
                    Exit::Unavailable,
                    "a registration was not final within a minute",
                )),
                Err(problem) => Err(Failure::new(
                    Exit::Unavailable,
                    format!("the node took no registration: {problem}"),
                )),
            }
        });
    }
    let mut latencies_us = Vec::with_capacity(tasks.len());
    while let Some(done) = tasks.join_next().await {
        latencies_us.push(done.map_err(unmeasurable)??);
    }
    Ok(Window {
        elapsed: start.elapsed(),
        node: nodes.cpu()? - node_before,
        client: cpu(Process::own())? - client_before,
        latencies_us,
    })
}

fn cpu(process: Process) -> Result<Duration> {
    process.cpu().map_err(unmeasurable)
}

/// Registers the keys `0..batches * 1024`. They are signed in groups, between the measured windows.
pub(super) async fn batches(
    nodes: &Nodes,
    fleet: &Fleet,
    batches: u64,
    progress: impl Fn(u64),
) -> Result<Batches> {
    let (mut elapsed, mut on_node, mut on_client) = <(Duration, Duration, Duration)>::default();
    let mut latencies_us = Vec::new();
    let mut rates = Vec::new();
    let at_once = match nodes.ledgers.len() {
        1 => BATCHES_AT_ONCE,
        _ => BATCHES_AT_ONCE_AMONG_SEVERAL,
    };
    let mut first = 0;
    while first < batches {
        let count = (GROUP_PER_SLOT * at_once as u64).min(batches - first);
        let keys = first * BATCH..(first + count) * BATCH;
        let transactions = fleet.registrations(keys, BATCH)?;
        let window = send(nodes, transactions, Pace::AtOnce(at_once)).await?;
        rates.push((count * BATCH) as f64 / window.elapsed.as_secs_f64());
        elapsed += window.elapsed;
        on_node += window.node;
        on_client += window.client;
        latencies_us.extend(window.latencies_us);
        first += count;
        progress(first * BATCH);
    }
    Ok(Batches {
        work: Work::new(batches * BATCH, elapsed, on_node, on_client),
        keys_per_batch: BATCH,
        concurrency: at_once,
        latency: Latency::of(latencies_us),
        slowest_per_second: rates.iter().copied().fold(f64::INFINITY, f64::min),
        fastest_per_second: rates.iter().copied().fold(0.0, f64::max),
    })
}

/// Registers the keys of a range, each with a signature of its own.
pub(super) async fn singles(
    nodes: &Nodes,
    fleet: &Fleet,
    numbers: std::ops::Range<u64>,
    at_once: usize,
) -> Result<Writes> {
    let keys = numbers.end - numbers.start;
    let transactions = fleet.registrations(numbers, 1)?;
    let window = send(nodes, transactions, Pace::AtOnce(at_once)).await?;
    Ok(Writes {
        work: Work::new(keys, window.elapsed, window.node, window.client),
        concurrency: at_once,
        latency: Latency::of(window.latencies_us),
    })
}

/// Registers the keys of a range one at a time, so many each second whatever becomes of those before.
pub(super) async fn paced(
    nodes: &Nodes,
    fleet: &Fleet,
    numbers: std::ops::Range<u64>,
    per_second: u32,
) -> Result<Paced> {
    let keys = numbers.end - numbers.start;
    let transactions = fleet.registrations(numbers, 1)?;
    let window = send(nodes, transactions, Pace::PerSecond(per_second)).await?;
    Ok(Paced {
        work: Work::new(keys, window.elapsed, window.node, window.client),
        offered: per_second,
        latency: Latency::of(window.latencies_us),
    })
}
