//! A device with its disk: does what the machine asks for, until the power goes.

use std::rc::Rc;

use kusabi_core::device::{
    Device, DeviceError, Event, Input, Kept, KeyRing, Output, Settings, SignedReceipt, Slot,
};
use kusabi_core::id::KusabiId;
use kusabi_core::keystore::{Seed, SoftKey};
use kusabi_core::protocol::Time;
use kusabi_core::suite::Suite;

use crate::random::Random;
use crate::server::soft_key;

/// What survives a power cut. A clone of the device begins as a copy of it.
#[derive(Clone, Default)]
pub struct Disk {
    /// The state as persisted.
    pub kept: Vec<u8>,
    /// The keys with their IDs.
    pub slots: [Option<Rc<(KusabiId, SoftKey)>>; 2],
}

impl KeyRing for Disk {
    type Key = SoftKey;

    fn key(&self, slot: Slot) -> Option<(&KusabiId, &SoftKey)> {
        let (id, key) = self.slots[slot as usize].as_deref()?;
        Some((id, key))
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// To which address.
    pub server: usize,
    /// The request.
    pub request: Vec<u8>,
}

/// What came of an input.
#[derive(Debug, Default)]
pub struct Done {
    /// Requests, in order.
    pub sent: Vec<Sent>,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Receipts that came.
    pub receipts: Vec<SignedReceipt>,
    /// Addresses that it was told of.
    pub hints: Vec<String>,
    /// Updates that may be installed: order and digest.
    pub installs: Vec<(u64, kusabi_core::id::Digest)>,
    /// When the device wants to be woken; none if the run ended before.
    pub wake: Option<Time>,
    /// What ended the run: the outputs after it are lost.
    pub ended: Option<Ended>,
    /// The input was refused.
    pub refused: Option<DeviceError>,
}

/// Why a run ended between two outputs. Only the disk is left; the device has to be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The power was cut.
    PowerCut,
    /// What was to be written found no room on the disk.
    DiskFull,
}

/// What may go wrong while a device does its outputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// How often of a thousand the power is cut before an output.
    pub cut: u64,
    /// Whether the disk has no room.
    pub full: bool,
}

/// A device.
pub struct Unit {
    /// What survives.
    pub disk: Disk,
    /// How it behaves.
    pub settings: Settings,
    /// The running machine.
    pub device: Device,
    /// How many addresses it has: those of its provisioning, or more.
    pub addresses: usize,
}

impl Unit {
    /// A device that starts with what its disk holds.
    #[must_use]
    pub fn start(disk: Disk, settings: Settings, now: Time) -> Self {
        let kept = Kept::decode(&disk.kept).expect("what was persisted");
        Self {
            device: Device::start(settings.clone(), kept, now),
            disk,
            settings,
            addresses: 0,
        }
    }

    /// Starts again with what the disk holds.
    pub fn restart(&mut self, now: Time) {
        let mut kept = Kept::decode(&self.disk.kept).expect("what was persisted");
        kept.reach(self.addresses);
        self.device = Device::start(self.settings.clone(), kept, now);
    }

    /// Gives an input and does all outputs, unless a fault ends the run between two of them; then the device is to be
    /// [started again](Self::restart). `after` sees the disk after each output that changed it.
    pub fn run(
        &mut self,
        now: Time,
        input: Input<'_>,
        rng: &mut Random,
        faults: Faults,
        mut after: impl FnMut(&Disk),
    ) -> Done {
        let mut done = Done::default();
        let mut input = Some(input);
        loop {
            let made = match self.drain(now, rng, faults, &mut done, &mut after) {
                Ok(made) => made,
                Err(ended) => {
                    done.ended = Some(ended);
                    done.wake = None;
                    return done;
                }
            };
            let next = if made {
                Some(Input::KeyMade)
            } else {
                input.take()
            };
            let Some(next) = next else { return done };
            if let Err(error) = self.device.handle(now, &self.disk, rng, next) {
                done.refused = Some(error);
            }
        }
    }

    /// Does the outputs; says whether a key was made.
    fn drain(
        &mut self,
        now: Time,
        rng: &mut Random,
        faults: Faults,
        done: &mut Done,
        after: &mut impl FnMut(&Disk),
    ) -> Result<bool, Ended> {
        let mut made = false;
        let room = || {
            if faults.full {
                Err(Ended::DiskFull)
            } else {
                Ok(())
            }
        };
        loop {
            if rng.chance(faults.cut) {
                return Err(Ended::PowerCut);
            }
            match self.device.poll() {
                Output::Persist(kept) => {
                    room()?;
                    let mut bytes = vec![0; Kept::LEN_MAX];
                    let len = kept.encode(&mut bytes).expect("the buffer's size");
                    bytes.truncate(len);
                    self.disk.kept = bytes;
                    after(&self.disk);
                }
                Output::MakeKey { slot, suite } => {
                    room()?;
                    let id = KusabiId::generate(rng);
                    let seed = Seed::generate(rng);
                    self.disk.slots[slot as usize] = Some(stored(id, suite, &seed));
                    made = true;
                    after(&self.disk);
                }
                Output::StoreKey {
                    slot,
                    suite,
                    id,
                    seed,
                } => {
                    room()?;
                    self.disk.slots[slot as usize] = Some(stored(id, suite, &seed));
                    made = true;
                    after(&self.disk);
                }
                // Needs no room.
                Output::Wipe(slot) => {
                    self.disk.slots[slot as usize] = None;
                    after(&self.disk);
                }
                Output::Send {
                    server, request, ..
                } => done.sent.push(Sent {
                    server,
                    request: request.to_vec(),
                }),
                Output::Install { release, order, .. } => {
                    done.installs.push((order, release.digest()));
                }
                Output::Reboot(_) | Output::Commit(_) => {}
                Output::Receipt(receipt) => done.receipts.push(receipt.clone()),
                Output::Hint(hint) => done.hints.push(hint.to_owned()),
                Output::Event(event) => done.events.push(event),
                Output::Wait(until) => {
                    done.wake = Some(until.max(now));
                    return Ok(made);
                }
            }
        }
    }
}

/// A key as it lies in a slot.
#[must_use]
pub fn stored(id: KusabiId, suite: Suite, seed: &Seed) -> Rc<(KusabiId, SoftKey)> {
    Rc::new((id, soft_key(suite, seed.expose())))
}
