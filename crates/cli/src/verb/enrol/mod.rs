//! `kusabi enrol`: devices that are in the field already.

mod accept;
mod list;
mod refuse;
mod serials;
mod token;

use clap::Subcommand;
use kusabi_api::admin::{Enrolment, EnrolmentState};

use crate::{
    exit::Exit,
    failure::{Failure, Result},
    fleet::Fleet,
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Token(token::Args),
    Serials(serials::Args),
    List(list::Args),
    Accept(accept::Args),
    Refuse(refuse::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::Serials(args) => serials::run(args, session),
        Verb::Token(args) => token::run(args, session),
        Verb::List(args) => list::run(args, session),
        Verb::Accept(args) => accept::run(args, session),
        Verb::Refuse(args) => refuse::run(args, session),
    }
}

/// The enrolment that a person means: by its ID, its handle, or the label that the device says.
fn find(fleet: &Fleet, named: &str) -> Result<Enrolment> {
    let (all, _) = fleet.list(usize::MAX, async |cursor, limit| {
        fleet
            .client()
            .enrolments(None, cursor.as_deref(), limit)
            .await
    })?;
    let labelled = |one: &&Enrolment| {
        one.label
            .as_ref()
            .is_some_and(|label| label.as_str() == named)
    };
    let exact = |one: &&Enrolment| one.id == named || one.handle.to_string() == named;
    if let Some(found) = all.iter().find(exact) {
        return Ok(found.clone());
    }
    let mut found: Vec<&Enrolment> = all.iter().filter(labelled).collect();
    // Whoever asks may call himself what he likes: a name that two have is none.
    let waiting: Vec<&Enrolment> = found
        .iter()
        .copied()
        .filter(|one| one.state == EnrolmentState::Waiting)
        .collect();
    if !waiting.is_empty() {
        found = waiting;
    }
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Failure::new(
            Exit::Negative,
            format!("no device that calls itself {named} asks to be enrolled"),
        )
        .advise("kusabi enrol list shows those that do")),
        several => Err(Failure::new(
            Exit::Negative,
            format!("{} devices call themselves {named}", several.len()),
        )
        .advise("name the right one by its ID, after comparing the handle with what the device shows: kusabi-agent status")),
    }
}
