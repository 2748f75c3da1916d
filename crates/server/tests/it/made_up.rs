//! What a node says that the ledger does not hold changes nothing; what cannot be proven yet is asked for again.

use crate::{
    chain::Chain,
    follow::{Follower, hex, until},
    mender_artifacts::{SIGNER, error, foreign, form},
    mender_deployments::{Client, Field},
    world::{Database, Got, World},
};
use axum::http::Method;
use bytes::Bytes;
use kusabi_api::{Hex, Hex32, Kind, admin::device_id, ledger::Event};
use kusabi_core::{
    id::{Handle, TxId},
    row::Reason,
    suite::{ForeignAlgorithm, Purpose},
    tx::{Action, Entry, Named, Transaction},
};
use kusabi_ledger::testing::TestKey;
use kusabi_mender::testing::{Parts, spki};
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// Number of a key that somebody else has.
const LIAR: u64 = 900;

impl World {
    fn draft(
        &self,
        transaction: impl FnOnce(&kusabi_ledger::testing::World) -> Transaction,
    ) -> Transaction {
        transaction(&self.ledger.world.lock().unwrap())
    }

    /// A block in which this is, as the node says; the follower is through with it.
    async fn is_told(&self, follower: &Follower, mut lies: Vec<Transaction>, number: u64) {
        let last = TestKey::new(number, Purpose::Pre);
        lies.push(self.draft(|world| world.register(&[&last])));
        let mut changes = follower.app.ledger_changes();
        self.ledger.make_up(&lies);
        until(&mut changes, &last).await;
    }

    fn supersedes(&self, old: &TestKey, new: &TestKey) -> Transaction {
        self.draft(|world| {
            let action = Action::Supersede {
                org: world.org,
                old: world.named(old),
                new: Box::new(world.entry(new)),
            };
            world.sign(action, &[old, new])
        })
    }

    /// The handles of a device's keys, and how each stands.
    async fn keys(&self, first: &TestKey) -> Vec<(Value, Value)> {
        let device = self.shown(first).await;
        let keys = device["keys"].as_array().unwrap();
        let one = |key: &Value| (key["handle"].clone(), key["status"].clone());
        keys.iter().map(one).collect()
    }

    async fn timeline(&self, first: &TestKey) -> Value {
        let id = self.shown(first).await["id"].clone();
        let address = format!("/api/v1/devices/{}/events", id.as_str().unwrap());
        self.get(&address).await.json()["items"].clone()
    }
}

fn stands(key: &TestKey, status: &str) -> (Value, Value) {
    (json!(hex(key)), json!(status))
}

#[tokio::test]
async fn a_node_that_makes_successors_up_replaces_no_key() {
    let world = World::new().await;
    let [pre, late] = [100, 101].map(|n| TestKey::new(n, Purpose::Pre));
    let [act, other, rotated] = [200, 201, 202].map(|n| TestKey::new(n, Purpose::Act));
    world.commit(|world| world.register(&[&pre, &late, &other]));
    world.activate(&pre, &act);
    let follower = Follower::start(&world).await;
    world.is_told(&follower, Vec::new(), 800).await;
    let (keys, before) = (world.keys(&pre).await, world.timeline(&pre).await);
    assert_eq!(keys, [stands(&pre, "spent"), stands(&act, "active")]);

    // By a key that is not there, by one that follows on nothing, and by the device's own of before.
    let none = TestKey::new(LIAR, Purpose::Act);
    let activated = world.draft(|world| {
        let action = Action::Activate {
            org: world.org,
            pre: world.named(&late),
            act: Box::new(world.entry(&none)),
        };
        world.sign(action, &[&late, &none])
    });
    let lies = vec![
        world.supersedes(&act, &none),
        world.supersedes(&act, &other),
        world.supersedes(&other, &act),
        activated,
    ];
    world.is_told(&follower, lies, 801).await;
    assert_eq!(world.keys(&pre).await, keys);
    assert_eq!(world.keys(&other).await, [stands(&other, "active")]);
    assert_eq!(world.keys(&late).await, [stands(&late, "active")]);
    assert_eq!(world.timeline(&pre).await, before);

    // What is true is done, though the node said before that the new key is another device's first.
    let register = world.draft(|world| world.register(&[&rotated]));
    world.is_told(&follower, vec![register], 802).await;
    for _ in 0..70 {
        world.ledger.heartbeat();
    }
    let rotation = world.supersedes(&act, &rotated);
    world.ledger.commit(rotation.clone()).unwrap();
    world.is_told(&follower, Vec::new(), 803).await;
    let keys = [
        stands(&pre, "spent"),
        stands(&act, "superseded"),
        stands(&rotated, "active"),
    ];
    assert_eq!(world.keys(&pre).await, keys);

    // What was true once is not so again because a node says it again.
    world.revoke(&rotated);
    let revocation = world.draft(|world| {
        let action = Action::Revoke {
            org: world.org,
            targets: vec![world.named(&rotated)],
            reason: Reason::Lost,
            compromised_since: None,
            signers: 1,
        };
        world.sign(action, &[&world.officer])
    });
    world
        .is_told(&follower, vec![rotation, revocation.clone()], 804)
        .await;
    let (before, keys) = (
        world.timeline(&pre).await,
        world.shown(&pre).await["keys"].clone(),
    );
    world.is_told(&follower, vec![revocation], 805).await;
    assert_eq!(world.timeline(&pre).await, before);
    let shown = world.shown(&pre).await;
    assert_eq!(shown["keys"], keys);
    assert_eq!(shown["state"], "revoked");
    assert_eq!(shown["keys"][2]["status"], "revoked");
    follower.end().await;
}

/// A change of the art policy that nobody signed who may.
fn policy(world: &World, added: Vec<Entry>, removed: Vec<Hex32>) -> Transaction {
    let liar = TestKey::new(LIAR, Purpose::Art);
    world.draft(|world| {
        let removed = removed.into_iter().map(|handle| Named {
            handle: Handle::new(handle.0),
            version: 1,
        });
        let action = Action::ArtPolicy {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            k: 1,
            added,
            removed: removed.collect(),
            signers: 1,
        };
        world.sign(action, &[&liar])
    })
}

/// Uploads an artifact as mender-cli does.
async fn uploads(world: &World, artifact: &[u8]) -> Got {
    let size = artifact.len().to_string();
    let fields: [(&str, &[u8]); 2] = [("size", size.as_bytes()), ("artifact", artifact)];
    world.send_form(form(&fields)).await
}

#[tokio::test]
async fn a_node_that_makes_the_end_of_a_release_key_up_ends_nothing() {
    let field = Field::new().await;
    let client = field.client(1).await;
    field.order(&client, "update").await;
    let told = Client::told(&client.next().await);
    let id = told["id"].as_str().unwrap();
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    client.says(id, "downloading").await;
    let world = &field.world;
    let follower = Follower::start(world).await;
    let lie = policy(world, Vec::new(), vec![field.signer]);
    world.is_told(&follower, vec![lie], 800).await;
    assert_eq!(client.fetch(Method::GET, uri, &[]).await.status, 200);
    client.says(id, "installing").await;
    let another = Parts::new("app-1.3", b"another").signed(SIGNER);
    assert_eq!(uploads(world, &another).await.status, 201);
    // What is true is done.
    world.end_signer(field.signer).await;
    let third = Parts::new("app-1.4", b"a third").signed(SIGNER);
    let (status, why) = error(&uploads(world, &third).await);
    assert!(status == 422 && why.contains("release key"), "{why}");
    assert_eq!(client.fetch(Method::GET, uri, &[]).await.status, 404);
    follower.end().await;
}

#[tokio::test]
async fn a_node_that_makes_release_keys_up_keeps_out_none_that_is_true() {
    let world = World::keyed().await;
    world.art_policy();
    let follower = Follower::start(&world).await;
    let algorithm = ForeignAlgorithm::P256;
    // Before the true one comes: its handle with another key, and so many others that it would not be looked at any more.
    let lies: Vec<_> = world.liars_entries(algorithm);
    for (number, entries) in (810..).zip(lies.chunks(16)) {
        let lie = policy(&world, entries.to_vec(), Vec::new());
        world.is_told(&follower, vec![lie], number).await;
    }
    world.sign_with(algorithm, &spki(SIGNER)).await;
    follower.end().await;
    let artifact = Parts::new("app-1.2", b"content").signed(SIGNER);
    assert_eq!(uploads(&world, &artifact).await.status, 201);
    let liars = Parts::new("app-1.3", b"content").signed(99);
    let (status, why) = error(&uploads(&world, &liars).await);
    assert!(status == 400 && why.contains("none of the 1 keys"), "{why}");
}

impl World {
    /// Keys that sign no artifact of this organisation: the first under the handle of the one that does.
    fn liars_entries(&self, algorithm: ForeignAlgorithm) -> Vec<Entry> {
        let world = self.ledger.world.lock().unwrap();
        let theirs = spki(99);
        let like = foreign(&world, algorithm, &theirs);
        let under = |handle| {
            let binding = like.binding();
            Entry::foreign(handle, Purpose::Art, algorithm, &theirs, binding, None).unwrap()
        };
        let wanted = foreign(&world, algorithm, &spki(SIGNER)).handle();
        let mut entries = vec![under(wanted)];
        entries.extend((0..255).map(|n| {
            under(Handle::new(
                [0, n, 0, 0, 0, 0, 0, 1].repeat(4).try_into().unwrap(),
            ))
        }));
        entries
    }
}

#[tokio::test]
async fn a_node_that_makes_a_withdrawal_up_stops_nothing() {
    let field = Field::new().await;
    let clients = [field.client(1).await, field.client(2).await];
    let rollout = field.rollout(&json!({})).await;
    let state = async || {
        let address = format!("/api/v1/rollouts/{rollout}");
        field.world.get(&address).await.json()["state"].clone()
    };
    let told = Client::told(&clients[0].next().await);
    let id = told["id"].as_str().unwrap();
    let uri = told["artifact"]["source"]["uri"].as_str().unwrap();
    clients[0].says(id, "downloading").await;
    let world = &field.world;
    let release = async || {
        let address = format!("/api/v1/releases/{}", field.release);
        world.get(&address).await.json()
    };
    let before = release().await;
    let follower = Follower::start(world).await;
    let lie = world.draft(|world| {
        let action = Action::WithdrawRelease {
            org: world.org,
            digest: kusabi_core::id::Digest::new(field.release.0),
            version: 1,
        };
        world.sign(action, &[&TestKey::new(LIAR, Purpose::Art)])
    });
    // And that it was published at another height.
    let published = world.draft(|world| {
        let action = Action::Publish {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            digest: kusabi_core::id::Digest::new(field.release.0),
            minimum_counter: 7,
        };
        world.sign(action, &[&TestKey::new(LIAR, Purpose::Art)])
    });
    world.is_told(&follower, vec![lie, published], 800).await;
    assert_eq!(state().await, "running");
    assert_eq!(release().await, before);
    clients[0].says(id, "installing").await;
    assert_eq!(clients[0].fetch(Method::GET, uri, &[]).await.status, 200);
    Client::told(&clients[1].next().await);
    // What is true is done.
    world.withdraw(field.release);
    world.is_told(&follower, Vec::new(), 801).await;
    assert_eq!(state().await, "paused");
    assert_eq!(release().await["state"], "withdrawn");
    assert_eq!(clients[0].status(id, "installing").await.status, 409);
    follower.end().await;
}

#[tokio::test]
async fn what_is_not_proven_yet_is_asked_for_again_and_holds_up_nothing_before_it() {
    let world = World::new().await;
    let [pre, before, after] = [100, 101, 102].map(|n| TestKey::new(n, Purpose::Pre));
    let act = TestKey::new(200, Purpose::Act);
    world.commit(|world| world.register(&[&pre]));
    world.commit(|world| world.register(&[&before]));
    world.activate(&pre, &act);
    world.commit(|world| world.register(&[&after]));
    world.ledger.refuses.store(true, SeqCst);
    let mut follower = Follower::start(&world).await;
    // Asked, and asked again; by another process, too.
    for times in [2, 3] {
        let mut unanswered = world.ledger.unanswered.subscribe();
        let more = *unanswered.borrow_and_update() + times;
        let asked = unanswered.wait_for(|count| *count >= more);
        tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(world.keys(&pre).await, [stands(&pre, "active")]);
        assert_eq!(world.keys(&before).await, [stands(&before, "active")]);
        let address = format!("/api/v1/devices/{}", device_id(&hex(&after)));
        assert_eq!(world.get(&address).await.kind(), Kind::Unknown);
        follower.end().await;
        follower = Follower::start(&world).await;
    }
    let mut changes = follower.app.ledger_changes();
    world.ledger.refuses.store(false, SeqCst);
    until(&mut changes, &after).await;
    let keys = [stands(&pre, "spent"), stands(&act, "active")];
    assert_eq!(world.keys(&pre).await, keys);
    assert_eq!(world.keys(&after).await, [stands(&after, "active")]);
    follower.end().await;
}

#[tokio::test]
async fn a_node_that_is_silent_when_it_should_prove_is_asked_again() {
    let field = Field::new().await;
    let world = &field.world;
    let follower = Follower::start(world).await;
    world.is_told(&follower, Vec::new(), 800).await;
    world.ledger.hangs.store(true, SeqCst);
    let mut unanswered = world.ledger.unanswered.subscribe();
    world.withdraw(field.release);
    let asked = unanswered.wait_for(|count| *count > 0);
    tokio::time::timeout(Duration::from_secs(20), asked)
        .await
        .unwrap()
        .unwrap();
    world.ledger.hangs.store(false, SeqCst);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    world.is_told(&follower, Vec::new(), 801).await;
    let address = format!("/api/v1/releases/{}", field.release);
    assert_eq!(world.get(&address).await.json()["state"], "withdrawn");
    follower.end().await;
}

/// A follower of a chain that is asked by nobody else.
struct Alone {
    chain: Arc<Chain>,
    follower: Follower,
    changes: broadcast::Receiver<Handle>,
    subscribed: watch::Receiver<u64>,
    _database: Database,
}

impl Alone {
    async fn new() -> Self {
        let chain = Arc::new(Chain::new());
        let database = Database::new().await;
        let follower = Follower::over(&chain, &database).await;
        Self {
            changes: follower.app.ledger_changes(),
            subscribed: chain.subscribed.subscribe(),
            chain,
            follower,
            _database: database,
        }
    }

    /// Waits until it has begun anew after what the node says by then.
    async fn begins_anew(&mut self) {
        let before = *self.subscribed.borrow_and_update();
        let again = self.subscribed.wait_for(|count| *count > before);
        tokio::time::timeout(Duration::from_secs(20), again)
            .await
            .unwrap()
            .unwrap();
    }

    /// The keys that it comes across up to this one, which are written then.
    async fn comes_across(&mut self, last: &TestKey) -> Vec<Handle> {
        let mut seen = Vec::new();
        while seen.last() != Some(&last.handle) {
            let next = tokio::time::timeout(Duration::from_secs(20), self.changes.recv());
            seen.push(next.await.unwrap().unwrap());
        }
        seen
    }
}

#[tokio::test]
async fn a_node_that_runs_ahead_of_the_ledger_hides_nothing_of_an_honest_one() {
    let mut alone = Alone::new().await;
    let [first, lie, truth] = [100, 101, 102].map(|n| TestKey::new(n, Purpose::Pre));
    alone.chain.commit(|world| world.register(&[&first]));
    assert_eq!(alone.comes_across(&first).await, [first.handle]);
    let register = alone.chain.lock().world.register(&[&lie]);
    alone
        .chain
        .run_ahead(&[Bytes::copy_from_slice(register.as_bytes())]);
    alone.begins_anew().await;
    // Another node is asked from now on.
    alone.chain.take_back();
    alone.chain.commit(|world| world.register(&[&truth]));
    assert_eq!(alone.comes_across(&truth).await, [truth.handle]);
    alone.follower.end().await;
}

#[tokio::test]
async fn a_node_that_makes_a_recovery_up_hides_no_block_of_an_honest_one() {
    let mut alone = Alone::new().await;
    let [first, lie, hidden, last] = [100, 101, 102, 103].map(|n| TestKey::new(n, Purpose::Pre));
    alone.chain.commit(|world| world.register(&[&first]));
    alone.comes_across(&first).await;
    let register = alone.chain.lock().world.register(&[&lie]);
    let lies = [Bytes::copy_from_slice(register.as_bytes())];
    let honest = alone
        .chain
        .jump_over(|world| world.register(&[&hidden]), &lies);
    alone.begins_anew().await;
    alone.chain.say(honest);
    assert_eq!(alone.comes_across(&hidden).await, [hidden.handle]);
    // Blocks after recoveries that there were are taken, and another one is not believed then either.
    alone.chain.turn_epoch();
    alone.chain.turn_epoch();
    let honest = alone
        .chain
        .jump_over(|world| world.register(&[&last]), &lies);
    alone.begins_anew().await;
    alone.chain.say(honest);
    assert_eq!(alone.comes_across(&last).await, [last.handle]);
    alone.follower.end().await;
}

#[tokio::test]
async fn a_node_that_says_more_of_a_block_than_it_can_hold_is_asked_nothing_about_it() {
    let mut alone = Alone::new().await;
    let key = TestKey::new(100, Purpose::Pre);
    let key_of = |n: u32| Hex([n.to_be_bytes(); 8].concat().try_into().unwrap());
    let org = alone.chain.lock().world.org;
    let ends = |keys: std::ops::Range<u32>| Event {
        index: 0,
        id: TxId::new([1; 32]),
        action: "revoke".into(),
        organisation: Some(Hex(org.to_bytes())),
        added: Vec::new(),
        ended: keys.map(key_of).collect(),
        moved: None,
        digest: None,
    };
    let lies = (0..140).map(|n| ends(1000 * n..1000 * (n + 1)));
    alone.chain.invents.lock().unwrap().extend(lies);
    alone.chain.run_ahead(&[]);
    alone.begins_anew().await;
    assert_eq!(alone.chain.lookups.load(SeqCst), 0);
    alone.chain.take_back();
    alone.chain.commit(|world| world.register(&[&key]));
    assert_eq!(alone.comes_across(&key).await, [key.handle]);
    alone.follower.end().await;
}

#[tokio::test]
async fn what_a_node_says_a_thousand_times_in_a_block_is_asked_once() {
    let field = Field::new().await;
    let world = &field.world;
    let follower = Follower::start(world).await;
    world.is_told(&follower, Vec::new(), 800).await;
    let before = world.ledger.lookups.load(SeqCst);
    let lie = world.draft(|world| {
        let action = Action::WithdrawRelease {
            org: world.org,
            digest: kusabi_core::id::Digest::new(field.release.0),
            version: 1,
        };
        world.sign(action, &[&TestKey::new(LIAR, Purpose::Art)])
    });
    world.is_told(&follower, vec![lie; 1000], 801).await;
    assert_eq!(world.ledger.lookups.load(SeqCst) - before, 1);
    follower.end().await;
}

#[tokio::test]
async fn a_node_that_answers_most_questions_gets_through_a_block_that_asks_many() {
    let world = World::new().await;
    let keys: Vec<_> = (100..124).map(|n| TestKey::new(n, Purpose::Pre)).collect();
    world.commit(|world| world.register(&keys.iter().collect::<Vec<_>>()));
    let follower = Follower::start(&world).await;
    world.is_told(&follower, Vec::new(), 800).await;
    world.ledger.refuses_each.store(4, SeqCst);
    let before = world.ledger.lookups.load(SeqCst);
    let mut changes = follower.app.ledger_changes();
    // Each is true, and the node says all of them of one block, before which others come that say nothing.
    let acts: Vec<_> = (200..224).map(|n| TestKey::new(n, Purpose::Act)).collect();
    let mut activations = Vec::new();
    for (pre, act) in keys.iter().zip(&acts) {
        let activation = world.draft(|world| {
            let action = Action::Activate {
                org: world.org,
                pre: world.named(pre),
                act: Box::new(world.entry(act)),
            };
            world.sign(action, &[pre, act])
        });
        world.ledger.hide(activation.clone());
        activations.push(activation);
    }
    world.ledger.make_up(&activations);
    until(&mut changes, &acts[23]).await;
    // One for each key, and again where there was none: 24, a quarter of them, a quarter of those, and so on.
    let asked = world.ledger.lookups.load(SeqCst) - before;
    assert!((25..=35).contains(&asked), "{asked}");
    for key in &keys {
        assert_eq!(world.shown(key).await["state"], "active");
    }
    follower.end().await;
}

#[tokio::test]
async fn a_node_that_says_first_how_a_key_ended_and_then_whose_it_is_leaves_no_device_active() {
    let world = World::new().await;
    let pre = TestKey::new(100, Purpose::Pre);
    let [act, rotated] = [200, 201].map(|n| TestKey::new(n, Purpose::Act));
    world.commit(|world| world.register(&[&pre]));
    world.activate(&pre, &act);
    let follower = Follower::start(&world).await;
    for _ in 0..70 {
        world.ledger.heartbeat();
    }
    let register = world.draft(|world| world.register(&[&rotated]));
    world.is_told(&follower, vec![register], 800).await;
    let rotation = world.supersedes(&act, &rotated);
    world.ledger.hide(rotation.clone());
    world.revoke(&rotated);
    world.is_told(&follower, vec![rotation], 801).await;
    let keys = [
        stands(&pre, "spent"),
        stands(&act, "superseded"),
        stands(&rotated, "revoked"),
    ];
    assert_eq!(world.keys(&pre).await, keys);
    assert_eq!(world.shown(&pre).await["state"], "revoked");
    follower.end().await;
}

#[tokio::test]
async fn registrations_are_taken_without_a_question_and_everything_else_costs_one() {
    let world = World::keyed().await;
    world.art_policy();
    let keys: Vec<_> = (1000..1400)
        .map(|n| TestKey::new(n, Purpose::Pre))
        .collect();
    for some in keys.chunks(100) {
        world.commit(|world| world.register(&some.iter().collect::<Vec<_>>()));
    }
    let asked = async || {
        let before = world.ledger.lookups.load(SeqCst);
        world.follow().await;
        world.ledger.lookups.load(SeqCst) - before
    };
    // The three keys of the art policy.
    let policy = asked().await;
    assert_eq!(policy, 3);
    for (pre, number) in keys.iter().take(20).zip(2000..) {
        world.activate(pre, &TestKey::new(number, Purpose::Act));
    }
    assert_eq!(asked().await, policy + 20);
    for key in &keys[20..30] {
        world.revoke(key);
    }
    let made = world.whole(10).await;
    world.withdraw(made.digest);
    assert_eq!(asked().await, policy + 20 + 10 + 2);
    let (all, _) = world.pages(&world.viewer, "/api/v1/devices").await;
    assert_eq!(all.len(), keys.len());
}
