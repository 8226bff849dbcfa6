//! What a start makes of a state log that was cleaned, cut, or written by somebody else, and of a store that is behind it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill_runtime::broker::{Broker, Isolation, Outgoing, ProducerOptions, TopicPartition};
use tidemill_runtime::state_log::StateLogPolicy;
use tidemill_runtime::status;
use tidemill_runtime::store::disk::DiskStores;

use crate::restart::{Pipeline, RECORDS, STATE_LOG, assert_exact, is_waiting_for, rebuilt, start, wait_until};
use crate::words::{TASKS, read_counts};

/// A pass begins soon and takes several transactions.
const EAGER: StateLogPolicy = StateLogPolicy {
    record_bytes_max: 100,
    log_bytes_min: 2_000,
    scanned_entries: 1,
    carried_bytes_min: 1,
    carried_bytes_max: 1,
};

fn logs() -> impl Iterator<Item = TopicPartition> {
    (0..TASKS).map(|task| TopicPartition::new(STATE_LOG, task))
}

fn low(broker: &dyn Broker, log: &TopicPartition) -> u64 {
    broker.watermarks(log, Isolation::ReadCommitted).expect("watermarks").low
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is created");
    for entry in fs::read_dir(from).expect("the folder can be read") {
        let path = entry.expect("the entry can be read").path();
        let target = to.join(path.file_name().expect("an entry has a name"));
        match path.is_dir() {
            true => copy(&path, &target),
            // A file may be compacted away between the listing and the copy.
            false => drop(fs::copy(path, target)),
        }
    }
}

fn replace(store: &Path, by: &Path) {
    fs::remove_dir_all(store).expect("it can be removed");
    fs::rename(by, store).expect("it can be moved");
}

/// As `kill -9` leaves it: what was committed is in the log, and the store on disk stands where the task was started.
#[test]
fn what_was_not_written_yet_comes_from_the_log() {
    let pipeline = Pipeline::new();
    let killed = pipeline.state().with_extension("killed");
    let (seen, _) = pipeline.count_with(RECORDS, StateLogPolicy::default(), || copy(&pipeline.state(), &killed));
    assert_exact(&seen, RECORDS);
    replace(&pipeline.state(), &killed);
    let (seen, shared) = pipeline.count(2 * RECORDS);
    assert_exact(&seen, 2 * RECORDS);
    assert!(rebuilt(&shared).is_empty(), "a store that is only behind is not rebuilt");
}

#[test]
fn a_log_that_is_cleaned_still_holds_everything() {
    let pipeline = Pipeline::new();
    for round in 1..=6 {
        let (seen, shared) = pipeline.count_with(round * RECORDS, EAGER, || ());
        assert_exact(&seen, round * RECORDS);
        assert!(rebuilt(&shared).is_empty());
        // What the next round knows comes from what is left of the log, wherever in a pass it was stopped.
        fs::remove_dir_all(pipeline.state()).expect("it can be removed");
    }
    for log in logs() {
        assert!(low(pipeline.broker.as_ref(), &log) > 0, "{log:?} was never cleaned");
        let checkpoint = status::checkpoint(pipeline.broker.as_ref(), &log).expect("a checkpoint");
        let log_bytes = checkpoint.cleaning.log_bytes();
        assert!(log_bytes < 5 * EAGER.log_bytes_min, "a log of {log_bytes} bytes: {:?}", checkpoint.cleaning);
    }
}

#[test]
fn a_store_from_before_the_beginning_of_the_log_is_rebuilt() {
    let pipeline = Pipeline::new();
    let old = pipeline.state().with_extension("old");
    pipeline.count_with(RECORDS, EAGER, || ());
    copy(&pipeline.state(), &old);
    let mut total = RECORDS;
    let before: Vec<u64> = logs()
        .map(|log| pipeline.broker.watermarks(&log, Isolation::ReadCommitted).expect("watermarks").high)
        .collect();
    while logs().zip(&before).any(|(log, before)| low(pipeline.broker.as_ref(), &log) <= *before) {
        total += RECORDS;
        assert!(total < 40 * RECORDS, "the logs are not cleaned");
        pipeline.count_with(total, EAGER, || ());
    }
    replace(&pipeline.state(), &old);
    total += RECORDS;
    let (seen, shared) = pipeline.count(total);
    assert_exact(&seen, total);
    assert_eq!(rebuilt(&shared).into_iter().collect::<Vec<_>>(), [("outside_log", u64::from(TASKS))]);
}

/// Every task waits with the code, and nothing more is counted.
fn assert_all_wait(pipeline: &Pipeline, code: &str) {
    let shared = pipeline.shared(Arc::new(DiskStores::default()));
    let running = start(&shared);
    wait_until(code, &running, |tasks| {
        tasks.iter().filter(|task| is_waiting_for(task, code)).count() == TASKS as usize
    });
    running.join().expect("workers stop in good order");
    let seen = read_counts(pipeline.broker.as_ref(), RECORDS, || ());
    assert_exact(&seen, RECORDS);
}

#[test]
fn a_log_that_was_cut_is_not_taken_for_the_whole_state() {
    let pipeline = Pipeline::new();
    pipeline.count(RECORDS);
    for log in logs() {
        pipeline.broker.delete_records(&log, 2).expect("records can be deleted");
    }
    let (seen, _) = pipeline.count(2 * RECORDS);
    assert_exact(&seen, 2 * RECORDS);
    fs::remove_dir_all(pipeline.state()).expect("it can be removed");
    let shared = pipeline.shared(Arc::new(DiskStores::default()));
    let running = start(&shared);
    wait_until("every task says why it waits", &running, |tasks| {
        tasks.iter().filter(|task| is_waiting_for(task, "state_log_lost")).count() == TASKS as usize
    });
    running.join().expect("workers stop in good order");
}

#[test]
fn a_log_of_another_format_is_refused_by_name() {
    let pipeline = Pipeline::new();
    pipeline.count(RECORDS);
    let mut producer = pipeline.broker.producer(&ProducerOptions::Idempotent).expect("a producer");
    for log in logs() {
        let record = Outgoing {
            topic: STATE_LOG,
            partition: log.partition,
            timestamp_ms: 1,
            key: Some(b"counts\0ebb"),
            value: Some(&[1, 7]),
            headers: &[],
        };
        producer.send(&record).expect("the record is taken");
    }
    producer.flush(Duration::from_secs(10)).expect("the records are written");
    assert_all_wait(&pipeline, "state_log_format");
    let error = logs().find_map(|log| status::checkpoint(pipeline.broker.as_ref(), &log).err());
    assert!(error.is_some_and(|error| error.message.contains("version 0")));
}
