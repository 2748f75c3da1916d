//! One organisation with its servers, its devices and the network between them, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use kusabi_core::device::{
    DeviceError, Event, Input, Kept, Server as KnownServer, Settings, SignedReceipt, Trust,
};
use kusabi_core::genesis::Genesis;
use kusabi_core::id::{Digest, Handle};
use kusabi_core::keystore::KeyStore;
use kusabi_core::protocol::Time;
use kusabi_core::row::Status;
use kusabi_core::suite::{Purpose, Suite};
use kusabi_ledger::testing::TestKey;

use crate::ledger::Ledger;
use crate::random::Random;
use crate::server::{Server, Shop};
use crate::unit::{self, Disk, Done, Ended, Unit};

const MINUTE: u64 = 60_000;

/// What goes wrong, and how often (of a thousand).
#[derive(Clone, Copy, Debug, Default)]
pub struct Chaos {
    /// A message is lost.
    pub lost: u64,
    /// A message arrives twice.
    pub doubled: u64,
    /// A message is late, by up to minutes: it is overtaken.
    pub late: u64,
    /// One bit of a message flips.
    pub flipped: u64,
    /// The power goes before an output; the device's clock begins anew then.
    pub cut: u64,
    /// The device's disk fills up before an input, for up to half an hour.
    pub full: u64,
    /// The device's clock jumps before an input: ahead by up to two hours, or back by up to ten minutes.
    pub jump: u64,
    /// A server forgets its sessions before a request.
    pub restart: u64,
    /// The database is lost before a request.
    pub rebuild: u64,
    /// The database finds no room before a request, for up to ten minutes.
    pub jam: u64,
}

/// How often something went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Messages lost.
    pub lost: u64,
    /// Messages doubled.
    pub doubled: u64,
    /// Messages that were late.
    pub late: u64,
    /// Messages with a flipped bit.
    pub flipped: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Outputs for which a device's disk had no room.
    pub full: u64,
    /// Jumps of a device's clock.
    pub jumps: u64,
    /// Restarts of a server.
    pub restarts: u64,
    /// Losses of the database.
    pub rebuilds: u64,
    /// Requests for which the database had no room.
    pub jammed: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Request {
        unit: usize,
        server: usize,
        bytes: Vec<u8>,
    },
    Answer {
        unit: usize,
        bytes: Vec<u8>,
    },
    Wake {
        unit: usize,
        serial: u64,
    },
}

/// A running fleet.
pub struct Fleet {
    /// Ledger and database.
    pub shop: Shop,
    /// The servers, by address.
    pub servers: Vec<Server>,
    /// The devices; clones too.
    pub units: Vec<Unit>,
    /// What goes wrong.
    pub chaos: Chaos,
    /// Events of each device.
    pub events: Vec<Vec<Event>>,
    /// Inputs that each device refused.
    pub refused: Vec<Vec<DeviceError>>,
    /// Receipts of each device.
    pub receipts: Vec<Vec<SignedReceipt>>,
    /// Addresses that each device was told of.
    pub hints: Vec<Vec<String>>,
    /// Updates that each device was allowed to install.
    pub installs: Vec<Vec<(u64, Digest)>>,
    /// Whether the ledger is held back: it makes no heartbeats.
    pub frozen: bool,
    /// Time between two blocks, in milliseconds: a minute in an idle ledger.
    pub block_ms: u64,
    /// Whether there is a clone: then the other copy can take the keys of a device.
    pub cloned: bool,
    /// Requests that reached a server.
    pub requests: u64,
    /// What went wrong.
    pub faults: Faults,
    rng: Random,
    now: u64,
    clocks: Vec<Clock>,
    /// When the power of each device that has none comes back.
    dark: Vec<Option<u64>>,
    /// Until when each device's disk has no room.
    full: Vec<u64>,
    /// Until when the database has no room.
    jammed: u64,
    serials: Vec<u64>,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    sequence: u64,
    born: u64,
}

/// A device's clock.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// By how much it is ahead of the fleet's time, in milliseconds.
    ahead: i64,
    /// The latest time that the device was told, on its clock.
    told: u64,
}

impl Clock {
    /// What it shows at a time of the fleet's.
    fn at(self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead)
    }

    /// When it shows a time.
    fn when(self, shown: u64) -> u64 {
        shown.saturating_add_signed(self.ahead.saturating_neg())
    }
}

/// Numbers of the servers' keys.
const PS: u64 = 500;
/// Numbers of the devices' first keys.
const PRE: u64 = 1000;

impl Fleet {
    /// A founded organisation with so many server addresses, each with a key of its own.
    #[must_use]
    pub fn new(seed: u64, suite: Suite, servers: usize) -> Self {
        let mut ledger = Ledger::new();
        let servers: Vec<Server> = (0..servers as u64)
            .map(|number| {
                let key = TestKey::of_suite(suite, PS + number, Purpose::Ps);
                ledger.grant(&key);
                Server::new(key, ledger.world.org)
            })
            .collect();
        let born = ledger.height().get();
        Self {
            shop: Shop::new(ledger),
            servers,
            units: Vec::new(),
            chaos: Chaos::default(),
            events: Vec::new(),
            refused: Vec::new(),
            receipts: Vec::new(),
            hints: Vec::new(),
            installs: Vec::new(),
            cloned: false,
            frozen: false,
            block_ms: MINUTE,
            requests: 0,
            faults: Faults::default(),
            rng: Random::new(seed),
            now: 0,
            clocks: Vec::new(),
            dark: Vec::new(),
            full: Vec::new(),
            jammed: 0,
            serials: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            born,
        }
    }

    /// The servers as a provisioning file names them.
    #[must_use]
    pub fn known_servers(&self) -> Vec<KnownServer> {
        self.servers
            .iter()
            .map(|server| KnownServer {
                handle: server.key.handle,
                keys: server.key.public_keys(),
            })
            .collect()
    }

    /// A device's trust at provisioning.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let genesis =
            Genesis::decode(&self.shop.ledger.world.document).expect("a genesis document");
        Trust::from_genesis(&genesis).expect("a genesis document")
    }

    /// Provisions a device with a factory key.
    pub fn provision(&mut self, settings: Settings) -> usize {
        let suite = self.servers[0].key.public_keys().suite();
        let pre = TestKey::of_suite(suite, PRE + self.units.len() as u64, Purpose::Pre);
        self.shop.ledger.register(&[&pre]);
        let kept = Kept::provisioned(
            self.trust(),
            self.shop.ledger.world.org,
            &self.known_servers(),
            pre.handle,
            Purpose::Pre,
        );
        let mut disk = Disk::default();
        disk.slots[0] = Some(std::rc::Rc::new((pre.id, pre.key)));
        self.ship(&kept.expect("a provisioned device"), disk, settings)
    }

    /// Starts a device with this state and these keys.
    pub fn ship(&mut self, kept: &Kept, mut disk: Disk, settings: Settings) -> usize {
        let mut bytes = vec![0; Kept::LEN_MAX];
        let len = kept.encode(&mut bytes).expect("the buffer's size");
        bytes.truncate(len);
        disk.kept = bytes;
        self.add(disk, settings)
    }

    /// Starts a copy of a device.
    pub fn clone_of(&mut self, unit: usize) -> usize {
        self.cloned = true;
        let (disk, settings) = (
            self.units[unit].disk.clone(),
            self.units[unit].settings.clone(),
        );
        self.add(disk, settings)
    }

    fn add(&mut self, disk: Disk, settings: Settings) -> usize {
        let unit = self.units.len();
        self.units
            .push(Unit::start(disk, settings, Time::from_ms(self.now)));
        self.events.push(Vec::new());
        self.refused.push(Vec::new());
        self.receipts.push(Vec::new());
        self.hints.push(Vec::new());
        self.installs.push(Vec::new());
        self.clocks.push(Clock::default());
        self.dark.push(None);
        self.full.push(0);
        self.serials.push(0);
        self.wake(unit, self.now);
        unit
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Time {
        Time::from_ms(self.now)
    }

    /// The handle that a device's disk names as its own.
    #[must_use]
    pub fn current(&self, unit: usize) -> Handle {
        self.units[unit].device.kept().current().handle
    }

    /// Whether a device has come to rest: one active device key, and nothing beside it.
    #[must_use]
    pub fn is_settled(&self, unit: usize) -> bool {
        let kept = self.units[unit].device.kept();
        let current = kept.current();
        let keys = self.units[unit].disk.slots.iter().flatten().count();
        let active = self
            .shop
            .ledger
            .record(&current.handle)
            .is_some_and(|record| record.is_active());
        kept.next().is_none()
            && current.purpose == Purpose::Act
            && keys == 1
            && active
            && kept.is_registered()
    }

    /// Gives a device an input of its owner's.
    pub fn tell(&mut self, unit: usize, input: Input<'_>) {
        self.give(unit, input);
    }

    /// A device's power goes and comes back at once.
    pub fn power_cut(&mut self, unit: usize) {
        let clock = &mut self.clocks[unit];
        // The clock counts from the boot.
        clock.ahead = -self.now.cast_signed();
        clock.told = 0;
        self.units[unit].restart(Time::from_ms(0));
        self.wake(unit, self.now);
    }

    /// Lets so many milliseconds pass.
    pub fn run_ms(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            if *at > end {
                break;
            }
            self.step();
        }
        self.now = end;
        self.grow();
    }

    /// Lets time pass until a condition holds; whether it did within so many milliseconds.
    pub fn run_until(&mut self, ms: u64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + ms;
        loop {
            if holds(self) {
                return true;
            }
            match self.queue.peek() {
                Some(Reverse((at, ..))) if *at <= end => self.step(),
                _ => return false,
            }
        }
    }

    fn grow(&mut self) {
        if self.frozen {
            return;
        }
        self.shop
            .ledger
            .grow_to(self.born + self.now / self.block_ms);
    }

    fn step(&mut self) {
        let Some(Reverse((at, _, happening))) = self.queue.pop() else {
            return;
        };
        self.now = self.now.max(at);
        self.grow();
        match happening {
            Happening::Wake { unit, serial } => {
                if serial == self.serials[unit] {
                    self.give(unit, Input::Tick);
                }
            }
            Happening::Answer { unit, mut bytes } => self.give(unit, Input::Answer(&mut bytes)),
            Happening::Request {
                unit,
                server,
                bytes,
            } => self.serve(unit, server, &bytes),
        }
    }

    fn serve(&mut self, unit: usize, server: usize, bytes: &[u8]) {
        if self.rng.chance(self.chaos.restart) {
            self.faults.restarts += 1;
            self.servers[server].restart();
        }
        if self.rng.chance(self.chaos.rebuild) {
            self.faults.rebuilds += 1;
            self.rebuild();
        }
        if self.rng.chance(self.chaos.jam) {
            self.jammed = self.now + self.rng.below(10 * MINUTE);
        }
        self.requests += 1;
        let now = Time::from_ms(self.now);
        self.shop.full = self.chaos.jam > 0 && self.now < self.jammed;
        self.faults.jammed += u64::from(self.shop.full);
        self.shop.stands_still = self.frozen && self.shop.present.is_none();
        let answer = self.servers[server].answer(&mut self.shop, now, bytes, &mut self.rng);
        let held = u64::from(self.servers[server].hold_secs) * 1000;
        self.carry(held, |bytes| Happening::Answer { unit, bytes }, &answer);
    }

    /// The database is lost: what the ledger knows is found again, the tripwire's rows are not.
    pub fn rebuild(&mut self) {
        self.shop.rows.clear();
        for server in &mut self.servers {
            server.restart();
        }
    }

    fn give(&mut self, unit: usize, input: Input<'_>) {
        match self.dark[unit] {
            Some(back) if self.now < back => return,
            _ => self.dark[unit] = None,
        }
        let chaos = self.chaos;
        if self.rng.chance(chaos.jump) {
            self.faults.jumps += 1;
            self.clocks[unit].ahead += if self.rng.chance(500) {
                self.rng.below(120 * MINUTE).cast_signed()
            } else {
                -self.rng.below(10 * MINUTE).cast_signed()
            };
        }
        if self.rng.chance(chaos.full) {
            self.full[unit] = self.now + self.rng.below(30 * MINUTE);
        }
        let clock = &mut self.clocks[unit];
        let shown = clock.at(self.now);
        clock.told = clock.told.max(shown);
        let faults = unit::Faults {
            cut: chaos.cut,
            full: chaos.full > 0 && self.now < self.full[unit],
        };
        let ledger = (!self.cloned).then_some(&self.shop.ledger);
        let runner = &mut self.units[unit];
        let time = Time::from_ms(shown);
        let done: Done = runner.run(time, input, &mut self.rng, faults, |disk| {
            if let Some(ledger) = ledger {
                has_a_working_key(ledger, disk);
            }
        });
        self.events[unit].extend(done.events);
        self.refused[unit].extend(done.refused);
        self.receipts[unit].extend(done.receipts);
        self.hints[unit].extend(done.hints);
        self.installs[unit].extend(done.installs);
        for sent in done.sent {
            self.carry(
                0,
                |bytes| Happening::Request {
                    unit,
                    server: sent.server,
                    bytes,
                },
                &sent.request,
            );
        }
        let wake = match (done.wake, done.ended) {
            (Some(time), _) => self.clocks[unit].when(time.ms()),
            (None, ended) => self.start_again(unit, ended),
        };
        self.wake(unit, wake);
    }

    /// A run has ended between two outputs: starts the device again from its disk; gives the time when it does so.
    fn start_again(&mut self, unit: usize, ended: Option<Ended>) -> u64 {
        let at = self.now + 1_000 + self.rng.below(MINUTE);
        self.dark[unit] = Some(at);
        let clock = &mut self.clocks[unit];
        if ended == Some(Ended::DiskFull) {
            // Only the program starts again.
            self.faults.full += 1;
        } else {
            // The clock counts from the boot.
            self.faults.cuts += 1;
            clock.ahead = self.rng.below(1_000).cast_signed() - at.cast_signed();
        }
        let shown = clock.at(at);
        clock.told = shown;
        self.units[unit].restart(Time::from_ms(shown));
        at
    }

    /// For how long a device will see no time pass, because its clock has gone back, in milliseconds.
    #[must_use]
    pub fn standstill_ms(&self, unit: usize) -> u64 {
        let clock = self.clocks[unit];
        clock.told.saturating_sub(clock.at(self.now))
    }

    fn wake(&mut self, unit: usize, at: u64) {
        self.serials[unit] += 1;
        let serial = self.serials[unit];
        self.put(at.max(self.now), Happening::Wake { unit, serial });
    }

    fn carry(&mut self, held_ms: u64, make: impl Fn(Vec<u8>) -> Happening, bytes: &[u8]) {
        let chaos = self.chaos;
        let copies = 1 + u64::from(self.rng.chance(chaos.doubled));
        self.faults.doubled += copies - 1;
        for _ in 0..copies {
            if self.rng.chance(chaos.lost) {
                self.faults.lost += 1;
                continue;
            }
            let mut bytes = bytes.to_vec();
            if self.rng.chance(chaos.flipped) {
                self.faults.flipped += 1;
                let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let mut delay = held_ms + 5 + self.rng.below(50);
            if self.rng.chance(chaos.late) {
                self.faults.late += 1;
                delay += self.rng.below(400_000);
            }
            self.put(self.now + delay, make(bytes));
        }
    }

    fn put(&mut self, at: u64, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, happening)));
    }
}

/// What must hold of a disk at every moment: one of the keys that its state names is there, with its ID, and active.
fn has_a_working_key(ledger: &Ledger, disk: &Disk) {
    let kept = Kept::decode(&disk.kept).expect("what was persisted");
    let works = [Some(kept.current()), kept.next()]
        .into_iter()
        .flatten()
        .any(|identity| {
            disk.slots[identity.slot as usize]
                .as_deref()
                .is_some_and(|(id, key)| {
                    id.handle() == identity.handle
                        && ledger.record(&identity.handle).is_some_and(|record| {
                            // What officers revoke they take, and no device can help it.
                            let counts = record.is_active() || record.status() == Status::Revoked;
                            counts && *record.keys() == key.public_keys()
                        })
                })
        });
    assert!(
        works || !kept.is_registered(),
        "the device has no working key"
    );
}
