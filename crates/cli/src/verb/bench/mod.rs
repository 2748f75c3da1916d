//! `kusabi bench`: what this machine and this disk make of kusabi.
//!
//! A node of its own runs in a process of its own, on a real disk, and is asked over HTTP; so the CPU time of the node and of
//! the measuring client are told apart by the operating system. Nothing is left behind but the figures.
//!
//! Rates and times depend on what else the machine does; CPU time per operation is what can be compared. A figure here is a
//! measurement, never a test.

mod consortium;
mod devices;
mod downloads;
mod fleet;
mod process;
mod reads;
mod release;
mod report;
mod revocations;
mod server;
mod wire;
mod writes;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use kusabi_api::Ledger as _;
use kusabi_core::{genesis::Genesis, id::OrgName};

use self::{
    fleet::{BATCH, Fleet},
    report::{Idle, Memory, Report, Restart, Size},
    server::Server,
    writes::Nodes,
};
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    keyfile::KeyFile,
    session::Session,
};

/// Measure a ledger on this machine: registering, looking up, restarting, idling
///
/// Founds a ledger in a new folder, measures it and takes the folder away. A million keys take some minutes and 1 GB.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many keys to register
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_024..))]
    keys: u64,
    /// Measure this only; keys are registered in any case
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    only: Vec<What>,
    /// Make the new folder in this one: it chooses the disk
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Measure a server with so many devices that speak to it, and nothing else: activations, handshakes, polls, orders
    #[arg(long, value_name = "N", conflicts_with = "only", value_parser = clap::value_parser!(u64).range(64..))]
    devices: Option<u64>,
    /// Measure a ledger of so many organisations, each with a validator on this machine, and nothing else
    #[arg(long, value_name = "N", conflicts_with_all = ["only", "devices"], value_parser = clap::value_parser!(u8).range(2..=9))]
    validators: Option<u8>,
    /// Measure downloads of a file of so many MiB beside nginx, and nothing else
    #[arg(long, value_name = "MIB", conflicts_with_all = ["only", "devices", "validators"], value_parser = clap::value_parser!(u64).range(1..=16_384))]
    download: Option<u64>,
    /// How long lookups are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How long to watch the node do nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 130, value_parser = clap::value_parser!(u64).range(1..))]
    idle_seconds: u64,
    /// How many keys to register one at a time, 64 at once
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    singles: u64,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Registering 1,024 keys at a time
    Batches,
    /// Registering keys one at a time, 64 at once
    Singles,
    /// Registering one key with nobody else there
    Alone,
    /// Looking up random keys, with proof
    Lookups,
    /// Starting again after the process was killed
    Restart,
    /// Doing nothing
    Idle,
}

/// The organisation of a ledger that is founded with no further words.
const ORG: &str = "home";
/// Keys that are registered one after the other.
const ALONE: u64 = 500;
/// Times that it is killed.
const RESTARTS: u64 = 3;

/// The machine did not give what a measurement needs.
fn unmeasurable(why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Internal, format!("the measurement broke off: {why}"))
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unmeasurable)?;
    if let Some(devices) = args.devices {
        let folder = new_folder(args)?;
        let report = runtime.block_on(devices::measure(args, devices, folder.path()))?;
        session.output().say(&report)?;
        return Ok(Exit::Ok);
    }
    if let Some(validators) = args.validators {
        let folder = new_folder(args)?;
        let measured = consortium::measure(args, validators, folder.path(), session);
        session.output().say(&runtime.block_on(measured)?)?;
        return Ok(Exit::Ok);
    }
    if let Some(mib) = args.download {
        let folder = new_folder(args)?;
        let report = runtime.block_on(downloads::measure(mib << 20, folder.path()))?;
        session.output().say(&report)?;
        return Ok(Exit::Ok);
    }
    let report = runtime.block_on(measure(args, session))?;
    session.output().say(&report)?;
    Ok(Exit::Ok)
}

async fn measure(args: &Args, session: &Session) -> Result<Report> {
    let wanted = |what| args.only.is_empty() || args.only.contains(&what);
    let output = session.output();
    let step = |what: &str| {
        if output.progress() {
            anstream::eprintln!("{what} …");
        }
    };
    let folder = new_folder(args)?;
    let parent = folder
        .path()
        .parent()
        .unwrap_or_else(|| folder.path())
        .to_owned();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: machine(),
        folder: parent.display().to_string(),
        ..Report::default()
    };

    step("founding a ledger");
    let data = folder.path().join("ledger");
    let mut server = Server::start(&data)?;
    let writer = KeyFile::read(&data.join("keys").join("writer.key"))?;
    let org = OrgName::new(ORG).map_err(unmeasurable)?.id();
    let fleet = Fleet::new(server.chain(), org, writer);
    let ledger = server.ledger()?;
    let document = ledger.genesis().await.map_err(unmeasurable)?;
    let genesis = Genesis::decode(&document).map_err(unmeasurable)?;

    let batches = args.keys.div_ceil(BATCH);
    let keys = batches * BATCH;
    step("registering in batches");
    let nodes = Nodes {
        ledgers: vec![ledger.clone()],
        processes: vec![server.process()],
    };
    let registered = writes::batches(&nodes, &fleet, batches, |_| {}).await?;
    report.batches = wanted(What::Batches).then_some(registered);
    let mut next = keys;
    if wanted(What::Singles) {
        step("registering single keys");
        let numbers = next..next + args.singles;
        next = numbers.end;
        let singles = writes::singles(&nodes, &fleet, numbers, 64).await?;
        report.singles = Some(singles);
    }
    if wanted(What::Alone) {
        step("registering one key after the other");
        let numbers = next..next + ALONE;
        next = numbers.end;
        let alone = writes::singles(&nodes, &fleet, numbers, 1).await?;
        report.alone = Some(alone);
    }
    let resident = |server: &Server| server.process().resident().map_err(unmeasurable);
    let (_, peak) = resident(&server)?;
    if wanted(What::Lookups) {
        step("looking up");
        let window = Duration::from_secs(args.seconds);
        let lookups =
            reads::lookups(server.address(), server.process(), &document, next, window).await?;
        report.lookups = Some(lookups);
    }
    let (loaded, _) = resident(&server)?;
    report.size = Some(size(&server, next)?);

    if wanted(What::Restart) {
        step("killing and starting again");
        let mut times = Vec::new();
        let mut cpu = Duration::ZERO;
        for round in 0..RESTARTS {
            server.kill()?;
            let start = Instant::now();
            server = Server::start(&data)?;
            let handle = fleet::handle(round * next / RESTARTS);
            let proof = wire::first(server.address(), &handle)
                .await
                .map_err(unmeasurable)?;
            if !reads::present(&genesis, &handle, &proof)? {
                return Err(unmeasurable("a key that was registered is gone"));
            }
            times.push(start.elapsed().as_secs_f64());
            cpu = server.process().cpu().map_err(unmeasurable)?;
        }
        let (restarted, restarted_peak) = resident(&server)?;
        report.memory = Some(Memory {
            loaded,
            peak,
            restarted,
            restarted_peak,
        });
        report.restart = Some(Restart {
            first_proof_s: times,
            cpu_s: cpu.as_secs_f64(),
        });
    }
    if wanted(What::Idle) {
        step("watching it do nothing");
        let window = Duration::from_secs(args.idle_seconds);
        report.idle = Some(idle(&server, window).await?);
    }
    server.kill()?;
    Ok(report)
}

/// A folder that goes when the measurement has ended.
fn new_folder(args: &Args) -> Result<tempfile::TempDir> {
    let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
    tempfile::Builder::new()
        .prefix("kusabi-bench-")
        .tempdir_in(&parent)
        .map_err(|error| Failure::io("written", &parent, &error))
}

fn size(server: &Server, keys: u64) -> Result<Size> {
    let disk = process::disk(server.folder()).map_err(unmeasurable)?;
    Ok(Size {
        keys,
        allocated_per_key: disk.allocated as f64 / keys as f64,
        disk,
    })
}

/// Watches the node for a while without asking it anything in between.
async fn idle(server: &Server, window: Duration) -> Result<Idle> {
    let process = server.process();
    let ledger = server.ledger()?;
    let look = async || {
        let height = ledger.status().await.map_err(unmeasurable)?.height;
        let cpu = process.cpu().map_err(unmeasurable)?;
        let written = process.written().map_err(unmeasurable)?;
        let disk = process::disk(server.folder()).map_err(unmeasurable)?;
        Ok::<_, Failure>((height, cpu, written, disk.apparent))
    };
    let start = Instant::now();
    let (height, cpu, written, disk) = look().await?;
    tokio::time::sleep(window).await;
    let (height_after, cpu_after, written_after, disk_after) = look().await?;
    let seconds = start.elapsed().as_secs_f64();
    let disk_bytes = disk_after.cast_signed() - disk.cast_signed();
    Ok(Idle {
        seconds,
        blocks: height_after - height,
        cpu_percent: 100.0 * (cpu_after - cpu).as_secs_f64() / seconds,
        disk_bytes,
        written_bytes: written_after - written,
        day_bytes: disk_bytes as f64 * 86_400.0 / seconds,
    })
}

/// Processor and number of cores, as far as the machine tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{model}, {cores} cores")
}
