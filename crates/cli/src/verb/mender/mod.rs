//! `kusabi mender`: stock Mender devices that ask the server to be let in.

mod accept;
mod list;
mod preauthorize;
mod reject;

use clap::Subcommand;
use kusabi_api::admin::{AuthSet, AuthSetState, MenderDevice, MenderIdentity, MenderValue};
use serde::Serialize;

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    page::{Answer, Page},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    List(list::Args),
    Accept(accept::Args),
    Reject(reject::Args),
    Preauthorize(preauthorize::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::List(args) => list::run(args, session),
        Verb::Accept(args) => accept::run(args, session),
        Verb::Reject(args) => reject::run(args, session),
        Verb::Preauthorize(args) => preauthorize::run(args, session),
    }
}

/// What became of a key that a device came with, or will.
#[derive(Serialize)]
struct Decided {
    #[serde(skip)]
    word: &'static str,
    /// The ID of its auth set.
    auth_set: String,
    #[serde(flatten)]
    device: MenderDevice,
}

impl Answer for Decided {
    fn page(&self, page: &mut Page) {
        let device = &self.device;
        page.good(self.word, &named(&device.identity));
        let (decided, others): (Vec<_>, Vec<_>) = device
            .auth_sets
            .iter()
            .partition(|set| set.id == self.auth_set);
        // The device's own state is that of the best of its keys.
        for set in decided {
            page.field("auth set", &*set.id)
                .field("key", set.fingerprint.to_string())
                .field("state", set.state.name());
        }
        page.field("device", &*device.id);
        for set in others {
            let other = format!("{}, key {}: {}", set.id, set.fingerprint, set.state.name());
            page.field("another key", other);
        }
    }
}

/// An identity on one line.
fn named(identity: &MenderIdentity) -> String {
    let said: Vec<String> = identity
        .iter()
        .map(|(name, value)| match value {
            MenderValue::One(value) => format!("{name}={value}"),
            MenderValue::Many(values) => format!("{name}={}", values.join(",")),
        })
        .collect();
    said.join(" ")
}

/// What is to become of an auth set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    Accept,
    Reject,
}

/// The auth set that a person means: by its ID, or the one of a device (by its ID, or, while it waits, a value of its identity) that
/// can be meant. Anyone can ask under an identity with a key of his own, so of several none is chosen.
fn find(fleet: &Fleet, wanted: &str, meant: Meant) -> Result<String> {
    if wanted.starts_with("mas_") {
        return Ok(wanted.to_owned());
    }
    if wanted.starts_with("dev_") {
        let detail = fleet.ask(fleet.client().mender_device(wanted))?;
        return the_one(wanted, &detail.device.auth_sets, meant);
    }
    let state = Some(AuthSetState::Pending);
    let (all, _) = fleet.list(usize::MAX, async |cursor, limit| {
        fleet
            .client()
            .mender_devices(state, cursor.as_deref(), limit)
            .await
    })?;
    let says = |value: &MenderValue| match value {
        MenderValue::One(value) => value == wanted,
        MenderValue::Many(values) => values.iter().any(|value| value == wanted),
    };
    let found: Vec<&MenderDevice> = all
        .iter()
        .filter(|device| device.identity.values().any(says))
        .collect();
    match found.as_slice() {
        [one] => the_one(wanted, &one.auth_sets, meant),
        [] => Err(Failure::new(
            Exit::Negative,
            format!("no Mender device that waits says that it is {wanted}"),
        )
        .advise("kusabi mender list shows those that wait, and with --all every one; a device that is decided is named by its ID")),
        several => Err(Failure::new(
            Exit::Negative,
            format!("{} devices that wait say that they are {wanted}", several.len()),
        )
        .advise("name the right one by the ID of its auth set (mas_…), after comparing the key")),
    }
}

fn the_one(wanted: &str, sets: &[AuthSet], meant: Meant) -> Result<String> {
    let could_be: Vec<&AuthSet> = sets
        .iter()
        .filter(|set| match meant {
            // One that is accepted may be so by half: the ledger was not there.
            Meant::Accept => true,
            Meant::Reject => set.state != AuthSetState::Rejected,
        })
        .collect();
    match could_be.as_slice() {
        [one] => Ok(one.id.clone()),
        _ => Err(Failure::new(
            Exit::Negative,
            format!("{wanted} came with {} keys", sets.len()),
        )
        .advise("name the right one by the ID of its auth set (mas_…), after comparing the key: kusabi mender list --all")),
    }
}
