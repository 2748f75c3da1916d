//! The database: SQLite in a file, or PostgreSQL by URL. Every statement is valid on both.
//!
//! - One writer at a time for each organisation, on PostgreSQL too, where several servers may share a database: [`Store::tx`] is the only way
//!   to change anything, and there it takes the organisation's lock first. So nobody loses a race, and nothing is done twice.
//! - What it commits is on disk (SQLite: WAL, `synchronous = FULL`; PostgreSQL: `synchronous_commit` is not `off`).
//! - Every row carries the organisation, and so does every statement: a [`Store`] is that of one organisation.
//! - Time and random bytes are arguments.
//!
//! What it does not do: decide anything. Rules are in [`app`](crate::app).

pub(crate) mod alarms;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod channels;
pub(crate) mod contents;
pub(crate) mod devices;
pub(crate) mod doorstep;
pub(crate) mod enrolments;
pub(crate) mod followed;
pub(crate) mod groups;
pub(crate) mod idempotency;
pub(crate) mod inventories;
pub(crate) mod mender_artifacts;
pub(crate) mod mender_devices;
pub(crate) mod mender_orders;
pub(crate) mod mender_rollouts;
pub(crate) mod orders;
pub(crate) mod policies;
pub(crate) mod releases;
pub(crate) mod rollouts;
pub(crate) mod sessions;
pub(crate) mod timeline;
pub(crate) mod tokens;
pub(crate) mod types;

use kusabi_core::id::OrgId;
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _,
    any::{AnyPoolOptions, AnyRow},
    migrate::{Migration, MigrationType, Migrator},
    pool::PoolConnection,
};
use std::{borrow::Cow, marker::PhantomData, path::Path, pin::Pin, time::Duration};

/// Longest wait for a connection of the pool.
const ACQUIRE_TIME: Duration = Duration::from_secs(10);

/// Connections that read.
const READERS: u32 = 4;

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct StoreError {
    /// What it was doing: the name of the transaction or of the question.
    pub doing: &'static str,
    /// What went wrong.
    pub source: sqlx::Error,
}

impl StoreError {
    /// For `map_err`.
    pub(crate) const fn of(doing: &'static str) -> impl Fn(sqlx::Error) -> Self + Copy {
        move |source| Self { doing, source }
    }

    /// Whether there is no room left for the database.
    pub(crate) fn is_full(&self) -> bool {
        let code = self.source.as_database_error().and_then(|e| e.code());
        // SQLITE_FULL, and disk_full of PostgreSQL (appendix A).
        matches!(code.as_deref(), Some("13" | "53100"))
    }

    /// Whether what the database holds is not what this program writes.
    pub(crate) const fn is_unreadable(&self) -> bool {
        matches!(
            self.source,
            sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }
        )
    }

    /// Whether others write for too long, and a repeat can succeed.
    pub(crate) fn is_busy(&self) -> bool {
        let code = self.source.as_database_error().and_then(|e| e.code());
        // SQLITE_BUSY, and lock_not_available of PostgreSQL (appendix A); or no connection came free, because others wait on theirs.
        matches!(code.as_deref(), Some("5" | "55P03"))
            || matches!(self.source, sqlx::Error::PoolTimedOut)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

/// The database of one organisation.
#[derive(Debug)]
pub struct Store {
    org: OrgId,
    engine: Engine,
    readers: sqlx::Pool<Any>,
    writer: sqlx::Pool<Any>,
}

/// A transaction that is open. `'env` is how long what its work borrows lives: it lets a closure borrow from its surroundings.
#[derive(Debug)]
pub(crate) struct Tx<'env> {
    connection: sqlx::Transaction<'static, Any>,
    org: OrgId,
    env: PhantomData<&'env ()>,
}

/// Work inside a transaction, on its way.
pub(crate) type Work<'t, T> = Pin<Box<dyn Future<Output = T> + Send + 't>>;

/// A connection that reads.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: PoolConnection<Any>,
    org: OrgId,
}

/// Where a statement runs, and for whom.
#[derive(Debug)]
pub(crate) struct On<'c> {
    pub(crate) connection: &'c mut AnyConnection,
    /// The organisation, as bound to every statement's `$1`.
    pub(crate) org: Vec<u8>,
}

impl On<'_> {
    /// The same, for one statement of several.
    pub(crate) fn again(&mut self) -> On<'_> {
        On {
            connection: &mut *self.connection,
            org: self.org.clone(),
        }
    }
}

impl Tx<'_> {
    pub(crate) fn on(&mut self) -> On<'_> {
        On {
            connection: &mut self.connection,
            org: self.org.to_bytes().to_vec(),
        }
    }
}

impl Reader {
    pub(crate) fn on(&mut self) -> On<'_> {
        On {
            connection: &mut self.connection,
            org: self.org.to_bytes().to_vec(),
        }
    }
}

impl Store {
    /// Opens the SQLite database in this file; makes it if there is none.
    ///
    /// # Errors
    /// The file cannot be opened, is no database, or was written by a later version of the program.
    pub async fn sqlite(path: &Path, org: OrgId) -> Result<Self, StoreError> {
        private(path).map_err(|why| StoreError::of("open the database")(why.into()))?;
        let mut url = String::from("sqlite://");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                    url.push(char::from(*byte));
                }
                byte => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url.push_str("?mode=rwc");
        Self::open(&url, org, Engine::Sqlite).await
    }

    /// Opens a PostgreSQL database by its URL (`postgres://…`). Several servers may open the same one, also at once.
    ///
    /// # Errors
    /// It cannot be reached, is not encoded in UTF-8, or was written by a later version of the program.
    pub async fn postgres(url: &str, org: OrgId) -> Result<Self, StoreError> {
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            // Not the URL itself: it may hold a password.
            let why = "the database's URL has to begin with postgres://";
            return Err(StoreError::of("open the database")(configuration(why)));
        }
        Self::open(url, org, Engine::Postgres).await
    }

    async fn open(url: &str, org: OrgId, engine: Engine) -> Result<Self, StoreError> {
        let error = StoreError::of("open the database");
        sqlx::any::install_default_drivers();
        // By itself first: a pool tries again and again, and then says that it waited too long instead of what is wrong.
        let mut first = AnyConnection::connect(url).await.map_err(error)?;
        prepare(&mut first, engine).await.map_err(error)?;
        if engine == Engine::Postgres {
            encoded(&mut first).await.map_err(error)?;
        }
        // On PostgreSQL under a lock of its own: of several servers that start at once one makes the tables.
        migrator(engine)
            .run(&mut first)
            .await
            .map_err(|why| error(why.into()))?;
        first.close().await.map_err(error)?;
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIME)
                .after_connect(move |connection, _| Box::pin(prepare(connection, engine)))
        };
        let writers = match engine {
            Engine::Sqlite => 1,
            Engine::Postgres => READERS,
        };
        let writer = pool(writers).connect(url).await.map_err(error)?;
        let readers = pool(READERS).connect(url).await.map_err(error)?;
        Ok(Self {
            org,
            engine,
            readers,
            writer,
        })
    }

    /// Whose database it is.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        self.org
    }

    /// Ends all connections; SQLite's log is folded into its file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let error = StoreError::of("ask whether the database is there");
        sqlx::query("SELECT 1")
            .execute(&self.readers)
            .await
            .map_err(error)?;
        Ok(())
    }

    /// A connection to read from.
    pub(crate) async fn read(&self, doing: &'static str) -> Result<Reader, StoreError> {
        let connection = self.readers.acquire().await;
        Ok(Reader {
            connection: connection.map_err(StoreError::of(doing))?,
            org: self.org,
        })
    }

    /// Does `work` whole or not at all, and no other writes for the organisation meanwhile.
    pub(crate) async fn tx<'env, T, E: From<StoreError>>(
        &self,
        name: &'static str,
        work: impl for<'t> FnOnce(&'t mut Tx<'env>) -> Work<'t, Result<T, E>>,
    ) -> Result<T, E> {
        let error = StoreError::of(name);
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            // Each statement sees what was committed before it began; with the lock, that is everything.
            Engine::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let mut tx = Tx {
            connection: self.writer.begin_with(begin).await.map_err(error)?,
            org: self.org,
            env: PhantomData,
        };
        if self.engine == Engine::Postgres {
            sqlx::query("SELECT 1 FROM pg_advisory_xact_lock($1)")
                .bind(writer_lock(self.org))
                .execute(&mut *tx.connection)
                .await
                .map_err(error)?;
        }
        // Where it fails, or is given up, the transaction is dropped, and so rolled back before the connection is used again.
        let value = work(&mut tx).await?;
        tx.connection.commit().await.map_err(error)?;
        Ok(value)
    }
}

/// Sees to it that the database is its user's alone, whatever the umask: it is made so before SQLite makes it, which gives the files
/// beside it the mode that it has.
#[cfg(unix)]
fn private(path: &Path) -> std::io::Result<()> {
    use std::{
        fs::{self, OpenOptions, Permissions},
        os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    };
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let file = Path::new(&file);
        // One that is not there is made with the right mode.
        let Ok(about) = fs::metadata(file) else {
            continue;
        };
        let mode = about.permissions().mode();
        if mode & 0o077 != 0
            && let Err(why) = fs::set_permissions(file, Permissions::from_mode(mode & 0o700))
        {
            let file = file.display();
            tracing::warn!(%file, %why, "other users of this machine may read the database; give the file to the server's user, or chmod it to 0600");
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn private(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The number of an organisation's lock on PostgreSQL.
fn writer_lock(org: OrgId) -> i64 {
    let digest = kusabi_core::crypto::sha256(&[b"kusabi.writer.v1", &org.to_bytes()]);
    i64::from_be_bytes(std::array::from_fn(|n| digest[n]))
}

/// What holds for each connection.
async fn prepare(connection: &mut AnyConnection, engine: Engine) -> Result<(), sqlx::Error> {
    connection
        .execute(match engine {
            Engine::Sqlite => "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
            // A server that falls silent in the middle (its machine is gone, say) holds the others up no longer than the second. What is
            // acknowledged is on disk, whatever the database's own setting is; a stricter one than this stays.
            Engine::Postgres => {
                "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '8s'; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') = 'off';"
            }
        })
        .await?;
    Ok(())
}

/// Whether the database can hold every text.
async fn encoded(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let encoding: String = sqlx::query_scalar("SHOW server_encoding")
        .fetch_one(connection)
        .await?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(configuration(format!(
        "it is encoded in {encoding}; make one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
    )))
}

fn configuration(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::Configuration(why.into())
}

/// The migrations, in order. They go forward only, and one that was released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("migrations/0001_first.sql")),
    (2, "rollouts", include_str!("migrations/0002_rollouts.sql")),
    (
        3,
        "inventories",
        include_str!("migrations/0003_inventories.sql"),
    ),
    (
        4,
        "mender devices",
        include_str!("migrations/0004_mender_devices.sql"),
    ),
    (
        5,
        "mender artifacts",
        include_str!("migrations/0005_mender_artifacts.sql"),
    ),
    (
        6,
        "devices by release",
        include_str!("migrations/0006_devices_by_release.sql"),
    ),
    (7, "blobs", include_str!("migrations/0007_blobs.sql")),
];

fn migrator(engine: Engine) -> Migrator {
    let (bytes, text) = match engine {
        Engine::Sqlite => ("BLOB", " TEXT"),
        // Compared and sorted by their bytes, as SQLite does, in whatever language the database was made.
        Engine::Postgres => ("BYTEA", " TEXT COLLATE \"C\""),
    };
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        let sql = sql.replace("{bytes}", bytes).replace(" TEXT", text);
        let sql = AssertSqlSafe(sql).into_sql_str();
        let kind = MigrationType::Simple;
        Migration::new(version, Cow::Borrowed(name), kind, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The rows of a question that ends with `IN`, for these values; for none there are none. Pages bound how many there are.
pub(crate) async fn among<T>(
    on: On<'_>,
    question: &'static str,
    values: &[T],
) -> Result<Vec<AnyRow>, sqlx::Error>
where
    T: Clone + Send + for<'q> sqlx::Encode<'q, Any> + sqlx::Type<Any> + 'static,
{
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let parameters: Vec<String> = (2..values.len() + 2)
        .map(|number| format!("${number}"))
        .collect();
    let sql = format!("{question} ({})", parameters.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(on.org);
    for value in values {
        query = query.bind(value.clone());
    }
    query.fetch_all(on.connection).await
}

/// Whether a text can be an ID of ours. What cannot is never asked for: PostgreSQL refuses texts with a NUL.
pub(crate) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    text.len() <= 64 && text.bytes().all(plain)
}

/// A column as what it is; a wrong one is a fault of the database's content, not of the request.
pub(crate) fn column<'r, T>(row: &'r AnyRow, name: &'static str) -> Result<T, sqlx::Error>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    use sqlx::Row as _;
    row.try_get(name)
}

/// A column of `N` bytes.
pub(crate) fn bytes<const N: usize>(
    row: &AnyRow,
    name: &'static str,
) -> Result<[u8; N], sqlx::Error> {
    let bytes: Vec<u8> = column(row, name)?;
    bytes.try_into().map_err(|_| unreadable(name))
}

/// A column of `N` bytes that may be NULL.
pub(crate) fn optional_bytes<const N: usize>(
    row: &AnyRow,
    name: &'static str,
) -> Result<Option<[u8; N]>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = column(row, name)?;
    match bytes {
        None => Ok(None),
        Some(bytes) => bytes.try_into().map(Some).map_err(|_| unreadable(name)),
    }
}

/// A number column; those of this program are never negative.
pub(crate) fn number(row: &AnyRow, name: &'static str) -> Result<u64, sqlx::Error> {
    let number: i64 = column(row, name)?;
    u64::try_from(number).map_err(|_| unreadable(name))
}

/// A number column that may be NULL.
pub(crate) fn optional_number(
    row: &AnyRow,
    name: &'static str,
) -> Result<Option<u64>, sqlx::Error> {
    let number: Option<i64> = column(row, name)?;
    number
        .map(|n| u64::try_from(n).map_err(|_| unreadable(name)))
        .transpose()
}

/// A column that holds one of a few words.
pub(crate) fn word<T>(
    row: &AnyRow,
    name: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<T, sqlx::Error> {
    let word: String = column(row, name)?;
    read(&word).ok_or_else(|| unreadable(name))
}

/// A column that holds a name, or NULL.
pub(crate) fn optional_text(
    row: &AnyRow,
    name: &'static str,
) -> Result<Option<kusabi_api::admin::Text>, sqlx::Error> {
    let text: Option<String> = column(row, name)?;
    text.map(|text| text.parse().map_err(|_| unreadable(name)))
        .transpose()
}

/// A column that holds a name.
pub(crate) fn text(
    row: &AnyRow,
    name: &'static str,
) -> Result<kusabi_api::admin::Text, sqlx::Error> {
    optional_text(row, name)?.ok_or_else(|| unreadable(name))
}

pub(crate) fn unreadable(name: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode {
        index: name.into(),
        source: "the column holds a value that this program does not write".into(),
    }
}

/// A number for the database. What counts milliseconds or heights stays far below 2^63.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    async fn open(directory: &tempfile::TempDir) -> Store {
        let path = directory.path().join("server.sqlite");
        Store::sqlite(&path, OrgId::new([1; 16])).await.unwrap()
    }

    async fn note(tx: &mut Tx<'_>, key: &str) -> Result<(), StoreError> {
        let answered = idempotency::Answered {
            request: [1; 32],
            answer: None,
        };
        idempotency::insert(tx.on(), "t", key, &answered, 1).await
    }

    async fn noted(store: &Store, key: &str) -> bool {
        let mut reader = store.read("test").await.unwrap();
        idempotency::find(reader.on(), "t", key)
            .await
            .unwrap()
            .is_some()
    }

    #[tokio::test]
    async fn what_is_committed_is_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        for pool in [&store.writer, &store.readers] {
            let mut connection = pool.acquire().await.unwrap();
            let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(&mut *connection)
                .await
                .unwrap();
            let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous")
                .fetch_one(&mut *connection)
                .await
                .unwrap();
            // 2 is FULL: each commit waits for the disk.
            assert_eq!((mode.as_str(), synchronous), ("wal", 2));
        }
    }

    #[tokio::test]
    async fn work_that_fails_or_is_given_up_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        let failed: Result<(), StoreError> = store
            .tx("test", |tx| {
                Box::pin(async move {
                    note(tx, "failed").await?;
                    note(tx, "failed").await
                })
            })
            .await;
        assert!(failed.is_err());

        // The client goes away while its transaction is open.
        let inside = tokio::sync::Notify::new();
        let inside = &inside;
        let given_up = store.tx("test", move |tx| {
            Box::pin(async move {
                note(tx, "given up").await?;
                inside.notify_one();
                pending::<Result<(), StoreError>>().await
            })
        });
        tokio::select! {
            _ = given_up => unreachable!("it waits for ever"),
            () = inside.notified() => {}
        }
        let kept: Result<(), StoreError> = store.tx("test", |tx| Box::pin(note(tx, "kept"))).await;
        kept.unwrap();
        let all = [
            noted(&store, "failed").await,
            noted(&store, "given up").await,
            noted(&store, "kept").await,
        ];
        assert_eq!(all, [false, false, true]);

        store.close().await;
        assert!(noted(&open(&directory).await, "kept").await);
    }

    #[tokio::test]
    async fn what_an_earlier_version_may_have_written_and_never_said_so_is_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!(
            "sqlite://{}/server.sqlite?mode=rwc",
            directory.path().display()
        );
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let before = migrator(Engine::Sqlite);
        let before = before.iter().take_while(|one| one.version < 7).cloned();
        Migrator::with_migrations(before.collect())
            .run(&mut connection)
            .await
            .unwrap();
        for (digest, complete_ms) in [([1; 32], Some(1)), ([2; 32], None)] {
            sqlx::query("INSERT INTO contents (org, digest, size, inventory, complete_ms) VALUES ($1, $2, 1, 0, $3)")
                .bind([1; 16].to_vec())
                .bind(digest.to_vec())
                .bind::<Option<i64>>(complete_ms)
                .execute(&mut connection)
                .await
                .unwrap();
        }
        connection.close().await.unwrap();
        let store = open(&directory).await;
        let mut reader = store.read("test").await.unwrap();
        let due = blobs::due(reader.on(), 1, 9).await.unwrap();
        let due: Vec<_> = due
            .iter()
            .map(|due| (due.blob.digest, due.blob.generation, due.retired))
            .collect();
        assert_eq!(due, [([2; 32], 0, false)]);
    }

    #[tokio::test]
    async fn a_full_database_says_so_and_keeps_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory).await;
        store
            .tx("test", |tx| Box::pin(note(tx, "kept")))
            .await
            .unwrap();
        let mut writer = store.writer.acquire().await.unwrap();
        // Not below what there is.
        sqlx::query("PRAGMA max_page_count = 1")
            .execute(&mut *writer)
            .await
            .unwrap();
        drop(writer);
        let mut full = None;
        for number in 0..200 {
            let key = format!("{number:0>4000}");
            let key = &key;
            let done: Result<(), StoreError> = store.tx("test", |tx| Box::pin(note(tx, key))).await;
            if let Err(why) = done {
                full = Some(why);
                break;
            }
        }
        let full = full.unwrap();
        assert!(full.is_full(), "{full}");
        assert!(noted(&store, "kept").await);
    }
}
