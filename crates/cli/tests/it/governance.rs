//! What members decide: applications, proposals, votes, guests, freezes; and devices that come to another organisation.

use crate::{command::Place, node::Node};

/// A ledger of "acme" with its writer, and a guest "beta" with one of its own.
struct Two {
    place: Place,
    node: Node,
}

const ACME: &str = "--profile acme/profile.toml";
const BETA: &str = "--org beta --officer beta/keys/officer.key --profile acme/profile.toml";

impl Two {
    fn new() -> Self {
        let place = Place::new();
        let node = Node::begin(&place, "acme", "--org acme").ready();
        place.run("org init beta --name beta --quota 50").ok();
        let chain = &node.chain;
        place
            .run(&format!(
                "org apply beta --chain {chain} --out beta.application"
            ))
            .ok();
        let two = Self { place, node };
        two.run(
            "org propose --admit beta.application --guest --quota 50",
            ACME,
        )
        .ok();
        two.run("org grant beta/keys/writer.key", BETA).ok();
        two
    }

    fn run(&self, verb: &str, who: &str) -> crate::command::Ran {
        self.node.run(&self.place, &format!("{verb} {who}"))
    }

    fn says(&self, verb: &str, who: &str, code: i32, words: &[&str]) {
        let ran = self.run(verb, who);
        ran.exits(code);
        for word in words {
            assert!(ran.err().contains(word), "{word:?} in {}", ran.err());
        }
    }
}

#[test]
fn members_decide_and_guests_do_not() {
    let two = Two::new();
    let listed = two.run("org proposals --json", ACME).json();
    let admitted = &listed["proposals"][0];
    assert_eq!(
        (
            &listed["members"],
            &admitted["state"],
            &admitted["proposer"]
        ),
        (&1.into(), &"carried".into(), &"acme".into())
    );
    let guest = two.run("org show beta --json", ACME).json();
    assert_eq!(
        (&guest["member"], &guest["quota"]),
        (&false.into(), &50.into())
    );
    two.says(
        "org propose --thaw acme --out refused.proposal",
        BETA,
        3,
        &["is no member of this ledger and has no vote"],
    );
    // What the ledger refused is nothing to pass on.
    assert!(!two.place.path("refused.proposal").exists());

    // Whoever withdraws a key finds its handle: those of an application, and those that were granted; in force, and no other's.
    let keys = |org: &str| {
        two.run(&format!("org show {org} --keys --json"), ACME)
            .json()["keys"]
            .clone()
    };
    let roles = |keys: &serde_json::Value| {
        let roles = keys.as_array().unwrap().iter();
        roles.map(|key| key["role"].clone()).collect::<Vec<_>>()
    };
    let of_beta = keys("beta");
    assert_eq!(roles(&of_beta), ["officer", "writer"]);
    for (n, file) in ["officer", "writer"].into_iter().enumerate() {
        let shown = format!("key show beta/keys/{file}.key --json");
        let shown = two.place.run(&shown).json();
        assert_eq!(of_beta[n]["handle"], shown["handle"]);
        assert_eq!(of_beta[n]["signing_key"], shown["signing_key"]);
    }
    two.place
        .run("key new beta/keys/second.key --purpose writer")
        .ok();
    two.run("org grant beta/keys/second.key", BETA).ok();
    assert_eq!(roles(&keys("beta")), ["officer", "writer", "writer"]);
    let second = keys("beta")[2]["handle"].as_str().unwrap().to_owned();
    two.run(
        &format!("org withdraw {second} --officer beta/keys/officer.key"),
        ACME,
    )
    .ok();
    assert_eq!(keys("beta"), of_beta);
    let page = two.run("org show beta --keys", ACME).out();
    let line = format!("officer  {}", of_beta[0]["handle"].as_str().unwrap());
    assert!(page.contains(&line), "{page}");
    assert!(
        !keys("acme")
            .to_string()
            .contains(of_beta[1]["handle"].as_str().unwrap())
    );

    // Nobody votes on what the ledger would refuse at the last vote.
    two.says(
        "org propose --heartbeat 3600s",
        ACME,
        1,
        &["founded with a heartbeat of", "none is longer"],
    );

    // Seated, both have to agree on everything.
    two.run("org propose --seat beta", ACME).ok();
    let open = two
        .run(
            "org propose --set-quota acme=5000 --out raise.proposal --json",
            BETA,
        )
        .json();
    assert_eq!(
        (&open["state"], &open["votes"]["needed"]),
        (&"open".into(), &2.into())
    );
    assert_eq!(
        (&open["votes"]["high"], &open["votes"]["members"]),
        (&true.into(), &2.into())
    );
    assert_eq!(open["votes"]["yes"], serde_json::json!(["beta"]));
    two.run("org vote raise.proposal --no", ACME).ok();
    let id = open["id"].as_str().unwrap();
    // Nothing is proposed whose file could not be written.
    let before = two.run("org proposals --json", ACME).json();
    let taken = "org propose --set-quota acme=6000 --out raise.proposal";
    two.says(taken, BETA, 5, &["raise.proposal", "exists already"]);
    assert_eq!(two.run("org proposals --json", ACME).json(), before);
    two.says(
        "org propose --set-quota acme=6000 --out no/where",
        BETA,
        5,
        &["no/where could not be created: it does not exist"],
    );
    assert_eq!(two.run("org proposals --json", ACME).json(), before);
    // Where it turns out afterwards that no file can be there, the ledger has the proposal, and that is said with its ID.
    let late = "org propose --set-quota beta=60 --out /proc/beta.proposal";
    let late = two.run(late, BETA);
    assert_ne!(late.code(), 0);
    let newest = &two.run("org proposals --json", ACME).json()["proposals"][0];
    let newest = newest["id"].as_str().unwrap();
    for words in [newest, "do not propose it again"] {
        assert!(late.err().contains(words), "{words} in {}", late.err());
    }
    let against = two.run(&format!("org proposals {id} --json"), ACME).json();
    assert_eq!(against["votes"]["no"], serde_json::json!(["acme"]));
    let page = two.run(&format!("org proposals {id}"), ACME).out();
    assert!(page.contains("2 of 2 members, two thirds"), "{page}");
    two.says(&format!("org vote {id} --no"), BETA, 3, &["a yes stands"]);
    let carried = two.run(&format!("org vote {id} --yes --json"), ACME).json();
    assert_eq!(carried["state"], "carried");
    // What it would take today says nothing about what it took.
    for votes in [&carried["votes"], &admitted["votes"]] {
        assert!(votes["carried_at"].is_u64());
        for of_today in ["needed", "high", "members"] {
            assert!(votes.get(of_today).is_none(), "{of_today} in {votes}");
        }
    }
    let acme = two.run("org show acme --json", ACME).json();
    assert_eq!(acme["quota"], 5000);
    two.says(
        &format!("org vote {id} --yes"),
        BETA,
        3,
        &["was carried already"],
    );
    let unknown = "0".repeat(63) + "1";
    two.says(
        &format!("org vote {unknown} --yes"),
        ACME,
        1,
        &["has no proposal"],
    );
    two.says(
        "org propose --freeze nobody",
        ACME,
        1,
        &["has no organisation nobody"],
    );

    // A page for people.
    let page = two.run(&format!("org proposals {id}"), ACME).out();
    for words in [
        "Carried",
        "let acme have up to 5,000 rows",
        "for it",
        "acme, beta",
    ] {
        assert!(page.contains(words), "{words:?} in {page}");
    }
    assert!(!page.contains("needed"), "{page}");
    // Nor does a deadline that is over with.
    assert!(!page.contains("until"), "{page}");
    two.node.stop();
}

#[test]
fn a_proposal_is_voted_on_by_what_the_table_prints() {
    let two = Two::new();
    two.run("org propose --seat beta", ACME).ok();
    let propose = |rows| {
        let open = two.run(&format!("org propose --set-quota acme={rows} --json"), BETA);
        open.json()["id"].as_str().unwrap().to_owned()
    };
    let id = propose(5_000);
    let table = two.run("org proposals", ACME).out();
    let row = table.lines().find(|line| line.contains("open")).unwrap();
    let digits = row.split_whitespace().next().unwrap();
    assert!(id.starts_with(digits) && digits.len() >= 8, "{table}");
    two.says(
        "org vote 0123456789abcdef --yes",
        ACME,
        1,
        &["none of the newest 1024 proposals begins with 0123456789abcdef"],
    );
    two.says(
        &format!("org vote {} --yes", &id[..4]),
        ACME,
        2,
        &["has 4 digits, and an ID is shortened to 8 or more"],
    );
    let missing = "org vote raise.proposal --yes";
    two.says(missing, ACME, 5, &["raise.proposal could not be read"]);
    let voted = two.run(&format!("org vote {digits} --yes --json"), ACME);
    let voted = voted.json();
    assert_eq!(
        (&voted["id"], &voted["state"]),
        (&id.into(), &"carried".into())
    );
    two.node.stop();
}

#[test]
fn who_cannot_be_admitted_is_not_proposed() {
    let two = Two::new();
    let before = two.run("org proposals --json", ACME).json();
    two.says(
        "org propose --admit beta.application",
        ACME,
        1,
        &["has an organisation beta already", "--seat beta"],
    );
    // Another name with an officer whose handle is there already.
    let chain = &two.node.chain;
    let init = "org init gamma --name gamma";
    two.place.run(init).ok();
    two.place
        .run(&format!(
            "org apply gamma --chain {chain} --out gamma.application"
        ))
        .ok();
    two.run("org grant gamma/keys/officer.key", ACME).ok();
    two.says(
        "org propose --admit gamma.application",
        ACME,
        1,
        &[
            "of an officer of gamma is taken, by a key of acme",
            "apply again",
        ],
    );
    let after = two.run("org proposals --json", ACME).json();
    assert_eq!(before, after);
    two.node.stop();
}

#[test]
fn a_frozen_organisation_adds_nothing_and_says_why() {
    let two = Two::new();
    two.place.run("key new one.key").ok();
    two.run("org propose --freeze beta", ACME).ok();
    two.says(
        "key register one.key --writer beta/keys/writer.key",
        "--org beta --profile acme/profile.toml",
        3,
        &["have frozen the organisation"],
    );
    let shown = two.run("org show beta --json", ACME).json();
    assert!(shown["frozen_until_ms"].as_u64().unwrap() > 1_700_000_000_000);
    two.run("org propose --thaw beta", ACME).ok();
    let register = "key register one.key --writer beta/keys/writer.key";
    two.run(register, "--org beta --profile acme/profile.toml")
        .ok();
    // Two officers from now on.
    two.place.run("key new second.key --purpose officer").ok();
    two.run("org grant second.key", BETA).ok();
    let set = two.run("org threshold 2 --json", BETA).json();
    assert_eq!(
        (&set["officers_needed"], &set["officers"]),
        (&2.into(), &2.into())
    );
    two.says("org threshold 1", BETA, 3, &["fewer keys signed"]);
    two.run("org threshold 1 --officer second.key", BETA).ok();
    two.node.stop();
}

#[test]
fn devices_come_to_another_organisation_when_both_sign() {
    let two = Two::new();
    two.run("org grant acme/keys/writer.key", ACME);
    for key in ["one.key", "two.key"] {
        two.place.run(&format!("key new {key} --purpose act")).ok();
    }
    two.place.run("key new app.key --purpose app").ok();
    two.run("key register one.key two.key app.key", ACME).ok();
    two.says(
        "key transfer app.key --to beta --out no.transfer",
        ACME,
        1,
        &["no active factory or device key"],
    );
    two.run(
        "key transfer one.key two.key --to beta --out two.transfer",
        ACME,
    )
    .ok();
    let taker = "--org beta --writer beta/keys/writer.key --profile acme/profile.toml";
    two.says(
        "key accept two.transfer",
        ACME,
        1,
        &["offers the keys to beta"],
    );
    let taken = two.run("key accept two.transfer --json", taker).json();
    assert_eq!(
        (&taken["keys"], &taken["from"]),
        (&2.into(), &"acme".into())
    );
    // Typed again it says the same.
    let again = two.run("key accept two.transfer --json", taker).json();
    assert_eq!(again, taken);
    // All power is gone with them.
    let handle = two.run("key show one.key --json", "").json()["handle"]
        .as_str()
        .unwrap()
        .to_owned();
    two.says(
        &format!("key revoke {handle}"),
        ACME,
        3,
        &["belongs to another organisation"],
    );
    // Nobody pairs with it before the device has replaced it.
    let shown = two.run("key lookup one.key --json", ACME);
    shown.exits(1);
    let shown: serde_json::Value = serde_json::from_str(shown.out().trim()).unwrap();
    assert_eq!(shown["binding"], "moved");
    let first = kusabi_core::id::OrgName::new("acme").unwrap().id();
    assert_eq!(shown["record"]["first_organisation"], first.to_string());
    assert_eq!(shown["organisation_name"], "beta", "{shown}");
    assert_eq!(shown["first_organisation_name"], "acme", "{shown}");
    let page = two.run("key lookup one.key", ACME).out();
    assert!(page.contains(&format!("acme ({first})")), "{page}");
    two.node.stop();
}
