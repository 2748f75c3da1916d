//! `kusabi org show`: an organisation as the ledger proves it.

use kusabi_core::{
    id::{Height, OrgName},
    row::{Organisation, Row},
    suite::Purpose,
};
use serde::Serialize;

use super::keys::{self, RoleKey};
use crate::{
    connection::Connection,
    exit::Exit,
    failure::Result,
    page::{Answer, Page, grouped, instant},
    session::Session,
};

/// Show an organisation: its officers' rule and its counts; with --keys also which keys speak for it
///
/// The handles are what `org withdraw` and `org art --remove` ask for. No row lists them: with --keys the events of all blocks are
/// read, which takes a while where the ledger is long, and every key that is shown is proven.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the organisation [default: the profile's]
    name: Option<OrgName>,
    /// List the keys of its officers, writers, revokers and servers and its release keys, with their handles
    #[arg(long)]
    keys: bool,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    id: String,
    present: bool,
    proven_at: u64,
    proven_time_ms: u64,
    #[serde(flatten)]
    counts: Option<Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<RoleKey>>,
}

#[derive(Serialize)]
struct Counts {
    officers_needed: u8,
    officers: u8,
    active: u64,
    rows: u64,
    quota: u64,
    member: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_keys: Option<ReleaseKeys>,
}

#[derive(Serialize)]
struct ReleaseKeys {
    needed: u8,
    active: u8,
    policy_version: u32,
}

impl Answer for Shown {
    fn page(&self, page: &mut Page) {
        let proven = format!(
            "block {}, {}",
            grouped(self.proven_at),
            instant(self.proven_time_ms)
        );
        let Some(counts) = &self.counts else {
            page.bad(
                "Unknown",
                "the ledger proves that it has no such organisation",
            )
            .field("name", &*self.name)
            .field("proven at", proven);
            return;
        };
        page.good("Organisation", &self.name)
            .field("ID", &*self.id)
            .field(
                "officers",
                format!("{} of {} sign", counts.officers_needed, counts.officers),
            )
            .field(
                "release keys",
                counts.release_keys.as_ref().map_or_else(
                    || "none yet".to_owned(),
                    |keys| {
                        format!(
                            "{} of {} sign, policy version {}",
                            keys.needed, keys.active, keys.policy_version
                        )
                    },
                ),
            )
            .field("active keys", grouped(counts.active))
            .field(
                "rows",
                format!("{} of {}", grouped(counts.rows), grouped(counts.quota)),
            )
            .field(
                "vote",
                match (counts.member, counts.removed_at) {
                    (true, _) => "a member".to_owned(),
                    (false, None) => "a guest, without a vote".to_owned(),
                    (false, Some(at)) => format!("removed at block {}", grouped(at)),
                },
            )
            .field_if(
                "frozen",
                counts
                    .frozen_until_ms
                    .map(|until| format!("until {}: it adds nothing", instant(until))),
            )
            .field("proven at", proven);
        if let Some(keys) = &self.keys {
            let rows: Vec<_> = keys.iter().map(line).collect();
            page.gap()
                .table(&["role", "handle", "since block"], &rows)
                .text("Each is proven; which there are the node says, and may leave out writers, revokers, servers and foreign keys.");
        }
    }
}

fn line(key: &RoleKey) -> Vec<String> {
    let role = match key.foreign {
        true => format!("{}, foreign", key.role),
        false => key.role.to_owned(),
    };
    vec![role, key.handle.clone(), grouped(key.registered_at)]
}

/// Says what the rows count and the node's events did not show.
fn warn_of_missing(session: &Session, keys: &[RoleKey], counts: &Counts) {
    let listed = |role: Purpose| {
        let keys = keys.iter().filter(|key| !key.foreign);
        keys.filter(|key| key.role == role.name()).count()
    };
    let release_keys = counts.release_keys.as_ref().map_or(0, |keys| keys.active);
    for (role, counted) in [
        (Purpose::Officer, counts.officers),
        (Purpose::Art, release_keys),
    ] {
        if listed(role) != usize::from(counted) {
            session.output().warn(&format!(
                "the ledger counts {counted} {role} keys, and what the node shows of its blocks has {}: ask another node with \
                 --ledger URL",
                listed(role)
            ));
        }
    }
}

pub(crate) fn run(args: &Args, session: &Session) -> Result<Exit> {
    let name = session.org(args.name.as_ref())?;
    let connection = Connection::open(session)?;
    let proven = connection.organisation(&name.id())?;
    let row: Option<&Organisation> = match proven.value() {
        Some(Row::Organisation(row)) => Some(row),
        _ => None,
    };
    let policy = match row {
        Some(_) => super::art::find(&connection, &name)?,
        None => None,
    };
    let counts = row.map(|row| Counts {
        officers_needed: row.officers_k,
        officers: row.officers_n,
        active: row.active,
        rows: row.rows,
        quota: row.quota,
        member: row.seat.is_some(),
        removed_at: (row.removed != Height::ZERO).then(|| row.removed.get()),
        frozen_until_ms: row
            .is_frozen(proven.checkpoint().header().time_ms)
            .then_some(row.frozen_until_ms),
        release_keys: policy.map(|policy| ReleaseKeys {
            needed: policy.k,
            active: policy.n,
            policy_version: policy.version,
        }),
    });
    let keys = match &counts {
        Some(counts) if args.keys => {
            let keys = keys::list(&connection, &name, proven.height())?;
            warn_of_missing(session, &keys, counts);
            Some(keys)
        }
        _ => None,
    };
    session.output().say(&Shown {
        name: name.to_string(),
        id: name.id().to_string(),
        present: row.is_some(),
        proven_at: proven.height().get(),
        proven_time_ms: proven.checkpoint().header().time_ms,
        counts,
        keys,
    })?;
    Ok(if row.is_some() {
        Exit::Ok
    } else {
        Exit::Negative
    })
}
