//! Rollouts, and how far each of their devices is. What concerns many devices is one statement, however many there are.

mod filter;
mod members;

pub(crate) use filter::choose;
pub use members::Members;
pub(crate) use members::{
    Member, Turn, Whose, any_tried, leaving, mark, members, oldest, set_order, silent, skip,
    take_back, turn, with_orders,
};

use super::{On, StoreError, column, int, number, optional_number, unreadable, word};
use crate::app::rollouts::machine::{Mark, Standing};
use kusabi_api::{
    Hex32,
    admin::{RolloutCounts, RolloutCreate, RolloutReason, RolloutState},
};
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};

/// A rollout's row.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    pub(crate) version: u64,
    pub(crate) plan: RolloutCreate,
    pub(crate) standing: Standing,
    pub(crate) created_ms: u64,
    pub(crate) created_by: String,
    pub(crate) next_ms: Option<u64>,
}

pub(super) const COLUMNS: &str = "id, version, plan, state, reason, phase, total, released, due, mark_finished, mark_failed, \
                       waiting, ordered, sent, done, failed, skipped, aborted, \
                       created_ms, created_by, began_ms, phase_ms, next_ms, ended_ms";

/// `$from, $from+1, …`: so many parameters.
pub(super) fn parameters(from: usize, count: usize) -> String {
    let all: Vec<String> = (from..from + count).map(|n| format!("${n}")).collect();
    all.join(", ")
}

/// A new rollout, of which no device is known yet; its number.
pub(crate) async fn insert(
    on: On<'_>,
    plan: &RolloutCreate,
    standing: &Standing,
    at_ms: u64,
    by: &str,
) -> Result<u64, StoreError> {
    let error = StoreError::of("insert a rollout");
    let text = serde_json::to_string(plan).map_err(|why| error(encode(why)))?;
    let row = sqlx::query(
        "INSERT INTO rollouts (org, id, version, plan, release_digest, state, phase, total, released, due, \
         mark_finished, mark_failed, waiting, ordered, sent, done, failed, skipped, aborted, \
         created_ms, created_by, next_ms) \
         SELECT $1, COALESCE(MAX(id), 0) + 1, 1, $2, $3, $4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, $5, $6, $5 \
         FROM rollouts WHERE org = $1 RETURNING id",
    )
    .bind(on.org)
    .bind(text)
    .bind(plan.release.0.to_vec())
    .bind(standing.state.name())
    .bind(int(at_ms))
    .bind(by.to_owned())
    .fetch_one(on.connection)
    .await
    .map_err(error)?;
    number(&row, "id").map_err(error)
}

fn encode(why: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(why.into())
}

/// One rollout.
pub(crate) async fn find(on: On<'_>, id: u64) -> Result<Option<Kept>, StoreError> {
    let error = StoreError::of("find a rollout");
    let sql = format!("SELECT {COLUMNS} FROM rollouts WHERE org = $1 AND id = $2");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(id))
        .fetch_optional(on.connection)
        .await
        .map_err(error)?;
    row.as_ref().map(read).transpose().map_err(error)
}

/// The rollouts with a number below `before`, at most `count`, the newest first.
pub(crate) async fn list(on: On<'_>, before: u64, count: u16) -> Result<Vec<Kept>, StoreError> {
    let error = StoreError::of("list rollouts");
    let sql = format!(
        "SELECT {COLUMNS} FROM rollouts WHERE org = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(before))
        .bind(i64::from(count))
        .fetch_all(on.connection)
        .await
        .map_err(error)?;
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// The rollouts but these whose time has come, at most `count`.
pub(crate) async fn due(
    on: On<'_>,
    now_ms: u64,
    but: &[u64],
    count: u16,
) -> Result<Vec<u64>, StoreError> {
    let error = StoreError::of("look for rollouts that go on");
    let sql = format!(
        "SELECT id FROM rollouts WHERE org = $1 AND next_ms <= $2 {}ORDER BY next_ms LIMIT $3",
        without(4, but)
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(int(now_ms))
        .bind(i64::from(count));
    let query = but.iter().fold(query, |query, id| query.bind(int(*id)));
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(|row| number(row, "id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// `AND …`: none of these, whose numbers are bound from parameter `from` on.
fn without(from: usize, but: &[u64]) -> String {
    match but.len() {
        0 => String::new(),
        count => format!("AND id NOT IN ({}) ", parameters(from, count)),
    }
}

/// When the time of the next one comes, these apart.
pub(crate) async fn next_time(on: On<'_>, but: &[u64]) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look when a rollout goes on");
    let sql = format!(
        "SELECT MIN(next_ms) AS next_ms FROM rollouts WHERE org = $1 {}",
        without(2, but)
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(on.org);
    let query = but.iter().fold(query, |query, id| query.bind(int(*id)));
    let row = query.fetch_one(on.connection).await.map_err(error)?;
    optional_number(&row, "next_ms").map_err(error)
}

/// The rollouts of this release, or of all, that are not over.
pub(crate) async fn open(on: On<'_>, release: Option<[u8; 32]>) -> Result<Vec<u64>, StoreError> {
    let error = StoreError::of("look for the rollouts of a release");
    let of = match release {
        Some(_) => " AND release_digest = $4",
        None => "",
    };
    let sql =
        format!("SELECT id FROM rollouts WHERE org = $1 AND state NOT IN ($2, $3){of} ORDER BY id");
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(on.org)
        .bind(RolloutState::Done.name())
        .bind(RolloutState::Aborted.name());
    if let Some(release) = release {
        query = query.bind(release.to_vec());
    }
    let rows = query.fetch_all(on.connection).await.map_err(error)?;
    rows.iter()
        .map(|row| number(row, "id"))
        .collect::<Result<_, _>>()
        .map_err(error)
}

/// A rollout that is under way and was asked for in the very same words, as [`insert`] writes them.
pub(crate) async fn under_way(
    on: On<'_>,
    asked: &RolloutCreate,
) -> Result<Option<u64>, StoreError> {
    let error = StoreError::of("look for a rollout that is under way");
    let text = serde_json::to_string(asked).map_err(|why| error(encode(why)))?;
    let row = sqlx::query(
        "SELECT id FROM rollouts WHERE org = $1 AND release_digest = $2 AND plan = $3 AND state NOT IN ($4, $5) LIMIT 1",
    )
    .bind(on.org)
    .bind(asked.release.0.to_vec())
    .bind(text)
    .bind(RolloutState::Done.name())
    .bind(RolloutState::Aborted.name())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    row.map(|row| number(&row, "id")).transpose().map_err(error)
}

/// Writes where a rollout stands in the place of the version that was read; says whether that was there.
pub(crate) async fn set(on: On<'_>, kept: &Kept) -> Result<bool, StoreError> {
    let Kept { standing, .. } = kept;
    let counts = &standing.counts;
    let optional = |number: Option<u64>| number.map(int);
    let done = sqlx::query(
        "UPDATE rollouts SET version = version + 1, state = $4, reason = $5, phase = $6, total = $7, released = $8, \
         due = $9, mark_finished = $10, mark_failed = $11, waiting = $12, ordered = $13, sent = $14, done = $15, \
         failed = $16, skipped = $17, aborted = $18, began_ms = $19, phase_ms = $20, next_ms = $21, ended_ms = $22 \
         WHERE org = $1 AND id = $2 AND version = $3",
    )
    .bind(on.org)
    .bind(int(kept.id))
    .bind(int(kept.version))
    .bind(standing.state.name())
    .bind(standing.reason.map(RolloutReason::name))
    .bind(i64::from(standing.phase))
    .bind(int(standing.total))
    .bind(int(standing.released))
    .bind(i64::from(standing.due))
    .bind(int(standing.mark.finished))
    .bind(int(standing.mark.failed))
    .bind(int(counts.waiting))
    .bind(int(counts.ordered))
    .bind(int(counts.sent))
    .bind(int(counts.done))
    .bind(int(counts.failed))
    .bind(int(counts.skipped))
    .bind(int(counts.aborted))
    .bind(optional(standing.began_ms))
    .bind(optional(standing.phase_ms))
    .bind(optional(kept.next_ms))
    .bind(optional(standing.ended_ms))
    .execute(on.connection)
    .await
    .map_err(StoreError::of("note where a rollout stands"))?;
    Ok(done.rows_affected() == 1)
}

/// Whether a release was seen to be withdrawn.
pub(crate) async fn is_withdrawn(on: On<'_>, release: Hex32) -> Result<bool, StoreError> {
    let error = StoreError::of("look whether a release is withdrawn");
    let row = sqlx::query(
        "SELECT withdrawn FROM ledger_releases WHERE org = $1 AND digest = $2 AND withdrawn IS NOT NULL",
    )
    .bind(on.org)
    .bind(release.0.to_vec())
    .fetch_optional(on.connection)
    .await
    .map_err(error)?;
    Ok(row.is_some_and(|row| !row.is_empty()))
}

pub(super) fn read(row: &AnyRow) -> Result<Kept, sqlx::Error> {
    let plan: String = column(row, "plan")?;
    let reason: Option<String> = column(row, "reason")?;
    Ok(Kept {
        id: number(row, "id")?,
        version: number(row, "version")?,
        plan: serde_json::from_str(&plan).map_err(|_| unreadable("plan"))?,
        standing: Standing {
            state: word(row, "state", RolloutState::from_name)?,
            reason: reason
                .map(|word| RolloutReason::from_name(&word).ok_or_else(|| unreadable("reason")))
                .transpose()?,
            phase: u16::try_from(number(row, "phase")?).map_err(|_| unreadable("phase"))?,
            total: number(row, "total")?,
            released: number(row, "released")?,
            due: number(row, "due")? == 1,
            mark: Mark {
                finished: number(row, "mark_finished")?,
                failed: number(row, "mark_failed")?,
            },
            counts: RolloutCounts {
                waiting: number(row, "waiting")?,
                ordered: number(row, "ordered")?,
                sent: number(row, "sent")?,
                done: number(row, "done")?,
                failed: number(row, "failed")?,
                skipped: number(row, "skipped")?,
                aborted: number(row, "aborted")?,
            },
            began_ms: optional_number(row, "began_ms")?,
            phase_ms: optional_number(row, "phase_ms")?,
            ended_ms: optional_number(row, "ended_ms")?,
        },
        created_ms: number(row, "created_ms")?,
        created_by: column(row, "created_by")?,
        next_ms: optional_number(row, "next_ms")?,
    })
}
