//! `kusabi node status`: how nodes are doing, a screen for each.

use kusabi_api::ledger::{Peers, Role, Status, ValidatorVotes, Votes};
use serde::Serialize;

use crate::{
    connection::statuses_of,
    exit::Exit,
    failure::{Failure, Result},
    page::{Answer, Page, counted, elapsed, grouped},
    session::Session,
};

/// In fewer certificates a vote that is missing says nothing: each has a quorum's votes, and need not have more.
const VOTES_MIN: u64 = 100;

/// Show how nodes are doing: height, epoch, peers, votes, what they wait for
///
/// It is what each node says of itself, and nothing of it is proven: `kusabi doctor` and `kusabi audit watch` check what a node
/// shows. Ends with code 1 where a node is not ready, with 4 where one does not answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Addresses of nodes [default: the profile's]
    #[arg(value_name = "URL")]
    nodes: Vec<String>,
}

/// How a node stands, in the order of what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ready,
    /// It waits for something.
    NotReady,
    /// No answer, or none that is a node's.
    Silent,
    /// It is of another ledger than the one that is named.
    OtherChain,
}

#[derive(Serialize)]
struct Seen {
    node: String,
    state: State,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct All {
    nodes: Vec<Seen>,
}

impl All {
    fn exit(&self) -> Exit {
        match self.nodes.iter().map(|node| node.state).max() {
            None | Some(State::Ready) => Exit::Ok,
            Some(State::NotReady) => Exit::Negative,
            Some(State::Silent) => Exit::Unavailable,
            Some(State::OtherChain) => Exit::OtherChain,
        }
    }
}

impl Answer for All {
    fn page(&self, page: &mut Page) {
        for (n, node) in self.nodes.iter().enumerate() {
            if n > 0 {
                page.gap();
            }
            match node.state {
                State::Ready => page.good("Ready", &node.node),
                State::NotReady => page.bad("Not ready", &node.node),
                State::Silent => page.bad("No answer", &node.node),
                State::OtherChain => page.bad("Another ledger", &node.node),
            };
            page.field_if("why", node.why.as_deref());
            if let Some(status) = &node.status {
                show(page, status);
            }
        }
    }
}

fn show(page: &mut Page, status: &Status) {
    let role = match status.role {
        Role::Validator => "a validator",
        Role::Follower => "a follower, without a vote",
    };
    page.field_if("waits for", status.waits_for.as_deref())
        .field("ledger", format!("{}, {role}", status.name))
        .field("chain", status.chain.to_string())
        .field(
            "height",
            with(grouped(status.height), ", ", status.age_ms.map(old)),
        )
        .field(
            "epoch",
            with(
                format!(
                    "{}, {}",
                    status.epoch,
                    counted(status.validators.into(), "validator")
                ),
                ", ",
                status.epoch_age_ms.map(old),
            ),
        )
        .field_if("overdue", status.epoch_overdue.as_deref())
        .field(
            "view",
            with(
                grouped(status.view),
                ", one takes ",
                status.view_time_ms.map(elapsed),
            ),
        )
        .field_if("peers", status.peers.as_ref().map(peers))
        .field(
            "pending",
            format!(
                "{} of {} transactions",
                grouped(status.waiting),
                grouped(status.waiting_max)
            ),
        )
        .field_if("votes", status.votes.as_ref().map(votes))
        .field("sync", sync(status))
        .field("version", &*status.version);
}

fn with(first: String, between: &str, then: Option<String>) -> String {
    match then {
        None => first,
        Some(then) => format!("{first}{between}{then}"),
    }
}

fn old(ms: u64) -> String {
    format!("{} old", elapsed(ms))
}

fn peers(peers: &Peers) -> String {
    let said = format!("connected to {} of {}", peers.connected, peers.of);
    match &*peers.missing {
        [] => said,
        missing => format!("{said}; not connected:\n{}", missing.join("\n")),
    }
}

/// Validators that have signed none of the certificates, though there are many.
pub(crate) fn away(votes: &Votes) -> impl Iterator<Item = &ValidatorVotes> {
    let many = votes.counted >= VOTES_MIN;
    let validators = votes.validators.iter();
    validators.filter(move |of| many && of.newest.is_none())
}

/// The node's own votes, and those of whom every vote is missing.
fn votes(votes: &Votes) -> String {
    let counted = votes.counted;
    let own = match votes.missed {
        Some(missed) => format!(
            "in {} of the newest {} certificates",
            grouped(counted.saturating_sub(missed)),
            grouped(counted)
        ),
        None => format!("the newest {} certificates are counted", grouped(counted)),
    };
    let away: Vec<_> = away(votes).map(|of| of.address.as_str()).collect();
    match &*away {
        [] => own,
        away => format!("{own}; in none of them:\n{}", away.join("\n")),
    }
}

/// How far the node is.
fn sync(status: &Status) -> String {
    match (&status.following, status.ready) {
        (Some(following), _) => {
            let behind = match following.behind {
                0 => "shows the newest block that it knows of".to_owned(),
                n => format!("{} behind", grouped(n)),
            };
            match &following.from {
                Some(from) => format!("{behind}, from {from}"),
                None => format!("{behind}, and no node gives it blocks"),
            }
        }
        (None, true) => "shows the newest block".to_owned(),
        (None, false) => "not known: see what it waits for".to_owned(),
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let nodes = match &*args.nodes {
        [] => vec![session.ledger()?],
        named => named.to_vec(),
    };
    let chain = session.known_chain()?;
    let statuses = statuses_of(&nodes)?;
    let nodes = nodes.into_iter().zip(statuses).map(|(node, answer)| {
        let state = match &answer {
            Err(_) => State::Silent,
            Ok(status) if chain.is_some_and(|chain| chain != status.chain) => State::OtherChain,
            Ok(status) if status.ready => State::Ready,
            Ok(_) => State::NotReady,
        };
        let why = answer.as_ref().err().map(Failure::what).map(str::to_owned);
        Seen {
            node,
            state,
            why,
            status: answer.ok(),
        }
    });
    let all = All {
        nodes: nodes.collect(),
    };
    session.output().say(&all)?;
    Ok(all.exit())
}
