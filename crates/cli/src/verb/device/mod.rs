//! `kusabi device`: an organisation's devices, as its server knows them.

mod apart;
mod expected;
mod heard;
mod import;
mod inventory;
mod list;
mod log;
mod order;
mod receipt;
mod revoke;
mod show;
mod with;

use clap::Subcommand;
use kusabi_api::admin::Device;

pub(crate) use import::{Import, import_all};

use crate::{exit::Exit, failure::Result, page::instant, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    List(list::Args),
    Show(show::Args),
    Import(import::Args),
    Inventory(inventory::Args),
    With(with::Args),
    Expected(expected::Args),
    Order(order::Args),
    Log(log::Args),
    Receipt(receipt::Args),
    Heard(heard::Args),
    Quarantine(apart::Quarantine),
    Readmit(apart::Readmit),
    Revoke(revoke::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::List(args) => list::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Import(args) => import::run(args, session),
        Verb::Inventory(args) => inventory::run(args, session),
        Verb::With(args) => with::run(args, session),
        Verb::Expected(args) => expected::run(args, session),
        Verb::Order(args) => order::run(args, session),
        Verb::Log(args) => log::run(args, session),
        Verb::Receipt(args) => receipt::run(args, session),
        Verb::Heard(args) => heard::run(args, session),
        Verb::Quarantine(args) => apart::quarantine(args, session),
        Verb::Readmit(args) => apart::readmit(args, session),
        Verb::Revoke(args) => revoke::run(args, session),
    }
}

/// What a person calls a device: its serial, or its ID where it has none.
fn called(device: &Device) -> String {
    device
        .serial
        .as_ref()
        .map_or_else(|| device.id.clone(), ToString::to_string)
}

/// When a device was heard last.
fn heard(device: &Device) -> String {
    device
        .last_contact_ms
        .map_or_else(|| "never".to_owned(), instant)
}
