//! What a server and its devices make of each other: activations, handshakes, polls, orders to devices that wait.
//!
//! The devices are the state machine of `kusabi-core` over plain sockets, in this process; server and node run in another one.

mod bot;
mod rollout;

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use kusabi_api::{
    Hex, Kind, Ledger as _,
    admin::{OrderCreate, OrderKind, Target, device_id},
    client::AdminClient,
};
use kusabi_core::{
    device::{DeviceError, Input, Kept, Server as KnownServer, Settings, Trust},
    genesis::Genesis,
    id::{OrgId, OrgName},
    protocol::Time,
    suite::Purpose,
};
use serde::Serialize;
use tokio::task::JoinSet;

use self::bot::{Bot, Came};
use super::{
    fleet::{self, BATCH, Fleet},
    process::Process,
    report::{Latency, Work},
    server::Site,
    unmeasurable,
    wire::Connection,
    writes::{self, Nodes},
};
use crate::{
    failure::{Failure, Result},
    keyfile::KeyFile,
    page::{Answer, Page, grouped},
};

/// Devices that are at work at once.
const AT_ONCE: usize = 64;

/// The same where each waits for a freshness receipt, of which there is one a second for all that wait.
const WAITING: usize = 1024;

/// Where the devices find their server, and what they believe.
pub(super) struct World<'g> {
    pub(super) address: SocketAddr,
    pub(super) genesis: Genesis<'g>,
    pub(super) org: OrgId,
    pub(super) server: KnownServer,
}

/// Work with how long one took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Timed {
    #[serde(flatten)]
    pub(super) work: Work,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// Devices that hold a session, each with its connection.
pub(super) struct Devices {
    bots: Vec<(Bot, Connection)>,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Time {
        // A measurement lasts minutes; the devices' clock need not start at 0.
        Time::from_ms(1 + u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX - 1))
    }
}

fn refused(why: &DeviceError) -> Failure {
    unmeasurable(format!("a device refused an answer: {why}"))
}

/// Sends what the device has to say and gives it the answers, until `end` holds.
async fn converse(
    bot: &mut Bot,
    connection: &mut Connection,
    clock: Clock,
    mut came: Came,
    end: impl Fn(&Came) -> bool,
) -> Result<Came> {
    loop {
        if let Some(why) = &came.refused {
            return Err(refused(why));
        }
        if end(&came) {
            return Ok(came);
        }
        let request = match came.request.take() {
            Some(request) => request,
            None => {
                let wait = came.wake.since_ms(clock.now());
                if wait > 60_000 {
                    return Err(unmeasurable("a device waits for more than a minute"));
                }
                tokio::time::sleep(Duration::from_millis(wait)).await;
                came = bot.give(clock.now(), Input::Tick);
                continue;
            }
        };
        let answer = connection.frame(&request).await.map_err(unmeasurable)?;
        came = bot.give(clock.now(), Input::Answer(answer));
    }
}

/// Runs `work` for each device, spread over so many tasks; gives the devices back, and the times.
async fn spread<W>(
    bots: Vec<(Bot, Connection)>,
    at_once: usize,
    rounds: usize,
    work: W,
) -> Result<(Vec<(Bot, Connection)>, Vec<u32>)>
where
    W: AsyncFn(&mut Bot, &mut Connection) -> Result<()> + Clone + 'static,
{
    let share = bots.len().div_ceil(at_once).max(1);
    let local = tokio::task::LocalSet::new();
    let mut tasks = JoinSet::new();
    let mut bots = bots.into_iter().peekable();
    while bots.peek().is_some() {
        let mut part: Vec<_> = bots.by_ref().take(share).collect();
        let work = work.clone();
        tasks.spawn_local_on(
            async move {
                let mut times = Vec::with_capacity(part.len() * rounds);
                for _ in 0..rounds {
                    for (bot, connection) in &mut part {
                        let start = Instant::now();
                        work(bot, connection).await?;
                        times.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
                    }
                }
                Ok::<_, Failure>((part, times))
            },
            &local,
        );
    }
    local
        .run_until(async {
            let (mut all, mut times) = (Vec::new(), Vec::new());
            while let Some(done) = tasks.join_next().await {
                let (part, part_times) = done.map_err(unmeasurable)??;
                all.extend(part);
                times.extend(part_times);
            }
            Ok((all, times))
        })
        .await
}

/// What the two processes did over a piece of work.
struct Meter {
    server: Process,
    start: Instant,
    before: (Duration, Duration),
}

impl Meter {
    fn start(server: Process) -> Result<Self> {
        Ok(Self {
            server,
            start: Instant::now(),
            before: Self::cpu(server)?,
        })
    }

    fn cpu(server: Process) -> Result<(Duration, Duration)> {
        let on = |process: Process| process.cpu().map_err(unmeasurable);
        Ok((on(server)?, on(Process::own())?))
    }

    fn stop(self, times: Vec<u32>) -> Result<Timed> {
        let elapsed = self.start.elapsed();
        let (server, client) = Self::cpu(self.server)?;
        Ok(Timed {
            work: Work::new(
                times.len() as u64,
                elapsed,
                server - self.before.0,
                client - self.before.1,
            ),
            latency: Latency::of(times),
        })
    }
}

impl Devices {
    /// Devices whose factory keys, `0..count` of the fleet, stand on the ledger; nothing is sent yet.
    pub(super) async fn new(world: &World<'_>, count: u64, settings: &Settings) -> Result<Self> {
        let clock = Clock(Instant::now());
        let mut bots = Vec::new();
        for number in 0..count {
            let (id, key) = fleet::key(number)?;
            let trust = Trust::from_genesis(&world.genesis).map_err(unmeasurable)?;
            let kept =
                Kept::provisioned(trust, world.org, &[world.server], id.handle(), Purpose::Pre)
                    .map_err(unmeasurable)?;
            let connection = Connection::open(world.address)
                .await
                .map_err(unmeasurable)?;
            bots.push((
                Bot::new(number, settings.clone(), kept, id, key),
                connection,
            ));
        }
        Ok(Self { bots, clock })
    }

    /// Every device activates: from its first hello to the proof of its device key.
    pub(super) async fn activate(&mut self, server: Process) -> Result<Timed> {
        let clock = self.clock;
        let bots = std::mem::take(&mut self.bots);
        let meter = Meter::start(server)?;
        let (bots, times) = spread(
            bots,
            WAITING,
            1,
            async move |bot: &mut Bot, connection: &mut _| {
                let came = bot.give(clock.now(), Input::Tick);
                converse(bot, connection, clock, came, |came| came.activated).await?;
                Ok(())
            },
        )
        .await?;
        self.bots = bots;
        meter.stop(times)
    }

    /// Every device opens a session, so many times: from its hello to the server's proven key.
    pub(super) async fn greet(&mut self, server: Process, rounds: usize) -> Result<Timed> {
        let clock = self.clock;
        let bots = std::mem::take(&mut self.bots);
        let meter = Meter::start(server)?;
        let (bots, times) = spread(
            bots,
            AT_ONCE,
            rounds,
            async move |bot: &mut Bot, connection: &mut _| {
                bot.restart(clock.now());
                let came = bot.give(clock.now(), Input::Tick);
                converse(bot, connection, clock, came, |came| came.connected).await?;
                Ok(())
            },
        )
        .await?;
        self.bots = bots;
        meter.stop(times)
    }

    /// Every device opens a session and polls once, uncounted.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let clock = self.clock;
        let bots = std::mem::take(&mut self.bots);
        let (bots, _) = spread(
            bots,
            WAITING,
            1,
            async move |bot: &mut Bot, connection: &mut _| {
                bot.restart(clock.now());
                let came = bot.give(clock.now(), Input::Tick);
                converse(bot, connection, clock, came, |came| came.polled).await?;
                Ok(())
            },
        )
        .await?;
        self.bots = bots;
        Ok(())
    }

    /// Every device polls in its open session, so many times.
    pub(super) async fn poll(&mut self, server: Process, rounds: usize) -> Result<Timed> {
        let clock = self.clock;
        let bots = std::mem::take(&mut self.bots);
        let meter = Meter::start(server)?;
        let (bots, times) = spread(
            bots,
            AT_ONCE,
            rounds,
            async move |bot: &mut Bot, connection: &mut _| {
                let came = bot.give(clock.now(), Input::Poll);
                converse(bot, connection, clock, came, |came| came.polled).await?;
                Ok(())
            },
        )
        .await?;
        self.bots = bots;
        meter.stop(times)
    }

    /// Every device has a poll waiting at the server. Then one after the other gets an order, and the time until it came is noted.
    pub(super) async fn wait_for_orders(
        self,
        server: Process,
        admin: &AdminClient,
        orders: usize,
    ) -> Result<Held> {
        let (clock, count) = (self.clock, self.bots.len());
        let (before, _) = server.resident().map_err(unmeasurable)?;
        let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let local = tokio::task::LocalSet::new();
        let mut numbers: Vec<_> = self.bots.iter().map(|(bot, _)| bot.number).collect();
        numbers.sort_unstable();
        for (mut bot, mut connection) in self.bots {
            let number = bot.number;
            let say = say.clone();
            local.spawn_local(async move {
                bot.hold(clock.now());
                let came = bot.give(clock.now(), Input::Tick);
                let came = converse(&mut bot, &mut connection, clock, came, |came| came.ordered);
                let came = came.await.map(|_| (number, Instant::now()));
                // Whoever listened has heard enough.
                let _ = say.send(came);
            });
        }
        drop(say);
        local
            .run_until(async {
                // Handshakes and first polls, until the server has nothing more to do.
                let mut cpu = server.cpu().map_err(unmeasurable)?;
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let now = server.cpu().map_err(unmeasurable)?;
                    if now.saturating_sub(cpu) < Duration::from_millis(50) {
                        break;
                    }
                    cpu = now;
                }
                let (resident, _) = server.resident().map_err(unmeasurable)?;
                let mut times = Vec::with_capacity(orders);
                for number in numbers
                    .into_iter()
                    .step_by((count / orders).max(1))
                    .take(orders)
                {
                    let create = OrderCreate {
                        kind: OrderKind::Report,
                        release: None,
                        target: Target::Device(device(number)),
                    };
                    let start = Instant::now();
                    admin
                        .create_order(&create, &format!("bench-{number}"))
                        .await
                        .map_err(unmeasurable)?;
                    let wait = tokio::time::timeout(Duration::from_secs(30), heard.recv());
                    let (who, at) = wait
                        .await
                        .map_err(|_| unmeasurable("an order did not come"))?
                        .ok_or_else(|| unmeasurable("no device waits any more"))??;
                    if who != number {
                        return Err(unmeasurable("an order came to another device"));
                    }
                    let took = at.duration_since(start).as_micros();
                    times.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
                Ok(Held {
                    waiting: count,
                    resident,
                    bytes_each: resident.saturating_sub(before) as f64 / count.max(1) as f64,
                    orders: times.len(),
                    latency: Latency::of(times),
                })
            })
            .await
    }
}

/// The server's name for a device: by its first key.
fn device(number: u64) -> String {
    device_id(&Hex(fleet::handle(number).to_bytes()))
}

/// Polls that wait at the server, and orders to them.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub(super) waiting: usize,
    /// Bytes of the server's process while they wait.
    pub(super) resident: u64,
    /// What one adds.
    pub(super) bytes_each: f64,
    pub(super) orders: usize,
    /// From giving an order until the device has it.
    #[serde(flatten)]
    pub(super) latency: Latency,
}

/// Everything about devices.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) registered: u64,
    pub(super) devices: u64,
    pub(super) activations: Timed,
    pub(super) handshakes: Timed,
    pub(super) polls: Timed,
    pub(super) rollout: rollout::RolledOut,
    pub(super) held: Held,
    /// From starting the process, after it was killed, until it is ready.
    pub(super) start_s: f64,
    /// Bytes of the process then.
    pub(super) start_resident: u64,
}

impl Answer for Report {
    fn page(&self, page: &mut Page) {
        page.good(
            "Measured",
            &format!(
                "{} devices of {} that are registered",
                grouped(self.devices),
                grouped(self.registered)
            ),
        );
        for (name, timed) in [
            ("activations", &self.activations),
            ("handshakes", &self.handshakes),
            ("polls", &self.polls),
        ] {
            page.field(
                name,
                format!(
                    "{}/s   server {:.0} µs, devices {:.0} µs of CPU each\np50 {:.2} ms, p99 {:.2} ms; {} in {:.1} s",
                    grouped(timed.work.per_second as u64),
                    timed.work.node_cpu_us,
                    timed.work.client_cpu_us,
                    timed.latency.p50_ms,
                    timed.latency.p99_ms,
                    grouped(timed.work.operations),
                    timed.work.seconds
                ),
            );
        }
        let rollout = &self.rollout;
        page.field(
            "rollout",
            format!(
                "{} done, {} failed, in {:.1} s; made in {:.0} ms; {} orders\n{} polls, server {:.0} µs, devices {:.0} µs of CPU each\n{:.0} MB resident",
                grouped(rollout.done),
                grouped(rollout.failed),
                rollout.seconds,
                rollout.made_ms,
                rollout.orders,
                grouped(rollout.work.work.operations),
                rollout.work.work.node_cpu_us,
                rollout.work.work.client_cpu_us,
                rollout.resident as f64 / 1e6
            ),
        );
        page.field(
            "waiting polls",
            format!(
                "{}: {:.0} MB resident, {:.1} kB each",
                grouped(self.held.waiting as u64),
                self.held.resident as f64 / 1e6,
                self.held.bytes_each / 1e3
            ),
        )
        .field(
            "orders",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms from the order to the waiting device; {}",
                self.held.latency.p50_ms, self.held.latency.p99_ms, self.held.orders
            ),
        )
        .field(
            "start",
            format!(
                "{:.2} s until ready, {:.0} MB resident",
                self.start_s,
                self.start_resident as f64 / 1e6
            ),
        );
    }
}

/// Measures devices against `kusabi up` in a new folder.
pub(super) async fn measure(args: &super::Args, devices: u64, folder: &Path) -> Result<Report> {
    let data = folder.join("site");
    let mut site = Site::start(&data)?;
    let writer = KeyFile::read(&data.join("keys").join("writer.key"))?;
    let ps = KeyFile::read(&data.join("keys").join("ps.key"))?;
    let org = OrgName::new(super::ORG).map_err(unmeasurable)?.id();
    let fleet = Fleet::new(site.server.chain(), org, writer);
    let ledger = site.server.ledger()?;
    let document = ledger.genesis().await.map_err(unmeasurable)?;
    let batches = args.keys.max(devices).div_ceil(BATCH);
    let nodes = Nodes {
        ledgers: vec![ledger],
        processes: vec![site.server.process()],
    };
    writes::batches(&nodes, &fleet, batches, |_| {}).await?;
    let world = World {
        address: site.devices()?,
        genesis: Genesis::decode(&document).map_err(unmeasurable)?,
        org,
        server: KnownServer {
            handle: ps.handle(),
            keys: ps.public(),
        },
    };
    let process = site.server.process();
    follow(&site.admin()?, &device(batches * BATCH - 1)).await?;
    let mut bots = Devices::new(&world, devices, &Settings::default()).await?;
    let activations = bots.activate(process).await?;
    bots.settle().await?;
    let handshakes = bots.greet(process, rounds(devices, 20_000)).await?;
    bots.settle().await?;
    let polls = bots.poll(process, rounds(devices, 100_000)).await?;
    let release = rollout::release(&data)?;
    let rollout = bots.roll_out(process, &site.admin()?, release).await?;
    let held = bots.wait_for_orders(process, &site.admin()?, 200).await?;
    site.server.kill()?;
    let start = Instant::now();
    site = Site::start(&data)?;
    let start_s = start.elapsed().as_secs_f64();
    let (start_resident, _) = site.server.process().resident().map_err(unmeasurable)?;
    site.server.kill()?;
    Ok(Report {
        registered: batches * BATCH,
        devices,
        activations,
        handshakes,
        polls,
        rollout,
        held,
        start_s,
        start_resident,
    })
}

/// Waits until the server knows a device from the ledger, and with it all that were registered before.
async fn follow(admin: &AdminClient, device: &str) -> Result<()> {
    for _ in 0..600 {
        match admin.device(device).await {
            Ok(_) => return Ok(()),
            Err(why) if why.kind == Kind::Unknown => {}
            Err(why) => return Err(unmeasurable(why)),
        }
        // The API has no event for it.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Err(unmeasurable("the server does not follow the ledger"))
}

/// How often each device does something, so that it is done so many times in all.
fn rounds(devices: u64, wanted: u64) -> usize {
    usize::try_from(wanted.div_ceil(devices)).unwrap_or(1)
}
