//! Many producers at random, with markers that come at random: what was committed is read once, in order, and nothing
//! else; and the same seed does the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_runtime::broker::{BrokerErrorKind, Producer};
use tidemill_runtime::conformance::Random;
use tidemill_tests::model::{Markers, ModelKafka, ModelOptions, Sending};

use crate::script::{TurnedClock, model, open, readable, send};

const PRODUCERS: usize = 4;
const STEPS: usize = 2_000;

/// A producer and what it has written since it began.
struct Writer {
    id: String,
    producer: Option<Box<dyn Producer>>,
    /// Partition and value, once they are flushed.
    written: Vec<(u32, String)>,
    is_open: bool,
}

/// What must be read in the end.
#[derive(Default)]
struct Expected {
    committed: BTreeSet<(u32, String)>,
    /// Commits that were acknowledged.
    count: usize,
}

impl Writer {
    /// One step, chosen by `choice`.
    fn step(&mut self, kafka: &ModelKafka, choice: usize, name: &str, expected: &mut Expected) {
        let Some(producer) = self.producer.as_mut() else {
            self.producer = open(kafka, &self.id).ok();
            self.written.clear();
            self.is_open = false;
            return;
        };
        if !self.is_open {
            self.is_open = producer.begin().is_ok();
            return;
        }
        let outcome = match choice {
            0..6 => {
                let partition = (choice % 2) as u32;
                let sent = send(producer.as_mut(), partition, name).and_then(|()| producer.flush(Duration::ZERO));
                if !matches!(&sent, Err(error) if error.kind != BrokerErrorKind::Retriable) {
                    self.written.push((partition, name.to_owned()));
                }
                sent
            }
            6..8 => producer.commit(Duration::ZERO).inspect(|()| {
                expected.count += 1;
                expected.committed.extend(self.written.drain(..));
                self.is_open = false;
            }),
            8 => producer.abort(Duration::ZERO).inspect(|()| {
                self.written.clear();
                self.is_open = false;
            }),
            _ => {
                self.producer = None;
                return;
            }
        };
        if matches!(&outcome, Err(error) if error.kind != BrokerErrorKind::Retriable) {
            self.producer = None;
        }
    }
}

fn run(seed: u64, choices: &[usize], sending: Sending) -> [Vec<String>; 2] {
    let clock = Arc::new(TurnedClock::default());
    let markers = Markers::Delayed { seed, max: Duration::from_millis(50) };
    let kafka = model(&clock, ModelOptions { markers, sending, ..ModelOptions::default() });
    let writer = |index| Writer { id: format!("{index}"), producer: None, written: Vec::new(), is_open: false };
    let mut writers: Vec<Writer> = (0..PRODUCERS).map(writer).collect();
    let mut expected = Expected::default();
    for (index, choice) in choices.iter().enumerate() {
        clock.turn(Duration::from_millis(5));
        writers[choice % PRODUCERS].step(&kafka, choice / PRODUCERS % 10, &format!("{index:06}"), &mut expected);
    }
    // A new producer settles what is left; asked often enough, because markers take their time.
    for writer in &writers {
        while open(&kafka, &writer.id).is_err() {
            clock.turn(Duration::from_millis(5));
        }
    }
    assert_eq!(kafka.open_everywhere(), [], "nothing is open in the end");
    assert!(expected.count > STEPS / 40, "only {} transactions committed", expected.count);
    [0, 1].map(|partition| {
        let found = readable(&kafka, partition);
        let wanted = expected.committed.iter().filter(|(of, _)| *of == partition).map(|(_, value)| value.clone());
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(sorted, wanted.collect::<Vec<_>>(), "partition {partition}");
        found
    })
}

#[test]
fn what_was_committed_is_read_once_and_nothing_else() {
    let mut random = Random::printed();
    let started_at = Instant::now();
    for sending in [Sending::AtFlush, Sending::AtOnce] {
        for _ in 0..10 {
            let seed = random.number();
            let choices: Vec<usize> = (0..STEPS).map(|_| random.below(PRODUCERS * 10)).collect();
            let found = run(seed, &choices, sending);
            assert_eq!(run(seed, &choices, sending), found, "the same seed does the same");
        }
    }
    println!("{} steps in {:?}", 40 * STEPS, started_at.elapsed());
}
