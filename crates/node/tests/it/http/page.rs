//! `docs/api.md` says what the code does: its tables are made from the enums, its limits are the defaults.

use kusabi_api::{Kind, problem::Retry};
use kusabi_core::tx::TxError;
use kusabi_ledger::Rejection;
use kusabi_node::{
    http::Limits,
    ledger::refusal::{malformed, rejected},
};
use std::fmt::Write as _;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");

fn kinds() -> String {
    let mut table = String::from(
        "| type `urn:kusabi:problem:…` | status | title | later |\n|---|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let later = match kind.retry() {
            Retry::Later => "yes",
            Retry::No => "",
        };
        writeln!(
            table,
            "| `{}` | {} | {} | {later} |",
            kind.slug(),
            kind.status(),
            kind.title()
        )
        .unwrap();
    }
    table
}

fn codes() -> String {
    let unreadable = [
        TxError::Cbor,
        TxError::TooLong,
        TxError::Version,
        TxError::Action,
        TxError::Count,
        TxError::Order,
        TxError::Purpose,
        TxError::Suite,
        TxError::Key,
        TxError::Zero,
        TxError::Value,
        TxError::NotCanonical,
    ];
    let problems = unreadable
        .map(malformed)
        .into_iter()
        .chain(Rejection::ALL.map(rejected));
    let mut table = String::from("| code | type | status | sentence |\n|---|---|---|---|\n");
    for problem in problems {
        let (kind, code) = (problem.kind, problem.code.unwrap());
        writeln!(
            table,
            "| {code} | `{}` | {} | {} |",
            kind.slug(),
            kind.status(),
            problem.detail
        )
        .unwrap();
    }
    table
}

/// The page with its tables made anew.
fn anew(page: &str) -> String {
    [("kinds", kinds()), ("codes", codes())].into_iter().fold(
        page.to_owned(),
        |page, (name, table)| {
            let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
            let (before, rest) = page
                .split_once(&begin)
                .expect("the page has a place for the table");
            let (_, after) = rest.split_once(&end).expect("the table has an end");
            format!("{before}{begin}{table}{end}{after}")
        },
    )
}

/// `UPDATE_DOCS=1 cargo test -p kusabi-node --test it page` writes the tables.
#[test]
fn the_tables_are_those_of_the_code() {
    let page = std::fs::read_to_string(PATH).unwrap();
    let expected = anew(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PATH, expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/api.md is out of date: UPDATE_DOCS=1 cargo test -p kusabi-node --test it page"
    );
}

#[test]
fn the_limits_are_the_defaults() {
    let page = std::fs::read_to_string(PATH).unwrap();
    let limits = Limits::default();
    let seconds = |duration: std::time::Duration| duration.as_secs();
    for line in [
        format!(
            "| body of a transaction | 1 MiB; all that are being received: {} MiB |",
            limits.receiving_bytes >> 20
        ),
        format!("| path and query | {} KiB |", limits.address_bytes >> 10),
        format!("| header | {} KiB |", limits.header_bytes >> 10),
        format!(
            "| header to arrive, and silence between two requests | {} s |",
            seconds(limits.header_time)
        ),
        format!("| body to arrive | {} s |", seconds(limits.body_time)),
        format!(
            "| a client that takes no byte of its answer | cut after {} s |",
            seconds(limits.write_time)
        ),
        format!(
            "| connections | {},{:03}; further ones wait |",
            limits.connections / 1000,
            limits.connections % 1000
        ),
        format!("| blocks being sent | {} |", limits.blocks),
        format!("| event streams | {} |", limits.subscribers),
        format!("| streams of blocks | {} |", limits.followers),
        format!(
            "| the ledger to answer a reading request | {} s, then `503` |",
            seconds(limits.answer_time)
        ),
        format!(
            "| running requests when the node stops | {} s to end |",
            seconds(limits.grace)
        ),
        format!("at most 60; {} if not said", seconds(limits.wait_default)),
        format!("A comment comes every {} s", seconds(limits.heartbeat)),
    ] {
        assert!(page.contains(&line), "docs/api.md does not say: {line}");
    }
}
