//! Somebody between devices and their server, who sees every byte and may change, lose, repeat and hold back what he likes.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use kusabi_core::crypto::sha256;

use crate::wire::Message;

/// A request and what came back.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: Message,
    pub(crate) answer: Message,
}

/// What he does to a request or its answer.
pub(crate) enum Deed {
    /// Nothing.
    Pass,
    /// Something else goes to the server in the request's place.
    Ask(Message),
    /// The request goes twice; the device gets the second answer.
    AskTwice,
    /// The answer is changed.
    Answer(Box<dyn FnOnce(Message) -> Message>),
    /// The server never hears the request.
    LoseRequest,
    /// The device never hears the answer.
    LoseAnswer,
}

type Mind = dyn FnMut(&Message) -> Deed + Send;

struct Seen {
    server: Mutex<Option<SocketAddr>>,
    recorded: Mutex<Vec<Exchange>>,
    streamed: Mutex<Vec<u8>>,
    mind: Mutex<Box<Mind>>,
    deeds: AtomicUsize,
}

/// He stands at an address of his own; he goes with the test.
pub(crate) struct Middle {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

impl Middle {
    /// One who leads nowhere yet.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen {
            server: Mutex::default(),
            recorded: Mutex::default(),
            streamed: Mutex::default(),
            mind: Mutex::new(Box::new(|_| Deed::Pass)),
            deeds: AtomicUsize::new(0),
        });
        let known = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let seen = known.clone();
                // A device that leaves early is not the test's subject.
                std::thread::spawn(move || pass(stream, &seen));
            }
        });
        Self { url, seen }
    }

    /// From now on this server is behind him.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.seen.server.lock().unwrap() = Some(server);
    }

    /// From now on he thinks so of each request.
    pub(crate) fn think(&self, mind: impl FnMut(&Message) -> Deed + Send + 'static) {
        *self.seen.mind.lock().unwrap() = Box::new(mind);
    }

    /// From now on he only looks.
    pub(crate) fn behave(&self) {
        self.think(|_| Deed::Pass);
    }

    /// How often he has done something.
    pub(crate) fn deeds(&self) -> usize {
        self.seen.deeds.load(Ordering::SeqCst)
    }

    /// All that went through as it was sent, and what the server said to it.
    pub(crate) fn recorded(&self) -> Vec<Exchange> {
        self.seen.recorded.lock().unwrap().clone()
    }

    /// Every byte of what went through.
    pub(crate) fn heard(&self) -> Vec<u8> {
        let recorded = self.recorded();
        let parts = recorded.iter().flat_map(|exchange| {
            let (request, answer) = (&exchange.request, &exchange.answer);
            [
                request.head.as_bytes(),
                &request.body,
                answer.head.as_bytes(),
                &answer.body,
            ]
        });
        let mut heard = parts.collect::<Vec<_>>().concat();
        heard.extend(&*self.seen.streamed.lock().unwrap());
        heard
    }

    /// He does to each frame of the protocol what chance says: changed bits, cuts, repeats, losses, and old messages in the
    /// place of new ones.
    pub(crate) fn spoil_frames(&self, seed: u64) {
        let seen = Arc::downgrade(&self.seen);
        let mut chance = Chance::new(seed);
        self.think(move |request| {
            let Some(seen) = seen.upgrade() else {
                return Deed::Pass;
            };
            if request.path() != "/device/v1" {
                return Deed::Pass;
            }
            let recorded = seen.recorded.lock().unwrap();
            let frames: Vec<_> = recorded
                .iter()
                .filter(|exchange| exchange.request.path() == "/device/v1")
                .collect();
            let old = match frames.len() {
                0 => None,
                count => Some(frames[chance.below(count)].clone()),
            };
            let mut other = request.clone();
            let (one, two) = (chance.next(), chance.next());
            match (chance.below(9), old) {
                (0, _) => {
                    flip(&mut other.body, one);
                    Deed::Ask(other)
                }
                (1, _) => {
                    cut(&mut other.body, one);
                    Deed::Ask(other)
                }
                (2, _) => Deed::AskTwice,
                (3, Some(old)) => Deed::Ask(old.request),
                (4, Some(old)) => Deed::Answer(Box::new(|_| old.answer)),
                (5, _) => Deed::Answer(Box::new(move |mut answer| {
                    flip(&mut answer.body, two);
                    answer
                })),
                (6, _) => Deed::Answer(Box::new(move |mut answer| {
                    cut(&mut answer.body, two);
                    answer
                })),
                (7, _) => Deed::LoseRequest,
                (8, _) => Deed::LoseAnswer,
                // Every third one goes through, so that there is something to spoil.
                _ => Deed::Pass,
            }
        });
    }
}

/// One request of a device.
fn pass(mut device: TcpStream, seen: &Seen) -> Option<()> {
    let request = Message::read(&mut device)?;
    let server = (*seen.server.lock().unwrap())?;
    if request.path().starts_with("/v1/events") {
        return stream(device, &request, server, seen);
    }
    let deed = (seen.mind.lock().unwrap())(&request);
    if !matches!(deed, Deed::Pass) {
        seen.deeds.fetch_add(1, Ordering::SeqCst);
    }
    let answer = match deed {
        Deed::Pass => {
            let answer = request.ask(server)?;
            seen.recorded.lock().unwrap().push(Exchange {
                request,
                answer: answer.clone(),
            });
            answer
        }
        Deed::Ask(other) => other.ask(server)?,
        Deed::AskTwice => {
            request.ask(server)?;
            request.ask(server)?
        }
        Deed::Answer(change) => change(request.ask(server)?),
        Deed::LoseRequest => return None,
        Deed::LoseAnswer => {
            request.ask(server)?;
            return None;
        }
    };
    device.write_all(&answer.bytes()).ok()
}

/// An answer without end: he hears it and changes nothing.
fn stream(mut device: TcpStream, request: &Message, server: SocketAddr, seen: &Seen) -> Option<()> {
    let mut from = TcpStream::connect(server).ok()?;
    from.write_all(&request.bytes()).ok()?;
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).ok().filter(|count| *count > 0)?;
        seen.streamed.lock().unwrap().extend(&buffer[..count]);
        device.write_all(&buffer[..count]).ok()?;
    }
}

/// Changes one bit.
pub(crate) fn flip(bytes: &mut [u8], chance: u64) {
    let bits = bytes.len() as u64 * 8;
    if let Some(bit) = chance.checked_rem(bits) {
        let bit = usize::try_from(bit).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Cuts the end off.
fn cut(bytes: &mut Vec<u8>, chance: u64) {
    let len = bytes.len() as u64;
    if let Some(rest) = chance.checked_rem(len) {
        bytes.truncate(usize::try_from(rest).unwrap());
    }
}

/// What is done by chance, the same for the same seed.
pub(crate) struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.drawn += 1;
        let parts = [self.seed.to_be_bytes(), self.drawn.to_be_bytes()];
        let hash = sha256(&[&parts[0], &parts[1]]);
        u64::from_be_bytes(hash[..8].try_into().unwrap())
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// A seed that the test prints; `KUSABI_SEED` gives the same one again.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("KUSABI_SEED").ok();
    let seed = given.map_or_else(
        || RandomState::new().hash_one(0),
        |text| text.parse().unwrap(),
    );
    println!("KUSABI_SEED={seed}");
    seed
}
