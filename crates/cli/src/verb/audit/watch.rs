//! `kusabi audit watch`: follows several nodes of one ledger and reports any two that contradict each other.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use kusabi_api::{
    HttpLedger, Kind, Ledger as _,
    contradiction::Evidence,
    verify::{Trust, VerifyError},
    watch::{Look, Outcome, Watched, compare_all},
};
use kusabi_core::{
    anchor::AnchorError,
    checkpoint::CheckpointError,
    genesis::Genesis,
    id::{ChainId, Height},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep_until, timeout};

use super::evidence::Shown;
use crate::{
    exit::Exit,
    failure::{Failure, Result},
    files::{self, Mode},
    floor::Floor,
    keyfile::hex,
    page::{Answer, Page, elapsed, grouped, instant},
    session::Session,
};

/// Most nodes: what is kept of each, and asked of each, is bounded.
const NODES_MAX: usize = 64;

/// Shortest time between two rounds, however many blocks come.
const PACE: Duration = Duration::from_secs(1);

/// Compare what several nodes of one ledger show, and go on until two contradict each other
///
/// Each node is verified by itself, from the chain ID on (of the profile, or --chain). Where two show blocks or validator sets that
/// cannot both be of one ledger, the evidence is written to a new file, which anyone can check (`kusabi audit evidence`), and the
/// command ends with code 1. Followers are watched like validators' nodes. A line is written whenever something changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of a node
    #[arg(required = true, value_name = "URL")]
    nodes: Vec<String>,
    /// Compare once; code 6 where a node's answers are refused, 4 where one does not answer or could not be compared
    #[arg(long)]
    once: bool,
    /// Folder for evidence
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

/// How a node stands, in the order of what matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// Its block is more than three heartbeats older than another node's, or than the one that this machine has verified.
    Behind,
    /// It shows an older block than it did before.
    WentBack,
    /// No answer.
    Silent,
    /// Its answer does not check, or is not what this machine has verified before.
    Refused,
}

#[derive(Serialize)]
struct NodeLine {
    node: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct FoundLine {
    one: String,
    other: String,
    /// The file; none where it could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_written: Option<String>,
    #[serde(flatten)]
    shown: Shown,
}

#[derive(Serialize)]
struct UncomparedLine {
    one: String,
    other: String,
    why: String,
}

#[derive(Serialize)]
struct Round {
    chain: String,
    nodes: Vec<NodeLine>,
    contradictions: Vec<FoundLine>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uncompared: Vec<UncomparedLine>,
    /// Age of the newest block of all, by this machine's clock, when it is more than three heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    still_ms: Option<u64>,
}

impl Round {
    fn is(&self, state: State) -> bool {
        self.nodes.iter().any(|node| node.state == state)
    }

    /// What has to change to be worth a line.
    fn gist(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| match node.state {
            // Why changes by itself: who starts says how far it has come.
            State::Silent => format!("{:?}", node.state),
            state => format!("{state:?}{:?}", node.why),
        });
        let pairs = self
            .uncompared
            .iter()
            .map(|pair| format!("{} {}", pair.one, pair.other));
        let epochs: BTreeSet<_> = self.nodes.iter().filter_map(|node| node.epoch).collect();
        nodes
            .chain(pairs)
            .chain([format!("{epochs:?} {}", self.still_ms.is_some())])
            .collect()
    }

    fn exit(&self) -> Exit {
        if !self.contradictions.is_empty() {
            Exit::Negative
        } else if self.is(State::Refused) || self.is(State::WentBack) {
            Exit::Unproven
        } else if self.is(State::Silent) || !self.uncompared.is_empty() {
            Exit::Unavailable
        } else {
            Exit::Ok
        }
    }
}

impl Answer for Round {
    fn page(&self, page: &mut Page) {
        let heading = ["node", "height", "epoch", "block's time", "state"];
        let rows: Vec<_> = self.nodes.iter().map(row).collect();
        page.table(&heading, &rows);
        for node in &self.nodes {
            if let Some(why) = &node.why {
                page.careful(&format!("{}:", node.node), why);
            }
        }
        for pair in &self.uncompared {
            page.careful(
                "Not compared:",
                &format!("{} and {}: {}", pair.one, pair.other, pair.why),
            );
        }
        if let Some(still) = self.still_ms {
            page.careful(
                "Old:",
                &format!(
                    "the newest block is {} old by this machine's clock: the ledger stands still, or all of these hold the present \
                     back",
                    elapsed(still)
                ),
            );
        }
        for found in &self.contradictions {
            page.bad("Contradiction:", found.shown.what())
                .field("between", format!("{}\n{}", found.one, found.other))
                .field_if("evidence", found.evidence.as_deref())
                .field_if("not written", found.not_written.as_deref());
            found.shown.page(page);
            let Some(evidence) = &found.evidence else {
                page.text("Run the same command again with a folder that has room (--out): it finds the same evidence, as long as the nodes show it.");
                continue;
            };
            page.text(
                "Send the evidence to every operator, and trust neither history until they have answered. Anyone checks it with",
            )
            .command(&format!("kusabi audit evidence {evidence}"));
        }
        if self.exit() == Exit::Ok {
            let count = self.nodes.len();
            match count {
                1 => page.good("Goes on:", "the node shows one history"),
                _ => page.good("Agree:", &format!("{count} nodes show one history")),
            };
        }
    }
}

fn row(node: &NodeLine) -> Vec<String> {
    let text = |number: Option<String>| number.unwrap_or_default();
    vec![
        node.node.clone(),
        text(node.height.map(grouped)),
        // A name, not a quantity.
        text(node.epoch.map(|epoch| epoch.to_string())),
        text(node.time_ms.map(instant)),
        match node.state {
            State::Ok => "ok",
            State::Behind => "behind",
            State::WentBack => "went back",
            State::Silent => "no answer",
            State::Refused => "refused",
        }
        .to_owned(),
    ]
}

/// A node and its address.
struct Node {
    address: String,
    watched: Watched<HttpLedger>,
}

pub(super) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let chain = session.chain()?;
    if args.nodes.len() > NODES_MAX {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} nodes are more than the {NODES_MAX} that one command watches",
                args.nodes.len()
            ),
        )
        .advise("watch them in groups that have a node in common"));
    }
    let floor = Floor::of(&chain)?;
    let known = floor.read()?.map(|trust| *trust.anchor());
    let nodes: Result<Vec<_>> = args
        .nodes
        .iter()
        .map(|address| {
            let http = HttpLedger::new(address)
                .map_err(|problem| Failure::new(Exit::Usage, problem.to_string()))?;
            Ok(Node {
                address: address.clone(),
                watched: Watched::new(Arc::new(http), chain, known),
            })
        })
        .collect();
    let mut nodes = nodes?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Internal, format!("no runtime: {error}")))?;
    let mut told = None;
    loop {
        let begun = Instant::now();
        let (round, heartbeat) = runtime.block_on(round(&mut nodes, &chain, args, session))?;
        let exit = round.exit();
        if args.once || !round.contradictions.is_empty() || told.as_ref() != Some(&round.gist()) {
            session.output().say(&round)?;
            told = Some(round.gist());
        }
        if round.contradictions.is_empty()
            && let Some(trust) = furthest(&nodes, &round)
        {
            floor.raise(&trust)?;
        }
        if args.once || !round.contradictions.is_empty() {
            return Ok(exit);
        }
        runtime.block_on(async {
            news(&nodes, heartbeat).await;
            sleep_until(begun + PACE).await;
        });
    }
}

/// Asks every node and compares what they show.
async fn round(
    nodes: &mut [Node],
    chain: &ChainId,
    args: &Args,
    session: &Session,
) -> Result<(Round, Duration)> {
    let looks = join_all(nodes.iter_mut().map(|node| node.watched.look())).await;
    let compared: Vec<_> = nodes
        .iter()
        .zip(&looks)
        .map(|(node, look)| look.is_ok().then_some(&node.watched))
        .collect();
    let mut contradictions = Vec::new();
    let mut uncompared = Vec::new();
    let address = |place: usize| {
        nodes
            .get(place)
            .map(|node| node.address.clone())
            .unwrap_or_default()
    };
    for (place, look) in looks.iter().enumerate() {
        if let Ok(Look::Contradicts(evidence)) = look {
            contradictions.push(keep(
                evidence,
                chain,
                args,
                [address(place), address(place)],
            )?);
        }
    }
    for comparison in compare_all(&compared).await {
        let [one, other] = [address(comparison.one), address(comparison.other)];
        let why = match comparison.outcome {
            Outcome::Agree => continue,
            Outcome::Contradict(evidence) => {
                contradictions.push(keep(&evidence, chain, args, [one, other])?);
                continue;
            }
            Outcome::Apart => "a recovery stands between them: one of them is in an epoch that the other has left behind".to_owned(),
            Outcome::Unknown(why) => why.to_string(),
        };
        uncompared.push(UncomparedLine { one, other, why });
    }
    let heartbeat_ms = nodes
        .iter()
        .find_map(|node| {
            Some(
                Genesis::decode(node.watched.genesis()?)
                    .ok()?
                    .heartbeat_ms(),
            )
        })
        .unwrap_or(1_000);
    let shown = |node: &Node| node.watched.newest().map(|seen| seen.header().time_ms);
    let newest_ms = nodes
        .iter()
        .zip(&looks)
        .filter_map(|(node, look)| look.as_ref().ok().and_then(|_| shown(node)))
        .max();
    // One that shows less than this machine has verified is behind, as long as another one shows that much; where none does, they
    // may all hold the present back.
    let reached = |look: &std::result::Result<Look, VerifyError>| matches!(look, Ok(look) if !matches!(look, Look::Unlike(_)));
    let someone_reached = looks.iter().any(reached);
    let late = |ms: u64, than: u64| than.saturating_sub(ms) > 3 * heartbeat_ms;
    let lines = nodes.iter().zip(&looks).map(|(node, look)| {
        let header = node.watched.newest().map(|seen| seen.header());
        let (state, why) = match look {
            Err(why) if refused(why) => (State::Refused, Some(why.to_string())),
            Err(why) => (State::Silent, Some(why.to_string())),
            Ok(Look::Unlike(VerifyError::Checkpoint(CheckpointError::Anchor(
                AnchorError::BelowFloor,
            )))) if someone_reached => (
                State::Behind,
                Some("it shows less than this machine has verified before".to_owned()),
            ),
            Ok(Look::Unlike(why)) => (
                State::Refused,
                Some(format!("not what this machine has verified before: {why}")),
            ),
            Ok(Look::Back(height)) => (State::WentBack, Some(went_back(*height))),
            Ok(_) if late(shown(node).unwrap_or(0), newest_ms.unwrap_or(0)) => {
                (State::Behind, None)
            }
            Ok(_) => (State::Ok, None),
        };
        NodeLine {
            node: node.address.clone(),
            state,
            height: header.map(|header| header.height.get()),
            epoch: header.map(|header| header.epoch.get()),
            time_ms: header.map(|header| header.time_ms),
            why,
        }
    });
    let now_ms = session.now_ms();
    let round = Round {
        chain: chain.to_string(),
        nodes: lines.collect(),
        contradictions,
        uncompared,
        still_ms: newest_ms
            .filter(|ms| late(*ms, now_ms))
            .map(|ms| now_ms.saturating_sub(ms)),
    };
    Ok((round, Duration::from_millis(heartbeat_ms)))
}

fn refused(why: &VerifyError) -> bool {
    why.is_refusal()
        || matches!(why, VerifyError::Ledger(problem) if problem.kind == Kind::BadAnswer)
}

fn went_back(height: Height) -> String {
    format!(
        "it has shown block {} before: it was set back to an older copy, or hides the present",
        grouped(height.get())
    )
}

/// Writes evidence to a new file that is named by what it holds.
fn keep(
    evidence: &Evidence,
    chain: &ChainId,
    args: &Args,
    [one, other]: [String; 2],
) -> Result<FoundLine> {
    let internal = |why: &dyn std::fmt::Display| Failure::new(Exit::Internal, why.to_string());
    let shown = evidence.check(chain).map_err(|why| internal(&why))?;
    let bytes = evidence.encode().map_err(|why| internal(&why))?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let name = hex(&digest).chars().take(16).collect::<String>();
    let path = args.out.join(format!("contradiction-{name}.cbor"));
    // The same evidence may have been found before.
    let there = files::read(&path, bytes.len() as u64).ok().as_ref() == Some(&bytes);
    let written = if there {
        Ok(())
    } else {
        files::create(&path, &bytes, Mode::Public)
    };
    Ok(FoundLine {
        one,
        other,
        evidence: written.is_ok().then(|| path.display().to_string()),
        // What was found is said whether it could be written or not.
        not_written: written.err().map(|why| why.what().to_owned()),
        shown: Shown::new(&shown),
    })
}

/// What the furthest node that is not refused has shown.
fn furthest(nodes: &[Node], round: &Round) -> Option<Trust> {
    nodes
        .iter()
        .zip(&round.nodes)
        .filter(|(_, line)| matches!(line.state, State::Ok | State::Behind))
        .filter_map(|(node, _)| node.watched.trust())
        .max_by_key(|trust| (trust.anchor().epoch(), trust.anchor().height()))
}

/// Waits until a node speaks of a block that it has not shown yet, at most a heartbeat: one that is silent is asked again then.
async fn news(nodes: &[Node], heartbeat: Duration) {
    let mut waiting: FuturesUnordered<_> = nodes
        .iter()
        .filter_map(|node| {
            let after = node.watched.newest()?.header().height;
            Some(async move {
                let mut events = node.watched.ledger().events(after).await.ok()?;
                events.next().await?.ok()
            })
        })
        .collect();
    let first = async {
        while let Some(event) = waiting.next().await {
            if event.is_some() {
                return;
            }
        }
        // Nobody speaks.
        std::future::pending().await
    };
    // Only a hint either way: the round finds out what is so.
    let _ = timeout(heartbeat, first).await;
}
