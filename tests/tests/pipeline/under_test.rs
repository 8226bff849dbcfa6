//! The default topology on an embedded broker in a folder of its own. Little else here touches the engine's interface.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tempfile::TempDir;
use tidemill_connectors::CONNECTORS;
use tidemill_core::{Event, EventKind, partition};
use tidemill_processors::PROCESSORS;
use tidemill_runtime::broker::{
    Broker, BrokerError, Isolation, Outgoing, ProducerOptions, RecordBatch, TopicPartition,
};
use tidemill_runtime::clock::{Clock, SystemClock};
use tidemill_runtime::codecs::Codecs;
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::operator::Operator;
use tidemill_runtime::provision::{Provisioner, open_sink};
use tidemill_runtime::reconciliation::ReconciliationWatch;
use tidemill_runtime::registry::{LocalRegistry, SchemaRegistry};
use tidemill_runtime::replay::run::{Pace, ReplayError, Report};
use tidemill_runtime::replay::{
    self, Destination, Edit, Failing, Filter, LoopGuard, Notes, Plan, RunState, Validator, Wish, read_letters,
};
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::status::{sink_lag, unit_status};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::succession::Succession;
use tidemill_runtime::supervise::{self, RunOptions, RunSinks, Running, instance_dir};
use tidemill_runtime::telemetry::Telemetry;
use tidemill_runtime::threads::SystemThreads;
use tidemill_runtime::worker::{OnStop, Shared};
use tidemill_schemas::CODECS;
use tidemill_topology::{BrokerChoice, Catalog, Options, Topology, compile};

pub(crate) const CATALOG: Catalog<'static> = Catalog { processors: PROCESSORS, codecs: CODECS, sinks: CONNECTORS };
pub(crate) const PAYMENTS: &str = "payments.requested.v1";
pub(crate) const ACCOUNTS: &str = "accounts.requested.v1";

/// Far beyond what a busy machine needs.
const DEADLINE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(50);
/// 2026-01-05T08:00:00Z.
const SENT_AT_MS: i64 = 1_767_600_000_000;

/// A record for an ingest topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

/// A record as it lies in its topic.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) partition: u32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Sent {
    pub(crate) fn new(key: &str, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.to_owned(), value: value.into(), headers: Vec::new() }
    }
}

impl Stored {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(candidate, _)| candidate == name);
        &found.unwrap_or_else(|| panic!("no header {name} among {:?}", self.headers)).1
    }
}

pub(crate) struct UnderTest {
    folder: TempDir,
    topology: Arc<Topology>,
    broker: Arc<dyn Broker>,
    registry: Arc<dyn SchemaRegistry>,
    clock: Arc<dyn Clock>,
}

impl UnderTest {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With something added to the default topology.
    pub(crate) fn with(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let topology = default_topology(folder.path(), more);
        let data_dir = folder.path().join("broker");
        let broker = EmbeddedBroker::open(&data_dir, EmbeddedOptions::default()).expect("a new broker opens");
        let registry = LocalRegistry::open(&data_dir).expect("a new registry opens");
        let under_test = Self {
            folder,
            topology: Arc::new(topology),
            broker,
            registry: Arc::new(registry),
            clock: Arc::new(SystemClock::default()),
        };
        under_test.provision();
        under_test
    }

    fn provision(&self) {
        let provisioner = Provisioner {
            topology: Arc::clone(&self.topology),
            broker: Arc::clone(&self.broker),
            registry: Arc::clone(&self.registry),
            codecs: CODECS,
        };
        let plan = provisioner.plan().expect("everything answers");
        assert_eq!(plan.refusals, []);
        provisioner.apply(&plan, |_| {}).expect("everything can be created");
        assert!(provisioner.plan().expect("everything answers").is_empty(), "a second plan has nothing to do");
    }

    /// Starts all workers and sinks of a process of this name, whose stores are in a folder of that name.
    pub(crate) fn start(&self, instance: &str, workers: u32) -> Running {
        let shared = Shared {
            topology: Arc::clone(&self.topology),
            broker: Arc::clone(&self.broker),
            registry: Arc::clone(&self.registry),
            codecs: CODECS,
            stores: Arc::new(DiskStores::default()),
            clock: Arc::clone(&self.clock),
            threads: Arc::new(SystemThreads),
            telemetry: self.telemetry(),
            state_log: StateLogPolicy::default(),
            state_dir: instance_dir(&self.topology.state_dir, instance),
            rehearsal: None,
        };
        let options = RunOptions {
            instance: instance.to_owned(),
            workers,
            units: Vec::new(),
            sinks: RunSinks::All,
            on_stop: OnStop::Leave,
        };
        supervise::start(&Arc::new(shared), &options).expect("threads start")
    }

    pub(crate) fn send(&self, topic: &str, records: &[Sent]) {
        let mut producer = self.broker.producer(&ProducerOptions::Idempotent).expect("a producer opens");
        for record in records {
            let headers: Vec<(&str, Option<&[u8]>)> =
                record.headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            let outgoing = Outgoing {
                topic,
                partition: partition::partition_of(record.key.as_bytes(), self.partitions(topic)),
                timestamp_ms: SENT_AT_MS,
                key: Some(record.key.as_bytes()),
                value: Some(&record.value),
                headers: &headers,
            };
            producer.send(&outgoing).expect("the record is taken");
        }
        producer.flush(DEADLINE).expect("the records are written");
    }

    /// Records of an ingest topic that have been processed.
    pub(crate) fn processed(&self, topic: &str) -> u64 {
        self.positions().iter().filter(|input| input.topic == topic).map(|input| input.next_offset).sum()
    }

    pub(crate) fn wait_until_processed(&self, running: &Running, topic: &str, records: u64) {
        self.wait_until(running, || self.processed(topic) >= records);
    }

    /// Waits until nothing is left to do anywhere. Partitions are asked one after another, so only two equal answers in
    /// a row say that nothing moved in between.
    pub(crate) fn wait_until_idle(&self, running: &Running) {
        let mut before = Vec::new();
        self.wait_until(running, || {
            let now = self.positions();
            let waits = now.iter().any(|input| input.lag_records > 0);
            let positions: Vec<u64> = now.iter().map(|input| input.next_offset).collect();
            let is_idle = !waits && positions == before && self.sink_lag() == 0;
            before = positions;
            is_idle
        });
    }

    pub(crate) fn wait_until(&self, running: &Running, mut is_so: impl FnMut() -> bool) {
        let started_at = Instant::now();
        while !is_so() {
            if let Some(ended) = running.wait(TICK) {
                panic!("a thread ended on its own: {ended:?}");
            }
            assert!(started_at.elapsed() < DEADLINE, "still not there: {:#?}", self.positions());
        }
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker)
    }

    pub(crate) fn topology(&self) -> &Topology {
        &self.topology
    }

    fn telemetry(&self) -> Telemetry {
        let pipeline = &self.topology.pipeline;
        Telemetry::new(&pipeline.name, "test", &pipeline.config_hash).expect("metrics have good names")
    }

    /// A plan for every letter of the topic that nobody has decided about, with values changed by `edit`.
    pub(crate) fn plan(&self, topic: &str, failing: Failing, edit: impl Fn(&[u8]) -> Option<Edit>) -> Plan {
        let (broker, registry, clock) = (self.broker(), Arc::clone(&self.registry), Arc::clone(&self.clock));
        let mut validator = Validator::new(Arc::clone(&self.topology), broker, registry, clock, CODECS);
        let mut notes = Notes::default();
        let notes_topic = self.topology.pipeline.replays_topic();
        notes.read(self.broker.as_ref(), &notes_topic).expect("the notes can be read");
        let (filter, destination) = (Filter::default(), Destination::Stage);
        let mut items = Vec::new();
        let partitions = self.partitions(topic);
        let ends = read_letters(self.broker.as_ref(), topic, partitions, &filter, |letter| {
            if notes.resolution(&letter.place).is_none() {
                let edit = edit(letter.value.as_deref().unwrap_or_default());
                let item = validator.judge(&letter, &destination, LoopGuard::On, edit);
                items.push(item.expect("it can be judged"));
            }
            Ok::<_, BrokerError>(())
        });
        let created_by = "a test".to_owned();
        let wish = Wish { topic: topic.to_owned(), filter, destination, failing, created_by };
        Plan::new(&self.topology, wish, self.clock.unix_ms(), ends.expect("the letters can be read"), items)
    }

    /// Carries the plan out as a process that sees this broker.
    pub(crate) fn apply(
        &self,
        broker: Arc<dyn Broker>,
        plan: &Plan,
        pace: &Pace,
        look: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Report, ReplayError> {
        let topics = self.topology.topics.keys().cloned().collect();
        let succession = Succession::new(Arc::clone(&broker), Arc::clone(&self.clock), self.telemetry(), topics);
        let (topology, clock) = (Arc::clone(&self.topology), Arc::clone(&self.clock));
        let mut operator = Operator::new(topology, broker, clock, succession, "a test".to_owned());
        replay::run::apply(&mut operator, plan, pace, "a test", look)
    }

    /// How the last replay of the topic stands.
    pub(crate) fn replay_state(&self, topic: &str) -> Option<RunState> {
        let mut notes = Notes::default();
        notes.read(self.broker.as_ref(), &self.topology.pipeline.replays_topic()).expect("the notes can be read");
        notes.active().get(topic).map(|active| active.state)
    }

    /// What does not add up.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut watch = ReconciliationWatch::new(Arc::clone(&self.topology), self.broker());
        watch.look().expect("the checkpoints can be read");
        watch.look().expect("the checkpoints can be read").findings().collect()
    }

    fn positions(&self) -> Vec<tidemill_runtime::status::InputStatus> {
        let [unit] = self.topology.units.as_slice() else { panic!("the default topology has one unit") };
        unit_status(self.broker.as_ref(), &self.topology, unit, self.clock.unix_ms()).expect("the broker answers")
    }

    fn sink_lag(&self) -> u64 {
        let lag_of = |plan| {
            let positions = open_sink(plan).expect("opens").positions().expect("the sink answers");
            let next_offset = |wanted: &TopicPartition| {
                let found = positions
                    .iter()
                    .find(|position| position.topic == wanted.topic && position.partition == wanted.partition);
                found.map_or(0, |position| position.next_offset)
            };
            sink_lag(self.broker.as_ref(), &self.topology, plan, next_offset).expect("the broker answers")
        };
        self.topology.sinks.iter().map(lag_of).sum()
    }

    fn partitions(&self, topic: &str) -> u32 {
        self.topology.topics.get(topic).unwrap_or_else(|| panic!("no topic {topic}")).partitions
    }

    /// Everything that can be read of a topic, partition by partition.
    pub(crate) fn records(&self, topic: &str) -> Vec<Stored> {
        let mut records = Vec::new();
        for partition in (0..self.partitions(topic)).map(|number| TopicPartition::new(topic, number)) {
            let mut reader = self.broker.reader(Isolation::ReadCommitted).expect("a reader opens");
            reader.assign(&partition, 0).expect("the partition exists");
            let mut batch = RecordBatch::default();
            while !reader.reached_end(&partition) {
                reader.poll(&mut batch, 1_000, TICK).expect("the broker answers");
                records.extend((0..batch.len()).map(|index| stored(&batch, index)));
            }
        }
        records
    }

    /// The same, decoded.
    pub(crate) fn events<E: Event>(&self, topic: &str, kind: EventKind) -> Vec<E> {
        let mut codecs = Codecs::new(Arc::clone(&self.registry), CODECS);
        let mut decode = |stored: Stored| {
            let event = codecs.decode(kind, &stored.value.expect("has a value")).expect("fits its schema");
            event.downcast::<E>().expect("is of the topic's kind")
        };
        self.records(topic).into_iter().map(&mut decode).collect()
    }

    /// The first column, which must be text, of every row of the read model.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(self.folder.path().join("read-model.sqlite"));
            let mut connection: SqliteConnection = options.connect().await.expect("connects");
            sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await.expect("answers")
        })
    }
}

/// What must hold whatever was sent.
pub(crate) fn assert_money_adds_up(under_test: &UnderTest) {
    let nothing: [&str; 0] = [];
    let violations = [
        ("totals are 0", "SELECT currency FROM ledger_totals WHERE posted_minor <> 0 OR unexplained_minor <> 0"),
        (
            "no sequence has a gap",
            "SELECT account_id FROM ledger_entries GROUP BY account_id HAVING max(seq) <> count(*) OR min(seq) <> 1",
        ),
        (
            "every balance is the one before and the amount",
            "SELECT account_id || '#' || seq FROM (SELECT account_id, seq, amount_minor, balance_after_minor,
             coalesce(lag(balance_after_minor) OVER (PARTITION BY account_id ORDER BY seq), 0) AS before
             FROM ledger_entries) WHERE before + amount_minor <> balance_after_minor",
        ),
        (
            "no money is under way",
            "SELECT currency FROM account_balances WHERE kind = 'in_transit' GROUP BY currency HAVING sum(posted_minor) <> 0",
        ),
        (
            "no payment is decided twice by the ledger",
            "SELECT payment_id FROM payment_statuses WHERE phase = 'outcome' AND code <> 'amount_not_positive'
             GROUP BY source, debit_account, payment_id HAVING count(*) > 1",
        ),
    ];
    for (what, sql) in violations {
        assert_eq!(under_test.ask(sql), nothing, "{what}");
    }
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

fn default_topology(folder: &Path, more: &str) -> Topology {
    let text = std::fs::read_to_string(repository().join("topology.toml")).expect("the default topology is there");
    let text = format!("{text}\n{more}");
    let below = |name: &str| folder.join(name).display().to_string();
    let overrides = [
        ("broker.data_dir", below("broker")),
        ("pipeline.state_dir", below("state")),
        ("sink.sqlite.settings.path", below("read-model.sqlite")),
    ];
    let options = Options {
        broker: Some(BrokerChoice::Embedded),
        overrides: overrides.map(|(key, value)| (key.to_owned(), value)).into(),
        ..Options::default()
    };
    compile("topology.toml", &text, &CATALOG, &options).expect("the default topology compiles").0
}

fn stored(batch: &RecordBatch, index: usize) -> Stored {
    let headers = batch.headers(index);
    let view = batch.view(index, &headers);
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    Stored {
        partition: view.origin.partition,
        key: view.key.map(<[u8]>::to_vec),
        value: view.value.map(<[u8]>::to_vec),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), text(*value))).collect(),
    }
}
