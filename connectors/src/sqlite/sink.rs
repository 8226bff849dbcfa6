//! The sink itself: connection, claim, and the transaction per batch.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row as _, Sqlite, Transaction};
use tidemill_core::settings::SettingsError;
use tidemill_core::sink::{ReadModel, SinkAudit, SinkPosition};
use tidemill_core::statement::{InTransit, Period, Statement};
use tidemill_core::{EventTime, Sink, SinkBatch, SinkError};
use tokio::runtime::Runtime;

use super::config::Config;
use super::pointer;
use super::statements::{self, Statements};
use crate::sql::audit;
use crate::sql::migrations::{self, Dialect};
use crate::sql::rows::Rows;
use crate::sql::snapshot::Snapshot;
use crate::sql::statement;
use crate::sql::value::storable;

pub(super) struct SqliteSink {
    runtime: Runtime,
    file: File,
    connection: Option<SqliteConnection>,
}

/// Everything but the connection, so that both can be borrowed at once.
struct File {
    sink: String,
    config: Config,
    statements: Statements,
    claims: HashMap<u32, Claim>,
}

struct Claim {
    owner: String,
    epoch: i64,
}

/// Takes the write lock at once: a transaction that began as a reader cannot wait for one.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Of several processes that apply at once, the slower ones find a table that was just made, or a file that is locked
/// because another is turning on its write-ahead log, and nothing waits for that lock. Each step is a transaction, so
/// that trying again goes on behind what the others have done.
const APPLY_ATTEMPTS_MAX: u32 = 20;
const APPLY_RETRY: Duration = Duration::from_millis(50);

impl SqliteSink {
    pub(super) fn new(sink: &str, config: Config) -> Result<Self, Vec<SettingsError>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| vec![SettingsError::new("", format!("cannot start a runtime: {error}"))])?;
        let file = File { sink: sink.to_owned(), config, statements: Statements::new(), claims: HashMap::new() };
        Ok(Self { runtime, file, connection: None })
    }

    fn run<T>(
        &mut self,
        missing: Missing,
        work: impl AsyncFnOnce(&mut File, &mut SqliteConnection) -> Result<T, Failure>,
    ) -> Result<T, SinkError> {
        let Self { runtime, file, connection } = self;
        let result = runtime.block_on(async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => file.options(missing).connect().await?,
            };
            let result = work(file, &mut open).await;
            if !matches!(result, Err(Failure(SinkError::Unavailable(_)))) {
                *connection = Some(open);
            }
            result
        });
        result.map_err(|Failure(error)| file.in_words(error))
    }

    fn apply_once(&mut self) -> Result<(), SinkError> {
        self.run(Missing::Create, async |_, connection| {
            migrations::migrator(Dialect::Sqlite).run(connection).await.map_err(Failure::from)
        })
    }
}

impl SqliteSink {
    /// Asks the tables as they are at one moment.
    fn read<T>(&mut self, ask: impl AsyncFnOnce(ReadTransaction<'_>) -> Result<T, Failure>) -> Result<T, SinkError> {
        self.run(Missing::Fail, async |_, connection| ask(ReadTransaction(connection.begin().await?)).await)
    }
}

/// What to do when there is no file. A sink that creates one where nobody expects it hides a mistyped path.
#[derive(Clone, Copy)]
enum Missing {
    Create,
    Fail,
}

impl Sink for SqliteSink {
    fn plan(&mut self) -> Result<Vec<String>, SinkError> {
        let path = self.file.config.file();
        if !path.exists() {
            let create = format!("create {}", path.display());
            return Ok(std::iter::once(create).chain(migrations::pending(&[])).collect());
        }
        let applied = self.run(Missing::Fail, async |_, connection| applied(connection).await)?;
        let pointer = pointer::missing(&self.file.config);
        Ok(migrations::pending(&applied).into_iter().chain(pointer).collect())
    }

    fn apply(&mut self) -> Result<(), SinkError> {
        let mut attempts_left = APPLY_ATTEMPTS_MAX;
        loop {
            let result = self.apply_once();
            attempts_left -= 1;
            if result.is_ok() || attempts_left == 0 {
                return result.and_then(|()| match pointer::missing(&self.file.config) {
                    Some(_) => pointer::turn(&self.file.config),
                    None => Ok(()),
                });
            }
            std::thread::sleep(APPLY_RETRY);
        }
    }

    fn positions(&mut self) -> Result<Vec<SinkPosition>, SinkError> {
        self.run(Missing::Fail, async |file, connection| file.positions(connection, None).await)
    }

    fn audit(&mut self) -> Result<SinkAudit, SinkError> {
        self.read(async |mut tables| audit::audit(&mut tables).await)
    }

    fn statement(&mut self, account_id: &str, period: Period) -> Result<Option<Statement>, SinkError> {
        self.read(async |mut tables| statement::statement(&mut tables, account_id, period).await)
    }

    fn in_transit(&mut self) -> Result<Vec<InTransit>, SinkError> {
        self.read(async |mut tables| statement::in_transit(&mut tables).await)
    }

    fn read_model(&mut self) -> Option<&mut dyn ReadModel> {
        Some(self)
    }

    fn claim(&mut self, task: u32, owner: &str) -> Result<Vec<SinkPosition>, SinkError> {
        self.run(Missing::Fail, async |file, connection| file.claim(connection, task, owner).await)
    }

    fn write(&mut self, batch: &SinkBatch) -> Result<(), SinkError> {
        self.run(Missing::Fail, async |file, connection| file.write(connection, batch).await)
    }
}

impl ReadModel for SqliteSink {
    fn make_live(&mut self) -> Result<(), SinkError> {
        pointer::turn(&self.file.config)
    }

    fn remove(&mut self) -> Result<(), SinkError> {
        self.connection = None;
        pointer::remove(&self.file.config)
    }

    fn seek(&mut self, positions: &[SinkPosition]) -> Result<(), SinkError> {
        self.run(Missing::Fail, async |file, connection| file.seek(connection, positions).await)
    }
}

async fn applied(connection: &mut SqliteConnection) -> Result<Vec<i64>, Failure> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_master WHERE name = ?")
        .bind(migrations::TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(migrations::TABLE).await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

impl File {
    fn options(&self, missing: Missing) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(self.config.file())
            .create_if_missing(matches!(missing, Missing::Create))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_millis(self.config.busy_timeout_ms))
            .statement_cache_capacity(self.statements.cache_capacity())
    }

    fn in_words(&self, error: SinkError) -> SinkError {
        let path = self.config.file();
        let path = path.display();
        match error {
            SinkError::Unavailable(message) => SinkError::Unavailable(format!("{path}: {message}")),
            SinkError::Misconfigured(message) => SinkError::Misconfigured(format!("{path}: {message}")),
            other => other,
        }
    }

    async fn claim(
        &mut self,
        connection: &mut SqliteConnection,
        task: u32,
        owner: &str,
    ) -> Result<Vec<SinkPosition>, Failure> {
        if let Some(pending) = migrations::pending(&applied(connection).await?).first() {
            let message = format!("the tables are not up to date ({pending}); run `tidemill apply`");
            return Err(Failure(SinkError::Misconfigured(message)));
        }
        let mut transaction = connection.begin_with(BEGIN).await?;
        let epoch: i64 = sqlx::query_scalar(
            "INSERT INTO read_model_owners AS have (sink, task, owner, epoch) VALUES (?, ?, ?, 1) \
             ON CONFLICT (sink, task) DO UPDATE \
             SET owner = excluded.owner, epoch = have.epoch + 1, claimed_at = excluded.claimed_at RETURNING epoch",
        )
        .bind(&self.sink)
        .bind(i64::from(task))
        .bind(owner)
        .fetch_one(&mut *transaction)
        .await?;
        let positions = self.positions(&mut transaction, Some(task)).await?;
        transaction.commit().await?;
        self.claims.insert(task, Claim { owner: owner.to_owned(), epoch });
        Ok(positions)
    }

    /// Of one task, or of all.
    async fn positions(
        &self,
        connection: &mut SqliteConnection,
        task: Option<u32>,
    ) -> Result<Vec<SinkPosition>, Failure> {
        let rows = sqlx::query(
            "SELECT topic, partition, next_offset, event_time FROM read_model_offsets \
             WHERE sink = ?1 AND (?2 IS NULL OR partition = ?2) ORDER BY topic, partition",
        )
        .bind(&self.sink)
        .bind(task.map(i64::from))
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let next_offset: i64 = row.try_get("next_offset")?;
                Ok(SinkPosition {
                    topic: row.try_get::<&str, _>("topic")?.into(),
                    partition: row.try_get("partition")?,
                    next_offset: u64::try_from(next_offset).unwrap_or_default(),
                    event_time: EventTime::parse(row.try_get("event_time")?).unwrap_or_default(),
                })
            })
            .collect()
    }

    async fn write(&self, connection: &mut SqliteConnection, batch: &SinkBatch) -> Result<(), Failure> {
        let mut transaction = connection.begin_with(BEGIN).await?;
        self.hold(&mut transaction, batch.task).await?;
        let positions = self.positions(&mut transaction, Some(batch.task)).await?;
        let rows = Rows::of_batch(&batch.records, &positions).map_err(Failure)?;
        for (table, mut rows) in rows.by_table() {
            while !rows.is_empty() {
                let (size, statement) = self.statements.for_rows(table, rows.len());
                let (now, later) = rows.split_at(size);
                statements::bind(sqlx::query(AssertSqlSafe(statement)), now).execute(&mut *transaction).await?;
                rows = later;
            }
        }
        self.advance(&mut transaction, &batch.next).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn hold(&self, connection: &mut SqliteConnection, task: u32) -> Result<(), Failure> {
        let claim = self.claims.get(&task).ok_or(Failure(SinkError::Fenced { task }))?;
        let held: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM read_model_owners WHERE sink = ? AND task = ? AND owner = ? AND epoch = ?",
        )
        .bind(&self.sink)
        .bind(i64::from(task))
        .bind(&claim.owner)
        .bind(claim.epoch)
        .fetch_one(connection)
        .await?;
        if held == 0 { Err(Failure(SinkError::Fenced { task })) } else { Ok(()) }
    }

    /// Forgets where the sink stands, whoever has claimed it, and has it go on elsewhere.
    async fn seek(&mut self, connection: &mut SqliteConnection, positions: &[SinkPosition]) -> Result<(), Failure> {
        let mut transaction = connection.begin_with(BEGIN).await?;
        sqlx::query("UPDATE read_model_owners SET epoch = epoch + 1 WHERE sink = ?")
            .bind(&self.sink)
            .execute(&mut *transaction)
            .await?;
        for position in positions {
            sqlx::query("DELETE FROM read_model_offsets WHERE sink = ? AND topic = ? AND partition = ?")
                .bind(&self.sink)
                .bind(&*position.topic)
                .bind(i64::from(position.partition))
                .execute(&mut *transaction)
                .await?;
        }
        self.advance(&mut transaction, positions).await?;
        transaction.commit().await?;
        self.claims.clear();
        Ok(())
    }

    async fn advance(&self, connection: &mut SqliteConnection, next: &[SinkPosition]) -> Result<(), Failure> {
        for position in next {
            sqlx::query(
                "INSERT INTO read_model_offsets AS have (sink, topic, partition, next_offset, event_time) \
                 VALUES (?, ?, ?, ?, ?) ON CONFLICT (sink, topic, partition) DO UPDATE \
                 SET next_offset = excluded.next_offset, event_time = excluded.event_time, \
                     updated_at = excluded.updated_at \
                 WHERE have.next_offset <= excluded.next_offset",
            )
            .bind(&self.sink)
            .bind(&*position.topic)
            .bind(i64::from(position.partition))
            .bind(i64::try_from(position.next_offset).unwrap_or(i64::MAX))
            .bind(statements::time_text(storable(position.event_time)))
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

/// A transaction that writes nothing.
struct ReadTransaction<'a>(Transaction<'a, Sqlite>);

impl Snapshot for ReadTransaction<'_> {
    type Failure = Failure;

    async fn ask(&mut self, sql: String, parameter: Option<&str>) -> Result<Vec<Vec<String>>, Failure> {
        let query = sqlx::query(AssertSqlSafe(sql));
        let query = if let Some(parameter) = parameter { query.bind(parameter.to_owned()) } else { query };
        let rows = query.fetch_all(&mut *self.0).await?;
        let texts = rows.iter().map(|row| (0..row.len()).map(|index| row.try_get(index)).collect());
        texts.collect::<Result<_, sqlx::Error>>().map_err(Failure::from)
    }
}

struct Failure(SinkError);

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self(error)
    }
}

/// Primary result codes of SQLite; extended ones have them in their low byte.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const IOERR: i32 = 10;
    pub(super) const FULL: i32 = 13;
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = &error else {
            return Self(match error {
                sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) | sqlx::Error::BeginFailed => {
                    SinkError::Unavailable(error.to_string())
                }
                _ => SinkError::Misconfigured(error.to_string()),
            });
        };
        let primary = database.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff;
        let message = format!("{} (SQLite code {primary})", database.message());
        Self(match primary {
            code::BUSY | code::LOCKED | code::IOERR | code::FULL => SinkError::Unavailable(message),
            _ => SinkError::Misconfigured(format!("{message}; check the path, or run `tidemill apply`")),
        })
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            _ => Self(SinkError::Misconfigured(format!(
                "the tables do not fit this version of Tidemill ({error}); use the version that created them, or a newer one"
            ))),
        }
    }
}
