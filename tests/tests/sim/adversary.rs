//! What goes wrong within Kafka itself, and the operator who mends what Kafka does not mend by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_runtime::broker::Broker;
use tidemill_runtime::clock::Clock;
use tidemill_runtime::succession::Succession;
use tidemill_runtime::telemetry::Telemetry;
use tidemill_tests::model::{EndFault, Hang, ModelKafka, ProducerId, TransactionView};

use crate::faults::Fault;
use crate::observer::TOPICS;
use crate::scheduler::Sim;

/// An operator needs this long to see that a transaction hangs, and that the pipeline does not end it.
const NOTICE: Duration = Duration::from_secs(30);
/// A broker that comes back serves as coordinator for so long before it knows who leads what.
const BLIND_MAX: Duration = Duration::from_millis(400);

pub(crate) struct Adversary {
    kafka: Arc<ModelKafka>,
    group: String,
    /// Since when the transactions of a producer hang.
    hanging: Mutex<BTreeMap<ProducerId, Duration>>,
    succession: Succession,
    aborts: AtomicU64,
}

impl Adversary {
    pub(crate) fn new(kafka: Arc<ModelKafka>, clock: Arc<dyn Clock>, telemetry: Telemetry, group: String) -> Self {
        let broker: Arc<dyn Broker> = kafka.clone();
        let topics = TOPICS.iter().map(|topic| (*topic).to_owned()).collect();
        let succession = Succession::new(broker, clock, telemetry, topics);
        Self { kafka, group, hanging: Mutex::default(), succession, aborts: AtomicU64::new(0) }
    }

    pub(crate) fn act(&self, sim: &Sim) {
        self.abort_hanging(sim);
        if sim.strikes(Fault::Hang, 1)
            && let Some(id) = self.some_id(sim)
        {
            let hang = if sim.below(2) == 0 { Hang::Everywhere } else { Hang::LogsOnly };
            sim.note("hang", || format!("the next commit of {id}, {hang:?}"));
            self.kafka.hang(&id, hang);
        }
        if sim.strikes(Fault::BrokerKilled, 1) {
            let (blind_for, seed) = (sim.span(BLIND_MAX), sim.below(u64::MAX));
            sim.note("broker killed", || format!("blind for {blind_for:?}"));
            self.kafka.restart(blind_for, seed);
        }
        if sim.strikes(Fault::EndAnswerLost, 1)
            && let Some(id) = self.some_id(sim)
        {
            self.kafka.disturb_end(&id, EndFault::LoseAnswer);
        }
        if sim.strikes(Fault::FalseFence, 1)
            && let Some(slot) = self.some_id(sim)
        {
            sim.note("false fence", || slot.clone());
            self.kafka.fence_member(&self.group, &slot);
        }
        if sim.strikes(Fault::OffsetsLost, 1) {
            if sim.below(2) == 0 {
                self.kafka.forget_offsets(&self.group);
            } else {
                self.kafka.rewind_offsets(&self.group, |_, offset| sim.below(offset + 1));
            }
        }
    }

    /// How often an operator had to abort a transaction.
    pub(crate) fn aborts(&self) -> u64 {
        self.aborts.load(Ordering::Relaxed)
    }

    /// A slot that has opened a producer.
    fn some_id(&self, sim: &Sim) -> Option<String> {
        let mut known: Vec<TransactionView> = self.kafka.transactions();
        if known.is_empty() {
            return None;
        }
        Some(known.swap_remove(sim.below(known.len() as u64) as usize).transactional_id)
    }

    /// `tidemill txn abort`, by somebody who looks after a while.
    fn abort_hanging(&self, sim: &Sim) {
        let now = sim.now();
        let open = self.kafka.open_everywhere();
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        let is_hanging = |producer: &ProducerId| open.iter().any(|open| open.is_hanging && open.producer == *producer);
        hanging.retain(|producer, _| is_hanging(producer));
        for open in open.iter().filter(|open| open.is_hanging) {
            let since = *hanging.entry(open.producer).or_insert(now);
            if now.saturating_sub(since) > NOTICE {
                let known = open.transactional_id.as_deref();
                let healed = known.and_then(|id| self.succession.heal(id).ok().flatten());
                let places = self.kafka.abort_hanging(open.producer);
                self.aborts.fetch_add(1, Ordering::Relaxed);
                sim.note("operator aborts", || format!("{healed:?}, then {places:?}"));
            }
        }
    }
}
