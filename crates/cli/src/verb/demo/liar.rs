//! A server that was seized, with everything that it held: its `ps` key, its database, its writer key. It holds no vote key.
//! It speaks the protocol as the honest one does, and lies where it pays.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrayvec::ArrayVec;
use axum::{Router, body::Bytes, extract::State, routing::post};
use getrandom::SysRng;
use kusabi_api::{HttpLedger, Ledger as _};
use kusabi_core::{
    freshness::Batch,
    id::{ChainId, Digest, Epoch, Handle, Height, Nonce, OrgId, StateKey},
    proof::{Claim, Proof},
    protocol::{
        Steps, Time,
        frame::{AnswerFrame, Problem, RequestFrame},
        hello::Hello,
        reply::{Answer, Order, Reply, Task},
        request::{Ask, Outcome, Subject},
    },
    receipt::{Heard, Receipt, Signer},
    row::Record,
    server::{Admitted, Greeting, Incoming, Limits, Received, ServerKey, Sessions},
    suite::{Purpose, Suite},
    tx::{Action, Draft, Entry, Transaction},
};
use rand_core::UnwrapErr;
use tokio::runtime::Runtime;

use super::stage::broke;
use crate::{failure::Result, keyfile::KeyFile};

/// What it tries.
#[derive(Clone)]
pub(super) enum Lie {
    /// An order, and this old or foreign proof for what the device asks about it.
    Shown { task: Task, proof: Vec<u8> },
    /// An order, and the newest proof of this row, with `new` in the place of `old`.
    Forged {
        task: Task,
        row: StateKey,
        old: Vec<u8>,
        new: Vec<u8>,
    },
    /// A key of its own under the handle that the device chose for its device key, put on the ledger with the stolen writer key.
    MintedAct,
}

/// What it holds.
pub(super) struct Loot {
    pub(super) chain: ChainId,
    pub(super) org: OrgId,
    pub(super) ps: KeyFile,
    pub(super) writer: KeyFile,
    /// Address of the ledger, which is honest.
    pub(super) ledger: String,
}

/// A running liar.
pub(super) struct Liar {
    // Dropped first: nothing answers any more.
    _runtime: Runtime,
}

struct Mind {
    loot: Loot,
    lie: Lie,
    ledger: HttpLedger,
    start: Instant,
    sessions: Mutex<Sessions>,
    /// The key that it stands in the device's place.
    own: KeyFile,
}

impl Liar {
    /// Takes the server's address and begins to lie.
    pub(super) fn start(address: SocketAddr, loot: Loot, lie: Lie) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(broke)?;
        let ledger = HttpLedger::new(&loot.ledger).map_err(broke)?;
        let own = KeyFile::generate(Purpose::Act, Suite::Curve25519, &mut UnwrapErr(SysRng))
            .map_err(broke)?;
        let mind = Arc::new(Mind {
            loot,
            lie,
            ledger,
            start: Instant::now(),
            sessions: Mutex::new(Sessions::new(Limits::default())),
            own,
        });
        let listener = TcpListener::bind(address).map_err(broke)?;
        listener.set_nonblocking(true).map_err(broke)?;
        let router = Router::new()
            .route("/device/v1", post(answer))
            .with_state(mind);
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(broke)?;
            tokio::spawn(async move { axum::serve(listener, router).await });
            Ok::<_, crate::failure::Failure>(())
        })?;
        Ok(Self { _runtime: runtime })
    }
}

async fn answer(State(mind): State<Arc<Mind>>, request: Bytes) -> Vec<u8> {
    let said = mind.say(&request).await;
    said.unwrap_or_else(|problem| {
        let frame = AnswerFrame::Problem {
            problem,
            wait_secs: 0,
        };
        let mut bytes = vec![0; 64];
        let len = frame.encode(&mut bytes).unwrap_or_default();
        bytes.truncate(len);
        bytes
    })
}

impl Mind {
    fn now(&self) -> Time {
        Time::from_ms(u64::try_from(self.start.elapsed().as_millis()).unwrap_or_default())
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the honest ledger says of a row.
    async fn look(&self, key: StateKey) -> std::result::Result<Bytes, Problem> {
        self.ledger
            .lookup(key, Height::ZERO)
            .await
            .map_err(|_| Problem::Busy)
    }

    /// The honest ledger's steps from an epoch to the newest.
    async fn way(&self, from: Epoch) -> std::result::Result<Vec<Vec<u8>>, Problem> {
        let steps = self.ledger.walk(from).await.map_err(|_| Problem::Busy)?;
        let steps = steps.into_iter().map(|step| {
            let kind: kusabi_core::step::StepKind = step.kind.into();
            [&[kind as u8], &step.bytes[..]].concat()
        });
        Ok(steps.collect())
    }

    /// A record, as it believes the ledger without checking: it is the thief.
    async fn record(&self, handle: &Handle) -> std::result::Result<Option<Record>, Problem> {
        let proof = self.look(StateKey::record(handle)).await?;
        let proof = Proof::decode(&proof).map_err(|_| Problem::Busy)?;
        Ok(match proof.claim() {
            Claim::Present { row, .. } => Record::decode(row).ok(),
            Claim::Between { .. } | Claim::Empty { .. } => None,
        })
    }

    async fn say(&self, request: &[u8]) -> std::result::Result<Vec<u8>, Problem> {
        match RequestFrame::decode(request).map_err(|_| Problem::Malformed)? {
            RequestFrame::Hello {
                suite,
                cookie,
                noise,
            } => self.greet(suite, cookie.as_ref(), noise).await,
            RequestFrame::Message {
                session,
                counter,
                sealed,
            } => {
                let receipt = self
                    .sessions()
                    .receive(self.now(), &session, counter, sealed)?;
                match receipt {
                    Received::Repeat(answer) => Ok(answer),
                    Received::Working => Err(Problem::Busy),
                    Received::New(incoming) => self.serve(&incoming).await,
                }
            }
            RequestFrame::Seek { .. } => Err(Problem::Busy),
        }
    }

    async fn greet(
        &self,
        suite: Suite,
        cookie: Option<&[u8; 16]>,
        noise: &[u8],
    ) -> std::result::Result<Vec<u8>, Problem> {
        let handle = self.loot.ps.handle();
        let key = ServerKey {
            chain: self.loot.chain,
            handle,
            key: self.loot.ps.key(),
        };
        let mut rng = UnwrapErr(SysRng);
        let greeting = Greeting::read(&key, suite, cookie, noise, &mut rng)
            .map_err(|refusal| refusal.problem())?;
        let device = match greeting.hello().map_err(|refusal| refusal.problem())? {
            Hello::Session { handle, .. } => handle,
            Hello::Enrol { .. } => return Err(Problem::Refused),
        };
        let record = self.record(&device).await?;
        let accepted = greeting
            .accept(record.as_ref(), &self.loot.org, true)
            .map_err(|refusal| refusal.problem())?;
        // Its own key's proof is a true one: without it the device would not speak with it at all. One that slept over an epoch is
        // led on first.
        let way = self.way(accepted.floor().epoch).await?;
        let proof = self.look(StateKey::record(&handle)).await?;
        let (frame, opened) = accepted
            .welcome(way.is_empty().then_some(&proof[..]), &mut rng)
            .map_err(|_| Problem::Malformed)?;
        self.sessions().open(self.now(), opened, 0);
        Ok(frame)
    }

    async fn serve(&self, incoming: &Incoming) -> std::result::Result<Vec<u8>, Problem> {
        let record = self.record(incoming.handle()).await?;
        let admitted = incoming
            .admit(record.as_ref(), &self.loot.org)
            .map_err(|_| Problem::Refused)?;
        let mut orders = ArrayVec::<Order, 4>::new();
        let receipt = match admitted.ask() {
            Some(Ask::Poll(poll)) => self.receipt(&admitted, &poll.outcomes)?,
            _ => None,
        };
        let proof: Bytes;
        let carried: (Bytes, Vec<u8>);
        let answer = match (admitted.ask(), &self.lie) {
            (Some(Ask::Poll(poll)), Lie::Shown { task, .. } | Lie::Forged { task, .. }) => {
                if poll.outcomes.is_empty() {
                    orders.push(Order {
                        id: 1 << 40,
                        task: *task,
                    });
                }
                Answer::Orders {
                    next_poll_secs: 1_800,
                    orders,
                    checkpoint: None,
                    receipt,
                }
            }
            (Some(Ask::Poll(_)), Lie::MintedAct) => Answer::Orders {
                next_poll_secs: 1_800,
                orders,
                checkpoint: None,
                receipt,
            },
            // A device that gets no receipt does nothing new: it carries nonces as the honest one did.
            (Some(Ask::Fresh(nonce)), _) => {
                carried = self.carry(*nonce).await?;
                proof = self.look(StateKey::record(&self.loot.ps.handle())).await?;
                Answer::Fresh {
                    receipt: &carried.0,
                    branch: &carried.1,
                    proof: &proof,
                }
            }
            // The device looks at its own record first: that one is as it should be.
            (Some(Ask::Prove(Subject::Record(handle))), Lie::Shown { .. } | Lie::Forged { .. })
                if handle == incoming.handle() =>
            {
                proof = self.look(StateKey::record(handle)).await?;
                Answer::Proof(&proof)
            }
            (Some(Ask::Prove(_)), Lie::Shown { proof, .. }) => Answer::Proof(proof),
            (Some(Ask::Prove(_)), Lie::Forged { row, old, new, .. }) => {
                let honest = self.look(*row).await?;
                proof = swapped(&honest, old, new).ok_or(Problem::Busy)?.into();
                Answer::Proof(&proof)
            }
            (Some(Ask::Succeed(transaction)), Lie::MintedAct) => {
                proof = self.mint(transaction).await?;
                Answer::Proof(&proof)
            }
            (Some(Ask::Prove(subject)), Lie::MintedAct) => {
                proof = self.look(subject.state_key(&self.loot.org)).await?;
                Answer::Proof(&proof)
            }
            _ => Answer::Pending { wait_secs: 60 },
        };
        let way = self.way(admitted.request().floor.epoch).await?;
        let room = way.iter().map(|step| step.len() + 8).sum();
        let mut buffer = vec![0; room];
        let steps = Steps::pack(way.iter().map(Vec::as_slice), room, &mut buffer);
        let reply = Reply { steps, answer };
        self.sessions().answer(self.now(), incoming, &reply)
    }

    /// Its receipt: the `ps` key is in its hands, and a device that gets none tells the outcome again.
    fn receipt(
        &self,
        admitted: &Admitted<'_>,
        outcomes: &[Outcome],
    ) -> std::result::Result<Option<Receipt>, Problem> {
        let ps = &self.loot.ps;
        let signer = Signer {
            chain: self.loot.chain,
            handle: ps.handle(),
            purpose: Purpose::Ps,
        };
        let from = admitted.speaker(self.loot.org);
        let heard = Heard::outcomes(outcomes);
        let receipt = heard.map(|heard| heard.receipt(&from, 0, &signer, ps.key()));
        receipt.transpose().map_err(|_| Problem::Busy)
    }

    /// The validators' receipt for a device's nonce, and the branch to it.
    async fn carry(&self, nonce: Nonce) -> std::result::Result<(Bytes, Vec<u8>), Problem> {
        let batch = Batch::new(&[nonce]).ok_or(Problem::Busy)?;
        let root = Nonce::new(batch.root().to_bytes());
        let receipt = self.ledger.freshness(root);
        let receipt = receipt.await.map_err(|_| Problem::Busy)?;
        Ok((receipt, batch.branch(0)))
    }

    /// Registers a key of its own under the handle of the key that the device is about to take.
    async fn mint(&self, transaction: &[u8]) -> std::result::Result<Bytes, Problem> {
        let transaction = Transaction::decode(transaction).map_err(|_| Problem::Malformed)?;
        let Action::Activate { act, .. } = transaction.action() else {
            return Err(Problem::Malformed);
        };
        let entry = Entry::new(
            act.handle(),
            Purpose::Act,
            self.own.public(),
            act.binding(),
            None,
        )
        .map_err(|_| Problem::Malformed)?;
        let action = Action::Register {
            org: self.loot.org,
            entries: vec![entry],
        };
        let mut draft = Draft::new(self.loot.chain, action).map_err(|_| Problem::Malformed)?;
        let writer = &self.loot.writer;
        draft
            .sign(writer.handle(), Purpose::Writer, writer.key())
            .map_err(|_| Problem::Malformed)?;
        let minted = draft.finish().map_err(|_| Problem::Malformed)?;
        self.ledger
            .submit(minted.into_bytes().into(), Duration::from_secs(10))
            .await
            .map_err(|_| Problem::Busy)?;
        self.look(StateKey::record(&act.handle())).await
    }
}

/// The proof of something else, with these bytes in the place of those.
fn swapped(proof: &[u8], old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let at = proof.windows(old.len()).position(|window| window == old)?;
    let mut forged = proof.to_vec();
    forged.get_mut(at..at + new.len())?.copy_from_slice(new);
    Some(forged)
}

/// A digest of nothing that anyone has published.
pub(super) fn unlisted() -> Digest {
    Digest::of(b"a release that the ledger does not list")
}
