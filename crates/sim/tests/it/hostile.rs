//! A man in the middle: every bit of every message, repeats, and answers to other requests. Nothing changes by them.

use kusabi_core::device::{DeviceError, Input, Kept, Settings};
use kusabi_core::protocol::Time;
use kusabi_core::protocol::frame::{AnswerFrame, Problem, RequestFrame};
use kusabi_core::suite::Suite;
use kusabi_sim::fleet::Fleet;
use kusabi_sim::random::Random;
use kusabi_sim::server::Server;
use kusabi_sim::unit::{Faults, Sent, Unit};

/// A device that is spoken to by hand.
struct Wire {
    fleet: Fleet,
    unit: Unit,
    rng: Random,
    now: u64,
}

impl Wire {
    fn new() -> Self {
        let mut fleet = Fleet::new(5, Suite::Curve25519, 1);
        let unit = fleet.provision(Settings::default());
        let unit = Unit::start(
            fleet.units[unit].disk.clone(),
            Settings::default(),
            Time::from_ms(0),
        );
        Self {
            fleet,
            unit,
            rng: Random::new(6),
            now: 0,
        }
    }

    fn give(&mut self, input: Input<'_>) -> (Vec<Sent>, Option<DeviceError>, bool) {
        let now = Time::from_ms(self.now);
        let done = self
            .unit
            .run(now, input, &mut self.rng, Faults::default(), |_| {});
        let silent = done.events.is_empty();
        (done.sent, done.refused, silent)
    }

    fn server(&mut self, request: &[u8]) -> Vec<u8> {
        let now = Time::from_ms(self.now);
        let Fleet { servers, shop, .. } = &mut self.fleet;
        Server::answer(&mut servers[0], shop, now, request, &mut self.rng)
    }

    fn kept(&self) -> Kept {
        self.unit.device.kept().clone()
    }
}

fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut other = bytes.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        other
    })
}

/// Whether a message is an earlier one of another's session.
fn is_earlier(before: &[u8], now: &[u8]) -> bool {
    match (RequestFrame::decode(before), RequestFrame::decode(now)) {
        (
            Ok(RequestFrame::Message {
                session: a,
                counter: earlier,
                ..
            }),
            Ok(RequestFrame::Message {
                session: b,
                counter: later,
                ..
            }),
        ) => a == b && earlier < later,
        _ => false,
    }
}

fn is_hint(bytes: &[u8]) -> bool {
    matches!(
        AnswerFrame::decode(bytes),
        Ok(AnswerFrame::Problem { .. } | AnswerFrame::Retry(_))
    )
}

#[test]
fn every_bit_of_every_message_of_an_activation() {
    let mut wire = Wire::new();
    let (mut sent, ..) = wire.give(Input::Tick);
    let (mut exchanges, mut earlier) = (0, 0);
    let mut last: Option<(Vec<u8>, Vec<u8>)> = None;
    while let Some(Sent { request, .. }) = sent.pop() {
        assert!(sent.is_empty(), "one request at a time");
        exchanges += 1;
        let rows = wire.fleet.shop.rows.clone();
        let height = wire.fleet.shop.ledger.height();
        let sessions = wire.fleet.servers[0].sessions.len();
        for other in flips(&request) {
            let answer = wire.server(&other);
            assert!(
                matches!(
                    AnswerFrame::decode(&answer),
                    Ok(AnswerFrame::Problem { .. } | AnswerFrame::Redirect { .. })
                ),
                "a changed request was served"
            );
        }
        assert_eq!(wire.fleet.servers[0].sessions.len(), sessions);
        assert_eq!(wire.fleet.shop.rows, rows);
        assert_eq!(wire.fleet.shop.ledger.height(), height);

        let answer = wire.server(&request);
        // A repeated message gets the same bytes; a repeated hello changes nothing but the pool of greeted sessions.
        let again = wire.server(&request);
        if matches!(AnswerFrame::decode(&answer), Ok(AnswerFrame::Reply(_))) {
            assert_eq!(again, answer);
            assert_eq!(wire.server(&request), answer);
        }
        // The request before the last one, in the same session.
        if let Some((before, _)) = &last
            && is_earlier(before, &request)
        {
            earlier += 1;
            let refused = wire.server(&before.clone());
            assert!(is_hint(&refused), "an earlier request was served");
        }
        let kept = wire.kept();
        for mut other in flips(&answer) {
            if is_hint(&other) {
                continue;
            }
            let (more, refused, silent) = wire.give(Input::Answer(&mut other));
            assert!(refused.is_some() && more.is_empty() && silent);
        }
        if let Some((_, before)) = &last {
            let mut other = before.clone();
            let (more, refused, silent) = wire.give(Input::Answer(&mut other));
            assert!(
                refused.is_some() && more.is_empty() && silent,
                "an old answer"
            );
        }
        assert_eq!(wire.kept(), kept);
        let mut taken = answer.clone();
        let (more, refused, _) = wire.give(Input::Answer(&mut taken));
        assert_eq!(refused, None);
        sent = more;
        last = Some((request, answer));
        if sent.is_empty() {
            wire.now += 10_000;
            (sent, ..) = wire.give(Input::Poll);
        }
        if exchanges > 8 {
            break;
        }
    }
    let kept = wire.kept();
    assert!(kept.next().is_none(), "{kept:?}");
    assert_eq!(kept.current().purpose, kusabi_core::suite::Purpose::Act);
    assert!(earlier >= 1, "each session had one message only");
    assert!(
        exchanges >= 4,
        "hello, activation, hello, poll: {exchanges}"
    );
    assert_eq!(wire.fleet.shop.alarms, []);
}

#[test]
fn hints_lead_nowhere_but_to_another_attempt() {
    let all = [
        Problem::Malformed,
        Problem::Version,
        Problem::Busy,
        Problem::UnknownSession,
        Problem::Unreadable,
        Problem::Refused,
        Problem::Behind,
    ];
    let mut wire = Wire::new();
    let (sent, ..) = wire.give(Input::Tick);
    assert_eq!(sent.len(), 1);
    let kept = wire.kept();
    let mut requests = 0;
    for round in 0..200 {
        let problem = all[round % all.len()];
        let mut bytes = [0; 64];
        let frame = AnswerFrame::Problem {
            problem,
            wait_secs: 3600,
        };
        let len = frame.encode(&mut bytes).unwrap();
        let (sent, ..) = wire.give(Input::Answer(&mut bytes[..len]));
        requests += sent.len();
        wire.now += 60_000;
        let (sent, ..) = wire.give(Input::Tick);
        requests += sent.len();
        assert_eq!(wire.kept(), kept);
    }
    // Whoever only says "no" cannot make a device talk without end, nor keep it silent for ever.
    assert!((3..=40).contains(&requests), "{requests}");
}
