//! A device of the measurement: the real state machine of `kusabi-core`, with its keys in memory and a disk that forgets.

use getrandom::SysRng;
use kusabi_core::{
    device::{Device, DeviceError, Event, Input, Kept, KeyRing, Output, Settings, Slot},
    id::KusabiId,
    keystore::{Seed, SoftKey},
    protocol::{
        Time,
        reply::{Order, Task},
        request::{HOLD_SECS_MAX, OutcomeCode},
    },
    suite::Suite,
};
use rand_core::UnwrapErr;

struct Ring([Option<(KusabiId, SoftKey)>; 2]);

impl KeyRing for Ring {
    type Key = SoftKey;

    fn key(&self, slot: Slot) -> Option<(&KusabiId, &SoftKey)> {
        let (id, key) = self.0.get(slot as usize)?.as_ref()?;
        Some((id, key))
    }
}

impl Ring {
    fn put(&mut self, slot: Slot, id: KusabiId, suite: Suite, seed: &Seed) {
        if let (Some(place), Ok(key)) = (
            self.0.get_mut(slot as usize),
            SoftKey::from_seed(suite, seed),
        ) {
            *place = Some((id, key));
        }
    }
}

/// What came of an input.
#[derive(Default)]
pub(super) struct Came {
    /// A request to be sent.
    pub(super) request: Option<Vec<u8>>,
    /// A session is open.
    pub(super) connected: bool,
    /// The device key counts.
    pub(super) activated: bool,
    /// A poll was answered.
    pub(super) polled: bool,
    /// An order to report the inventory came.
    pub(super) ordered: bool,
    /// The answer was refused.
    pub(super) refused: Option<DeviceError>,
    /// When the device wants to be woken.
    pub(super) wake: Time,
}

/// A device.
pub(super) struct Bot {
    /// Its place in the fleet: the number of its factory key.
    pub(super) number: u64,
    settings: Settings,
    device: Box<Device>,
    ring: Ring,
    /// Releases that it was let install.
    tries: u32,
}

impl Bot {
    /// A device as it was provisioned.
    pub(super) fn new(
        number: u64,
        settings: Settings,
        kept: Kept,
        id: KusabiId,
        key: SoftKey,
    ) -> Self {
        Self {
            number,
            device: Box::new(Device::start(settings.clone(), kept, Time::from_ms(0))),
            settings,
            ring: Ring([Some((id, key)), None]),
            tries: 0,
        }
    }

    /// Its power was cut: the session is gone.
    pub(super) fn restart(&mut self, now: Time) {
        let kept = self.device.kept().clone();
        *self.device = Device::start(self.settings.clone(), kept, now);
    }

    /// The same, and from now on its polls wait at the server.
    pub(super) fn hold(&mut self, now: Time) {
        self.settings.hold_secs = HOLD_SECS_MAX;
        self.restart(now);
    }

    /// Gives an input and does everything that it leads to.
    pub(super) fn give(&mut self, now: Time, input: Input<'_>) -> Came {
        let mut came = Came::default();
        let mut input = Some(input);
        let mut reported = None;
        loop {
            let made = self.outputs(&mut came, &mut reported);
            let next = match (made, reported.take()) {
                (true, _) => Input::KeyMade,
                // What is wanted is noted as done: the measurement is of orders, not of inventories and installations.
                (false, Some(order)) => Input::Outcome {
                    order,
                    code: match order.task {
                        // One in fifty fails the first time.
                        Task::Update(_) if self.number % 50 == 7 && self.tries == 1 => {
                            OutcomeCode::Failed
                        }
                        _ => OutcomeCode::Done,
                    },
                },
                (false, None) => match input.take() {
                    Some(input) => input,
                    None => return came,
                },
            };
            if let Err(error) = self
                .device
                .handle(now, &self.ring, &mut UnwrapErr(SysRng), next)
            {
                came.refused = Some(error);
            }
        }
    }

    /// Does the outputs until the device waits; whether a key was made.
    fn outputs(&mut self, came: &mut Came, reported: &mut Option<Order>) -> bool {
        let mut made = false;
        loop {
            match self.device.poll() {
                Output::MakeKey { slot, suite } => {
                    let rng = &mut UnwrapErr(SysRng);
                    let (id, seed) = (KusabiId::generate(rng), Seed::generate(rng));
                    self.ring.put(slot, id, suite, &seed);
                    made = true;
                }
                Output::StoreKey {
                    slot,
                    suite,
                    id,
                    seed,
                } => {
                    self.ring.put(slot, id, suite, &seed);
                    made = true;
                }
                Output::Wipe(slot) => {
                    if let Some(place) = self.ring.0.get_mut(slot as usize) {
                        *place = None;
                    }
                }
                Output::Send { request, .. } => came.request = Some(request.to_vec()),
                Output::Event(Event::Connected { .. }) => came.connected = true,
                Output::Event(Event::Succeeded { .. }) => came.activated = true,
                Output::Event(Event::Polled { .. }) => came.polled = true,
                Output::Event(Event::ReportWanted { order, nonce }) => {
                    came.ordered = true;
                    *reported = Some(Order {
                        id: order,
                        task: Task::ReportInventory(nonce),
                    });
                }
                Output::Install {
                    release,
                    order,
                    repair,
                } => {
                    *reported = Some(Order::install(order, release.digest(), repair));
                    self.tries += 1;
                }
                Output::Persist(_)
                | Output::Reboot(_)
                | Output::Commit(_)
                | Output::Receipt(_)
                | Output::Hint(_)
                | Output::Event(_) => {}
                Output::Wait(until) => {
                    came.wake = until;
                    return made;
                }
            }
        }
    }
}
