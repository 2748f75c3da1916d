//! The device protocol's bytes (spec/device-protocol.md): an independent program's vectors, the ledger's own writer, bounds.

use kusabi_core::cbor::{Encoder, ToCbor, decode_canonical};
use kusabi_core::id::{ChainId, Digest, Handle, KusabiId, Nonce, OrgId, SessionId};
use kusabi_core::keystore::{KeyStore, Seed, SoftKey};
use kusabi_core::protocol::Time;
use kusabi_core::protocol::frame::{AnswerFrame, RequestFrame, seal_reply, seal_request};
use kusabi_core::protocol::hello::{Hello, Welcome};
use kusabi_core::protocol::noise::{Initiator, Prologue, Responder};
use kusabi_core::protocol::reply::{Reply, Task, Window};
use kusabi_core::protocol::request::{Ask, Request};
use kusabi_core::protocol::seal::{CommonKey, Direction, SessionKeys};
use kusabi_core::protocol::succession::{NewKey, Succession, TRANSACTION_LEN_MAX};
use kusabi_core::protocol::tripwire::{
    DISPLACED_MAX, Link, Value, Verdict, judge, judge_ended_key,
};
use kusabi_core::server::door::{Admission, Door};
use kusabi_core::suite::{Purpose, Suite};
use kusabi_core::tx::{Action, Draft, Entry, Named, Transaction};
use serde::Deserialize;

use crate::noise::Fixed;
use crate::vectors::{self, Hex};

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    suite: u8,
    pub(crate) chain: Hex,
    pub(crate) org: Hex,
    cookie: Hex,
    pub(crate) device_seed: Hex,
    pub(crate) server_seed: Hex,
    next_seed: Hex,
    device_ephemeral: Hex,
    server_ephemeral: Hex,
    pub(crate) device_handle: Hex,
    pub(crate) server_handle: Hex,
    next_id: Hex,
    session: Hex,
    common_key: Hex,
    hello: Hex,
    hello_payload: Hex,
    welcome: Hex,
    welcome_payload: Hex,
    handshake_hash: Hex,
    pub(crate) request_plaintext: Hex,
    request: Hex,
    pub(crate) reply_plaintext: Hex,
    reply: Hex,
    fresh_request: Hex,
    fresh_reply: Hex,
    where_request: Hex,
    moved_reply: Hex,
    pub(crate) answered: Vec<Receipt>,
    pub(crate) statement: Hex,
    pub(crate) at_ms: u64,
    pub(crate) heard: Vec<Receipt>,
    activate: Hex,
    supersede: Hex,
}

#[derive(Deserialize)]
pub(crate) struct Receipt {
    pub(crate) text: String,
    pub(crate) signature: Hex,
}

impl Case {
    pub(crate) fn key(&self, seed: &Hex) -> SoftKey {
        SoftKey::from_seed(self.suite(), &Seed::new(seed.array())).unwrap()
    }

    fn suite(&self) -> Suite {
        Suite::try_from(self.suite).unwrap()
    }

    pub(crate) fn chain(&self) -> ChainId {
        ChainId::new(self.chain.array())
    }
}

pub(crate) fn cases() -> Vec<Case> {
    let file: File = vectors::read("device.json");
    assert_eq!(file.cases.len(), 2);
    file.cases
}

#[test]
fn handshake_and_session_of_the_vectors() {
    for case in cases() {
        let (device, server) = (case.key(&case.device_seed), case.key(&case.server_seed));
        let cookie = case.cookie.array();
        let handle = Handle::new(case.server_handle.array());
        let prologue = Prologue::new(&case.chain(), case.suite(), &handle, Some(&cookie));
        let mut noise = [0; 1024];
        let (initiator, len) = Initiator::start(
            &device,
            &server.public_keys().agreement_key().unwrap(),
            prologue.as_bytes(),
            &mut Fixed(case.device_ephemeral.array()),
            &case.hello_payload.0,
            &mut noise,
        )
        .unwrap();
        let frame = RequestFrame::Hello {
            suite: case.suite(),
            cookie: Some(cookie),
            noise: &noise[..len],
        };
        let mut bytes = [0; 2048];
        let len = frame.encode(&mut bytes).unwrap();
        assert_eq!(bytes[..len], case.hello.0);
        let hello: Hello<'_> = decode_canonical(&case.hello_payload.0).unwrap();
        assert_eq!(hello.to_cbor_vec(), case.hello_payload.0);

        let Ok(RequestFrame::Hello { noise, .. }) = RequestFrame::decode(&case.hello.0) else {
            panic!("a hello");
        };
        let mut payload = [0; 2048];
        let mut rng = Fixed(case.server_ephemeral.array());
        let (responder, _) =
            Responder::read(&server, prologue.as_bytes(), &mut rng, noise, &mut payload).unwrap();
        let mut noise = [0; 1024];
        let (transport, len) = responder
            .write(&case.welcome_payload.0, &mut noise)
            .unwrap();
        let len = AnswerFrame::Welcome(&noise[..len])
            .encode(&mut bytes)
            .unwrap();
        assert_eq!(bytes[..len], case.welcome.0);
        assert_eq!(transport.hash[..], case.handshake_hash.0);
        let Ok(AnswerFrame::Welcome(noise)) = AnswerFrame::decode(&case.welcome.0) else {
            panic!("a welcome");
        };
        let (same, len) = initiator.finish(&device, noise, &mut payload).unwrap();
        assert_eq!(same, transport);
        let welcome: Welcome<'_> = decode_canonical(&payload[..len]).unwrap();
        assert_eq!(welcome.to_cbor_vec(), case.welcome_payload.0);

        let keys = SessionKeys::derive(&transport, &CommonKey::new(case.common_key.array()));
        let session = SessionId::new(case.session.array());
        let request: Request<'_> = decode_canonical(&case.request_plaintext.0).unwrap();
        let len = seal_request(&keys, &session, 1, &request, &mut bytes).unwrap();
        assert_eq!(bytes[..len], case.request.0);
        let reply: Reply<'_> = decode_canonical(&case.reply_plaintext.0).unwrap();
        let len = seal_reply(&keys, &session, 1, &reply, &mut bytes).unwrap();
        assert_eq!(bytes[..len], case.reply.0);

        // Sealed for one direction, session and counter only.
        let Ok(AnswerFrame::Reply(sealed)) = AnswerFrame::decode(&case.reply.0) else {
            panic!("a reply");
        };
        let other = SessionId::new([1; 16]);
        for (direction, session, counter, opens) in [
            (Direction::Reply, session, 1, true),
            (Direction::Request, session, 1, false),
            (Direction::Reply, other, 1, false),
            (Direction::Reply, session, 2, false),
        ] {
            let mut sealed = sealed.to_vec();
            let open = keys.open(direction, &session, counter, &mut sealed);
            assert_eq!(open.is_some(), opens);
        }
    }
}

#[test]
fn the_device_writes_the_ledgers_transactions() {
    for case in cases() {
        let chain = case.chain();
        let org = OrgId::new(case.org.array());
        let (old, new) = (case.key(&case.device_seed), case.key(&case.next_seed));
        let id = KusabiId::new(case.next_id.array());
        let old_handle = Handle::new(case.device_handle.array());
        let key = NewKey::new(&id, new.public_keys(), &chain, &org);
        for (old_purpose, expected) in [
            (Purpose::Pre, &case.activate),
            (Purpose::Act, &case.supersede),
        ] {
            let succession = Succession {
                chain,
                org,
                old: old_handle,
                old_purpose,
                moves: 0,
                new: key,
            };
            let mut action = Vec::new();
            succession.to_cbor(&mut Encoder::new(&mut action));
            assert_eq!(action, expected.0);

            let mut bytes = [0; TRANSACTION_LEN_MAX];
            let len = succession.write(&old, &new, &mut bytes).unwrap();
            let named = Named {
                handle: old_handle,
                version: 1,
            };
            let entry = Entry::new(key.handle, Purpose::Act, key.keys, key.binding, None).unwrap();
            let action = match old_purpose {
                Purpose::Pre => Action::Activate {
                    org,
                    pre: named,
                    act: Box::new(entry),
                },
                _ => Action::Supersede {
                    org,
                    old: named,
                    new: Box::new(entry),
                },
            };
            let mut draft = Draft::new(chain, action).unwrap();
            draft.sign(old_handle, old_purpose, &old).unwrap();
            draft.sign(key.handle, Purpose::Act, &new).unwrap();
            let transaction = draft.finish().unwrap();
            assert_eq!(&bytes[..len], transaction.as_bytes());
            assert!(Transaction::decode(&bytes[..len]).is_ok());
        }
    }
}

#[test]
fn frames_have_bounds_and_one_encoding() {
    for case in cases() {
        for bytes in [&case.hello.0, &case.request.0] {
            for len in 0..bytes.len() {
                assert!(RequestFrame::decode(&bytes[..len]).is_err());
            }
            assert!(RequestFrame::decode(&[bytes, &[0][..]].concat()).is_err());
        }
        for reply in [
            &case.reply_plaintext.0,
            &case.fresh_reply.0,
            &case.moved_reply.0,
        ] {
            for len in 0..reply.len() {
                assert!(decode_canonical::<Reply<'_>>(&reply[..len]).is_err());
            }
            let decoded: Reply<'_> = decode_canonical(reply).unwrap();
            assert_eq!(decoded.to_cbor_vec(), *reply);
        }
        let fresh = Ask::Fresh(Nonce::new([b'n'; 32]));
        for (bytes, ask) in [
            (&case.fresh_request.0, fresh),
            (&case.where_request.0, Ask::Where),
        ] {
            let request: Request<'_> = decode_canonical(bytes).unwrap();
            assert_eq!(request.ask, ask);
            assert_eq!(request.to_cbor_vec(), *bytes);
        }
    }
    assert!(RequestFrame::decode(&[0; 4097]).is_err());
    // A problem that asks for more than an hour, counter 0, an unknown kind, another version.
    for bytes in [
        &[0x84, 1, 5, 3, 0x19, 0x0e, 0x11][..],
        &[0x83, 1, 9, 0x41, 0],
        &[0x84, 2, 5, 3, 0],
    ] {
        assert!(AnswerFrame::decode(bytes).is_err());
    }
    assert!(AnswerFrame::decode(&[0x84, 1, 5, 3, 0x19, 0x0e, 0x10]).is_ok());
}

#[test]
fn cookies_are_good_for_their_source_and_two_minutes() {
    let door = Door::new([1; 32], 2, 4);
    let at = |secs: u64| Time::from_ms(secs * 1000);
    assert_eq!(door.admit(1, at(0), b"a", None), Admission::Come);
    let Admission::Retry(cookie) = door.admit(2, at(59), b"a", None) else {
        panic!("a cookie");
    };
    let with = |load, secs, source: &[u8]| door.admit(load, at(secs), source, Some(&cookie));
    assert_eq!(with(2, 59, b"a"), Admission::Come);
    assert_eq!(with(3, 119, b"a"), Admission::Come);
    assert_eq!(with(4, 119, b"a"), Admission::Busy);
    assert!(matches!(with(2, 120, b"a"), Admission::Retry(_)));
    assert!(matches!(with(2, 59, b"b"), Admission::Retry(_)));
}

/// Every pair of histories of one honest device and its copy, link by link.
#[test]
fn the_tripwire_by_its_table() {
    let value = |seq, tag| Value {
        seq,
        tag: [tag; 16],
    };
    let link = |seq, tag, next| Link {
        value: value(seq, tag),
        next_tag: [next; 16],
    };
    let first = judge(None, 0, &link(0, 0, 1));
    assert_eq!(first.verdict, Verdict::First);
    let row = first.row.unwrap();
    let verdict = |seen, link: &Link| judge(Some(&row), seen, link).verdict;
    assert_eq!(verdict(1, &link(0, 0, 1)), Verdict::Repeat);
    assert_eq!(verdict(1, &link(0, 0, 2)), Verdict::Fork);
    assert_eq!(verdict(0, &link(0, 0, 2)), Verdict::Stale);
    let second = judge(Some(&row), 1, &link(1, 1, 2));
    assert_eq!(second.verdict, Verdict::Advance);
    let row = second.row.unwrap();
    let third = judge(Some(&row), 2, &link(2, 2, 3));
    let row = third.row.unwrap();
    let verdict = |seen, link: &Link| judge(Some(&row), seen, link);
    // A copy of the device as it was one session ago; late or not.
    assert_eq!(verdict(3, &link(1, 1, 9)).verdict, Verdict::Fork);
    assert_eq!(verdict(2, &link(1, 1, 2)).verdict, Verdict::Stale);
    assert!(verdict(3, &link(1, 1, 9)).row.is_none());
    // A device that lost its memory goes on; the one that has it still is another copy.
    let reflashed = verdict(3, &link(0, 0, 7));
    assert_eq!(reflashed.verdict, Verdict::UnknownHead);
    assert!(reflashed.is_served());
    // From a key that has a successor it is a copy, and displaces nothing; what follows on the row follows.
    let ended = |seen, link: &Link| judge_ended_key(Some(&row), seen, link);
    let copy = ended(3, &link(0, 0, 7));
    assert_eq!((copy.verdict, copy.row), (Verdict::Fork, None));
    assert_eq!(ended(2, &link(0, 0, 7)).verdict, Verdict::Stale);
    assert_eq!(ended(3, &link(2, 2, 3)).verdict, Verdict::Repeat);
    assert_eq!(ended(3, &link(3, 3, 4)), verdict(3, &link(3, 3, 4)));
    assert_eq!(
        judge_ended_key(None, 0, &link(5, 5, 6)),
        judge(None, 0, &link(5, 5, 6))
    );
    let row = reflashed.row.unwrap();
    assert_eq!(judge(Some(&row), 4, &link(3, 3, 4)).verdict, Verdict::Fork);
    assert_eq!(
        judge(Some(&row), 4, &link(1, 7, 8)).verdict,
        Verdict::Advance
    );
    // A rebuilt server.
    assert_eq!(judge(None, 0, &link(5, 5, 6)).verdict, Verdict::Adopted);
}

/// A thief who has the bare key, and not the chain value, begins at zero as often as he likes: the device is never forgotten.
#[test]
fn however_often_a_bare_key_begins_anew_the_device_is_seen() {
    let link = |seq, tag, next| Link {
        value: Value {
            seq,
            tag: [tag; 16],
        },
        next_tag: [next; 16],
    };
    let honest = link(7, 7, 8);
    let before = judge(None, 0, &link(6, 6, 7)).row.unwrap();
    for beginnings in 1..=2 * DISPLACED_MAX as u8 {
        let mut row = before;
        for tag in 1..=beginnings {
            let thief = judge(Some(&row), row.version, &link(0, 0, 10 * tag));
            if usize::from(tag) <= DISPLACED_MAX {
                assert_eq!(thief.verdict, Verdict::UnknownHead);
                row = thief.row.unwrap();
                // His next session makes his beginning one that was confirmed.
                let next = judge(Some(&row), row.version, &link(1, 10 * tag, 10 * tag + 1));
                assert_eq!(next.verdict, Verdict::Advance);
                row = next.row.unwrap();
            } else {
                // Nobody loses his memory so often.
                assert_eq!((thief.verdict, thief.row), (Verdict::Fork, None));
            }
        }
        let verdict = |link: &Link| judge(Some(&row), row.version, link).verdict;
        assert_eq!(verdict(&honest), Verdict::Fork, "{beginnings}");
        // And each of the thief's own beginnings but the last is a copy, too.
        let last = beginnings.min(DISPLACED_MAX as u8);
        for tag in 1..last {
            assert_eq!(verdict(&link(2, 10 * tag + 1, 9)), Verdict::Fork);
        }
        assert_eq!(verdict(&link(2, 10 * last + 1, 9)), Verdict::Advance);
    }
}

#[test]
fn a_device_owes_few_updates_one_rotate_and_four_answers_in_all() {
    let update = Task::Update(Digest::new([1; 32]));
    let repair = Task::Repair(Digest::new([1; 32]));
    let report = Task::ReportInventory([2; 32]);
    let mut window = Window::default();
    assert!(window.takes(&update) && window.takes(&repair));
    assert!(!window.takes(&update) && !window.takes(&repair));
    assert!(window.takes(&Task::Rotate) && !window.takes(&Task::Rotate));
    assert!(window.takes(&report) && !window.takes(&report));
}
