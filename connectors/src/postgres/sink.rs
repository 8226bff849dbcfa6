//! The sink itself: connection, claim, and the transaction per batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateDatabase};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Postgres, Row as _, Transaction};
use tidemill_core::settings::SettingsError;
use tidemill_core::sink::{ReadModel, SinkAudit, SinkPosition};
use tidemill_core::statement::{InTransit, Period, Statement};
use tidemill_core::{Sink, SinkBatch, SinkError, SinkRecord};
use tokio::runtime::Runtime;

use super::arrays::{self, Timestamp};
use super::config::Config;
use super::failure::Failure;
use super::pointer;
use crate::VALUE_REFUSED;
use crate::sql::audit::{self, AUDIT_TIMEOUT_MS};
use crate::sql::migrations::{self, Dialect};
use crate::sql::rows::Rows;
use crate::sql::snapshot::Snapshot;
use crate::sql::statement;
use crate::sql::tables::TABLES;
use crate::sql::value::storable;

pub(super) struct PostgresSink {
    runtime: Runtime,
    database: Database,
    connection: Option<PgConnection>,
}

/// Everything but the connection, so that both can be borrowed at once.
struct Database {
    sink: String,
    config: Config,
    /// By table name.
    statements: HashMap<&'static str, Arc<str>>,
    claims: HashMap<u32, Claim>,
}

#[derive(Clone)]
struct Claim {
    owner: String,
    epoch: i64,
}

/// How a transaction ends. Looking for the record that was refused must leave no trace.
#[derive(Clone, Copy)]
enum Ending {
    Commit,
    Rollback,
}

impl PostgresSink {
    pub(super) fn new(sink: &str, config: Config) -> Result<Self, Vec<SettingsError>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| vec![SettingsError::new("", format!("cannot start a runtime: {error}"))])?;
        let statements = TABLES.iter().map(|table| (table.name, arrays::statement(table).into())).collect();
        let database = Database { sink: sink.to_owned(), config, statements, claims: HashMap::new() };
        Ok(Self { runtime, database, connection: None })
    }

    /// Asks the tables as they are at one moment.
    fn read<T>(&mut self, ask: impl AsyncFnOnce(ReadTransaction<'_>) -> Result<T, Failure>) -> Result<T, SinkError> {
        self.run_within(AUDIT_TIMEOUT_MS, async |_, connection| {
            let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
            let limit = format!("SET LOCAL statement_timeout = {AUDIT_TIMEOUT_MS}");
            sqlx::query(AssertSqlSafe(limit)).execute(&mut *snapshot).await?;
            ask(ReadTransaction(snapshot)).await
        })
        .map_err(|failure| self.report(failure))
    }

    fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Database, &mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.run_within(self.database.config.request_timeout_ms, work)
    }

    /// Runs `work` with a connection and within the time limit. A connection that failed is closed, since nobody knows
    /// what is still under way on it.
    fn run_within<T>(
        &mut self,
        limit_ms: u64,
        work: impl AsyncFnOnce(&mut Database, &mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Self { runtime, database, connection } = self;
        let limit = Duration::from_millis(limit_ms);
        runtime.block_on(async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => database.connect().await?,
            };
            let result = tokio::time::timeout(limit, work(database, &mut open))
                .await
                .unwrap_or_else(|_| Err(SinkError::Unavailable(format!("no answer within {limit_ms} ms")).into()));
            let is_usable = match &result {
                Ok(_) => true,
                Err(Failure::Sink(SinkError::Unavailable(_))) => false,
                // A transaction that was given up is rolled back with the next request; until then it holds its locks.
                Err(_) => matches!(tokio::time::timeout(limit, open.ping()).await, Ok(Ok(()))),
            };
            *connection = is_usable.then_some(open);
            result
        })
    }

    fn report(&self, failure: Failure) -> SinkError {
        failure.into_sink_error(&self.database.config.endpoint)
    }
}

impl Sink for PostgresSink {
    fn plan(&mut self) -> Result<Vec<String>, SinkError> {
        let state = self.run(async |database, connection| {
            Ok((applied(connection).await?, pointer::is_missing(database.config.schema.as_deref(), connection).await?))
        });
        let (applied, is_pointer_missing) = match state {
            Err(Failure::NoDatabase) => {
                let create = format!("create database {}", self.database.config.database);
                return Ok(std::iter::once(create).chain(migrations::pending(&[])).collect());
            }
            state => state.map_err(|failure| self.report(failure))?,
        };
        let pointer = is_pointer_missing.then(|| format!("show these tables in schema {}", pointer::SCHEMA));
        Ok(migrations::pending(&applied).into_iter().chain(pointer).collect())
    }

    fn apply(&mut self) -> Result<(), SinkError> {
        let migrate = async |database: &mut Database, connection: &mut PgConnection| {
            let schema = database.config.schema.as_deref();
            pointer::create_schema(schema, connection).await?;
            // Takes an advisory lock, so that of two processes one waits for the other.
            migrations::migrator(Dialect::Postgres).run(&mut *connection).await?;
            pointer::refresh(schema, connection).await
        };
        let result = match self.run(migrate) {
            Err(Failure::NoDatabase) => {
                self.runtime.block_on(self.database.create()).map_err(|failure| self.report(failure))?;
                self.run(migrate)
            }
            result => result,
        };
        // A migration that failed still holds its lock, which ends with the connection.
        self.connection = None;
        result.map_err(|failure| self.report(failure))
    }

    fn positions(&mut self) -> Result<Vec<SinkPosition>, SinkError> {
        self.run(async |database, connection| database.positions(connection, None).await)
            .map_err(|failure| self.report(failure))
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
        self.run(async |database, connection| database.claim(connection, task, owner).await)
            .map_err(|failure| self.report(failure))
    }

    fn write(&mut self, batch: &SinkBatch) -> Result<(), SinkError> {
        let records = &batch.records;
        let result =
            self.run(async |database, connection| database.write(connection, batch, records, Ending::Commit).await);
        let state = match result {
            Err(Failure::Value(state)) => state,
            result => return result.map_err(|failure| self.report(failure)),
        };
        let index = self
            .run(async |database, connection| database.find_refused(connection, batch).await)
            .map_err(|failure| self.report(failure))?;
        let message = format!("the database refuses a value of it with SQLSTATE {state}");
        Err(SinkError::Refused { index, code: VALUE_REFUSED.code, message })
    }
}

impl ReadModel for PostgresSink {
    fn make_live(&mut self) -> Result<(), SinkError> {
        self.run(async |database, connection| pointer::turn(database.config.schema.as_deref(), connection).await)
            .map_err(|failure| self.report(failure))
    }

    fn remove(&mut self) -> Result<(), SinkError> {
        let removed = self.run(async |database, connection| pointer::drop_schema(&database.config, connection).await);
        match removed {
            Err(Failure::NoDatabase) => Ok(()),
            removed => removed.map_err(|failure| self.report(failure)),
        }
    }

    fn seek(&mut self, positions: &[SinkPosition]) -> Result<(), SinkError> {
        self.run(async |database, connection| database.seek(connection, positions).await)
            .map_err(|failure| self.report(failure))
    }
}

/// A transaction that writes nothing.
struct ReadTransaction<'a>(Transaction<'a, Postgres>);

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

async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, Failure> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(migrations::TABLE)
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    let applied = connection.list_applied_migrations(migrations::TABLE).await?;
    Ok(applied.into_iter().map(|migration| migration.version).collect())
}

impl Database {
    async fn connect(&self) -> Result<PgConnection, Failure> {
        let limit_ms = self.config.connect_timeout_ms;
        tokio::time::timeout(Duration::from_millis(limit_ms), self.config.options.connect())
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
            .map_err(Failure::from)
    }

    /// Creates the database. That another process was faster is as good.
    async fn create(&self) -> Result<(), Failure> {
        let url = self.config.options.to_url_lossy();
        match sqlx::Postgres::create_database(url.as_str()).await {
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => Ok(()),
            result => result.map_err(Failure::from),
        }
    }

    async fn claim(
        &mut self,
        connection: &mut PgConnection,
        task: u32,
        owner: &str,
    ) -> Result<Vec<SinkPosition>, Failure> {
        if let Some(pending) = migrations::pending(&applied(connection).await?).first() {
            let message = format!("the tables are not up to date ({pending}); run `tidemill apply`");
            return Err(SinkError::Misconfigured(message).into());
        }
        let mut transaction = connection.begin().await?;
        // Waits for a write of the owner before, if one is under way.
        let epoch: i64 = sqlx::query_scalar(
            "INSERT INTO read_model_owners AS have (sink, task, owner, epoch) VALUES ($1, $2, $3, 1) \
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
    async fn positions(&self, connection: &mut PgConnection, task: Option<u32>) -> Result<Vec<SinkPosition>, Failure> {
        let rows = sqlx::query(
            "SELECT topic, partition::bigint, next_offset, event_time FROM read_model_offsets \
             WHERE sink = $1 AND ($2 IS NULL OR partition = $2) ORDER BY topic, partition",
        )
        .bind(&self.sink)
        .bind(task.map(i64::from))
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let (partition, next_offset): (i64, i64) = (row.try_get("partition")?, row.try_get("next_offset")?);
                Ok(SinkPosition {
                    topic: row.try_get::<&str, _>("topic")?.into(),
                    partition: u32::try_from(partition).unwrap_or_default(),
                    next_offset: u64::try_from(next_offset).unwrap_or_default(),
                    event_time: row.try_get::<Timestamp, _>("event_time")?.0,
                })
            })
            .collect()
    }

    /// Writes `records`, which are the batch's or the first of them.
    async fn write(
        &self,
        connection: &mut PgConnection,
        batch: &SinkBatch,
        records: &[SinkRecord],
        ending: Ending,
    ) -> Result<(), Failure> {
        let mut transaction = connection.begin().await?;
        self.hold(&mut transaction, batch.task).await?;
        // A statement of its own, after the lock: an earlier one would not see what was committed while waiting.
        let positions = self.positions(&mut transaction, Some(batch.task)).await?;
        let rows = Rows::of_batch(records, &positions)?;
        for (table, rows) in rows.by_table() {
            for rows in rows.chunks(self.config.statement_rows_max) {
                let statement = Arc::clone(&self.statements[table.name]);
                let query = arrays::bind(sqlx::query(AssertSqlSafe(statement)), table, rows);
                query.execute(&mut *transaction).await?;
            }
        }
        match ending {
            Ending::Commit => {
                self.advance(&mut transaction, &batch.next).await?;
                transaction.commit().await?;
            }
            Ending::Rollback => transaction.rollback().await?,
        }
        Ok(())
    }

    /// Locks the task for this transaction, if this sink is still its owner.
    async fn hold(&self, connection: &mut PgConnection, task: u32) -> Result<(), Failure> {
        let claim = self.claims.get(&task).ok_or(SinkError::Fenced { task })?;
        let held: Option<i64> = sqlx::query_scalar(
            "SELECT epoch FROM read_model_owners \
             WHERE sink = $1 AND task = $2 AND owner = $3 AND epoch = $4 FOR UPDATE",
        )
        .bind(&self.sink)
        .bind(i64::from(task))
        .bind(&claim.owner)
        .bind(claim.epoch)
        .fetch_optional(connection)
        .await?;
        held.map(|_| ()).ok_or(SinkError::Fenced { task }.into())
    }

    /// Forgets where the sink stands, whoever has claimed it, and has it go on elsewhere.
    async fn seek(&mut self, connection: &mut PgConnection, positions: &[SinkPosition]) -> Result<(), Failure> {
        let mut transaction = connection.begin().await?;
        sqlx::query("UPDATE read_model_owners SET epoch = epoch + 1 WHERE sink = $1")
            .bind(&self.sink)
            .execute(&mut *transaction)
            .await?;
        for position in positions {
            sqlx::query("DELETE FROM read_model_offsets WHERE sink = $1 AND topic = $2 AND partition = $3")
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

    async fn advance(&self, connection: &mut PgConnection, next: &[SinkPosition]) -> Result<(), Failure> {
        if next.is_empty() {
            return Ok(());
        }
        let topics: Vec<&str> = next.iter().map(|position| &*position.topic).collect();
        let partitions: Vec<i64> = next.iter().map(|position| i64::from(position.partition)).collect();
        let offsets: Vec<i64> =
            next.iter().map(|position| i64::try_from(position.next_offset).unwrap_or(i64::MAX)).collect();
        let times: Vec<Timestamp> = next.iter().map(|position| Timestamp(storable(position.event_time))).collect();
        sqlx::query(
            "INSERT INTO read_model_offsets AS have (sink, topic, partition, next_offset, event_time) \
             SELECT $1, topic, partition, next_offset, event_time \
             FROM UNNEST($2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[]) \
                  AS new (topic, partition, next_offset, event_time) \
             ON CONFLICT (sink, topic, partition) DO UPDATE \
             SET next_offset = excluded.next_offset, event_time = excluded.event_time, updated_at = excluded.updated_at \
             WHERE have.next_offset <= excluded.next_offset",
        )
        .bind(&self.sink)
        .bind(topics)
        .bind(partitions)
        .bind(offsets)
        .bind(times)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The first record whose value is refused: the shortest beginning of the batch that fails ends with it.
    async fn find_refused(&self, connection: &mut PgConnection, batch: &SinkBatch) -> Result<usize, Failure> {
        let (mut passes, mut fails) = (0, batch.records.len());
        while passes + 1 < fails {
            let middle = usize::midpoint(passes, fails);
            match self.write(connection, batch, &batch.records[..middle], Ending::Rollback).await {
                Ok(()) => passes = middle,
                Err(Failure::Value(_)) => fails = middle,
                Err(failure) => return Err(failure),
            }
        }
        Ok(passes)
    }
}
