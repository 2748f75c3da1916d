//! A release to every device in three phases: each polls, takes the order, looks at the release, and says that it is done; one in fifty
//! fails the first time.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use kusabi_api::{
    Hex32,
    admin::{
        DeviceFilter, DeviceState, FailureLimit, Phase, PhaseSize, Rollout, RolloutCreate,
        RolloutState, Text,
    },
    client::AdminClient,
};
use kusabi_core::device::Input;
use serde::Serialize;

use super::{
    super::{process::Process, release, unmeasurable},
    Devices, Meter, Timed, WAITING,
    bot::Bot,
    converse, spread,
};
use crate::failure::Result;

/// Polls of every device before it is given up.
const ROUNDS: usize = 60;

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub(in crate::verb::bench) struct RolledOut {
    /// From the command until every device had its end.
    pub(in crate::verb::bench) seconds: f64,
    /// Making the rollout: choosing the devices, and the first phase's orders.
    pub(in crate::verb::bench) made_ms: f64,
    pub(in crate::verb::bench) done: u64,
    pub(in crate::verb::bench) failed: u64,
    /// Orders that were given: one for each phase, and those of the further tries.
    pub(in crate::verb::bench) orders: u64,
    /// Polls of all devices, with everything that followed on one.
    #[serde(flatten)]
    pub(in crate::verb::bench) work: Timed,
    /// Bytes of the server's process afterwards.
    pub(in crate::verb::bench) resident: u64,
}

/// Makes a release of a few bytes and publishes it; its digest.
pub(super) fn release(data: &Path) -> Result<Hex32> {
    let payload = data.join("payload");
    fs::write(&payload, b"a payload that nobody fetches").map_err(unmeasurable)?;
    release::publish(data, &payload, &[])
}

impl Devices {
    /// Rolls a release out to every device, and lets them poll until all have had their end.
    pub(super) async fn roll_out(
        &mut self,
        server: Process,
        admin: &AdminClient,
        release: Hex32,
    ) -> Result<RolledOut> {
        let phase = |size| Phase {
            failures: FailureLimit::Percent(50),
            ..Phase::new(size)
        };
        let create = RolloutCreate {
            name: Text::new("bench").map_err(unmeasurable)?,
            release,
            // Others are registered, and say nothing.
            devices: DeviceFilter {
                state: Some(DeviceState::Active),
                ..DeviceFilter::default()
            },
            phases: vec![
                phase(PhaseSize::Percent(1)),
                phase(PhaseSize::Percent(10)),
                phase(PhaseSize::Rest),
            ],
            retries: 1,
            force: false,
            start_ms: None,
            deadline_secs: None,
        };
        let start = Instant::now();
        let made = admin.create_rollout(&create, "bench-rollout").await;
        let id = made.map_err(unmeasurable)?.id;
        let made_ms = start.elapsed().as_secs_f64() * 1e3;
        let meter = Meter::start(server)?;
        let mut all = Vec::new();
        let mut rollout = show(admin, id).await?;
        for _ in 0..ROUNDS {
            if rollout.counts.done >= self.bots.len() as u64 {
                break;
            }
            let clock = self.clock;
            let bots = std::mem::take(&mut self.bots);
            let (bots, times) = spread(
                bots,
                WAITING,
                1,
                async move |bot: &mut Bot, connection: &mut _| {
                    let came = bot.give(clock.now(), Input::Poll);
                    converse(bot, connection, clock, came, |came| came.request.is_none()).await?;
                    Ok(())
                },
            )
            .await?;
            self.bots = bots;
            all.extend(times);
            rollout = show(admin, id).await?;
        }
        let work = meter.stop(all)?;
        if rollout.counts.done < self.bots.len() as u64
            || !matches!(rollout.state, RolloutState::Running | RolloutState::Done)
        {
            return Err(unmeasurable(format!(
                "the rollout is {}, and {} of {} devices are done",
                rollout.state.name(),
                rollout.counts.done,
                self.bots.len()
            )));
        }
        let orders = admin.orders(None, 200).await.map_err(unmeasurable)?;
        let (resident, _) = server.resident().map_err(unmeasurable)?;
        Ok(RolledOut {
            seconds: start.elapsed().as_secs_f64(),
            made_ms,
            done: rollout.counts.done,
            failed: rollout.counts.failed,
            orders: orders.items.len() as u64,
            work,
            resident,
        })
    }
}

async fn show(admin: &AdminClient, id: u64) -> Result<Rollout> {
    // What was answered last may be written a moment later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    admin.rollout(id).await.map_err(unmeasurable)
}
