//! A session without a device: for what core's device never says.

use crate::site::{Server, Site};
use kusabi_core::{
    cbor::{ToCbor as _, decode_canonical},
    id::{Epoch, Height, SessionId},
    protocol::{
        Floor,
        frame::{AnswerFrame, RequestFrame, seal_request},
        hello::{Hello, Welcome},
        noise::{Initiator, Prologue},
        reply::{Answer, Reply, SealedProblem},
        request::{Ask, Request},
        seal::{Direction, SessionKeys},
        tripwire::{Link, Value},
    },
};
use kusabi_ledger::testing::TestKey;
use kusabi_sim::random::Random;

/// Where it stands: at the beginning.
const FLOOR: Floor = Floor {
    epoch: Epoch::ZERO,
    height: Height::ZERO,
};

pub(crate) struct Raw {
    session: SessionId,
    keys: SessionKeys,
    pub(crate) handshake: [u8; 32],
    counter: u64,
    link: Link,
}

/// What an answer came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Problem(SealedProblem),
    Received(u32),
    Orders(Vec<kusabi_core::protocol::reply::Order>),
    /// A freshness receipt, with its branch.
    Fresh(Vec<u8>, Vec<u8>),
    Pending,
    /// The record is another owner's, whose servers may be there.
    Moved(Option<String>),
    Other,
    /// No reply of the session.
    Outside(Vec<u8>),
}

impl Site {
    /// A session of this key, with the link of a device that has never spoken.
    pub(crate) async fn raw(&self, key: &TestKey) -> Raw {
        let link = Link {
            value: Value::ZERO,
            next_tag: [1; 16],
        };
        self.raw_with(key, link).await
    }

    /// A hello of this key, and what opens its answer.
    fn greet(&self, key: &TestKey) -> (Vec<u8>, Initiator) {
        let server = self.known_servers()[0];
        let suite = server.keys.suite();
        let chain = self.chain.lock().world.chain;
        let hello = Hello::Session {
            handle: key.handle,
            floor: FLOOR,
        }
        .to_cbor_vec();
        let prologue = Prologue::new(&chain, suite, &server.handle, None);
        let peer = server.keys.agreement_key().unwrap();
        let mut noise = vec![0; 1024];
        let mut rng = Random::new(4711);
        let (initiator, len) = Initiator::start(
            &key.key,
            &peer,
            prologue.as_bytes(),
            &mut rng,
            &hello,
            &mut noise,
        )
        .unwrap();
        let frame = RequestFrame::Hello {
            suite,
            cookie: None,
            noise: &noise[..len],
        };
        (frame.to_cbor_vec(), initiator)
    }

    /// A hello of this key.
    pub(crate) fn hello(&self, key: &TestKey) -> Vec<u8> {
        self.greet(key).0
    }

    pub(crate) async fn raw_with(&self, key: &TestKey, link: Link) -> Raw {
        let (hello, initiator) = self.greet(key);
        let answer = self.server.post(&hello).await;
        let AnswerFrame::Welcome(welcome) = AnswerFrame::decode(&answer).unwrap() else {
            panic!("no welcome: {answer:?}");
        };
        let mut payload = vec![0; welcome.len()];
        let (transport, len) = initiator.finish(&key.key, welcome, &mut payload).unwrap();
        let Welcome::Session { session, key, .. } = decode_canonical(&payload[..len]).unwrap()
        else {
            panic!("no session");
        };
        Raw {
            session,
            keys: SessionKeys::derive(&transport, &key),
            handshake: transport.hash,
            counter: 0,
            link,
        }
    }
}

impl Raw {
    /// The next request, sealed.
    pub(crate) fn request(&mut self, ask: Ask<'_>) -> Vec<u8> {
        self.request_at(FLOOR, ask)
    }

    fn request_at(&mut self, floor: Floor, ask: Ask<'_>) -> Vec<u8> {
        self.counter += 1;
        let request = Request {
            link: (self.counter == 1).then_some(self.link),
            floor,
            ask,
        };
        let mut bytes = vec![0; 8192];
        let len = seal_request(
            &self.keys,
            &self.session,
            self.counter,
            &request,
            &mut bytes,
        );
        bytes.truncate(len.unwrap());
        bytes
    }

    /// Opens an answer.
    pub(crate) fn told(&self, answer: &[u8]) -> Told {
        let AnswerFrame::Reply(sealed) = AnswerFrame::decode(answer).unwrap() else {
            return Told::Outside(answer.to_vec());
        };
        let mut sealed = sealed.to_vec();
        let plaintext = self
            .keys
            .open(Direction::Reply, &self.session, self.counter, &mut sealed)
            .unwrap();
        let reply: Reply<'_> = decode_canonical(plaintext).unwrap();
        match reply.answer {
            Answer::Problem { problem, .. } => Told::Problem(problem),
            Answer::Received { offset, .. } => Told::Received(offset),
            Answer::Orders { orders, .. } => Told::Orders(orders.to_vec()),
            Answer::Fresh {
                receipt, branch, ..
            } => Told::Fresh(receipt.to_vec(), branch.to_vec()),
            Answer::Pending { .. } => Told::Pending,
            Answer::Moved { hint } => Told::Moved(hint.map(ToOwned::to_owned)),
            _ => Told::Other,
        }
    }

    /// Asks as a device whose floor is at this height.
    pub(crate) async fn ask_at(&mut self, server: &Server, height: Height, ask: Ask<'_>) -> Told {
        let floor = Floor { height, ..FLOOR };
        let request = self.request_at(floor, ask);
        let answer = server.post(&request).await;
        self.told(&answer)
    }

    pub(crate) async fn ask(&mut self, server: &Server, ask: Ask<'_>) -> Told {
        let request = self.request(ask);
        let answer = server.post(&request).await;
        self.told(&answer)
    }

    /// The problem that a succession gets.
    pub(crate) async fn succeed(
        &mut self,
        server: &Server,
        transaction: &[u8],
    ) -> Option<SealedProblem> {
        match self.ask(server, Ask::Succeed(transaction)).await {
            Told::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}
