//! What the device makes of answers: everything is checked before anything changes (`apply`).

use arrayvec::{ArrayString, ArrayVec};
use rand_core::CryptoRng;

use super::trial::Candidate;
use super::{Asked, Device, DeviceError, Job, Phase, Session, Step};
use crate::cbor::decode_canonical;
use crate::checkpoint::VerifiedCheckpoint;
use crate::device::outbox::{Event, ProvenRelease, SignedReceipt, Stop};
use crate::device::trust::{Trust, TrustError};
use crate::device::{Identity, KeyRing, Server, URL_LEN_MAX};
use crate::id::{Handle, KusabiId, OrgId, StateKey};
use crate::keystore::{KeyStore, Seed};
use crate::protocol::Steps;
use crate::protocol::frame::{AnswerFrame, Problem};
use crate::protocol::hello::{Enrolment, Welcome};
use crate::protocol::noise::NoiseError;
use crate::protocol::reply::{Answer, ORDERS_MAX, Order, Reply, SealedProblem};
use crate::protocol::seal::{Direction, SessionKeys};
use crate::receipt::{Heard, Receipt, Signer, Speaker};
use crate::row::{Record, Release, ReleaseStatus, RowBytes, Status};
use crate::suite::{PublicKeys, Purpose};

/// What a reply says, once it is checked.
pub(super) enum Finding {
    /// A receipt, and whether the server's record is as it must be.
    Fresh(bool),
    ServerProven,
    ServerEnded,
    /// The device's own record.
    Own(Own),
    /// Somebody says that the device has another owner.
    Moved(ArrayString<URL_LEN_MAX>),
    Successor(Successor),
    Release(Result<ProvenRelease, Stop>),
    Adopt(Option<Server>),
    Key(KusabiId, Seed),
    Orders(u32, ArrayVec<Order, ORDERS_MAX>, Option<SignedReceipt>),
    Pending(u16),
    Received(u32, Option<SignedReceipt>),
    Problem(SealedProblem, u16),
}

/// What the ledger holds under the current key's handle.
#[derive(Clone, Copy)]
pub(super) enum Own {
    /// The device's key, in force: whose it is, and how often it has come to another owner.
    InForce(OrgId, u8),
    /// The same, not in force any more.
    Ended(OrgId),
    /// No record, or that of another key.
    Other,
}

/// What the ledger holds under the next key's handle.
#[derive(Clone, Copy)]
pub(super) enum Successor {
    /// As in [`Own`].
    Follows(OrgId, u8),
    Ended(Status),
    Taken,
    Absent,
}

impl Device {
    pub(super) fn answered<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        let frame = AnswerFrame::decode(bytes)?;
        match (frame, &self.phase) {
            (AnswerFrame::Welcome(noise), Phase::Greeting { .. }) => self.welcomed(keys, noise),
            (AnswerFrame::Retry(cookie), Phase::Greeting { retried, .. }) => {
                if *retried {
                    self.fail(rng);
                } else {
                    self.greet(keys, rng, Some(cookie));
                }
                Ok(())
            }
            (
                AnswerFrame::Redirect {
                    steps,
                    server,
                    proof,
                },
                Phase::Seeking { .. },
            ) => self.redirected(rng, &steps, server, proof),
            (AnswerFrame::Reply(sealed), Phase::Session(session)) if session.flight.is_some() => {
                let start = bytes.len() - sealed.len();
                let sealed = bytes.get_mut(start..).unwrap_or_default();
                self.replied(keys, rng, sealed)
            }
            (AnswerFrame::Problem { problem, wait_secs }, phase) => {
                let waits = match phase {
                    Phase::Idle => false,
                    Phase::Greeting { .. } | Phase::Seeking { .. } => true,
                    Phase::Session(session) => session.flight.is_some(),
                };
                if !waits {
                    return Err(DeviceError::Unexpected);
                }
                self.hinted(problem, wait_secs, rng);
                Ok(())
            }
            _ => Err(DeviceError::Unexpected),
        }
    }

    /// An unauthenticated problem: where and when to try next, no more.
    fn hinted(&mut self, problem: Problem, wait_secs: u16, rng: &mut impl CryptoRng) {
        self.event(Event::Problem(problem));
        let greeting = matches!(self.phase, Phase::Greeting { .. });
        match problem {
            // Whoever named this key and cannot read what is made for it is asked no more now.
            Problem::Unreadable if greeting && self.candidate.is_none() => self.seek(),
            // Two keys, and one of them counts: the other one is tried at once, and then from the beginning.
            Problem::Refused if greeting && self.kept.next.is_some() && !self.as_next => {
                self.as_next = true;
                self.phase = Phase::Idle;
            }
            Problem::UnknownSession if self.failures == 0 => {
                self.failures = 1;
                self.phase = Phase::Idle;
                self.pause = self.now.plus_ms(1000);
            }
            _ => {
                self.as_next = false;
                // Whoever says "registered" and then refuses is asked again from the beginning.
                self.enrolled = false;
                self.fail(rng);
                let told = self.now.plus_ms(u64::from(wait_secs) * 1000);
                self.pause = self.pause.max(told);
            }
        }
    }

    fn welcomed<K: KeyRing>(&mut self, keys: &K, noise: &[u8]) -> Result<(), DeviceError> {
        let Phase::Greeting { initiator, .. } = &self.phase else {
            return Err(DeviceError::Unexpected);
        };
        let identity = match self.kept.next {
            Some(next) if self.as_next => next,
            _ => self.kept.current,
        };
        let enrols = !self.kept.registered && !self.enrolled;
        let (_, key) = keys.key(identity.slot).ok_or(DeviceError::Misuse)?;
        // The hello is of no more use: each attempt makes its own.
        let (transport, len) = initiator
            .finish(key, noise, &mut self.out)
            .map_err(|error| match error {
                NoiseError::KeyStore(error) => DeviceError::KeyStore(error),
                _ => DeviceError::Unauthentic,
            })?;
        let payload = self.out.get(..len).unwrap_or_default();
        let welcome: Welcome<'_> = decode_canonical(payload).map_err(|_| DeviceError::Answer)?;
        match welcome {
            Welcome::Session {
                session,
                key,
                proof,
            } if !enrols => {
                // A proof that cannot be used here, being of a later epoch perhaps, is asked for again, with steps.
                let proof = proof.filter(|_| !self.meets_stranger());
                let proven =
                    proof.and_then(|proof| self.prove_server(&self.kept.trust, proof).ok());
                if matches!(proven, Some((false, _))) {
                    self.server_ended();
                    return Ok(());
                }
                let keys = SessionKeys::derive(&transport, &key);
                if let Some((_, checkpoint)) = &proven {
                    self.rise(checkpoint);
                }
                let proven = proven.is_some();
                self.phase = Phase::Session(Session {
                    id: session,
                    keys,
                    handshake: transport.hash,
                    counter: 0,
                    opened: self.now,
                    identity,
                    proven,
                    vouched: false,
                    asks_where: false,
                    flight: None,
                });
                if proven {
                    self.connected();
                }
                Ok(())
            }
            Welcome::Enrolment { status, wait_secs } if enrols => {
                self.phase = Phase::Idle;
                self.failures = 0;
                self.event(Event::Enrolment(status));
                self.enrolled = status == Enrolment::Registered;
                if !self.enrolled {
                    let secs = u64::from(wait_secs.max(if status == Enrolment::Refused {
                        3600
                    } else {
                        10
                    }));
                    self.pause = self.now.plus_ms(secs * 1000);
                }
                Ok(())
            }
            _ => Err(DeviceError::Answer),
        }
    }

    fn redirected(
        &mut self,
        rng: &mut impl CryptoRng,
        steps: &Steps<'_>,
        handle: Handle,
        proof: Option<&[u8]>,
    ) -> Result<(), DeviceError> {
        let followed = self.kept.trust.follow(steps)?;
        let trust = followed.as_ref().unwrap_or(&self.kept.trust);
        let found = match proof {
            None if followed.is_none() => return Err(DeviceError::Answer),
            None => None,
            Some(proof) => {
                let (row, checkpoint) = trust.prove(proof, &StateKey::record(&handle))?;
                let candidate = self.ps(row, handle).ok_or(DeviceError::NoServer)?;
                // A device that has no record has come to nobody.
                if candidate.org != self.kept.org && !self.kept.registered {
                    return Err(DeviceError::NoServer);
                }
                Some((candidate, checkpoint))
            }
        };
        if let Some(trust) = followed {
            self.kept.trust = trust;
        }
        match found {
            None => self.seek(),
            Some((candidate, checkpoint)) => {
                self.rise(&checkpoint);
                self.put_on_trial(candidate, rng);
            }
        }
        self.steps.insert(0, Step::Persist);
        Ok(())
    }

    fn replied<K: KeyRing>(
        &mut self,
        keys: &K,
        rng: &mut impl CryptoRng,
        sealed: &mut [u8],
    ) -> Result<(), DeviceError> {
        let Phase::Session(session) = &self.phase else {
            return Err(DeviceError::Unexpected);
        };
        let asked = session.flight.ok_or(DeviceError::Unexpected)?.asked;
        let plaintext = session
            .keys
            .open(Direction::Reply, &session.id, session.counter, sealed)
            .ok_or(DeviceError::Unauthentic)?;
        let reply: Reply<'_> = decode_canonical(plaintext).map_err(|_| DeviceError::Answer)?;
        let followed = self.kept.trust.follow(&reply.steps)?;
        let trust = followed.as_ref().unwrap_or(&self.kept.trust);
        let (finding, checkpoint) = self.find(trust, keys, asked, &reply)?;

        // Checked. From here on nothing fails.
        let walked = followed.is_some();
        if let Some(trust) = followed {
            self.kept.trust = trust;
        }
        if let Some(checkpoint) = &checkpoint {
            self.rise(checkpoint);
        }
        let Phase::Session(session) = &mut self.phase else {
            return Err(DeviceError::Unexpected);
        };
        session.flight = None;
        let first = session.counter == 1;
        let served = !matches!(finding, Finding::Problem(..) | Finding::Moved(_));
        // Whatever a stranger answers, the device has found nobody to speak to yet.
        if served && !self.meets_stranger() {
            self.failures = 0;
        }
        // A server on trial moves the tripwire only by what makes it the device's server.
        let adopts = !self.meets_stranger() && matches!(finding, Finding::Fresh(true));
        let confirmed = first && served && (!self.is_on_trial() || adopts);
        if confirmed {
            if let Some(link) = self.kept.link() {
                self.kept.value = link.next();
            }
            self.kept.pending = None;
        }
        if confirmed || walked {
            self.push(Step::Persist);
        }
        self.apply(rng, asked, finding, first, walked);
        Ok(())
    }

    /// Checks an answer against what was asked.
    fn find<K: KeyRing>(
        &self,
        trust: &Trust,
        keys: &K,
        asked: Asked,
        reply: &Reply<'_>,
    ) -> Result<(Finding, Option<VerifiedCheckpoint>), DeviceError> {
        let found = match (&reply.answer, asked) {
            (Answer::Problem { problem, wait_secs }, _) => Finding::Problem(*problem, *wait_secs),
            (Answer::Pending { wait_secs }, _) => Finding::Pending(*wait_secs),
            (Answer::Moved { hint }, _) => {
                let hint = ArrayString::from(hint.unwrap_or_default());
                Finding::Moved(hint.unwrap_or_default())
            }
            (Answer::Key { id, seed }, Asked::Key) => Finding::Key(id.clone(), seed.clone()),
            (Answer::Received { offset, receipt }, Asked::Report) => {
                let total = self.report.as_ref().map(|report| report.total);
                let whole = total == Some(*offset);
                let heard = self.reported.as_ref().filter(|_| whole);
                if whole && heard.is_none() {
                    return Err(DeviceError::Answer);
                }
                Finding::Received(*offset, self.find_receipt(heard, *receipt)?)
            }
            (
                Answer::Orders {
                    next_poll_secs,
                    orders,
                    checkpoint,
                    receipt,
                },
                Asked::Poll { .. },
            ) => {
                let checkpoint = checkpoint.map(|bytes| trust.check(bytes)).transpose()?;
                let heard = Heard::outcomes(&self.told);
                let receipt = self.find_receipt(heard.as_ref(), *receipt)?;
                let finding = Finding::Orders(*next_poll_secs, orders.clone(), receipt);
                return Ok((finding, checkpoint));
            }
            (
                Answer::Fresh {
                    receipt,
                    branch,
                    proof,
                },
                Asked::Fresh { nonce, .. },
            ) => {
                let receipt = trust.vouched(receipt, branch, &nonce)?;
                let (proven, checkpoint) = self.prove_server(trust, proof)?;
                receipt
                    .check_checkpoint(&checkpoint)
                    .map_err(TrustError::Freshness)?;
                return Ok((Finding::Fresh(proven), Some(checkpoint)));
            }
            (Answer::Proof(proof), _) => {
                let (finding, checkpoint) = self.find_proof(trust, keys, asked, proof)?;
                return Ok((finding, Some(checkpoint)));
            }
            _ => return Err(DeviceError::Answer),
        };
        Ok((found, None))
    }

    /// A receipt comes for what was told and for nothing else, signed by the session's server.
    fn find_receipt(
        &self,
        heard: Option<&Heard>,
        receipt: Option<Receipt>,
    ) -> Result<Option<SignedReceipt>, DeviceError> {
        let (heard, receipt) = match (heard, receipt) {
            (None, None) => return Ok(None),
            (Some(heard), Some(receipt)) => (heard, receipt),
            _ => return Err(DeviceError::Answer),
        };
        let (Phase::Session(session), Some(Candidate { server, .. })) = (&self.phase, self.peer())
        else {
            return Err(DeviceError::Unexpected);
        };
        // Still the request's: only an answer lifts the floor, and this is the one.
        let from = Speaker {
            org: self.kept.org,
            device: session.identity.handle,
            height: self.kept.trust.floor().height,
        };
        let text = heard.text(&from, receipt.at_ms);
        let signer = Signer {
            chain: self.kept.trust.anchor().chain(),
            handle: server.handle,
            purpose: Purpose::Ps,
        };
        let key = server.keys.verification_key().ok_or(DeviceError::Answer)?;
        signer
            .check(&key, &text, &receipt.signature)
            .map_err(|_| DeviceError::Unauthentic)?;
        Ok(Some(SignedReceipt {
            statement: match heard {
                Heard::Report(statement) => Some(*statement),
                Heard::Outcomes(_) => None,
            },
            text,
            signer: server.handle,
            signature: receipt.signature,
        }))
    }

    fn find_proof<K: KeyRing>(
        &self,
        trust: &Trust,
        keys: &K,
        asked: Asked,
        proof: &[u8],
    ) -> Result<(Finding, VerifiedCheckpoint), DeviceError> {
        let record = |handle: &Handle| trust.prove(proof, &StateKey::record(handle));
        Ok(match asked {
            Asked::Server => {
                let (proven, checkpoint) = self.prove_server(trust, proof)?;
                let finding = if proven {
                    Finding::ServerProven
                } else {
                    Finding::ServerEnded
                };
                (finding, checkpoint)
            }
            Asked::Own => {
                let current = self.kept.current;
                let (row, checkpoint) = record(&current.handle)?;
                let mine = self.own(keys, &current, &self.kept.bound, row)?;
                let own = match mine {
                    Some((true, record)) if record.is_active() => {
                        Own::InForce(record.owner(), record.moves())
                    }
                    Some((true, record)) => Own::Ended(record.owner()),
                    _ => Own::Other,
                };
                (Finding::Own(own), checkpoint)
            }
            Asked::Succeed | Asked::Successor => {
                let next = self.kept.next.ok_or(DeviceError::Answer)?;
                let (row, checkpoint) = record(&next.handle)?;
                // It was put there for whom the device took as its owner, and may have come to another one with that.
                let finding = match self.own(keys, &next, &self.kept.org, row)? {
                    None => Successor::Absent,
                    Some((true, record))
                        if record.predecessor() == Some(self.kept.current.handle) =>
                    {
                        if record.is_active() {
                            Successor::Follows(record.owner(), record.moves())
                        } else {
                            Successor::Ended(record.status())
                        }
                    }
                    Some(_) => Successor::Taken,
                };
                (Finding::Successor(finding), checkpoint)
            }
            Asked::Job(Job::Update { digest, .. }) => {
                let org = self.kept.org;
                let (row, checkpoint) = trust.prove(proof, &StateKey::release(&org, &digest))?;
                let release = row.and_then(|row| Release::decode(&row).ok());
                let finding = match release {
                    Some(release) if release.org() == org && release.digest() == digest => {
                        match release.status() {
                            ReleaseStatus::Published => Ok(ProvenRelease {
                                release,
                                height: checkpoint.header().height,
                            }),
                            ReleaseStatus::Withdrawn => Err(Stop::Withdrawn),
                        }
                    }
                    _ => Err(Stop::Unlisted),
                };
                (Finding::Release(finding), checkpoint)
            }
            Asked::Job(Job::Adopt { server, .. }) => {
                let (row, checkpoint) = record(&server)?;
                let owned = self.ps(row, server);
                let owned = owned.filter(|found| found.org == self.kept.org);
                (Finding::Adopt(owned.map(|found| found.server)), checkpoint)
            }
            Asked::Key
            | Asked::Report
            | Asked::Poll { .. }
            | Asked::Fresh { .. }
            | Asked::Where => {
                return Err(DeviceError::Answer);
            }
        })
    }

    /// Whether a proof shows the record of the session's server as it must be.
    fn prove_server(
        &self,
        trust: &Trust,
        proof: &[u8],
    ) -> Result<(bool, VerifiedCheckpoint), DeviceError> {
        let peer = self.peer().ok_or(DeviceError::Misuse)?;
        let handle = peer.server.handle;
        let (row, checkpoint) = trust.prove(proof, &StateKey::record(&handle))?;
        Ok((self.ps(row, handle) == Some(peer), checkpoint))
    }

    /// A server key and whose it is, if the row is that of an active `ps` of a suite that the device speaks.
    fn ps(&self, row: Option<RowBytes>, handle: Handle) -> Option<Candidate> {
        let record = Record::decode(&row?).ok()?;
        let serves = record.is_active()
            && record.purpose() == Purpose::Ps
            && record.keys().suite() == self.suite();
        serves.then(|| Candidate {
            server: Server {
                handle,
                keys: *record.keys(),
            },
            org: record.owner(),
        })
    }

    /// A proven record under one of the device's own handles, and whether it holds the device's key. It does so for the device's
    /// owner; or for another one, to whom it has come from the organisation that the key was made for (`bound`). The record says who
    /// owned it first, and whose word that was: who copies the device's entry from a transaction and registers it first has no
    /// device by that, nor has the one to whom it hands that on.
    fn own<K: KeyRing>(
        &self,
        keys: &K,
        identity: &Identity,
        bound: &OrgId,
        row: Option<RowBytes>,
    ) -> Result<Option<(bool, Record)>, DeviceError> {
        let Some(row) = row else { return Ok(None) };
        let record = Record::decode(&row).map_err(|_| DeviceError::Answer)?;
        let (id, key) = keys.key(identity.slot).ok_or(DeviceError::Misuse)?;
        let public: PublicKeys = key.public_keys();
        let chain = self.kept.trust.anchor().chain();
        let mine = *record.keys() == public
            && record.purpose() == identity.purpose
            && (record.owner() == self.kept.org
                || (record.moves() > 0 && record.was_made_for(bound, id, &chain)));
        Ok(Some((mine, record)))
    }
}
