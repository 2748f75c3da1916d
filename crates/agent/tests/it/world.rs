//! A ledger, a server of core's own end and an organisation's releases, for the tests in this crate and outside of it.
//! Every key comes from a number. **Nothing here is secret.**

use std::collections::BTreeMap;

use arrayvec::{ArrayString, ArrayVec};
use kusabi_core::device::{
    Address, FactoryKey, KeyOrigin, Provisioning, Server as ServerRecord, Trust,
};
use kusabi_core::genesis::Genesis;
use kusabi_core::id::{Digest, Handle, KusabiId, StateKey};
use kusabi_core::keystore::Seed;
use kusabi_core::protocol::Time;
use kusabi_core::protocol::reply::Task;
use kusabi_core::release::{
    Content, CutSizes, ManifestParts, PayloadParts, ReleaseDraft, SignedManifest, TargetParts,
    encode_proofs,
};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::Action;
use kusabi_ledger::testing::TestKey;
use kusabi_sim::ledger::Ledger;
use kusabi_sim::random::Random;
use kusabi_sim::server::{Server, Shop, order};

/// The device type of all devices here.
pub(crate) const TYPE: &str = "cam-a";

pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) server: Server,
    pub(crate) random: Random,
    /// The server's clock, in milliseconds.
    pub(crate) now: u64,
    pub(crate) manifests: BTreeMap<Digest, Vec<u8>>,
    pub(crate) payloads: BTreeMap<Digest, Vec<u8>>,
    /// What payloads are cut with, if releases have chunk indexes.
    pub(crate) cuts: Option<CutSizes>,
    /// The next index is made of these bytes instead.
    pub(crate) index_of: Option<Vec<u8>>,
    /// What goes with each release that is made from now on: kinds and bytes.
    pub(crate) documents: Vec<(String, Vec<u8>)>,
    pub(crate) art: TestKey,
    orders: u64,
    born: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut ledger = Ledger::new();
        let ps = TestKey::new(500, Purpose::Ps);
        ledger.grant(&ps);
        let art = TestKey::new(600, Purpose::Art);
        let org = ledger.world.org;
        let action = Action::ArtPolicy {
            org,
            policy_version: 0,
            k: 1,
            added: vec![ledger.world.entry(&art)],
            removed: vec![],
            signers: 1,
        };
        let policy = ledger.world.sign(action, &[&ledger.world.officer, &art]);
        ledger.submit(policy).unwrap();
        Self {
            born: ledger.height().get(),
            shop: Shop::new(ledger),
            server: Server::new(ps, org),
            random: Random::new(1),
            now: 0,
            manifests: BTreeMap::new(),
            payloads: BTreeMap::new(),
            cuts: None,
            index_of: None,
            documents: Vec::new(),
            art,
            orders: 0,
        }
    }

    /// Answers a request of the protocol.
    pub(crate) fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let now = self.passes();
        self.server
            .answer(&mut self.shop, now, request, &mut self.random)
    }

    /// The same at another server over this ledger.
    #[allow(
        dead_code,
        reason = "not every test crate that takes this file has another server"
    )]
    pub(crate) fn answer_by(&mut self, server: &mut Server, request: &[u8]) -> Vec<u8> {
        let now = self.passes();
        server.answer(&mut self.shop, now, request, &mut self.random)
    }

    /// A little time passes; and each minute a heartbeat.
    fn passes(&mut self) -> Time {
        self.now += 5;
        self.shop.ledger.grow_to(self.born + self.now / 60_000);
        Time::from_ms(self.now)
    }

    /// Time passes for the ledger, so that a key that took another's place has rested.
    #[allow(
        dead_code,
        reason = "not every test crate that takes this file needs it"
    )]
    pub(crate) fn heartbeats(&mut self, count: u64) {
        self.born += count;
    }

    /// What a path holds.
    pub(crate) fn get(&mut self, path: &str) -> Option<Vec<u8>> {
        if let Some(digest) = path.strip_prefix("/device/v1/payloads/") {
            return self.payloads.get(&digest.parse().ok()?).cloned();
        }
        let release = path.strip_prefix("/device/v1/releases/")?;
        match release.strip_suffix("/proofs") {
            None => self.manifests.get(&release.parse().ok()?).cloned(),
            Some(digest) => self.proofs(&digest.parse().ok()?),
        }
    }

    fn proofs(&mut self, digest: &Digest) -> Option<Vec<u8>> {
        let signed = self.manifests.get(digest)?;
        let signers: Vec<Handle> = SignedManifest::decode(signed)
            .unwrap()
            .signatures()
            .map(|signature| signature.signer)
            .collect();
        let ledger = &mut self.shop.ledger;
        let org = ledger.world.org;
        let release = ledger.prove(&StateKey::release(&org, digest));
        let policy = ledger.prove(&StateKey::art_policy(&org));
        let signers: Vec<Vec<u8>> = signers
            .iter()
            .map(|signer| ledger.prove(&StateKey::record(signer)))
            .collect();
        Some(encode_proofs(&release, &policy, &signers).unwrap())
    }

    /// A provisioning file for servers at these addresses; with a factory key of this number, or the organisation's public one.
    pub(crate) fn provisioning(&mut self, key: Option<u64>, urls: &[&str]) -> Vec<u8> {
        let org = self.shop.ledger.world.org;
        let ledger = &mut self.shop.ledger;
        let genesis = Genesis::decode(&ledger.world.document).unwrap();
        let mut trust = Trust::from_genesis(&genesis).unwrap();
        let checkpoint = ledger.checkpoint();
        let checkpoint = trust.check(&checkpoint).unwrap();
        trust.advance(&checkpoint);
        let key = key.map(|number| {
            let key = FactoryKey {
                purpose: Purpose::Pre,
                suite: Suite::Curve25519,
                id: KusabiId::new([u8::try_from(number).unwrap(); 16]),
                seed: Seed::new([u8::try_from(number).unwrap(); 32]),
            };
            let pre = TestKey {
                id: key.id.clone(),
                handle: key.id.handle(),
                purpose: Purpose::Pre,
                key: key.soft_key().unwrap(),
            };
            if ledger.record(&pre.handle).is_none() {
                ledger.register(&[&pre]);
            }
            self.shop.devices.entry((org, pre.handle)).or_insert(0);
            key
        });
        let server = ServerRecord {
            handle: self.server.key.handle,
            keys: self.server.key.public_keys(),
        };
        let servers: ArrayVec<Address, 4> = urls
            .iter()
            .map(|url| Address {
                url: ArrayString::from(url).unwrap(),
                server,
            })
            .collect();
        let provisioning = Provisioning {
            trust,
            org: self.shop.ledger.world.org,
            key_origin: KeyOrigin::Device,
            serial: ArrayString::from("CAM-0001").unwrap(),
            servers,
            key,
        };
        let mut bytes = vec![0; Provisioning::LEN_MAX];
        let len = provisioning.encode(&mut bytes).unwrap();
        bytes.truncate(len);
        bytes
    }

    /// Signs, publishes and stores a release whose one payload is a tar archive of these files.
    pub(crate) fn release(
        &mut self,
        version: &str,
        counter: u64,
        files: &[(&str, &[u8])],
    ) -> Digest {
        self.release_of(version, counter, "tar", archive(files))
    }

    /// The same of a payload of another format.
    pub(crate) fn release_of(
        &mut self,
        version: &str,
        counter: u64,
        format: &str,
        payload: Vec<u8>,
    ) -> Digest {
        let content = Content::new(payload.len() as u64, Digest::of(&payload)).unwrap();
        let parts = ManifestParts {
            org: self.shop.ledger.world.org,
            name: "camera".into(),
            version: version.into(),
            channel: "stable".into(),
            counter,
            minimum_counter: counter,
            targets: vec![TargetParts {
                device_type: TYPE.into(),
                inventory: None,
                payloads: vec![0],
            }],
            payloads: vec![PayloadParts {
                name: "system".into(),
                format: format.into(),
                content,
                chunk_index: self.index(&payload),
            }],
            documents: self.documents.iter().map(content_of).collect(),
        };
        let manifest = parts.encode().unwrap();
        let digest = Digest::of(&manifest);
        let world = &self.shop.ledger.world;
        let mut draft = ReleaseDraft::new(manifest).unwrap();
        draft
            .sign(&world.chain, self.art.handle, &self.art.key)
            .unwrap();
        let action = Action::Publish {
            org: world.org,
            policy_version: world.policy().unwrap().version,
            digest,
            minimum_counter: counter,
        };
        let publish = world.sign(action, &[&self.art]);
        self.shop.ledger.submit(publish).unwrap();
        self.manifests.insert(digest, draft.encode().unwrap());
        self.payloads.insert(content.digest(), payload);
        for (_, bytes) in &self.documents {
            self.payloads.insert(Digest::of(bytes), bytes.clone());
        }
        digest
    }

    /// Index and pack of a payload, if releases here have them.
    fn index(&mut self, payload: &[u8]) -> Option<Content> {
        let sizes = self.cuts?;
        let other = self.index_of.take();
        let payload = other.as_deref().unwrap_or(payload);
        let mut pack = Vec::new();
        let made = kusabi_chunks::pack(payload, &sizes, &mut pack, |_| {});
        let (index, head) = made.unwrap();
        let content = Content::new(index.len() as u64, Digest::of(&index)).unwrap();
        self.payloads.insert(content.digest(), index);
        self.payloads.insert(head.pack().digest(), pack);
        Some(content)
    }

    #[allow(
        dead_code,
        reason = "not every test crate that takes this file withdraws"
    )]
    pub(crate) fn withdraw(&mut self, digest: Digest) {
        let world = &self.shop.ledger.world;
        let action = Action::WithdrawRelease {
            org: world.org,
            digest,
            version: 1,
        };
        let withdraw = world.sign(action, &[&self.art]);
        self.shop.ledger.submit(withdraw).unwrap();
    }

    /// Gives the device 0 an order; its ID.
    pub(crate) fn order(&mut self, task: Task) -> u64 {
        self.orders += 1;
        let orders = self.shop.orders.entry(0).or_default();
        orders.push(order(self.orders, task));
        self.orders
    }

    /// How an order ended, as the device told it last.
    pub(crate) fn outcome(
        &self,
        order: u64,
    ) -> Option<kusabi_core::protocol::request::OutcomeCode> {
        let mut outcomes = self.shop.outcomes.iter().rev();
        outcomes
            .find(|outcome| outcome.order == order)
            .map(|outcome| outcome.code)
    }
}

fn content_of((kind, bytes): &(String, Vec<u8>)) -> (String, Content) {
    let content = Content::new(bytes.len() as u64, Digest::of(bytes)).unwrap();
    (kind.clone(), content)
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}
