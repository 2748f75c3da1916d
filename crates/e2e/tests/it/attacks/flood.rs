//! T8: many connections that say nothing, and many that say nonsense or the same again.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kusabi_core::{protocol::frame::RequestFrame, suite::Suite};

use crate::{
    fleet::{ACTIVATED, Device, POLLED, Site},
    middle::{Chance, Middle},
    wire::Message,
};

/// Connections that say nothing.
const IDLE: usize = 500;
/// Those that never stop.
const LOUD: usize = 16;
/// How long.
const FLOOD: Duration = Duration::from_secs(8);
/// In which each is answered.
const SERVED_WITHIN: Duration = Duration::from_secs(10);
/// By so much the server's memory may grow, with what the connections themselves take.
const GROWTH_MAX: u64 = 64 << 20;

/// Hellos on one connection after the other, until it is told to stop.
fn shout(server: SocketAddr, mut chance: Chance, real: &[Message], stop: &AtomicBool) -> u64 {
    let mut said = 0;
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut stream) = TcpStream::connect(server) else {
            continue;
        };
        // Nobody who floods waits for long.
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        while !stop.load(Ordering::SeqCst) {
            let request = match chance.below(4) {
                // Of the right form and for nobody: the server learns that by an agreement.
                0 | 1 => hello(&mut chance),
                // A device's own, again.
                2 => real[chance.below(real.len())].clone(),
                _ => Message::frame(&noise(&mut chance, 200)),
            };
            if stream.write_all(&request.kept_alive()).is_err()
                || Message::read(&mut stream).is_none()
            {
                break;
            }
            said += 1;
        }
    }
    said
}

fn noise(chance: &mut Chance, len: usize) -> Vec<u8> {
    let words = std::iter::repeat_with(|| chance.next().to_be_bytes());
    words.flatten().take(len).collect()
}

fn hello(chance: &mut Chance) -> Message {
    let noise = noise(chance, 140);
    let frame = RequestFrame::Hello {
        suite: Suite::Curve25519,
        cookie: None,
        noise: &noise,
    };
    let mut bytes = vec![0; 200];
    let len = frame.encode(&mut bytes).unwrap();
    Message::frame(&bytes[..len])
}

#[test]
fn others_are_served_while_some_flood() {
    let _alone = crate::fleet::alone();
    let middle = Middle::new();
    let site = Site::found_behind(&middle.url);
    middle.lead_to(site.devices);
    site.provision(&["CAM-0001", "CAM-0002"], "");
    let mut device = Device::build(&site, "CAM-0001");
    device.activate();
    let real: Vec<_> = middle
        .recorded()
        .into_iter()
        .map(|exchange| exchange.request)
        .filter(|request| {
            matches!(
                RequestFrame::decode(&request.body),
                Ok(RequestFrame::Hello { .. })
            )
        })
        .collect();
    let before = site.resident();

    let idle: Vec<_> = (0..IDLE)
        .map(|_| TcpStream::connect(site.devices).unwrap())
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let said = Arc::new(AtomicU64::new(0));
    let loud: Vec<_> = (0..LOUD as u64)
        .map(|number| {
            let (stop, said, real, server) =
                (stop.clone(), said.clone(), real.clone(), site.devices);
            thread::spawn(move || {
                let count = shout(server, Chance::new(number), &real, &stop);
                said.fetch_add(count, Ordering::SeqCst);
            })
        })
        .collect();

    let start = Instant::now();
    let (mut polls, mut longest) = (0, Duration::ZERO);
    while start.elapsed() < FLOOD {
        let mark = device.mark();
        let asked = Instant::now();
        device.poll();
        let served = device.hear_within(mark, POLLED, SERVED_WITHIN);
        assert!(served.is_some(), "{:#?}", device.said(mark));
        longest = longest.max(asked.elapsed());
        polls += 1;
    }
    // One that was never seen before is served too.
    let mut new = Device::build(&site, "CAM-0002");
    new.start();
    new.hear(0, ACTIVATED);
    let grown = site.resident().saturating_sub(before);
    stop.store(true, Ordering::SeqCst);
    for one in loud {
        one.join().unwrap();
    }
    drop(idle);
    let said = said.load(Ordering::SeqCst);
    println!(
        "{said} hellos in {:?}; {polls} polls, one took {longest:?} at the longest; the server grew by {} KiB from {} KiB",
        start.elapsed(),
        grown >> 10,
        before >> 10
    );
    assert!(said > 2_000, "{said} hellos are no flood");
    assert!(polls > 10, "{polls} polls");
    assert!(grown < GROWTH_MAX, "{grown} bytes");
    assert_eq!(site.alarms(), Vec::<String>::new());
}
