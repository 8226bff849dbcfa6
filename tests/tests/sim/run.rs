//! One run: a cluster under load and bad weather, then calm, then the accounts are drawn up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidemill_core::partition::partition_of;
use tidemill_runtime::broker::{Broker, NewTopic, Outgoing, ProducerOptions, TransactionProtocol};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions, SyncPolicy, Waiting};
use tidemill_runtime::sabotage::{self, Bug};
use tidemill_runtime::telemetry::Telemetry;
use tidemill_tests::model::{self, Markers, ModelKafka, ModelOptions, Sending};

use crate::adversary::Adversary;
use crate::check::{Evidence, last_checkpoint, open_partitions};
use crate::faults::{Fault, FaultSet, Odds};
use crate::ledger::{self, ENTRIES, REQUESTS, REQUESTS_DLQ, Request, STATE, TASKS, key_of};
use crate::network::{Deletions, Graveyard};
use crate::observer::Observer;
use crate::operator::{Operator, Zeal};
use crate::process::{Machine, Site};
use crate::scheduler::{Coroutines, OUTSIDE, Sim};
use crate::time::SimClock;
use crate::trace::{LogToTrace, Trace};

const WEATHER: Duration = Duration::from_secs(9);
/// After the last fault everything must be through within this.
const RECOVERY: Duration = Duration::from_secs(90);
/// A coordinator ends within this what nobody works on any more.
const MARKING: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(40);
/// What is written once too often may come late.
const GRACE: Duration = Duration::from_secs(2);
const PAYERS: u64 = 6;
const ACCOUNTS: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// The embedded broker as it is, with its journal on disk.
    Embedded,
    /// A model of Kafka's transactions.
    Kafka,
}

impl World {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::Kafka];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Kafka => "kafka",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let named = Self::ALL.into_iter().find(|world| world.name() == text);
        named.unwrap_or_else(|| panic!("no world is called `{text}`"))
    }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) world: World,
    pub(crate) faults: FaultSet,
    pub(crate) recording: Recording,
    pub(crate) bug: Option<Bug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recording {
    Off,
    On,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) findings: Vec<String>,
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) turns: u64,
    pub(crate) took: Duration,
    pub(crate) lines: Vec<String>,
}

impl Plan {
    pub(crate) fn run(self, coroutines: &mut Coroutines) -> Ran {
        let trace = match self.recording {
            Recording::Off => Trace::default(),
            Recording::On => Trace::with_lines(),
        };
        let sim = Sim::new(self.seed, Odds::draw(self.seed, self.faults), trace);
        let folder = tempfile::tempdir().expect("a folder for the run");
        let clock = Arc::new(SimClock(Arc::clone(&sim)));
        let mut kafka = None;
        let broker: Arc<dyn Broker> = match self.world {
            World::Embedded => {
                let options = EmbeddedOptions {
                    sync: SyncPolicy::OsBuffered,
                    waiting: Waiting::ReturnsAtOnce,
                    clock,
                    ..EmbeddedOptions::default()
                };
                EmbeddedBroker::open(folder.path(), options).expect("a new broker")
            }
            World::Kafka => {
                let model = ModelKafka::new(clock, model_options(&sim, self.seed));
                kafka = Some(Arc::clone(&model));
                model
            }
        };
        let run = Arc::new(Run::new(&sim, broker, kafka));
        let director = Arc::clone(&run);
        sim.spawn("director".to_owned(), OUTSIDE, Box::new(move || director.direct()));
        let group = run.site.group();
        let mut go = || sabotage::with(self.bug, &group, || sim.run(coroutines));
        let findings = match self.recording {
            Recording::Off => go(),
            Recording::On => tracing::subscriber::with_default(LogToTrace(Arc::clone(&sim)), go),
        };
        let (turns, took, trace) = (sim.turns(), sim.now(), sim.take_trace());
        Ran { findings, hash: trace.hash(), events: trace.events(), turns, took, lines: trace.into_lines() }
    }
}

/// What Kafka leaves open differs from run to run. The second protocol is what clusters of today speak with the engine.
fn model_options(sim: &Sim, seed: u64) -> ModelOptions {
    let protocol = if sim.below(3) == 0 { TransactionProtocol::First } else { TransactionProtocol::Second };
    let markers = match sim.below(3) {
        0 => Markers::AtOnce,
        _ => Markers::Delayed { seed, max: sim.span(Duration::from_millis(300)) },
    };
    let sending = if sim.below(2) == 0 { Sending::AtFlush } else { Sending::AtOnce };
    let waiting = model::Waiting::Sleeping(Duration::from_millis(20));
    ModelOptions { protocol, markers, sending, waiting, timeout_sweep: sim.span(Duration::from_secs(4)) }
}

struct Run {
    site: Site,
    adversary: Option<Adversary>,
    machines: Vec<Arc<Machine>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Run {
    fn new(sim: &Arc<Sim>, broker: Arc<dyn Broker>, kafka: Option<Arc<ModelKafka>>) -> Self {
        static TELEMETRY: OnceLock<Telemetry> = OnceLock::new();
        let telemetry = || Telemetry::new("sim", "test", "00000000").expect("metrics have good names");
        let mut topology = ledger::topology();
        topology.units[0].standbys = sim.below(3) as u32;
        let topology = Arc::new(topology);
        for topic in topology.topics.values() {
            let new = NewTopic { name: topic.name.clone(), partitions: TASKS, replication: 1, config: BTreeMap::new() };
            broker.create_topic(&new).expect("a new topic");
        }
        let slots = |_| 1 + sim.below(2) as u32;
        let [a, b, c] = [0, 1, 2].map(slots);
        let late = sim.span(WEATHER * 2);
        let machines = vec![
            Machine::new("a", a, Duration::ZERO),
            Machine::new("b", b, Duration::ZERO),
            Machine::new("c", c, late),
        ];
        let site = Site {
            sim: Arc::clone(sim),
            topology,
            broker,
            registry: Arc::new(ledger::OneSchema(Arc::clone(sim))),
            telemetry: TELEMETRY.get_or_init(telemetry).clone(),
            graveyard: Arc::new(Graveyard::default()),
            deletions: Arc::new(Deletions::default()),
        };
        let clock = || Arc::new(SimClock(Arc::clone(sim)));
        let adversary = kafka.map(|kafka| Adversary::new(kafka, clock(), site.telemetry.clone(), site.group()));
        Self { site, adversary, machines, requests: Arc::default() }
    }

    fn tend(&self) {
        for machine in &self.machines {
            machine.tend(&self.site);
        }
        if let Some(adversary) = &self.adversary {
            adversary.act(&self.site.sim);
        }
        self.site.sim.pause("direct", STEP);
    }

    fn direct(&self) {
        let sim = &self.site.sim;
        let mut observer = Observer::new(&self.site.broker);
        let mut operator = Operator::new(&self.site.broker);
        self.start_load();
        while sim.now() < WEATHER {
            if sim.strikes(Fault::Stop, 4) {
                self.machines[sim.below(3) as usize].stop(sim);
            }
            self.tend();
            self.delete(&mut observer);
            operator.tend(sim, &observer, Zeal::SomeTime);
        }
        sim.calm();
        if self.undisturbed(|| self.finish(&mut observer, &mut operator)) {
            let findings = self.evidence(&observer, |evidence| evidence.check());
            findings.into_iter().for_each(|finding| sim.fail(finding));
            if self.undisturbed(|| self.restore(&mut observer)) {
                let findings =
                    self.evidence(&observer, |evidence| evidence.restored(&self.machines[0].disk.contents()));
                findings.into_iter().for_each(|finding| sim.fail(finding));
            }
        }
        sim.end();
    }

    /// Deletes what processes have asked to delete, after it was read.
    fn delete(&self, observer: &mut Observer) {
        observer.read();
        self.site.deletions.carry_out(self.site.broker.as_ref());
    }

    /// Does so again if an operator had to abort what seemed to be done.
    fn undisturbed(&self, mut act: impl FnMut() -> bool) -> bool {
        let aborts = || self.adversary.as_ref().map_or(0, Adversary::aborts);
        loop {
            let before = aborts();
            if !act() {
                return false;
            }
            if aborts() == before {
                return true;
            }
        }
    }

    /// Waits for the last outcome, and stops everybody in good order.
    fn finish(&self, observer: &mut Observer, operator: &mut Operator) -> bool {
        let sim = &self.site.sim;
        for machine in &self.machines {
            machine.come_up();
        }
        let expected = self.expected();
        let mut is_complete = |observer: &mut Observer| {
            observer.read();
            operator.tend(sim, observer, Zeal::Now);
            observer.count(REQUESTS_DLQ) >= expected.0 && observer.count(ENTRIES) >= expected.1
        };
        if !self.wait(RECOVERY, || is_complete(observer)) {
            let found = (observer.count(REQUESTS_DLQ), observer.count(ENTRIES));
            let state = sim.state();
            sim.fail(format!("progress: {found:?} of {expected:?} dead letters and entries\n{state}"));
            return false;
        }
        let grace = sim.now() + GRACE;
        self.wait(GRACE, || sim.now() >= grace);
        self.stop_all(observer)
    }

    fn stop_all(&self, observer: &mut Observer) -> bool {
        let sim = &self.site.sim;
        for machine in &self.machines {
            machine.stay_down();
            machine.stop(sim);
        }
        let is_down = self.wait(RECOVERY, || self.machines.iter().all(|machine| machine.is_down()));
        if !is_down {
            let state = sim.state();
            sim.fail(format!("stop: a process does not come to its end\n{state}"));
        }
        // What is committed may still have to be marked as such.
        self.wait(MARKING, || open_partitions(&self.site.broker).is_empty());
        self.delete(observer);
        is_down
    }

    /// One machine without stores takes everything over, restores it, and gives it back.
    fn restore(&self, observer: &mut Observer) -> bool {
        let sim = &self.site.sim;
        let machine = &self.machines[0];
        let entries = observer.count(ENTRIES);
        let before: Vec<usize> = observer.partitions(STATE).iter().map(Vec::len).collect();
        machine.disk.wipe();
        machine.come_up();
        let is_claimed = |observer: &mut Observer| {
            observer.read();
            let mut logs = observer.partitions(STATE).iter().zip(&before);
            logs.all(|(log, before)| log.len() > *before && last_checkpoint(log).owner.starts_with("sim-main-a-"))
        };
        if !self.wait(RECOVERY, || is_claimed(observer)) {
            let state = sim.state();
            sim.fail(format!("restart: not every task was claimed\n{state}"));
            return false;
        }
        let is_down = self.stop_all(observer);
        if observer.count(ENTRIES) != entries {
            sim.fail("restart: entries were written once more".to_owned());
        }
        is_down
    }

    fn evidence<T>(&self, observer: &Observer, look: impl FnOnce(&Evidence<'_>) -> T) -> T {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let group = self.site.group();
        let Self { site, machines, adversary, .. } = self;
        let may_refuse_releases = adversary.is_some();
        look(&Evidence { requests: &requests, observer, broker: &site.broker, machines, group, may_refuse_releases })
    }

    fn wait(&self, longest: Duration, mut is_reached: impl FnMut() -> bool) -> bool {
        let deadline = self.site.sim.now() + longest;
        while self.site.sim.now() < deadline {
            self.tend();
            if is_reached() {
                return true;
            }
        }
        false
    }

    /// Dead letters and entries that the requests must come to.
    fn expected(&self) -> (usize, usize) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = requests.iter().map(Request::dead_letters).sum();
        let settled = requests.iter().filter_map(Request::settled);
        (dead, settled.map(|request| if request.is_refused() { 1 } else { 2 }).sum())
    }

    /// Writes requests in bursts for as long as there is weather.
    fn start_load(&self) {
        let (sim, broker, requests) =
            (Arc::clone(&self.site.sim), Arc::clone(&self.site.broker), Arc::clone(&self.requests));
        let body = move || {
            let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
            let mut id = 0;
            loop {
                sim.pause("load", sim.span(Duration::from_millis(1_600)));
                if sim.now() >= WEATHER {
                    return;
                }
                for _ in 0..=sim.below(10) {
                    id += 1;
                    let request = request(&sim, id);
                    let (key, value) = (key_of('p', request.payer), request.encode());
                    let outgoing = Outgoing {
                        topic: REQUESTS,
                        partition: partition_of(&key, TASKS),
                        timestamp_ms: 1,
                        key: Some(&key),
                        value: Some(&value),
                        headers: &[],
                    };
                    producer.send(&outgoing).expect("the request is taken");
                    requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                }
                producer.flush(Duration::from_secs(1)).expect("the requests are written");
            }
        };
        self.site.sim.spawn("load".to_owned(), OUTSIDE, Box::new(body));
    }
}

fn request(sim: &Sim, id: u64) -> Request {
    let debit = sim.below(ACCOUNTS) as u8;
    let credit = (u64::from(debit) + 1 + sim.below(ACCOUNTS - 1)) % ACCOUNTS;
    let amount = if sim.below(16) == 0 { 0 } else { 1 + sim.below(100) as i64 };
    Request { id, payer: sim.below(PAYERS) as u8, debit, credit: credit as u8, amount }
}
