//! Figures of a node on a real disk. Ignored by default: it takes minutes.
//! `cargo test -p kusabi-node --test it measure -- --ignored --nocapture` with `KUSABI_KEYS` (default 1,000,000).

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use kusabi_core::{
    id::StateKey,
    suite::Purpose,
    tx::{Action, Entry},
};
use kusabi_ledger::testing::{TestKey, World};
use kusabi_node::{
    directory::{Directory, NodeKey, VoteKey},
    node::{Config, Node},
    outline::Outline,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const BATCH: usize = 1_024;

pub(crate) fn disk(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                disk(&entry.path())
            } else {
                use std::os::unix::fs::MetadataExt as _;
                entry.metadata().unwrap().blocks() * 512
            }
        })
        .sum()
}

fn proc_status(field: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(field)).unwrap();
    line[field.len()..].trim().to_owned()
}

pub(crate) fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn founding(world: &World) -> (Outline, Vec<u8>) {
    let mut at_founding = World::new(1 << 40);
    let genesis = at_founding.genesis();
    at_founding.block(vec![genesis.clone()]).unwrap();
    let grant = at_founding.grant(&world.writer).as_bytes().to_vec();
    let outline = Outline::new(
        Bytes::from(world.document.clone()),
        Bytes::copy_from_slice(genesis.as_bytes()),
    )
    .unwrap();
    (outline, grant)
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |p: usize| times[(times.len() - 1) * p / 100];
    format!("p50 {:?} p99 {:?}", at(50), at(99))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; prints figures"]
async fn figures() {
    let keys: usize = std::env::var("KUSABI_KEYS").map_or(1_000_000, |n| n.parse().unwrap());
    let world = World::open();
    let (outline, grant) = founding(&world);
    let place = tempfile::tempdir_in(std::env::var("KUSABI_DIR").unwrap_or_else(|_| "/tmp".into()))
        .unwrap();
    let directory = Directory::create(
        place.path(),
        outline,
        &VoteKey::new(world.vote_seed),
        &NodeKey::new(world.node_seed),
    )
    .unwrap();
    let mut node = Node::start(directory, Config::default()).unwrap();
    let handle = node.handle();
    handle.submit(&grant).unwrap().await.unwrap();

    // Keys are derived once and given new handles: deriving a million keys would measure the test.
    let some: Vec<Entry> = (0..64)
        .map(|n| world.entry(&TestKey::new(10_000 + n, Purpose::App)))
        .collect();
    let entry = |n: usize| {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id[8..16].copy_from_slice(&(n as u64).to_be_bytes());
        let of = &some[n % some.len()];
        Entry::new(
            id.into(),
            of.purpose(),
            of.check_keys().unwrap(),
            of.binding(),
            None,
        )
        .unwrap()
    };
    let register = |from: usize, count: usize| {
        let mut entries: Vec<_> = (from..from + count).map(entry).collect();
        entries.sort_unstable_by_key(Entry::handle);
        world.sign(
            Action::Register {
                org: world.org,
                entries,
            },
            &[&world.writer],
        )
    };
    let state_key = |n: usize| StateKey::record(&entry(n).handle());

    let mut alone = Vec::new();
    for n in 0..200 {
        let bytes = register(n, 1);
        let started = Instant::now();
        handle.submit(bytes.as_bytes()).unwrap().await.unwrap();
        alone.push(started.elapsed());
    }
    println!("one registration alone: {}", percentiles(alone));

    let singles: Vec<_> = (200..6_200).map(|n| register(n, 1)).collect();
    let started = Instant::now();
    let times: Vec<_> = stream::iter(singles)
        .map(|t| {
            let handle = handle.clone();
            async move {
                let started = Instant::now();
                handle.submit(t.as_bytes()).unwrap().await.unwrap();
                started.elapsed()
            }
        })
        .buffer_unordered(64)
        .collect()
        .await;
    println!(
        "single registrations at c = 64: {:.0}/s, {}",
        6_000.0 / started.elapsed().as_secs_f64(),
        percentiles(times)
    );

    let started = Instant::now();
    let mut signing = Duration::ZERO;
    let batches = (6_200..keys).step_by(BATCH).map(|from| {
        let started = Instant::now();
        let batch = register(from, BATCH.min(keys - from));
        signing += started.elapsed();
        batch
    });
    stream::iter(batches)
        .map(|t| {
            let handle = handle.clone();
            async move { handle.submit(t.as_bytes()).unwrap().await.unwrap() }
        })
        .buffer_unordered(8)
        .for_each(|_| std::future::ready(()))
        .await;
    let took = started.elapsed();
    println!(
        "batches of {BATCH}: {:.0} keys/s ({took:?}, of which the client's signing {signing:?})",
        (keys - 6_200) as f64 / took.as_secs_f64()
    );
    println!(
        "disk {} MB, resident {}",
        disk(place.path()) >> 20,
        proc_status("VmRSS:")
    );
    for entry in std::fs::read_dir(place.path().join("engine")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let bytes = disk(&entry.path());
            if bytes > 1 << 20 {
                println!(
                    "  {} {} MB",
                    entry.file_name().to_string_lossy(),
                    bytes >> 20
                );
            }
        }
    }

    for concurrency in [1, 64, 256] {
        let count = 40_000 / if concurrency == 1 { 20 } else { 1 };
        let cpu_before = cpu();
        let started = Instant::now();
        let bytes: usize = stream::iter(0..count)
            .map(|n| {
                let handle = handle.clone();
                let key = state_key((n * 7_919) % keys);
                async move { handle.lookup(key).await.unwrap().len() }
            })
            .buffer_unordered(concurrency)
            .fold(0, |sum, len| std::future::ready(sum + len))
            .await;
        let took = started.elapsed();
        println!(
            "lookups at c = {concurrency}: {:.0}/s, {} bytes each, {:?} of CPU each",
            count as f64 / took.as_secs_f64(),
            bytes / count,
            (cpu() - cpu_before) / count as u32
        );
    }

    handle.shut_down();
    println!("{}", node.stopped().await);
    node.join();
    drop(node);
    let started = Instant::now();
    let directory = Directory::open(place.path()).unwrap();
    let mut node = Node::start(directory, Config::default()).unwrap();
    let ready = started.elapsed();
    node.handle().lookup(state_key(keys / 2)).await.unwrap();
    println!(
        "restart: ready {ready:?}, first proof {:?}, resident {}, peak {}",
        started.elapsed(),
        proc_status("VmRSS:"),
        proc_status("VmHWM:")
    );

    let idle: u64 = std::env::var("KUSABI_IDLE").map_or(0, |n| n.parse().unwrap());
    if idle > 0 {
        let (before, cpu_before, height) =
            (disk(place.path()), cpu(), node.handle().status().height);
        tokio::time::sleep(Duration::from_secs(idle)).await;
        let used = cpu() - cpu_before;
        println!(
            "idle for {idle} s: {} bytes of disk, {used:?} of CPU, heights {height:?} to {:?}",
            disk(place.path()) as i64 - before as i64,
            node.handle().status().height
        );
    }
    node.handle().shut_down();
    node.stopped().await;
}
