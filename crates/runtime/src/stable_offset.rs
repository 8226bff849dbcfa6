//! Watches for readers that are held back for good. A transaction that nobody ends stops every `read_committed` reader of
//! its partitions without an error anywhere; only somebody who looks can tell. What a slot of the pipeline left behind is
//! ended as its coordinator had decided, because the slot itself may never come back; the rest is for an operator.
//!
//! Few requests: one per broker and look, more only where something stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidemill_topology::Topology;

use crate::broker::{OpenTransaction, Result, Standing, TopicPartition};
use crate::succession::Succession;
use crate::supervise::is_slot;
use crate::worker::Shared;

pub const STABLE_OFFSET_STUCK: &str = "stable_offset_stuck";

/// Between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A transaction that no coordinator knows is reported after this. It hangs from its first moment, but only looks that
/// are some time apart agree on that although everything else moves meanwhile.
const HANGING_MAX: Duration = Duration::from_secs(15);
/// A coordinator looks every 10 s for transactions whose time is up, and its markers take a moment.
const SWEEP_MAX: Duration = Duration::from_secs(15);
/// The time-out of a producer that chose none, of Kafka's own clients and of librdkafka alike. Counts where nobody can be
/// asked what the transaction's own is.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// A partition that is still stuck is reported again after this.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Looks after everything that the pipeline reads: inputs, state logs, reference tables, and what its sinks read.
pub struct StableOffsetWatch {
    shared: Arc<Shared>,
    /// Partition to who waits if it stands still.
    readers: BTreeMap<TopicPartition, Vec<String>>,
    held: Held,
    succession: Succession,
}

impl StableOffsetWatch {
    pub fn new(shared: Arc<Shared>) -> Self {
        let timeouts = shared.topology.units.iter().map(|unit| unit.commit.transaction_timeout_ms);
        let timeout_max = timeouts.max().map_or(DEFAULT_TIMEOUT, |ms| Duration::from_millis(ms).max(DEFAULT_TIMEOUT));
        let held = Held { timeout_max, partitions: BTreeMap::new() };
        let succession = Succession::of(&shared);
        Self { readers: readers(&shared.topology), shared, held, succession }
    }

    /// Brings the gauge up to date and reports what has become stuck. A broker that does not answer is no news.
    pub fn look(&mut self) {
        let Shared { broker, clock, telemetry, .. } = self.shared.as_ref();
        let partitions: Vec<TopicPartition> = self.readers.keys().cloned().collect();
        let held = match broker.held_back(&partitions) {
            Ok(held) => held,
            Err(error) => return tracing::debug!(%error, "stable offsets cannot be looked at"),
        };
        let now = clock.now();
        let gauge = |partition: &TopicPartition| {
            let labels = [partition.topic.as_ref(), &partition.partition.to_string()];
            telemetry.stable_offset_stuck.with_label_values(&labels)
        };
        for moved in self.held.note(now, held) {
            tracing::info!(topic = %moved.topic, partition = moved.partition, "the stable offset moves again");
            gauge(&moved).set(0);
        }
        let all_stuck = self.held.stuck(now, |partitions| broker.open_transactions(partitions));
        self.heal(&all_stuck);
        for stuck in all_stuck {
            gauge(&stuck.partition).set(1);
            if stuck.is_due {
                self.report(&stuck);
            }
        }
    }

    /// Only what slots have left: how the transactions of others follow each other is not known here.
    fn heal(&self, all_stuck: &[Stuck]) {
        let hanging = all_stuck.iter().flat_map(|stuck| &stuck.transactions).filter(|one| one.is_hanging());
        let ids: BTreeSet<&str> = hanging.filter_map(|one| one.transactional_id.as_deref()).collect();
        for id in ids.into_iter().filter(|id| is_slot(&self.shared.topology, id)) {
            if let Err(error) = self.succession.heal(id) {
                tracing::warn!(code = STABLE_OFFSET_STUCK, transactional_id = id, %error, "it cannot be finished yet");
            }
        }
    }

    fn report(&self, stuck: &Stuck) {
        let waiting = self.readers.get(&stuck.partition).map(|readers| readers.join(", ")).unwrap_or_default();
        tracing::error!(
            code = STABLE_OFFSET_STUCK,
            topic = %stuck.partition.topic,
            partition = stuck.partition.partition,
            stable_offset = stuck.offset,
            held_ms = u64::try_from(stuck.held_for.as_millis()).unwrap_or(u64::MAX),
            waiting,
            "a transaction that does not end holds readers back"
        );
        stuck.transactions.iter().for_each(log_transaction);
    }
}

/// Says of one transaction whose it is and what ends it.
pub(crate) fn log_transaction(open: &OpenTransaction) {
    let (state, remedy) = match &open.standing {
        Standing::Running { state, .. } => (
            state.as_str(),
            "its coordinator runs it and ends it at its time-out; stop its producer to end it sooner".to_owned(),
        ),
        Standing::Hanging => (
            "hanging",
            format!(
                "nobody will end it: `tidemill txn abort --partition {}-{} --reason TEXT` does, on all its partitions",
                open.partition.topic, open.partition.partition
            ),
        ),
    };
    tracing::error!(
        code = STABLE_OFFSET_STUCK,
        topic = %open.partition.topic,
        partition = open.partition.partition,
        producer_id = open.producer_id,
        producer_epoch = open.producer_epoch,
        start_offset = open.start_offset,
        transactional_id = open.transactional_id.as_deref().unwrap_or("unknown"),
        state,
        remedy,
        "this transaction is open"
    );
}

/// What the pipeline reads, and who waits if a partition of it stands still.
pub fn readers(topology: &Topology) -> BTreeMap<TopicPartition, Vec<String>> {
    let mut readers: BTreeMap<TopicPartition, Vec<String>> = BTreeMap::new();
    let mut note = |topic: &str, partition: u32, reader: String| {
        let of_partition = readers.entry(TopicPartition::new(topic, partition)).or_default();
        if !of_partition.contains(&reader) {
            of_partition.push(reader);
        }
    };
    let partitions = |topic: &str| 0..topology.topics.get(topic).map_or(0, |topic| topic.partitions);
    for unit in &topology.units {
        let inputs = unit.stages.iter().flat_map(|stage| &stage.inputs).map(|input| input.topic.clone());
        let parked = unit.stages.iter().flat_map(|stage| &stage.inputs).filter_map(|input| input.parked.clone());
        let redrive = [unit.redrive_topic(&topology.pipeline)];
        let redrive = redrive.into_iter().filter(|topic| topology.topics.contains_key(topic));
        for topic in inputs.chain(parked).chain(redrive).chain([unit.state_topic(&topology.pipeline)]) {
            (0..unit.tasks).for_each(|task| note(&topic, task, format!("task {task} of unit {}", unit.name)));
        }
        for reference in unit.stages.iter().flat_map(|stage| &stage.references) {
            let table = || format!("reference table {} of unit {}", reference.spec.name, unit.name);
            partitions(&reference.topic).for_each(|number| note(&reference.topic, number, table()));
        }
    }
    for sink in &topology.sinks {
        for topic in &sink.topics {
            partitions(topic).for_each(|number| note(topic, number, format!("sink {}", sink.name)));
        }
    }
    readers
}

/// Partitions whose readers are held back, and since when.
struct Held {
    /// The longest that a transaction may take where nobody says.
    timeout_max: Duration,
    partitions: BTreeMap<TopicPartition, Since>,
}

struct Since {
    offset: u64,
    at: Duration,
    /// When it was last reported.
    reported_at: Option<Duration>,
}

struct Stuck {
    partition: TopicPartition,
    offset: u64,
    held_for: Duration,
    transactions: Vec<OpenTransaction>,
    /// Whether it is to be reported now.
    is_due: bool,
}

impl Held {
    /// Takes a look in, and returns the partitions that were reported and move again.
    fn note(&mut self, now: Duration, held: Vec<(TopicPartition, u64)>) -> Vec<TopicPartition> {
        let held: BTreeMap<TopicPartition, u64> = held.into_iter().collect();
        let has_moved = |partition: &TopicPartition, since: &Since| held.get(partition) != Some(&since.offset);
        let moved = self.partitions.extract_if(.., |partition, since| has_moved(partition, since));
        let moved = moved.filter(|(_, since)| since.reported_at.is_some()).map(|(partition, _)| partition).collect();
        for (partition, offset) in held {
            self.partitions.entry(partition).or_insert(Since { offset, at: now, reported_at: None });
        }
        moved
    }

    /// Those that will not move by themselves. `open` is asked only about partitions that are worth it.
    fn stuck(
        &mut self,
        now: Duration,
        open: impl FnOnce(&[TopicPartition]) -> Result<Vec<OpenTransaction>>,
    ) -> Vec<Stuck> {
        let is_suspect = |since: &Since| now.saturating_sub(since.at) >= HANGING_MAX;
        let suspects: Vec<TopicPartition> = self
            .partitions
            .iter()
            .filter(|(_, since)| is_suspect(since))
            .map(|(partition, _)| partition.clone())
            .collect();
        if suspects.is_empty() {
            return Vec::new();
        }
        let open =
            open(&suspects).inspect_err(|error| tracing::debug!(%error, "whose transaction it is cannot be found out"));
        let mut stuck = Vec::new();
        for partition in suspects {
            let Some(since) = self.partitions.get_mut(&partition) else { continue };
            let of_partition = |open: &Vec<OpenTransaction>| {
                open.iter()
                    .filter(|one| one.partition == partition && one.start_offset <= since.offset)
                    .cloned()
                    .collect()
            };
            let transactions: Vec<OpenTransaction> = open.as_ref().map(of_partition).unwrap_or_default();
            let held_for = now.saturating_sub(since.at);
            if held_for < patience(&transactions, self.timeout_max) {
                continue;
            }
            let is_due = since.reported_at.is_none_or(|reported_at| now.saturating_sub(reported_at) >= REPORT_INTERVAL);
            if is_due {
                since.reported_at = Some(now);
            }
            stuck.push(Stuck { offset: since.offset, partition, held_for, transactions, is_due });
        }
        stuck
    }
}

/// How long readers may be held back by what is open before somebody has to be told.
fn patience(transactions: &[OpenTransaction], timeout_max: Duration) -> Duration {
    let of_one = |transaction: &OpenTransaction| match transaction.standing {
        Standing::Hanging => HANGING_MAX,
        Standing::Running { timeout_ms, .. } => {
            Duration::from_millis(u64::try_from(timeout_ms).unwrap_or_default()) + SWEEP_MAX
        }
    };
    // One that hangs is enough, whatever else is open beside it.
    transactions.iter().map(of_one).min().unwrap_or(timeout_max + SWEEP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerError, BrokerErrorKind};

    fn partition() -> TopicPartition {
        TopicPartition::new("in", 0)
    }

    fn open(standing: Standing) -> OpenTransaction {
        OpenTransaction {
            partition: partition(),
            producer_id: 7,
            producer_epoch: 0,
            coordinator_epoch: 0,
            start_offset: 100,
            last_timestamp_ms: 0,
            transactional_id: None,
            standing,
        }
    }

    fn running(timeout_s: i64) -> Standing {
        Standing::Running { state: "Ongoing".to_owned(), started_at_ms: 0, timeout_ms: timeout_s * 1_000 }
    }

    /// Looks every five seconds and returns the seconds at which the partition was reported.
    fn reports(until_s: u64, answer: impl Fn() -> Result<Vec<OpenTransaction>>) -> Vec<u64> {
        let mut held = Held { timeout_max: Duration::from_secs(60), partitions: BTreeMap::new() };
        let mut reported = Vec::new();
        for second in (0..=until_s).step_by(5) {
            let now = Duration::from_secs(second);
            assert_eq!(held.note(now, vec![(partition(), 100)]), []);
            reported.extend(held.stuck(now, |_| answer()).iter().filter(|stuck| stuck.is_due).map(|_| second));
        }
        reported
    }

    #[test]
    fn reports_once_a_period_and_not_before_the_transaction_could_have_ended() {
        let unknown = || Err(BrokerError::new(BrokerErrorKind::Misconfigured, "ask", "plaintext_only"));
        assert_eq!(reports(140, || Ok(vec![open(Standing::Hanging)])), [15, 75, 135], "hanging");
        assert_eq!(reports(140, || Ok(vec![open(running(30))])), [45, 105], "running with a time-out of 30 s");
        assert_eq!(reports(140, || Ok(vec![open(running(900))])), [0; 0], "running with a time-out of 15 min");
        assert_eq!(reports(80, || Ok(vec![open(running(900)), open(Standing::Hanging)])), [15, 75], "both");
        assert_eq!(reports(140, unknown), [75, 135], "nobody can be asked");
    }

    #[test]
    fn an_offset_that_moves_begins_anew() {
        let mut held = Held { timeout_max: Duration::from_secs(60), partitions: BTreeMap::new() };
        let hanging = |_: &[TopicPartition]| Ok(vec![open(Standing::Hanging)]);
        let at = Duration::from_secs;
        assert_eq!(held.note(at(0), vec![(partition(), 100)]), []);
        assert_eq!(held.note(at(10), vec![(partition(), 101)]), [], "it was never reported");
        assert!(held.stuck(at(20), hanging).is_empty(), "10 s at the new offset");
        assert_eq!(held.stuck(at(25), hanging).len(), 1);
        assert_eq!(held.note(at(30), Vec::new()), [partition()], "it was reported and moves again");
        assert!(held.stuck(at(30), |_| panic!("nothing is worth a question")).is_empty());
    }
}
