//! Several organisations found a ledger: each on its own machine, files travel, and whatever somebody does to them in
//! between is refused with the name of what it was done to.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
};

use crate::{
    command::{Place, Ran},
    node::Node,
};

mod running;

const NAMES: [&str; 4] = ["acme", "beta", "corp", "delta"];

fn init(place: &Place, org: &str, more: &str) -> Ran {
    place.run(&format!(
        "org init {org} --name {org} --address node.{org}.example:7043 {more}"
    ))
}

fn new(place: &Place, members: &str, out: &str) -> Ran {
    place.run(&format!(
        "genesis new --name nordic --heartbeat 60s --out {out} {members} --json"
    ))
}

/// Member files of all four, as they arrive at whoever gathers them.
fn members() -> String {
    NAMES.map(|org| format!("{org}/{org}.member")).join(" ")
}

/// Four organisations with a genesis that none has signed; acme has three officers, of whom two act.
fn four() -> (Place, String) {
    let place = Place::new();
    init(&place, "acme", "--officers 3 --threshold 2").ok();
    for org in &NAMES[1..] {
        init(&place, org, "").ok();
    }
    let sheet = new(&place, &members(), "draft.genesis").json();
    let chain = sheet["chain"].as_str().unwrap().to_owned();
    (place, chain)
}

fn sign(place: &Place, org: &str) -> Ran {
    place.run(&format!(
        "genesis sign {org} draft.genesis --out {org}.signature"
    ))
}

fn finish(place: &Place, signatures: &[&str]) -> Ran {
    let files: Vec<_> = signatures
        .iter()
        .map(|org| format!("{org}.signature"))
        .collect();
    place.run(&format!(
        "genesis finish draft.genesis {} --out nordic.genesis",
        files.join(" ")
    ))
}

/// The value of a line `name = …` of a member file.
fn line<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(&format!("{name} = ")))
        .unwrap()
}

fn refuses(ran: &Ran, code: i32, words: &[&str]) {
    ran.exits(code);
    for word in words {
        assert!(ran.err().contains(word), "{word:?} in {}", ran.err());
    }
}

#[test]
fn one_organisation_founds_a_ledger_and_runs_it() {
    let place = Place::new();
    place
        .run("org init ledger --name solo --officers 3 --threshold 2")
        .ok();
    let sheet = new(&place, "ledger/solo.member", "draft.genesis").json();
    let chain = sheet["chain"].as_str().unwrap();
    assert_eq!(sheet["quorum"], 1);
    // Without its genesis the node neither starts nor founds another ledger over its keys.
    let early = place.run("node run --data ledger --listen 127.0.0.1:0");
    let said = [
        "wait for a ledger",
        "--genesis",
        "kusabi node join --data ledger",
    ];
    refuses(&early, 2, &said);
    // Those of a node that was lost wait for others to name them.
    place.run("node prepare --data lost --org solo").ok();
    let lost = "node run --data lost --listen 127.0.0.1:0";
    for line in [lost, &format!("{lost} --genesis draft.genesis")] {
        let said = ["wait for the others", "kusabi node join --data lost"];
        refuses(&place.run(line), 2, &said);
    }
    let unsigned = "node run --data ledger --listen 127.0.0.1:0 --genesis draft.genesis";
    refuses(&place.run(unsigned), 1, &["missing: solo"]);

    place
        .run("genesis sign ledger draft.genesis --out solo.signature")
        .ok();
    place
        .run("genesis finish draft.genesis solo.signature --out solo.genesis")
        .ok();
    let node = Node::start_with(&place, "--genesis solo.genesis");
    assert_eq!(node.chain, chain);
    // Its vote key and its node key were made once and are nowhere else.
    assert!(!place.path("ledger/node/waiting").exists());
    let profile = "--profile ledger/profile.toml";
    node.run(
        &place,
        &format!("org grant ledger/keys/writer.key {profile}"),
    )
    .ok();
    place.run("key new camera.key").ok();
    node.run(&place, &format!("key register camera.key {profile}"))
        .ok();
    let shown = node.run(&place, &format!("org show {profile} --json"));
    assert_eq!(shown.json()["name"], "solo");
    // Each officer's key that lies beside the ledger is said.
    let doctor = node.run(&place, &format!("doctor --data ledger {profile}"));
    for n in 1..=3 {
        let said = format!("ledger/keys/officer-{n}.key lies beside the ledger");
        assert!(doctor.ok().out().contains(&said), "{}", doctor.out());
    }
    node.stop();

    // Later starts need no genesis; the same one is no mistake, another one is.
    Node::start(&place).stop();
    Node::start_with(&place, "--genesis solo.genesis").stop();
    let member = place.run("org init ledger --name solo");
    refuses(&member, 5, &["belongs to the ledger", chain]);
    place.run("org init other --name other").ok();
    new(&place, "other/other.member", "other.genesis").ok();
    refuses(
        &place.run("node run --data ledger --listen 127.0.0.1:0 --genesis other.genesis"),
        15,
        &["holds the ledger", chain],
    );
}

#[test]
fn four_organisations_found_a_ledger() {
    let (place, chain) = four();
    let shown = place.run("genesis show draft.genesis --json").json();
    assert_eq!(shown["chain"], *chain);
    assert_eq!(
        (&shown["validators"], &shown["quorum"]),
        (&4.into(), &3.into())
    );
    assert_eq!(shown["recovery_threshold"], 3);
    assert_eq!(shown["recovery_keys"].as_array().unwrap().len(), 4);
    let organisations = shown["organisations"].as_array().unwrap();
    for org in NAMES {
        let found = organisations.iter().find(|one| one["name"] == org).unwrap();
        let member = fs::read_to_string(place.path(format!("{org}/{org}.member"))).unwrap();
        let validator = &found["validators"][0];
        for key in ["vote_key", "node_key", "address"] {
            assert_eq!(line(&member, key), format!("{key} = {}", validator[key]));
        }
        let officers = found["officers"].as_array().unwrap();
        assert_eq!(officers.len(), if org == "acme" { 3 } else { 1 });
        assert!(officers.iter().all(|officer| officer["signed"] == false));
    }
    let page = place.run("genesis show draft.genesis").ok().out();
    for words in [
        &*chain,
        "one may fail, or lie",
        "2 of 3 act for it",
        "node.corp.example:7043",
    ] {
        assert!(page.contains(words), "{words:?} in {page}");
    }

    // No private key is in what travels.
    for org in NAMES {
        for key in fs::read_dir(place.path(format!("{org}/keys"))).unwrap() {
            let key = key.unwrap().path();
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let text = fs::read_to_string(&key).unwrap();
            let secret = text
                .lines()
                .last()
                .unwrap()
                .strip_prefix("secret: ")
                .unwrap();
            let member = fs::read_to_string(place.path(format!("{org}/{org}.member"))).unwrap();
            assert!(!member.contains(secret));
        }
        for key in ["vote", "node"] {
            let key = place.path(format!("{org}/node/{key}.key"));
            assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    for org in NAMES {
        sign(&place, org).ok();
    }
    finish(&place, &NAMES).ok();
    let shown = place.run("genesis show nordic.genesis --json").json();
    assert_eq!(shown["chain"], *chain);
    let officers = shown["organisations"].as_array().unwrap();
    let mut officers = officers
        .iter()
        .flat_map(|one| one["officers"].as_array().unwrap());
    assert!(officers.all(|officer| officer["signed"] == true));

    // The directories, whatever the network does afterwards.
    for org in NAMES {
        let vote_key = fs::read(place.path(format!("{org}/node/vote.key"))).unwrap();
        let node_key = fs::read(place.path(format!("{org}/node/node.key"))).unwrap();
        found(&place, org);
        let noted = fs::read_to_string(place.path(format!("{org}/chain"))).unwrap();
        assert_eq!(noted.trim_end(), chain);
        for (name, key) in [("vote", &vote_key), ("node", &node_key)] {
            let kept = fs::read(place.path(format!("{org}/node/{name}.key"))).unwrap();
            assert_eq!(kept, *key);
        }
        assert!(place.path(format!("{org}/node/format")).exists());
        assert!(!place.path(format!("{org}/node/waiting")).exists());
    }
}

/// Starts a node on the finished genesis, until it waits for the others.
fn found(place: &Place, org: &str) {
    // All their addresses name one port, and tests run beside each other.
    let address = running::port().local_addr().unwrap();
    let config = format!("peer_listen = \"{address}\"\n");
    fs::write(place.path("listen.toml"), config).unwrap();
    let mut child = place
        .command(&format!(
            "node run --data {org} --listen 127.0.0.1:0 --genesis nordic.genesis --config listen.toml --json"
        ))
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(said["event"], "waiting");
    assert_eq!(
        (&said["validators"], &said["quorum"]),
        (&4.into(), &3.into())
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn officers_sign_where_their_keys_are() {
    let (place, _) = four();
    // One officer's key was moved to another machine.
    fs::rename(
        place.path("acme/keys/officer-3.key"),
        place.path("third.key"),
    )
    .unwrap();
    let ran = sign(&place, "acme");
    assert!(
        ran.ok().out().contains("by 2 of acme's officers"),
        "{}",
        ran.out()
    );
    for org in &NAMES[1..] {
        sign(&place, org).ok();
    }
    refuses(&finish(&place, &NAMES), 1, &["missing: acme"]);
    place
        .run("genesis sign acme draft.genesis --officer third.key --out third.signature")
        .ok();
    finish(&place, &["acme", "beta", "corp", "delta", "third"]).ok();
}

#[test]
fn an_interrupted_init_finds_what_it_made() {
    let place = Place::new();
    init(&place, "acme", "--officers 2").ok();
    let member = fs::read(place.path("acme/acme.member")).unwrap();
    let officer = fs::read(place.path("acme/keys/officer-1.key")).unwrap();
    init(&place, "acme", "--officers 2").ok();
    assert_eq!(fs::read(place.path("acme/acme.member")).unwrap(), member);

    // Killed after its first key, and before its file.
    for gone in ["acme.member", "keys/officer-2.key", "node/node.key"] {
        fs::remove_file(place.path(format!("acme/{gone}"))).unwrap();
    }
    init(&place, "acme", "--officers 2").ok();
    assert_eq!(
        fs::read(place.path("acme/keys/officer-1.key")).unwrap(),
        officer
    );
    let again = fs::read(place.path("acme/acme.member")).unwrap();
    assert_ne!(again, member);
    let names = fs::read_dir(place.path("acme/keys")).unwrap().count();
    assert_eq!(names, 4, "two officers, recovery, writer");

    refuses(
        &init(&place, "acme", ""),
        2,
        &["another number of officers"],
    );
    let other = place.run("org init acme --name beta --address beta.example:1");
    refuses(
        &other,
        5,
        &["belongs to another organisation", "acme.member"],
    );
    fs::create_dir(place.path("photos")).unwrap();
    fs::write(place.path("photos/cat.jpg"), "x").unwrap();
    refuses(&init(&place, "photos", ""), 5, &["is not empty", "cat.jpg"]);
    // A founded ledger is not an organisation that begins.
    Node::start(&place).stop();
    refuses(
        &place.run("org init ledger --name home"),
        5,
        &["belongs to the ledger"],
    );
}

#[test]
fn what_is_no_address_no_threshold_and_no_quota_is_said_at_once() {
    let place = Place::new();
    for address in [
        "acme",
        "acme:0",
        "acme:65536",
        "0.0.0.0:1",
        "http://acme:1",
        "::1:7043",
    ] {
        let ran = place.run(&format!("org init acme --name acme --address {address}"));
        refuses(&ran, 2, &[address, "is no address"]);
    }
    refuses(
        &init(&place, "acme", "--officers 2 --threshold 3"),
        2,
        &["3 officers", "there are 2"],
    );
    refuses(&init(&place, "acme", "--threshold 0"), 2, &["0 officers"]);
    refuses(
        &init(&place, "acme", "--officers 6"),
        2,
        &["1 to 5 officers"],
    );
    refuses(
        &init(&place, "acme", "--officers 0"),
        2,
        &["1 to 5 officers"],
    );
    refuses(
        &init(&place, "acme", "--quota 281474976710656"),
        2,
        &["2^48"],
    );
    place.run("org init acme --name Acme_").exits(2);
    assert!(!place.path("acme").exists());
}

#[test]
fn member_files_that_do_not_go_together_are_refused() {
    let (place, _) = four();
    let refused = |members: &str, code, words: &[&str]| {
        refuses(&new(&place, members, "new.genesis"), code, words);
        assert!(!place.path("new.genesis").exists());
    };
    let acme = "acme/acme.member";
    refused(&format!("{acme} {acme}"), 2, &["the same member file"]);
    place
        .run("org init second --name acme --address second.example:1")
        .ok();
    refused(
        &format!("{acme} second/acme.member"),
        2,
        &["two organisations", "called acme"],
    );
    place.run("org init lone --name lone").ok();
    refused(
        &format!("{acme} lone/lone.member"),
        2,
        &["lone", "where the others reach"],
    );
    place
        .run("org init twin --name twin --address node.acme.example:7043")
        .ok();
    refused(
        &format!("{acme} twin/twin.member"),
        2,
        &["acme and twin", "same address"],
    );
    let many = vec![acme; 17].join(" ");
    refused(&many, 2, &["1 to 16 organisations", "17"]);
    refused("acme/keys/writer.key", 5, &["is no member file"]);
    refused("nothing.member", 5, &["nothing.member"]);

    // Files that somebody has edited.
    let good = fs::read_to_string(place.path(acme)).unwrap();
    let other = fs::read_to_string(place.path("beta/beta.member")).unwrap();
    let edited = |from: &str, to: &str, words: &[&str]| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        fs::write(place.path("edited.member"), text).unwrap();
        refused("edited.member beta/beta.member", 5, words);
    };
    edited(
        "threshold = 2",
        "threshold = 4",
        &["4 officers", "there are 3"],
    );
    edited("threshold = 2", "threshold = 0", &["0 officers"]);
    edited(
        "node.acme.example:7043",
        "node.acme.example",
        &["is no address"],
    );
    edited(
        "quota = 1099511627776",
        "quota = 281474976710656",
        &["2^48"],
    );
    edited(
        "kusabi_member = 1",
        "kusabi_member = 2",
        &["another version"],
    );
    edited("suite = 1", "suite = 15", &["edited.member"]);
    edited("quota", "quotas", &["quotas"]);
    edited(
        line(&good, "node_key"),
        &line(&good, "vote_key").replace("vote_key", "node_key"),
        &["two things"],
    );
    // Another's key, or another's officer's handle, under one's own name.
    let handle = line(&good, "handle").to_owned();
    let squatted = other.replacen(line(&other, "handle"), &handle, 1);
    fs::write(place.path("edited.member"), squatted).unwrap();
    refused(
        &format!("{acme} edited.member"),
        2,
        &["one key", "both acme and beta"],
    );
    let stolen = good.replace(line(&good, "node_key"), line(&other, "node_key"));
    fs::write(place.path("edited.member"), stolen).unwrap();
    refused(
        "edited.member beta/beta.member",
        2,
        &["one key", "both acme and beta"],
    );
    // Nothing is overwritten.
    refuses(
        &new(&place, &members(), "draft.genesis"),
        5,
        &["exists already"],
    );
}

#[test]
fn recovery_keys_are_chosen_where_there_are_more_than_a_set_has() {
    let place = Place::new();
    let names = ["a", "b", "c", "d", "e", "f"];
    for org in names {
        init(&place, org, "").ok();
    }
    let files = names.map(|org| format!("{org}/{org}.member")).join(" ");
    refuses(
        &new(&place, &files, "draft.genesis"),
        2,
        &["at most 5 keys", "there are 6", "--recovery-by"],
    );
    let five = names[..5].map_by("--recovery-by ");
    let unknown = format!("{files} --recovery-by g");
    refuses(
        &new(&place, &unknown, "draft.genesis"),
        2,
        &["g: no member file"],
    );
    let twice = format!("{files} --recovery-by a --recovery-by a");
    refuses(
        &new(&place, &twice, "draft.genesis"),
        2,
        &["strictly ascending"],
    );
    let high = format!("{files} {five} --recovery-threshold 6");
    refuses(
        &new(&place, &high, "draft.genesis"),
        2,
        &["6 recovery keys", "there are 5"],
    );
    let sheet = new(&place, &format!("{files} {five}"), "draft.genesis").json();
    assert_eq!(sheet["recovery_threshold"], 4);
    assert_eq!(
        (&sheet["validators"], &sheet["quorum"]),
        (&6.into(), &5.into())
    );
    sign(&place, "a").ok();
    // Who is not in the set has to say that this is right.
    refuses(
        &sign(&place, "f"),
        1,
        &["recovery key of f", "--without-recovery-key"],
    );
    place
        .run("genesis sign f draft.genesis --without-recovery-key --out f.signature")
        .ok();
}

trait MapBy {
    fn map_by(&self, before: &str) -> String;
}

impl MapBy for [&str] {
    fn map_by(&self, before: &str) -> String {
        let all: Vec<_> = self.iter().map(|one| format!("{before}{one}")).collect();
        all.join(" ")
    }
}

/// Whoever carries the files exchanges one thing of acme's: acme does not sign, and says what it was.
#[test]
fn whatever_was_exchanged_on_the_way_is_not_signed() {
    let (place, chain) = four();
    // What somebody in between has of its own: an organisation of the same name.
    place
        .run("org init thief --name acme --address thief.example:7043 --officers 3 --threshold 2")
        .ok();
    let good = fs::read_to_string(place.path("acme/acme.member")).unwrap();
    let thief = fs::read_to_string(place.path("thief/acme.member")).unwrap();
    let rest = members().replace("acme/acme.member", "");
    let swapped = |text: &str, what: &str| {
        fs::write(place.path("on-its-way.member"), text).unwrap();
        let _ = fs::remove_file(place.path("swapped.genesis"));
        let files = format!("on-its-way.member {rest}");
        new(&place, &files, "swapped.genesis").ok();
        let ran = place.run("genesis sign acme swapped.genesis --out acme.signature");
        refuses(&ran, 1, &["acme", what, "swapped.genesis"]);
        assert!(!place.path("acme.signature").exists());
        // Those to whom nothing was done cannot know it, and sign; without acme it is worth nothing.
        let beta = "genesis sign beta swapped.genesis --out beta.signature";
        place.run(beta).ok();
        fs::remove_file(place.path("beta.signature")).unwrap();
    };
    for (name, what) in [
        ("vote_key", "vote key"),
        ("node_key", "node key"),
        ("address", "address"),
        ("recovery_key", "recovery key"),
    ] {
        swapped(&good.replace(line(&good, name), line(&thief, name)), what);
    }
    swapped(&good.replace("threshold = 2", "threshold = 1"), "threshold");
    swapped(&good.replace("quota = 1099511627776", "quota = 5"), "quota");
    let officers = |text: &str| text[text.find("[[officer]]").unwrap()..].to_owned();
    swapped(
        &good.replace(&officers(&good), &officers(&thief)),
        "officers",
    );
    // The signing keys are acme's, the agreement key or the handle of one is not.
    for name in ["handle", "binding"] {
        swapped(
            &good.replacen(line(&good, name), line(&thief, name), 1),
            "officers",
        );
    }
    // All of it is the thief's.
    swapped(&thief, "officers, vote key, node key, address");

    // A genesis without acme at all, and one of another chain than was said on the telephone.
    new(&place, &rest, "without.genesis").ok();
    let ran = place.run("genesis sign acme without.genesis --out acme.signature");
    refuses(&ran, 1, &["does not found a ledger with acme"]);
    let named = format!("genesis sign acme draft.genesis --out acme.signature --chain {chain}");
    let other = named.replace(&chain, &"0".repeat(64));
    refuses(&place.run(&other), 15, &["is the genesis of", &chain]);
    place.run(&named).ok();

    // Somebody who reached acme's machine changed its own file: the keys beside it say otherwise.
    fs::write(place.path("acme/acme.member"), thief).unwrap();
    let ran = place.run("genesis sign acme draft.genesis --out again.signature");
    refuses(&ran, 17, &["acme/acme.member", "the vote key"]);
}

#[test]
fn a_missing_or_wrong_signature_is_said_with_its_organisation() {
    let (place, _) = four();
    for org in NAMES {
        sign(&place, org).ok();
    }
    refuses(
        &finish(&place, &[]),
        1,
        &["missing: ", "acme", "beta", "corp", "delta"],
    );
    refuses(
        &finish(&place, &["acme", "beta", "delta"]),
        1,
        &["missing: corp"],
    );
    refuses(&sign(&place, "acme"), 5, &["exists already"]);

    // Signatures under another genesis of the same members, made a moment later.
    let later = new(&place, &members(), "later.genesis").json();
    place
        .run("genesis sign beta later.genesis --out later.signature")
        .ok();
    let ran = finish(&place, &["acme", "later", "corp", "delta"]);
    refuses(
        &ran,
        2,
        &[
            "later.signature signs another genesis",
            later["chain"].as_str().unwrap(),
        ],
    );

    // The last bytes of a signature file are its last signature.
    let good = fs::read(place.path("corp.signature")).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(place.path("corp.signature"), bad).unwrap();
    refuses(
        &finish(&place, &NAMES),
        1,
        &["a signature of corp in corp.signature is wrong"],
    );
    assert!(!place.path("nordic.genesis").exists());
    fs::write(place.path("corp.signature"), good).unwrap();
    // In any order, and twice is not once too often.
    finish(&place, &["delta", "corp", "acme", "beta", "corp"]).ok();

    // Another's keys sign nothing in acme's name, and another's directory founds nothing.
    let ran = place
        .run("genesis sign acme draft.genesis --officer beta/keys/officer.key --out x.signature");
    refuses(
        &ran,
        2,
        &["beta/keys/officer.key", "not the key of an officer of acme"],
    );
    init(&place, "extra", "").ok();
    let ran = place.run("node run --data extra --listen 127.0.0.1:0 --genesis nordic.genesis");
    refuses(&ran, 1, &["does not found a ledger with extra"]);
    let ran = place.run("node run --data nothing --listen 127.0.0.1:0 --genesis nordic.genesis");
    refuses(&ran, 5, &["nothing holds no keys", "org init"]);
    assert!(!place.path("nothing").exists());
}

/// Every fifth byte, another bit of it each time: nobody starts a node with it, whoever he is.
#[test]
fn a_genesis_with_any_byte_changed_is_refused_by_everyone() {
    let (place, chain) = four();
    for org in NAMES {
        sign(&place, org).ok();
    }
    finish(&place, &NAMES).ok();
    let path = place.path("nordic.genesis");
    let good = fs::read(&path).unwrap();
    let mut said = BTreeSet::new();
    for at in (0..good.len()).step_by(5) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let org = NAMES[at % NAMES.len()];
        let ran = place.run(&format!(
            "node run --data {org} --listen 127.0.0.1:0 --genesis nordic.genesis"
        ));
        // A changed binding or handle of an officer's is first met by its owner.
        assert!(matches!(ran.code(), 1 | 16), "byte {at}: {}", ran.err());
        assert!(ran.err().contains("nordic.genesis"), "{}", ran.err());
        said.insert(ran.code());
        assert!(!place.path(format!("{org}/node/format")).exists());
    }
    assert!(said.contains(&16));
    for cut in [0, 1, good.len() - 1] {
        fs::write(&path, &good[..cut]).unwrap();
        let ran = place.run("node run --data beta --listen 127.0.0.1:0 --genesis nordic.genesis");
        refuses(&ran, 16, &["nordic.genesis is no genesis"]);
    }
    fs::write(&path, &good).unwrap();
    let other = format!(
        "node run --data acme --listen 127.0.0.1:0 --genesis nordic.genesis --chain {}",
        "0".repeat(64)
    );
    refuses(&place.run(&other), 15, &[&chain]);
    // Still waiting, and whole.
    found(&place, "acme");
    assert!(place.path("acme/node/format").exists());
}
