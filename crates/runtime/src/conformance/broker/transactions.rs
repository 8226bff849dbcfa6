//! Transactions: all or nothing for readers and positions, and fencing by transactional id.

use std::time::Duration;

use super::{Environment, POLL, begin_with, eventually, kind, poll, send, value_text};
use crate::broker::{BrokerErrorKind, Isolation, RecordBatch, TopicPartition};

fn partition_of(environment: &Environment) -> TopicPartition {
    TopicPartition::new(environment.topic("out", 2), 1)
}

pub(super) fn a_commit_is_visible(environment: &Environment) {
    let partition = partition_of(environment);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &partition, &["1", "2"], environment.deadline());
    producer.commit(environment.deadline()).expect("the transaction commits");
    assert!(producer.acknowledged(&partition).is_some_and(|offset| offset >= 2), "the end of the records is known");
    let beside = TopicPartition::new(partition.topic.clone(), 0);
    assert_eq!(producer.acknowledged(&beside), None);
    assert_eq!(environment.settled(&partition), ["1", "2"]);
}

pub(super) fn an_abort_is_not(environment: &Environment) {
    let partition = partition_of(environment);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &partition, &["1", "2"], environment.deadline());
    producer.abort(environment.deadline()).expect("the transaction is aborted");
    assert_eq!(environment.settled(&partition), [""; 0]);
}

pub(super) fn an_open_transaction_is_not(environment: &Environment) {
    let partition = partition_of(environment);
    environment.write(&partition, &["before"]);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &partition, &["open"], environment.deadline());
    assert_eq!(environment.readable(&partition), ["before"]);
    let [readable, end] = [Isolation::ReadCommitted, Isolation::ReadUncommitted]
        .map(|isolation| environment.broker().watermarks(&partition, isolation).expect("the partition exists").high);
    assert!(readable == 1 && readable <= end, "{readable} of {end} can be read");
    let mut reader = environment.reader(&partition, 1);
    assert_eq!(poll(reader.as_mut(), 10), []);
    producer.commit(environment.deadline()).expect("the transaction commits");
    assert_eq!(value_text(&environment.read(reader.as_mut(), 1, 10)[0]), "open");
    assert_eq!(environment.settled(&partition), ["before", "open"]);
}

pub(super) fn interleaved_producers_do_not_mix(environment: &Environment) {
    let partition = partition_of(environment);
    let [mut one, mut two] = ["a", "b"].map(|id| environment.transactional(id));
    begin_with(one.as_mut(), &partition, &["one 0"], environment.deadline());
    begin_with(two.as_mut(), &partition, &["two 0"], environment.deadline());
    send(one.as_mut(), &partition, "one 1").expect("the record is taken");
    one.flush(environment.deadline()).expect("the record is acknowledged");
    send(two.as_mut(), &partition, "two 1").expect("the record is taken");
    two.flush(environment.deadline()).expect("the record is acknowledged");
    two.commit(environment.deadline()).expect("the second commits first");
    assert!(!environment.readable(&partition).iter().any(|value| value.starts_with("one")), "the first is still open");
    one.abort(environment.deadline()).expect("the first is aborted");
    assert_eq!(environment.settled(&partition), ["two 0", "two 1"]);
}

pub(super) fn aborts_and_commits_alternate(environment: &Environment) {
    let partition = partition_of(environment);
    let mut producer = environment.transactional("a");
    for number in 0..10 {
        let value = number.to_string();
        begin_with(producer.as_mut(), &partition, &[&value], environment.deadline());
        match number % 2 {
            0 => producer.abort(environment.deadline()).expect("it is aborted"),
            _ => producer.commit(environment.deadline()).expect("it commits"),
        }
    }
    assert_eq!(environment.settled(&partition), ["1", "3", "5", "7", "9"]);
}

pub(super) fn every_offset_is_accounted_for(environment: &Environment) {
    let partition = partition_of(environment);
    let [mut one, mut two] = ["a", "b"].map(|id| environment.transactional(id));
    for number in 0..6 {
        begin_with(one.as_mut(), &partition, &["1", "2", "3"], environment.deadline());
        begin_with(two.as_mut(), &partition, &["4"], environment.deadline());
        let ends = [number % 2 == 0, number % 3 == 0];
        for (producer, is_kept) in [&mut one, &mut two].into_iter().zip(ends) {
            let ended =
                if is_kept { producer.commit(environment.deadline()) } else { producer.abort(environment.deadline()) };
            ended.expect("the transaction ends");
        }
        environment.write(&partition, &["beside"]);
    }
    assert_eq!(environment.settled(&partition).len(), 3 * 3 + 2 + 6);
    for first in 0..3 {
        let mut reader = environment.reader(&partition, first);
        let (mut next_offset, mut batch) = (first, RecordBatch::default());
        eventually("everything is read", environment.deadline(), || {
            reader.poll(&mut batch, 2, POLL).expect("the partition can be read");
            for meta in batch.metas() {
                assert_eq!(meta.offset, next_offset + meta.passed_over, "from {first}");
                next_offset = meta.offset + 1;
            }
            batch.is_empty() && reader.reached_end(&partition)
        });
        assert!(next_offset >= 17, "read to {next_offset} only");
    }
}

pub(super) fn a_commit_spans_partitions(environment: &Environment) {
    let partitions: Vec<TopicPartition> = [("left", 0), ("left", 3), ("right", 1)]
        .into_iter()
        .map(|(name, number)| TopicPartition::new(environment.name(name), number))
        .collect();
    environment.topic("left", 4);
    environment.topic("right", 2);
    let mut producer = environment.transactional("a");
    for round in ["aborted", "committed"] {
        producer.begin().expect("a transaction begins");
        for partition in &partitions {
            send(producer.as_mut(), partition, round).expect("the record is taken");
        }
        producer.flush(environment.deadline()).expect("the records are acknowledged");
        match round {
            "aborted" => producer.abort(environment.deadline()).expect("it is aborted"),
            _ => producer.commit(environment.deadline()).expect("it commits"),
        }
    }
    for partition in &partitions {
        assert_eq!(environment.settled(partition), ["committed"], "{partition:?}");
    }
}

pub(super) fn offsets_move_with_a_commit(environment: &Environment) {
    let input = TopicPartition::new(environment.topic("in", 1), 0);
    let partition = partition_of(environment);
    let mut producer = environment.transactional("a");
    for position in [5, 3] {
        begin_with(producer.as_mut(), &partition, &["value"], environment.deadline());
        let offsets = [(input.clone(), position)];
        let group = environment.name("group");
        producer.send_group_offsets(&group, &offsets, environment.deadline()).expect("positions are taken");
        producer.commit(environment.deadline()).expect("it commits");
        eventually("the position is committed", environment.deadline(), || {
            environment.committed(&input) == Some(position)
        });
    }
}

pub(super) fn offsets_stay_with_an_abort(environment: &Environment) {
    let input = TopicPartition::new(environment.topic("in", 1), 0);
    let partition = partition_of(environment);
    let mut producer = environment.transactional("a");
    let group = environment.name("group");
    for position in [4, 9] {
        begin_with(producer.as_mut(), &partition, &["value"], environment.deadline());
        let offsets = [(input.clone(), position)];
        producer.send_group_offsets(&group, &offsets, environment.deadline()).expect("positions are taken");
        match position {
            4 => producer.commit(environment.deadline()).expect("it commits"),
            _ => producer.abort(environment.deadline()).expect("it is aborted"),
        }
    }
    assert_eq!(environment.settled(&partition), ["value"]);
    eventually("the position of the commit stays", environment.deadline(), || environment.committed(&input) == Some(4));
}

pub(super) fn an_unknown_group_has_no_positions(environment: &Environment) {
    let partition = partition_of(environment);
    assert_eq!(environment.committed(&partition), None);
}

pub(super) fn a_zombie_cannot_commit(environment: &Environment) {
    let partition = partition_of(environment);
    let mut zombie = environment.transactional("a");
    begin_with(zombie.as_mut(), &partition, &["zombie"], environment.deadline());
    let mut successor = environment.transactional("a");
    assert_eq!(kind(zombie.commit(environment.deadline())), Some(BrokerErrorKind::Fenced));
    begin_with(successor.as_mut(), &partition, &["successor"], environment.deadline());
    successor.commit(environment.deadline()).expect("the successor commits");
    assert_eq!(environment.settled(&partition), ["successor"]);
}

pub(super) fn a_zombie_cannot_send(environment: &Environment) {
    let partition = partition_of(environment);
    let mut zombie = environment.transactional("a");
    begin_with(zombie.as_mut(), &partition, &["zombie 0"], environment.deadline());
    let _successor = environment.transactional("a");
    let sent = send(zombie.as_mut(), &partition, "zombie 1").and_then(|()| zombie.flush(environment.deadline()));
    assert_eq!(kind(sent), Some(BrokerErrorKind::Fenced));
    assert_eq!(environment.settled(&partition), [""; 0]);
}

pub(super) fn opening_aborts_what_a_predecessor_left(environment: &Environment) {
    let partition = partition_of(environment);
    let mut predecessor = environment.transactional("a");
    begin_with(predecessor.as_mut(), &partition, &["left behind"], environment.deadline());
    let mut successor = environment.transactional("a");
    // Nothing is open any more, so what comes after can be read to its end.
    assert_eq!(environment.settled(&partition), [""; 0]);
    begin_with(successor.as_mut(), &partition, &["new"], environment.deadline());
    successor.commit(environment.deadline()).expect("the successor commits");
    assert_eq!(environment.settled(&partition), ["new"]);
}

pub(super) fn a_transaction_that_times_out_is_gone(environment: &Environment) {
    let partition = partition_of(environment);
    let timeout = Duration::from_secs(1);
    let mut abandoned = environment.open_transactional("a", timeout).expect("a transactional producer opens");
    begin_with(abandoned.as_mut(), &partition, &["abandoned"], environment.deadline());
    let mut outcome = Ok(());
    eventually("the transaction times out", environment.deadline() + timeout, || {
        outcome = send(abandoned.as_mut(), &partition, "late").and_then(|()| abandoned.flush(environment.deadline()));
        outcome.is_err()
    });
    assert_eq!(kind(outcome), Some(BrokerErrorKind::Fenced));
    assert_eq!(kind(abandoned.commit(environment.deadline())), Some(BrokerErrorKind::Fenced));
    assert_eq!(environment.settled(&partition), [""; 0]);
}

pub(super) fn what_holds_readers_back_is_known(environment: &Environment) {
    let topic = environment.topic("log", 2);
    let [open, idle] = [0, 1].map(|number| TopicPartition::new(topic.as_str(), number));
    let held = || environment.broker().held_back(&[open.clone(), idle.clone()]).expect("the broker answers");
    let end = |isolation| environment.broker().watermarks(&open, isolation).expect("the topic exists").high;
    assert_eq!(held(), []);
    let mut producer = environment.transactional("a");
    begin_with(producer.as_mut(), &open, &["value"], environment.deadline());
    let stable = end(Isolation::ReadCommitted);
    let is_held = stable < end(Isolation::ReadUncommitted);
    assert_eq!(held(), if is_held { vec![(open.clone(), stable)] } else { Vec::new() });
    producer.commit(environment.deadline()).expect("it commits");
    eventually("nothing is held back any more", environment.deadline(), || held().is_empty());
}
