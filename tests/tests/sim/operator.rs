//! Somebody who looks after dead letters while all this goes on: mends some, gives others up, and tries some too early.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{Broker, Outgoing, Producer, ProducerOptions};
use tidemill_runtime::dead_letter::sent_back::{INPUT, REPLAY_COUNT, REPLAY_OF, RESOLVE};
use tidemill_runtime::worker::Decision;

use crate::ledger::{Fate, REDRIVE, REQUESTS, REQUESTS_DLQ, Request};
use crate::observer::{Observer, Seen};
use crate::scheduler::Sim;

const FIRST_ORIGIN: &str = "x-dlq-first-origin-";

pub(crate) struct Operator {
    producer: Box<dyn Producer>,
    /// Dead letters that have been decided about, by partition and offset.
    handled: BTreeSet<(u32, u64)>,
}

/// How soon the operator gets to a dead letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zeal {
    SomeTime,
    Now,
}

impl Operator {
    pub(crate) fn new(broker: &Arc<dyn Broker>) -> Self {
        let producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
        Self { producer, handled: BTreeSet::new() }
    }

    pub(crate) fn tend(&mut self, sim: &Sim, observer: &Observer, zeal: Zeal) {
        for (number, letters) in (0..).zip(observer.partitions(REQUESTS_DLQ)) {
            for letter in letters {
                let is_new = !self.handled.contains(&(number, letter.offset));
                if is_new && (zeal == Zeal::Now || sim.below(12) == 0) {
                    self.handled.insert((number, letter.offset));
                    sim.note("operator", || format!("decides about {number}@{}", letter.offset));
                    self.decide(number, letter);
                }
            }
        }
        self.producer.flush(Duration::from_secs(1)).expect("the decisions are written");
    }

    fn decide(&mut self, number: u32, letter: &Seen) {
        let value = letter.value.as_deref().unwrap_or_default();
        let request: Request = postcard::from_bytes(value).expect("a request as it was sent");
        let replays: u32 = letter.text("x-dlq-replay-count").parse().expect("a number");
        let count = (replays + 1).to_string();
        let id = letter.text("x-dlq-id").to_owned();
        let mut headers: Vec<(&str, Option<&[u8]>)> = letter
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with(FIRST_ORIGIN))
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        headers.extend([(INPUT, Some(REQUESTS.as_bytes())), (REPLAY_OF, Some(id.as_bytes()))]);
        headers.push((REPLAY_COUNT, Some(count.as_bytes())));
        let mended = request.mended().encode();
        let value = match request.fate() {
            Fate::Discarded => {
                headers.push((RESOLVE, Some(Decision::Discard.name().as_bytes())));
                None
            }
            Fate::MendedLate if replays == 0 => Some(value),
            Fate::Passes | Fate::Mended | Fate::MendedLate => Some(mended.as_slice()),
        };
        let key = letter.key.as_deref();
        let outgoing = Outgoing { topic: REDRIVE, partition: number, timestamp_ms: 1, key, value, headers: &headers };
        self.producer.send(&outgoing).expect("the decision is taken");
    }
}
