//! T12 to T17: somebody between the server (or whoever writes) and the ledger, or at the ledger's door.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use kusabi_api::{HttpLedger, Ledger as _, verify::VerifyingLedger};
use kusabi_core::{
    device::Provisioning,
    id::{Handle, Height, StateKey},
    tx::Transaction,
};
use tokio::runtime::Runtime;

use super::{
    keys,
    secrecy::{holds, secrets},
};
use crate::{
    command::Place,
    fleet::{Device, Site},
    middle::{Chance, Deed, Middle, flip, seed},
    node::Node,
    wire::Message,
};

/// How often a captured request comes again, changed.
const FORGERIES: usize = 200;
/// How often an answer is asked for that may have been changed.
const QUESTIONS: usize = 300;
/// What the ledger says of a signature that is not by its signer (spec/errors.md).
const BAD_SIGNATURE: u16 = 4116;
/// What one who floods sends.
const FLOOD: usize = 3_000;
const WAIT: std::time::Duration = std::time::Duration::from_secs(30);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// A ledger, and somebody before it.
fn behind_middle() -> (Place, Node, Middle) {
    let place = Place::new();
    let node = Node::start(&place);
    node.run(&place, "org grant ledger/keys/writer.key").ok();
    let middle = Middle::new();
    middle.lead_to(address(&node.address));
    (place, node, middle)
}

/// The organisation's row: it changes with everything that is written.
fn row(place: &Place, node: &Node) -> serde_json::Value {
    let mut shown = node.run(place, "org show --json").json();
    let shown = shown.as_object_mut().unwrap();
    shown.remove("proven_at");
    shown.remove("proven_time_ms");
    shown.clone().into()
}

fn handle(place: &Place, key: &str) -> Handle {
    let shown = place.run(&format!("key show {key} --json")).json();
    shown["handle"].as_str().unwrap().parse().unwrap()
}

/// T12: requests that are forged, changed or sent again.
#[test]
fn requests_that_nobody_may_make_change_nothing() {
    let _with_others = crate::fleet::with_others();
    let (place, node, middle) = behind_middle();
    for key in ["one", "two", "victim"] {
        place.run(&format!("key new {key}.key --purpose app")).ok();
    }
    let register = format!("key register one.key victim.key --ledger {}", middle.url);
    place.run(&register).ok();
    let before = row(&place, &node);
    let recorded = middle.recorded();
    let captured = recorded
        .iter()
        .find(|exchange| exchange.request.head.starts_with("POST /v1/transactions"))
        .unwrap();

    // As it was, again and again: it takes effect once.
    for _ in 0..5 {
        let again = captured.request.ask(address(&node.address)).unwrap();
        assert_eq!(again.path(), "200", "{again:?}");
    }
    // Changed anywhere.
    let mut chance = Chance::new(seed());
    for _ in 0..FORGERIES {
        let mut forged = captured.request.clone();
        flip(&mut forged.body, chance.next());
        let answer = forged.ask(address(&node.address)).unwrap();
        let status: u16 = answer.path().parse().unwrap();
        assert!((400..500).contains(&status), "{answer:?}");
    }
    // On another ledger.
    let elsewhere_place = Place::new();
    let elsewhere = Node::start(&elsewhere_place);
    let carried = captured.request.ask(address(&elsewhere.address)).unwrap();
    assert_eq!(carried.path(), "422", "{carried:?}");
    // By keys that stand on the ledger and may not: a device's, an application's, one that nobody knows.
    place.run("key new ps.key --purpose ps").ok();
    node.run(&place, "org grant ps.key").ok();
    let before_roles = row(&place, &node);
    let victim = handle(&place, "victim.key");
    for forged in [
        "key register two.key --writer one.key".to_owned(),
        "key register two.key --writer ps.key".to_owned(),
        "key register two.key --writer two.key".to_owned(),
        "org grant two.key --officer ledger/keys/writer.key".to_owned(),
        format!("key revoke {victim} --by ledger/keys/writer.key"),
        format!("key revoke {victim} --by one.key"),
    ] {
        let ran = node.run(&place, &forged);
        assert!([1, 2, 3].contains(&ran.code()), "{forged}: {}", ran.err());
    }
    assert_eq!(row(&place, &node), before_roles);
    assert_ne!(before, before_roles);
    let shown = node
        .run(&place, &format!("key lookup {victim} --json"))
        .json();
    assert_eq!(shown["record"]["status"], "active");
    elsewhere.stop();
    node.stop();
}

/// T13: answers that are changed, cut, exchanged or lost.
#[test]
fn answers_that_were_changed_are_not_believed() {
    let _with_others = crate::fleet::with_others();
    let (place, node, middle) = behind_middle();
    for key in ["one", "two"] {
        place.run(&format!("key new {key}.key --purpose app")).ok();
        node.run(&place, &format!("key register {key}.key")).ok();
    }
    let handles = ["one.key", "two.key"].map(|key| handle(&place, key));
    let runtime = runtime();
    let chain = node.chain.parse().unwrap();
    let honest = HttpLedger::new(&node.address).unwrap();
    let verifying = |url: &str| {
        let ledger = HttpLedger::new(url).unwrap();
        runtime
            .block_on(VerifyingLedger::found(ledger, &chain))
            .unwrap()
    };
    let truth = verifying(&node.address);
    let asked = verifying(&middle.url);
    let known: Vec<_> = handles
        .iter()
        .map(|handle| *runtime.block_on(truth.record(handle)).unwrap().value())
        .collect();
    // Something old to be shown in the place of something new.
    for handle in &handles {
        runtime.block_on(asked.record(handle)).unwrap();
    }
    let mut chance = Chance::new(seed());
    let old: Vec<Message> = middle
        .recorded()
        .into_iter()
        .filter(|exchange| exchange.request.path().starts_with("/v1/state"))
        .map(|exchange| exchange.answer)
        .collect();
    middle.think(move |_| {
        let draw = chance.next();
        let other = old[chance.below(old.len())].clone();
        match chance.below(5) {
            0 | 1 => Deed::Answer(Box::new(move |mut answer| {
                flip(&mut answer.body, draw);
                answer
            })),
            2 => Deed::Answer(Box::new(move |mut answer| {
                let len = answer.body.len().max(1) as u64;
                answer.body.truncate(usize::try_from(draw % len).unwrap());
                answer
            })),
            3 => Deed::Answer(Box::new(move |_| other)),
            _ => Deed::Pass,
        }
    });
    let (mut right, mut refused) = (0, 0);
    for question in 0..QUESTIONS {
        let which = question % handles.len();
        match runtime.block_on(asked.record(&handles[which])) {
            Ok(proven) => {
                assert_eq!(*proven.value(), known[which]);
                right += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{right} answers were right, {refused} were refused");
    assert!(right > QUESTIONS / 10 && refused > QUESTIONS / 4);
    // What is behind him has not changed for it.
    middle.behave();
    let key = StateKey::record(&handles[0]);
    let proof = runtime.block_on(honest.lookup(key, Height::ZERO)).unwrap();
    assert!(!proof.is_empty());
    node.stop();
}

/// T14: what is heard between a server and its ledger.
#[test]
fn no_id_and_no_private_key_crosses_to_the_ledger() {
    let _with_others = crate::fleet::with_others();
    let middle = Middle::new();
    let site = Site::found_apart_from("", |node| {
        middle.lead_to(address(node));
        middle.url.clone()
    });
    let writer = site.run("org grant ledger/keys/writer.key");
    writer.exits(0);
    site.provision(&["CAM-0001"], "");
    let mut device = Device::build(&site, "CAM-0001");
    let file = fs::read(device.folder.join("device.kusabi")).unwrap();
    let factory = Provisioning::decode(&file).unwrap().key.unwrap();
    device.activate();
    let heard = middle.heard();
    let of_device = keys(&device);
    let mut sought = secrets("factory", &factory.id, factory.seed.expose());
    for key in &of_device {
        let encoded = key.encode();
        sought.extend(secrets("device", key.id(), &encoded[19..51]));
    }
    // Handles are what the ledger is asked for; IDs and keys are not.
    let sought = sought.iter().filter(|(name, _)| !name.contains("handle"));
    for (name, bytes) in sought {
        assert!(!holds(&heard, bytes), "{name} went to the ledger");
    }
    assert!(holds(&heard, factory.id.handle().as_bytes()));
    println!("{} bytes searched", heard.len());
}

/// T15, T16: who wrote something cannot deny it, and the ledger cannot deny that it took it.
#[test]
fn what_was_written_stands_with_its_signers_signature() {
    let _with_others = crate::fleet::with_others();
    let (place, node, middle) = behind_middle();
    place.run("key new one.key --purpose app").ok();
    let register = format!("key register one.key --ledger {} --json", middle.url);
    let registered = place.run(&register).json();
    let height = registered["keys"][0]["registered"].as_u64().unwrap();
    let runtime = runtime();
    let ledger = HttpLedger::new(&node.address).unwrap();
    let chain = node.chain.parse().unwrap();
    let ledger = runtime
        .block_on(VerifyingLedger::found(ledger, &chain))
        .unwrap();
    runtime.block_on(ledger.checkpoint()).unwrap();
    let at = Height::new(height).unwrap();
    let block = runtime.block_on(ledger.block(at)).unwrap();
    let one = handle(&place, "one.key");
    let writer = handle(&place, "ledger/keys/writer.key");
    let written: Vec<&Transaction> = block.touching(&one).collect();
    let [written] = written.as_slice() else {
        panic!("one transaction put it there");
    };
    let [signed] = written.signatures() else {
        panic!("one writer signed");
    };
    assert_eq!(signed.signer, writer);
    let record = runtime.block_on(ledger.record(&writer)).unwrap();
    let record = record.value().unwrap();
    let statement = written.statement(&signed.signer, record.purpose());
    let key = record.keys().verification_key().unwrap();
    key.verify(&statement, &signed.signature).unwrap();
    // The same bytes are the ones that were sent.
    let sent = middle.recorded();
    let sent = sent
        .iter()
        .find(|exchange| exchange.request.head.starts_with("POST /v1/transactions"))
        .unwrap();
    assert_eq!(sent.request.body, written.as_bytes());
    node.stop();
}

/// A new key's registration, signed as it should be, which the node never hears.
fn caught_registration(place: &Place, node: &Node, key: &str) -> Message {
    let middle = Middle::new();
    middle.lead_to(address(&node.address));
    let (caught, registrations) = mpsc::channel();
    middle.think(move |request| {
        if !request.head.starts_with("POST /v1/transactions") {
            return Deed::Pass;
        }
        let _ = caught.send(request.clone());
        Deed::LoseRequest
    });
    place.run(&format!("key new {key} --purpose app")).ok();
    let register = format!("key register {key} --ledger {}", middle.url);
    place.run(&register).exits(4);
    registrations.recv().unwrap()
}

/// T17: one who floods the ledger, and an organisation that fills its quota, keep nobody out.
#[test]
fn who_floods_or_fills_a_quota_keeps_nobody_out() {
    let _alone = crate::fleet::alone();
    let place = Place::new();
    let node = Node::start(&place);
    node.run(&place, "org grant ledger/keys/writer.key").ok();
    place.run("org init small --name small").ok();
    let apply = format!(
        "org apply small --chain {} --out small.application",
        node.chain
    );
    place.run(&apply).ok();
    let admit = "org propose --admit small.application --guest --quota 4";
    node.run(&place, admit).ok();
    let of_small = "--org small --officer small/keys/officer.key";
    node.run(
        &place,
        &format!("org grant small/keys/writer.key {of_small}"),
    )
    .ok();

    // True requests of nobody: registrations of keys that the ledger does not have, with another signature. They were caught on
    // their way, so that nothing but the signature is wrong with them.
    let wanted = ["w.key", "x.key", "y.key", "z.key"];
    let caught = wanted.map(|key| caught_registration(&place, &node, key));
    let target = address(&node.address);
    // Each at least its part, from before the first honest registration until after the last one.
    let (begun, first) = mpsc::channel();
    let over = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..)
        .zip(caught)
        .map(|(number, real)| {
            let (begun, over) = (begun.clone(), over.clone());
            thread::spawn(move || {
                let mut chance = Chance::new(number);
                let mut told = BTreeMap::<String, usize>::new();
                while !over.load(Ordering::Relaxed) || told.values().sum::<usize>() < FLOOD / 4 {
                    let mut forged = real.clone();
                    // The signature's bytes stand at the end.
                    let end = forged.body.len();
                    for part in forged.body[end - 64..].chunks_mut(8) {
                        part.copy_from_slice(&chance.next().to_be_bytes());
                    }
                    let answer = forged.ask(target).unwrap();
                    let problem: serde_json::Value =
                        serde_json::from_slice(&answer.body).unwrap_or_default();
                    let told = told.entry(format!("{} {}", answer.path(), problem["code"]));
                    *told.or_default() += 1;
                    // Nobody waits for it a second time.
                    let _ = begun.send(());
                }
                told
            })
        })
        .collect();
    first.recv().unwrap();
    let mut slowest = std::time::Duration::ZERO;
    for number in 0..20 {
        let start = Instant::now();
        place
            .run(&format!("key new key-{number}.key --purpose app"))
            .ok();
        node.run(&place, &format!("key register key-{number}.key"))
            .ok();
        slowest = slowest.max(start.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let mut told = BTreeMap::<String, usize>::new();
    for flood in floods {
        for (answer, times) in flood.join().unwrap() {
            *told.entry(answer).or_default() += times;
        }
    }
    println!("told {told:?}; the slowest honest registration took {slowest:?}");
    // A bad signature, or come back later; nothing else, and nothing that was taken.
    let bad_signature = format!("422 {BAD_SIGNATURE}");
    let refused = |answer: &str| answer == bad_signature || answer.starts_with("429 ");
    assert!(told.keys().all(|answer| refused(answer)), "{told:?}");
    assert!(told.contains_key(&bad_signature), "{told:?}");
    assert!(told.values().sum::<usize>() >= FLOOD && slowest < WAIT);
    for key in wanted {
        node.run(&place, &format!("key lookup {key}")).exits(1);
    }

    // Officer, writer and two keys: the fifth row is one too many.
    for (number, fits) in [(0, true), (1, true), (2, false)] {
        place
            .run(&format!("key new small-{number}.key --purpose app"))
            .ok();
        let register =
            format!("key register small-{number}.key --org small --writer small/keys/writer.key");
        let ran = node.run(&place, &register);
        assert_eq!(ran.code() == 0, fits, "{}", ran.err());
        if !fits {
            assert!(ran.err().contains("quota of rows"), "{}", ran.err());
        }
    }
    place.run("key new last.key --purpose app").ok();
    node.run(&place, "key register last.key").ok();
    node.stop();
}
