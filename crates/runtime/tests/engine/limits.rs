//! What the engine does with input that is as bad as it gets: one key that is all of the traffic, a record that a
//! processor panics on, a record of 10 MiB, and any of them in a row.

use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{Broker, Isolation, Outgoing, ProducerOptions, TopicPartition};
use tidemill_runtime::embedded::{EmbeddedBroker, EmbeddedOptions};
use tidemill_runtime::store::disk::DiskStores;
use tidemill_runtime::supervise::{self, RunOptions, RunSinks};

use crate::words::{DEAD_LETTERS, IN, PATIENCE, POISON, TASKS, create_topics, read_counts, shared};

/// What is written, and how many records of it become counts; the others become dead letters.
struct Load {
    name: &'static str,
    records: u64,
    word: fn(u64) -> &'static [u8],
    value_bytes: usize,
    counted: u64,
}

const LOADS: [Load; 4] = [
    Load { name: "one hot key", records: 5_000, word: |_| b"ebb", value_bytes: 8, counted: 5_000 },
    Load {
        name: "poison among others",
        records: 900,
        word: |number| if number % 3 == 0 { POISON } else { b"flood" },
        value_bytes: 8,
        counted: 600,
    },
    Load { name: "nothing but poison", records: 300, word: |_| POISON, value_bytes: 8, counted: 0 },
    Load { name: "10 MiB each", records: 12, word: |_| b"neap", value_bytes: 10 << 20, counted: 12 },
];

#[test]
fn bad_input_stops_nothing_and_nothing_of_it_is_dropped() {
    for load in LOADS {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let broker = EmbeddedBroker::open(&folder.path().join("broker"), EmbeddedOptions::default());
        let broker = broker.expect("a new broker");
        create_topics(broker.as_ref(), folder.path());
        let shared = shared(folder.path(), broker.clone(), Arc::new(DiskStores::default()));
        let options = RunOptions { instance: "a".to_owned(), workers: 2, units: Vec::new(), sinks: RunSinks::None };
        write(broker.as_ref(), &load);
        let running = supervise::start(&shared, &options).expect("workers start");
        let check = || assert!(running.wait(Duration::ZERO).is_none(), "{}: a worker ended", load.name);
        let seen = read_counts(broker.as_ref(), load.counted, check);
        let started_at = std::time::Instant::now();
        while dead_letters(broker.as_ref()) < load.records - load.counted {
            check();
            assert!(started_at.elapsed() < PATIENCE, "{}: {} dead letters", load.name, dead_letters(broker.as_ref()));
            std::thread::sleep(Duration::from_millis(10));
        }
        running.join().expect("workers stop in good order");
        for (word, counts) in &seen {
            assert_eq!(*counts, (1..=counts.len() as u64).collect::<Vec<_>>(), "{}: {word}", load.name);
        }
        assert_eq!(dead_letters(broker.as_ref()), load.records - load.counted, "{}", load.name);
    }
}

fn write(broker: &dyn Broker, load: &Load) {
    let mut producer = broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    let value = vec![0x55; load.value_bytes];
    for number in 0..load.records {
        let word = (load.word)(number);
        let record = Outgoing {
            topic: IN,
            partition: tidemill_core::partition::partition_of(word, TASKS),
            timestamp_ms: 1,
            key: Some(word),
            value: Some(&value),
            headers: &[],
        };
        producer.send(&record).expect("the record is taken");
    }
    producer.flush(PATIENCE).expect("the records are written");
}

fn dead_letters(broker: &dyn Broker) -> u64 {
    let count = |partition| {
        let partition = TopicPartition::new(DEAD_LETTERS, partition);
        broker.watermarks(&partition, Isolation::ReadCommitted).expect("the topic exists").high
    };
    (0..TASKS).map(count).sum()
}
