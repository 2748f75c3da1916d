//! Random transactions, good and bad, against a model that knows the rules in its own words.
//!
//! The model foretells whether each is taken. After each one the rows are counted afresh, statuses have moved forward only,
//! what was refused has changed nothing, and what was taken cannot be taken again.

use std::collections::{BTreeMap, BTreeSet};

use kusabi_core::id::{Digest, Height};
use kusabi_core::row::{Reason, Row, Status, Topic};
use kusabi_core::suite::Purpose;
use kusabi_core::tx::{Action, Named, Transaction};
use kusabi_ledger::run_block;
use kusabi_ledger::testing::{OFFICER, SeededRng, TestKey, WRITER, World};
use proptest::prelude::*;

/// Keys 1 (the officer) and 2 (the writer), and the rest of a small pool, so that numbers meet again.
const POOL: std::ops::Range<u64> = 1..28;
const QUOTA: u64 = 24;

#[derive(Clone, Debug)]
enum Op {
    Register(BTreeMap<u64, Purpose>),
    Activate {
        pre: u64,
        act: u64,
    },
    Supersede {
        old: u64,
        new: u64,
    },
    Revoke {
        targets: BTreeSet<u64>,
        since: Option<u64>,
    },
    Grant {
        key: u64,
        purpose: Purpose,
    },
    Withdraw(u64),
    Policy {
        k: u8,
        added: Option<u64>,
        removed: Option<u64>,
    },
    Publish(u8),
    Anchor(u8),
    Wait,
}

#[derive(Clone, Debug)]
struct Step {
    op: Op,
    signers: BTreeSet<u64>,
    stale: bool,
    /// Make it a good one, if the ledger has what it takes.
    able: Option<prop::sample::Index>,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || POOL;
    let registered = prop_oneof![Just(Purpose::Pre), Just(Purpose::Act), Just(Purpose::App)];
    let granted = prop_oneof![
        1 => Just(Purpose::Writer),
        1 => Just(Purpose::Revoker),
        1 => Just(Purpose::Ps),
        3 => Just(Purpose::Officer),
    ];
    prop_oneof![
        3 => prop::collection::btree_map(key(), registered, 1..4).prop_map(Op::Register),
        2 => (key(), key()).prop_map(|(pre, act)| Op::Activate { pre, act }),
        2 => (key(), key()).prop_map(|(old, new)| Op::Supersede { old, new }),
        3 => (prop::collection::btree_set(key(), 1..3), prop::option::of(1_u64..60))
            .prop_map(|(targets, since)| Op::Revoke { targets, since }),
        3 => (key(), granted).prop_map(|(key, purpose)| Op::Grant { key, purpose }),
        1 => key().prop_map(Op::Withdraw),
        2 => (1_u8..3, prop::option::of(key()), prop::option::of(key()))
            .prop_map(|(k, added, removed)| Op::Policy { k, added, removed }),
        1 => (1_u8..4).prop_map(Op::Publish),
        1 => (1_u8..4).prop_map(Op::Anchor),
        1 => Just(Op::Wait),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    // Mostly the officer and the writer, who can do something.
    let signer = prop_oneof![2 => Just(OFFICER), 2 => Just(WRITER), 5 => POOL];
    let signers = prop::collection::btree_set(signer, 0..4);
    let able = prop::option::weighted(0.6, any::<prop::sample::Index>());
    (op(), signers, prop::bool::weighted(0.05), able).prop_map(|(op, signers, stale, able)| Step {
        op,
        signers,
        stale,
        able,
    })
}

/// The rules in other words, with k = 1 officer.
#[derive(Default)]
struct Model {
    keys: BTreeMap<u64, (Purpose, Status)>,
    /// Since when revoked keys are said to be compromised.
    compromised: BTreeMap<u64, u64>,
    /// Since when keys that followed on others stand.
    followed: BTreeMap<u64, u64>,
    releases: BTreeSet<u8>,
    anchors: BTreeSet<u8>,
    policy_k: Option<u8>,
    rows: u64,
    window: u64,
    revoked: usize,
    height: u64,
}

impl Model {
    fn active(&self, key: u64) -> Option<Purpose> {
        match self.keys.get(&key) {
            Some((purpose, Status::Active)) => Some(*purpose),
            _ => None,
        }
    }

    fn count(&self, purpose: Purpose) -> usize {
        self.keys
            .values()
            .filter(|key| **key == (purpose, Status::Active))
            .count()
    }

    fn are(&self, signers: &BTreeSet<u64>, purpose: Purpose, count: usize) -> bool {
        signers.len() == count && signers.iter().all(|key| self.active(*key) == Some(purpose))
    }

    fn room(&self, more: usize) -> bool {
        self.rows + more as u64 <= QUOTA
    }

    fn end(&mut self, key: u64, status: Status) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.1 = status;
        }
    }

    fn add(&mut self, key: u64, purpose: Purpose) {
        self.keys.insert(key, (purpose, Status::Active));
        self.rows += 1;
    }

    /// The step with keys put in their places that fit, where there are some.
    fn enable(&self, step: &mut Step) {
        let Some(index) = step.able else { return };
        let pick = |fits: &dyn Fn(Purpose) -> bool| {
            let keys: Vec<u64> = POOL
                .filter(|key| self.active(*key).is_some_and(fits))
                .collect();
            (!keys.is_empty()).then(|| *index.get(&keys))
        };
        let some = |purpose| pick(&|other| other == purpose);
        let absent: Vec<u64> = POOL.filter(|key| !self.keys.contains_key(key)).collect();
        if absent.is_empty() {
            return;
        }
        let fresh = *index.get(&absent);
        let officer = some(Purpose::Officer).unwrap_or(OFFICER);
        let art: Vec<u64> = POOL
            .filter(|key| self.active(*key) == Some(Purpose::Art))
            .collect();
        match &mut step.op {
            Op::Register(keys) => {
                keys.retain(|key, _| absent.contains(key));
                keys.entry(fresh).or_insert(Purpose::Pre);
                step.signers = some(Purpose::Writer).into_iter().collect();
            }
            Op::Activate { pre, act } => {
                (*pre, *act) = (some(Purpose::Pre).unwrap_or(*pre), fresh);
                step.signers = [*pre, *act].into();
            }
            Op::Supersede { old, new } => {
                *old = pick(&Purpose::is_superseded).unwrap_or(*old);
                *new = fresh;
                step.signers = [*old, *new].into();
            }
            Op::Revoke { targets, .. } => {
                *targets = pick(&|_| true).into_iter().collect();
                step.signers = [some(Purpose::Revoker).unwrap_or(officer)].into();
            }
            Op::Grant { key, .. } => {
                *key = fresh;
                step.signers = [officer].into();
            }
            Op::Withdraw(key) => {
                let role = some(Purpose::Ps).or_else(|| some(Purpose::Revoker));
                *key = role.unwrap_or(*key);
                step.signers = [officer].into();
            }
            Op::Policy { added, .. } => {
                *added = Some(fresh);
                step.signers = art.iter().copied().collect();
                step.signers.insert(fresh);
                if self.policy_k.is_none_or(|k| art.len() < k.into()) {
                    step.signers.insert(officer);
                }
            }
            Op::Publish(_) => {
                let k = self.policy_k.unwrap_or(1);
                step.signers = art.into_iter().take(k.into()).collect();
            }
            Op::Anchor(_) => step.signers = [officer].into(),
            Op::Wait => {}
        }
    }

    /// Whether the next block may hold the step; if so, it then does.
    fn takes(&mut self, step: &Step) -> bool {
        let signers = &step.signers;
        let height = self.height + 1;
        let absent = |key: &u64| !self.keys.contains_key(key);
        let taken = match &step.op {
            Op::Register(keys) => {
                keys.keys().all(absent)
                    && self.are(signers, Purpose::Writer, 1)
                    && self.room(keys.len())
            }
            Op::Activate { pre, act } => {
                !step.stale
                    && absent(act)
                    && self.active(*pre) == Some(Purpose::Pre)
                    && *signers == [*pre, *act].into()
                    && self.room(1)
            }
            Op::Supersede { old, new } => {
                !step.stale
                    && absent(new)
                    && self.active(*old).is_some_and(Purpose::is_superseded)
                    && self
                        .followed
                        .get(old)
                        .is_none_or(|since| height - since >= 64)
                    && *signers == [*old, *new].into()
                    && self.room(1)
            }
            Op::Revoke { targets, since } => {
                !step.stale && self.may_revoke(targets, *since, signers)
            }
            Op::Grant { key, .. } => {
                !step.stale && absent(key) && self.are(signers, Purpose::Officer, 1) && self.room(1)
            }
            Op::Withdraw(key) => {
                let role = self.active(*key);
                let last = role == Some(Purpose::Officer) && self.count(Purpose::Officer) == 1;
                let is_role = matches!(
                    role,
                    Some(Purpose::Writer | Purpose::Revoker | Purpose::Ps | Purpose::Officer)
                );
                !step.stale && is_role && !last && self.are(signers, Purpose::Officer, 1)
            }
            Op::Policy { k, added, removed } => {
                !step.stale && self.may_set_policy(*k, *added, *removed, signers)
            }
            Op::Publish(digest) => {
                !step.stale
                    && !self.releases.contains(digest)
                    && self
                        .policy_k
                        .is_some_and(|k| self.are(signers, Purpose::Art, k.into()))
                    && self.room(1)
            }
            Op::Anchor(digest) => {
                let able = |key: &u64| {
                    matches!(
                        self.active(*key),
                        Some(
                            Purpose::Writer
                                | Purpose::Officer
                                | Purpose::Revoker
                                | Purpose::Art
                                | Purpose::App
                        )
                    )
                };
                !self.anchors.contains(digest)
                    && signers.len() == 1
                    && signers.iter().all(able)
                    && self.room(1)
            }
            Op::Wait => return true,
        };
        if taken {
            self.height = height;
            self.take(step, height);
        }
        taken
    }

    fn window_of(&self, height: u64) -> usize {
        if height / 1000 == self.window {
            self.revoked
        } else {
            0
        }
    }

    fn may_revoke(
        &self,
        targets: &BTreeSet<u64>,
        since: Option<u64>,
        signers: &BTreeSet<u64>,
    ) -> bool {
        let height = self.height + 1;
        let can_end = |key: &u64| match self.keys.get(key) {
            Some((_, Status::Active)) => true,
            Some(_) => since
                .is_some_and(|since| self.compromised.get(key).is_none_or(|said| since < *said)),
            None => false,
        };
        if !targets.iter().all(can_end) || since.is_some_and(|since| since > height) {
            return false;
        }
        let officers_ended = targets
            .iter()
            .filter(|key| self.active(**key) == Some(Purpose::Officer))
            .count();
        let officers_named = targets
            .iter()
            .any(|key| self.keys[key].0 == Purpose::Officer);
        if officers_ended > 0 && self.count(Purpose::Officer) - officers_ended < 1 {
            return false;
        }
        if targets.len() == 1 && targets == signers {
            return since.is_none() && targets.iter().all(|key| self.active(*key).is_some());
        }
        let in_cap = self.window_of(height) + targets.len() <= 16;
        if self.are(signers, Purpose::Revoker, 1) {
            return !officers_named && in_cap;
        }
        !signers.is_empty()
            && self.are(signers, Purpose::Officer, signers.len())
            && (signers.len() > 1 || in_cap)
    }

    fn may_set_policy(
        &self,
        k: u8,
        added: Option<u64>,
        removed: Option<u64>,
        signers: &BTreeSet<u64>,
    ) -> bool {
        let art = self.count(Purpose::Art);
        let new_ok = added.is_none_or(|key| !self.keys.contains_key(&key));
        let old_ok = removed.is_none_or(|key| self.active(key) == Some(Purpose::Art));
        let n = art + usize::from(added.is_some()) - usize::from(removed.is_some() && old_ok);
        let of = |purpose| {
            signers
                .iter()
                .filter(|key| self.active(**key) == Some(purpose))
                .copied()
                .collect::<Vec<_>>()
        };
        let (old, officers) = (of(Purpose::Art), of(Purpose::Officer));
        let new = usize::from(added.is_some_and(|key| signers.contains(&key)));
        let staying = old.iter().filter(|key| Some(**key) != removed).count();
        let by_old = match self.policy_k {
            Some(old_k) if art >= usize::from(old_k) => {
                old.len() >= usize::from(old_k) && officers.is_empty()
            }
            _ => officers.len() == 1,
        };
        new_ok
            && old_ok
            && n >= usize::from(k)
            && by_old
            && staying + new >= usize::from(k)
            && old.len() + officers.len() + new == signers.len()
            && self.room(usize::from(added.is_some()))
    }

    fn take(&mut self, step: &Step, height: u64) {
        self.revoked = self.window_of(height);
        self.window = height / 1000;
        match &step.op {
            Op::Register(keys) => keys
                .iter()
                .for_each(|(key, purpose)| self.add(*key, *purpose)),
            Op::Activate { pre, act } => {
                self.end(*pre, Status::Spent);
                self.followed.insert(*act, height);
                self.add(*act, Purpose::Act);
            }
            Op::Supersede { old, new } => {
                let (purpose, _) = self.keys[old];
                self.end(*old, Status::Superseded);
                self.followed.insert(*new, height);
                self.add(*new, purpose);
            }
            Op::Revoke { targets, since } => {
                if let Some(since) = since {
                    self.compromised
                        .extend(targets.iter().map(|key| (*key, *since)));
                }
                let by_holder = targets.len() == 1 && *targets == step.signers;
                if step.signers.len() == 1 && !by_holder {
                    self.revoked += targets.len();
                }
                targets
                    .iter()
                    .for_each(|key| self.end(*key, Status::Revoked));
            }
            Op::Grant { key, purpose } => self.add(*key, *purpose),
            Op::Withdraw(key) => self.end(*key, Status::Revoked),
            Op::Policy { k, added, removed } => {
                self.policy_k = Some(*k);
                if let Some(key) = removed {
                    self.end(*key, Status::Revoked);
                }
                if let Some(key) = added {
                    self.add(*key, Purpose::Art);
                }
            }
            Op::Publish(digest) => {
                self.releases.insert(*digest);
                self.rows += 1;
            }
            Op::Anchor(digest) => {
                self.anchors.insert(*digest);
                self.rows += 1;
            }
            Op::Wait => {}
        }
    }
}

/// The key of a number with the purpose that it has on the ledger, or else this one.
fn key(model: &Model, number: u64, otherwise: Purpose) -> TestKey {
    let purpose = model
        .keys
        .get(&number)
        .map_or(otherwise, |(purpose, _)| *purpose);
    TestKey::new(number, purpose)
}

fn transaction(world: &World, model: &Model, step: &Step) -> Option<Transaction> {
    let org = world.org;
    let stale = u32::from(step.stale);
    let entry = |number, purpose| world.entry(&TestKey::new(number, purpose));
    let named = |number| {
        let named = world.named(&TestKey::new(number, Purpose::App));
        Named {
            version: named.version + stale,
            ..named
        }
    };
    let mut new_purpose = Purpose::App;
    let action = match &step.op {
        Op::Register(keys) => Action::Register {
            org,
            entries: keys
                .iter()
                .map(|(key, purpose)| entry(*key, *purpose))
                .collect(),
        },
        Op::Activate { pre, act } => {
            new_purpose = Purpose::Act;
            Action::Activate {
                org,
                pre: named(*pre),
                act: Box::new(entry(*act, Purpose::Act)),
            }
        }
        Op::Supersede { old, new } => {
            new_purpose = match key(model, *old, Purpose::App).purpose {
                purpose if purpose.is_superseded() => purpose,
                _ => Purpose::App,
            };
            Action::Supersede {
                org,
                old: named(*old),
                new: Box::new(entry(*new, new_purpose)),
            }
        }
        Op::Revoke { targets, since } => Action::Revoke {
            org,
            targets: targets.iter().map(|key| named(*key)).collect(),
            reason: Reason::None,
            compromised_since: since.map(|since| Height::new(since).unwrap()),
            signers: 1,
        },
        Op::Grant { key, purpose } => Action::Grant {
            org,
            org_version: world.organisation().version + stale,
            entry: Box::new(entry(*key, *purpose)),
        },
        Op::Withdraw(key) => Action::Withdraw {
            org,
            target: named(*key),
        },
        Op::Policy { k, added, removed } => {
            new_purpose = Purpose::Art;
            Action::ArtPolicy {
                org,
                policy_version: world.policy().map_or(0, |policy| policy.version) + stale,
                k: *k,
                added: added.iter().map(|key| entry(*key, Purpose::Art)).collect(),
                removed: removed.iter().map(|key| named(*key)).collect(),
                signers: 1,
            }
        }
        Op::Publish(digest) => Action::Publish {
            org,
            policy_version: world.policy().map_or(1, |policy| policy.version) + stale,
            digest: Digest::new([*digest; 32]),
            minimum_counter: 0,
        },
        Op::Anchor(digest) => Action::Anchor {
            org,
            topic: Topic::AuditLog,
            digest: Digest::new([*digest; 32]),
        },
        Op::Wait => return None,
    };
    let signers: Vec<TestKey> = step
        .signers
        .iter()
        .map(|number| key(model, *number, new_purpose))
        .collect();
    Some(world.sign(action, &signers.iter().collect::<Vec<_>>()))
}

/// Everything that must hold of the rows, counted afresh.
fn audit(world: &World, model: &Model) {
    let (mut active, mut rows, mut officers, mut art) = (0, 0, 0, 0);
    for (_, bytes) in world.state.rows() {
        match Row::decode(bytes).unwrap() {
            Row::Record(record) => {
                rows += 1;
                active += u64::from(record.is_active());
                officers += u8::from(record.is_active() && record.purpose() == Purpose::Officer);
                art += u8::from(record.is_active() && record.purpose() == Purpose::Art);
            }
            Row::Release(_) | Row::Anchor(_) | Row::BlobPart(_) => rows += 1,
            _ => {}
        }
    }
    let org = world.organisation();
    assert_eq!(
        (org.active, org.rows, org.officers_n),
        (active, rows, officers)
    );
    assert!(org.rows <= QUOTA && org.officers_n >= org.officers_k);
    assert_eq!(org.rows, model.rows);
    assert_eq!(world.policy().map_or(0, |policy| policy.n), art);
    for (number, (purpose, status)) in &model.keys {
        let record = world
            .record(&TestKey::new(*number, *purpose).handle)
            .unwrap();
        assert_eq!((record.purpose(), record.status()), (*purpose, *status));
    }
}

/// A status is what it was, or further along.
fn moved_forward(before: &World, world: &World) {
    for (key, bytes) in before.state.rows() {
        let after = world
            .state
            .rows()
            .find(|(other, _)| *other == key)
            .unwrap()
            .1;
        if let (Row::Record(old), Row::Record(new)) =
            (Row::decode(bytes).unwrap(), Row::decode(after).unwrap())
        {
            assert!(old.status() <= new.status());
            assert!(old.version() <= new.version());
            assert_eq!(old.keys(), new.keys());
            assert_eq!(
                (old.owner(), old.registered()),
                (new.owner(), new.registered())
            );
            assert!(old.ended().is_none() || old.ended() == new.ended());
        }
    }
}

fn snapshot(world: &World) -> World {
    let mut copy = World::new(QUOTA);
    copy.state = world.state.clone();
    copy.height = world.height;
    copy
}

fn founded() -> (World, Model) {
    let mut world = World::new(QUOTA);
    let genesis = world.genesis();
    world.block(vec![genesis]).unwrap();
    let grant = world.grant(&TestKey::new(WRITER, Purpose::Writer));
    world.submit(grant).unwrap();
    let mut model = Model {
        height: 2,
        ..Model::default()
    };
    model.add(OFFICER, Purpose::Officer);
    model.add(WRITER, Purpose::Writer);
    (world, model)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_ledger_does_what_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let (mut world, mut model) = founded();
        let mut taken = Vec::new();
        for mut step in steps {
            model.enable(&mut step);
            let Some(transaction) = transaction(&world, &model, &step) else {
                // Into another revocation window.
                model.height += 400;
                world.height = Height::new(model.height).unwrap();
                continue;
            };
            let before = snapshot(&world);
            let context = world.context();
            let expected = model.takes(&step);
            let run = |seed| {
                run_block(vec![transaction.clone()], context, &before.state, &mut SeededRng::new(seed))
            };
            let effects = run(1);
            prop_assert_eq!(&effects, &run(2), "the same every time");
            prop_assert_eq!(effects.is_ok(), expected, "{:?}: {:?}", step, effects);
            if world.block(vec![transaction.clone()]).is_ok() {
                taken.push(transaction);
                moved_forward(&before, &world);
            } else {
                prop_assert!(world.state == before.state && world.height == before.height);
            }
            audit(&world, &model);
        }
        for transaction in taken {
            prop_assert!(world.block(vec![transaction]).is_err(), "a replay");
        }
    }
}
