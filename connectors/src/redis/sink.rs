//! The sink itself: connection, claim, and the scripts.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Connection, ErrorKind, RedisError, Script, ServerErrorKind};
use tidemill_core::sink::{ReadModel, SinkAudit, SinkPosition};
use tidemill_core::{EventTime, Sink, SinkBatch, SinkError};

use super::audit;
use super::balance::{self, Balance};
use super::config::Config;

/// Owner of a task while its positions are moved.
const SEEKER: &str = "seek";

pub(super) struct RedisSink {
    config: Config,
    owners_key: String,
    offsets_key: String,
    balance_prefix: String,
    claim: Script,
    write: Script,
    /// By task, as the claim stands in Redis.
    claims: HashMap<u32, String>,
    connection: Option<Connection>,
}

impl RedisSink {
    pub(super) fn new(sink: &str, config: Config) -> Self {
        let prefix = &config.key_prefix;
        Self {
            owners_key: format!("{prefix}read_model_owners:{sink}"),
            offsets_key: format!("{prefix}read_model_offsets:{sink}"),
            balance_prefix: format!("{prefix}balance:"),
            claim: Script::new(include_str!("claim.lua")),
            write: Script::new(include_str!("write.lua")),
            claims: HashMap::new(),
            connection: None,
            config,
        }
    }

    /// Runs `work` with a connection, which is closed after any error: the answer to a request may still be under way.
    fn run<T>(&mut self, work: impl FnOnce(&Self, &mut Connection) -> Result<T, RedisError>) -> Result<T, SinkError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(|error| self.report(&error))?,
        };
        let result = work(self, &mut connection).map_err(|error| self.report(&error))?;
        self.connection = Some(connection);
        Ok(result)
    }

    fn connect(&self) -> Result<Connection, RedisError> {
        let connect_timeout = Duration::from_millis(self.config.connect_timeout_ms);
        let connection = self.config.client.get_connection_with_timeout(connect_timeout)?;
        let request_timeout = Some(Duration::from_millis(self.config.request_timeout_ms));
        connection.set_read_timeout(request_timeout)?;
        connection.set_write_timeout(request_timeout)?;
        Ok(connection)
    }

    fn report(&self, error: &RedisError) -> SinkError {
        let endpoint = &self.config.endpoint;
        match sort(error) {
            Cause::Unavailable => SinkError::Unavailable(format!("Redis at {endpoint}: {error}")),
            Cause::Credentials => SinkError::Misconfigured(format!(
                "Redis at {endpoint}: the credentials were refused; check the user info of `url`"
            )),
            Cause::Permission => SinkError::Misconfigured(format!(
                "Redis at {endpoint}: {error}; allow the user DEL, EVAL, EVALSHA, GET, HGET, HGETALL, HMGET, HSET, SCAN, SCRIPT LOAD, SET and SETNX"
            )),
            Cause::Other => SinkError::Misconfigured(format!("Redis at {endpoint}: {error}")),
        }
    }

    fn all_positions(&mut self) -> Result<Vec<SinkPosition>, SinkError> {
        let fields: HashMap<String, String> =
            self.run(|sink, connection| redis::cmd("HGETALL").arg(&sink.offsets_key).query(connection))?;
        let mut positions = fields
            .iter()
            .map(|(field, value)| {
                parse_position(field, value).ok_or_else(|| {
                    SinkError::Misconfigured(format!(
                        "Redis at {}: key {} holds something else than positions; use another key_prefix",
                        self.config.endpoint, self.offsets_key
                    ))
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        positions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(positions)
    }

    /// One run of the script; `false` when the claim no longer holds.
    fn write_some(
        &mut self,
        task: u32,
        claim: &str,
        balances: &[Balance<'_>],
        next: &[SinkPosition],
    ) -> Result<bool, SinkError> {
        self.run(|sink, connection| {
            let mut call = sink.write.prepare_invoke();
            call.key(&sink.owners_key).key(&sink.offsets_key);
            call.arg(task).arg(claim).arg(&sink.balance_prefix).arg(next.len());
            for position in next {
                call.arg(format!("{}/{}", position.topic, position.partition));
                call.arg(format!("{} {}", position.next_offset, position.event_time.micros()));
            }
            for balance in balances {
                call.arg(balance.account).arg(balance.version).arg(&balance.available).arg(&balance.pending);
                call.arg(balance.currency).arg(&balance.last_updated);
            }
            call.invoke::<bool>(connection)
        })
    }
}

impl Sink for RedisSink {
    /// But for the pointer nothing has to be created; an answer shows that the server is there and the credentials are right.
    fn plan(&mut self) -> Result<Vec<String>, SinkError> {
        let live: Option<String> =
            self.run(|sink, connection| redis::cmd("GET").arg(&sink.config.pointer_key).query(connection))?;
        let is_missing = live.is_none() && !self.config.has_colour;
        Ok(is_missing.then(|| format!("set {}", self.config.pointer_key)).into_iter().collect())
    }

    fn apply(&mut self) -> Result<(), SinkError> {
        if self.config.has_colour {
            return Ok(());
        }
        self.run(|sink, connection| {
            let Config { pointer_key, key_prefix, .. } = &sink.config;
            redis::cmd("SETNX").arg(pointer_key).arg(key_prefix).query::<bool>(connection)
        })?;
        Ok(())
    }

    fn read_model(&mut self) -> Option<&mut dyn ReadModel> {
        Some(self)
    }

    fn positions(&mut self) -> Result<Vec<SinkPosition>, SinkError> {
        self.all_positions()
    }

    fn audit(&mut self) -> Result<SinkAudit, SinkError> {
        self.run(|sink, connection| audit::audit(connection, &sink.balance_prefix))
    }

    fn claim(&mut self, task: u32, owner: &str) -> Result<Vec<SinkPosition>, SinkError> {
        let claim: String =
            self.run(|sink, connection| sink.claim.key(&sink.owners_key).arg(task).arg(owner).invoke(connection))?;
        self.claims.insert(task, claim);
        let mut positions = self.all_positions()?;
        positions.retain(|position| position.partition == task);
        Ok(positions)
    }

    fn write(&mut self, batch: &SinkBatch) -> Result<(), SinkError> {
        let task = batch.task;
        let claim = self.claims.get(&task).cloned().ok_or(SinkError::Fenced { task })?;
        let balances: Vec<Balance<'_>> = batch
            .records
            .iter()
            .enumerate()
            .filter_map(|(index, record)| balance::of_record(index, record).transpose())
            .collect::<Result<_, _>>()?;
        // Positions go with the last run: dying before it, the batch is read again and changes nothing twice.
        let mut runs: Vec<&[Balance<'_>]> = balances.chunks(self.config.script_records_max).collect();
        let last = runs.pop().unwrap_or_default();
        for balances in runs {
            if !self.write_some(task, &claim, balances, &[])? {
                return Err(SinkError::Fenced { task });
            }
        }
        if self.write_some(task, &claim, last, &batch.next)? { Ok(()) } else { Err(SinkError::Fenced { task }) }
    }
}

impl ReadModel for RedisSink {
    fn make_live(&mut self) -> Result<(), SinkError> {
        self.run(|sink, connection| {
            let Config { pointer_key, key_prefix, .. } = &sink.config;
            redis::cmd("SET").arg(pointer_key).arg(key_prefix).query::<()>(connection)
        })
    }

    fn remove(&mut self) -> Result<(), SinkError> {
        let refused = |message: &str| Err(SinkError::Misconfigured(message.to_owned()));
        if !self.config.has_colour {
            return refused("only the keys of a colour can be removed");
        }
        let live: Option<String> =
            self.run(|sink, connection| redis::cmd("GET").arg(&sink.config.pointer_key).query(connection))?;
        if live.as_ref() == Some(&self.config.key_prefix) {
            return refused("these keys are the live ones");
        }
        self.run(|sink, connection| audit::remove(connection, &sink.config.key_prefix))
    }

    /// Claimed first, so that whoever writes has to claim again and finds the positions.
    fn seek(&mut self, positions: &[SinkPosition]) -> Result<(), SinkError> {
        let mut tasks: Vec<u32> = positions.iter().map(|position| position.partition).collect();
        tasks.sort_unstable();
        tasks.dedup();
        for task in tasks {
            self.claim(task, SEEKER)?;
        }
        self.run(|sink, connection| {
            let mut pipe = redis::pipe();
            pipe.atomic();
            for position in positions {
                let field = format!("{}/{}", position.topic, position.partition);
                let value = format!("{} {}", position.next_offset, position.event_time.micros());
                pipe.cmd("HSET").arg(&sink.offsets_key).arg(field).arg(value).ignore();
            }
            pipe.query::<()>(connection)
        })?;
        self.claims.clear();
        Ok(())
    }
}

/// `topic/partition` and `next_offset event_time`.
fn parse_position(field: &str, value: &str) -> Option<SinkPosition> {
    let (topic, partition) = field.rsplit_once('/')?;
    let (next_offset, event_time) = value.split_once(' ')?;
    Some(SinkPosition {
        topic: topic.into(),
        partition: partition.parse().ok()?,
        next_offset: next_offset.parse().ok()?,
        event_time: EventTime(event_time.parse().ok()?),
    })
}

/// What an error of Redis means for the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Unavailable,
    Credentials,
    Permission,
    Other,
}

fn sort(error: &RedisError) -> Cause {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse => Cause::Unavailable,
        ErrorKind::AuthenticationFailed => Cause::Credentials,
        ErrorKind::Server(ServerErrorKind::NoPerm) => Cause::Permission,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::ExecAbort,
        ) => Cause::Unavailable,
        _ => match error.code() {
            // Out of memory, cannot persist, another script is running, too few replicas.
            Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS") => Cause::Unavailable,
            Some("NOAUTH" | "WRONGPASS") => Cause::Credentials,
            _ => Cause::Other,
        },
    }
}
