//! `kusabi rollout`: one release to many devices, in phases.

mod act;
mod list;
mod new;
mod phase;
mod show;

use clap::Subcommand;
use kusabi_api::admin::{Phase, PhaseSize, PhaseStart, Rollout, RolloutAwaits, RolloutReason};

use crate::{
    exit::Exit,
    failure::Result,
    page::{Page, grouped, instant},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    New(Box<new::Args>),
    List(list::Args),
    Show(show::Args),
    /// Hold a rollout: no orders any more, and those that no device has fetched are taken back
    Pause(act::Args),
    /// Let a rollout go on; failures are counted anew
    Resume(act::Args),
    /// Begin the next phase now, however many devices have succeeded
    Next(act::Args),
    /// End a rollout; what devices have that hold their order already is noted all the same
    Abort(act::Args),
}

pub(crate) fn run(verb: &Verb, session: &Session) -> Result<Exit> {
    match verb {
        Verb::New(args) => new::run(args, session),
        Verb::List(args) => list::run(args, session),
        Verb::Show(args) => show::run(args, session),
        Verb::Pause(args) => act::run(act::Act::Pause, args, session),
        Verb::Resume(args) => act::run(act::Act::Resume, args, session),
        Verb::Next(args) => act::run(act::Act::Next, args, session),
        Verb::Abort(args) => act::run(act::Act::Abort, args, session),
    }
}

/// Where a rollout stands, in a few words.
fn standing(rollout: &Rollout) -> String {
    let state = rollout.state.name();
    let more = match (rollout.reason, rollout.awaits) {
        (Some(RolloutReason::Operator), _) => "by a person",
        (Some(RolloutReason::Failures), _) => "too many devices failed",
        (Some(RolloutReason::Withdrawn), _) => "the release was withdrawn",
        (Some(RolloutReason::ChannelMinimum), _) => {
            "the release is below its channel's lowest counter"
        }
        (Some(RolloutReason::Untried), _) => {
            "every device of the phase was skipped; kusabi rollout resume begins the next one"
        }
        (_, Some(RolloutAwaits::Start)) => "waits for its time",
        (_, Some(RolloutAwaits::Devices)) => "waits for devices",
        (_, Some(RolloutAwaits::Time)) => "waits for the time of its next phase",
        (_, Some(RolloutAwaits::Hand)) => "waits for kusabi rollout next",
        _ => return state.to_owned(),
    };
    format!("{state}: {more}")
}

/// Everything about a rollout but its devices.
fn particulars(rollout: &Rollout, page: &mut Page) {
    let counts = &rollout.counts;
    let plan = &rollout.plan;
    page.field("rollout", rollout.id.to_string())
        .field("name", plan.name.to_string())
        .field("release", plan.release.to_string())
        .field("state", standing(rollout))
        .field(
            "devices",
            format!(
                "{} take part, {} skipped; {} in the phases so far",
                grouped(rollout.total),
                grouped(counts.skipped),
                grouped(rollout.released)
            ),
        )
        .field(
            "of them",
            format!(
                "{} waiting, {} ordered, {} sent, {} done, {} failed, {} aborted",
                grouped(counts.waiting),
                grouped(counts.ordered),
                grouped(counts.sent),
                grouped(counts.done),
                grouped(counts.failed),
                grouped(counts.aborted)
            ),
        );
    if rollout.silent > 0 {
        page.field(
            "silent",
            format!(
                "{} have had an order for a day without an answer",
                grouped(rollout.silent)
            ),
        );
    }
    for (number, phase) in (1..).zip(&plan.phases) {
        let begun = if number <= rollout.phase {
            "begun"
        } else {
            "to come"
        };
        page.field(
            format!("phase {number}"),
            format!("{}, {begun}", described(phase)),
        );
    }
    page.field_if("began", rollout.began_ms.map(instant))
        .field_if("goes on", rollout.next_ms.map(instant))
        .field_if("ended", rollout.ended_ms.map(instant));
}

fn described(phase: &Phase) -> String {
    let size = match phase.size {
        PhaseSize::Percent(part) => format!("{part} %"),
        PhaseSize::Count(count) => grouped(count),
        PhaseSize::Rest => "the rest".to_owned(),
    };
    match phase.start {
        PhaseStart::AtOnce => size,
        PhaseStart::After(secs) => format!("{size} after {secs} s"),
        PhaseStart::At(at) => format!("{size} at {}", instant(at)),
        PhaseStart::ByHand => format!("{size} by hand"),
    }
}
